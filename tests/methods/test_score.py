from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_blindsound.errors import ModelError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.phantom import phantom
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.methods.score import Score
from napari_blindsound.methods.score_config import ScoreConfig
from napari_blindsound.noise.models import Parameters, models
from napari_blindsound.quality.metrics import psnr
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig

SMALL = {"width": 6, "depth": 2, "patch": 32}
STEPS = 200


def trained(volume, steps, settings=None, channels="each"):
    recipe = Recipe(
        method="score",
        settings={**SMALL, **(settings or {})},
        channels=channels,
        train=TrainConfig(steps=steps, threads=1),
    )
    training = Training([volume], recipe)
    for _ in training.run():
        pass
    training.close()
    return training.denoiser()


@pytest.fixture(scope="module")
def scene():
    return phantom(size=128, photons=20, seed=3)


@pytest.fixture(scope="module")
def model(scene):
    return trained(scene.volume(), STEPS)


def test_a_short_training_takes_most_of_a_camera_s_noise_away(scene, model):
    noisy, clean = scene.noisy, scene.clean
    peak = float(np.ptp(clean))
    gain = psnr(model(noisy), clean, peak) - psnr(noisy, clean, peak)
    assert gain > 4
    assert model(noisy).mean() == pytest.approx(clean.mean(), rel=0.02)


def test_it_tells_the_camera_in_counts(scene, model):
    found = model.methods[0].found()
    assert found["gain"] == pytest.approx(scene.camera.gain, rel=0.1)
    assert found["sigma"] == pytest.approx(scene.camera.read_noise, rel=0.4)
    assert found["offset"] == pytest.approx(scene.camera.offset, rel=0.05)


def test_noise_chosen_afterwards_is_as_if_trained_with(scene, model):
    settings = {"noise": "poisson-gaussian", "lam": 0.5}
    again = trained(scene.volume(), STEPS, settings)
    changed = model.adjusted(settings)
    np.testing.assert_array_equal(changed(scene.noisy), again(scene.noisy))
    assert changed.revision == again.revision != model.revision
    assert changed.methods[0].network is model.methods[0].network
    np.testing.assert_array_equal(
        changed.adjusted({"noise": "camera", "lam": "estimated"})(scene.noisy),
        model(scene.noisy),
    )


def test_a_change_is_saved(scene, model, tmp_path):
    changed = model.adjusted({"noise": "gamma-correlated", "alpha": 9, "edge": 0.05})
    loaded = Denoiser.load(changed.save(tmp_path / "a.blindsound"))
    assert loaded.methods[0].config == changed.methods[0].config
    assert loaded.methods[0].found() == changed.methods[0].found()
    assert loaded.revision == changed.revision
    np.testing.assert_array_equal(loaded(scene.noisy), changed(scene.noisy))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 9}, "width decides on what is learned"),
        ({"colour": 9}, "colour is no setting"),
        ({"noise": "pepper"}, "noise is 'pepper'"),
        ({"alpha": 1}, "greater than 1"),
        ({"sigma": "-2"}, "greater than or equal to 0"),
        ({"noise": "gaussian", "sigma": 0}, "greater than 0"),
        ({"noise": "gamma-correlated", "edge": 0.24}, "no inverse"),
    ],
)
def test_what_cannot_be_is_refused(model, changes, words):
    with pytest.raises(ModelError, match=words):
        model.adjusted(changes)


def test_other_methods_have_nothing_to_adjust(scene):
    recipe = Recipe(settings=SMALL, train=TrainConfig(steps=2, threads=1))
    training = Training([scene.volume()], recipe)
    training.close()
    with pytest.raises(ModelError, match=r"width decides .* none of its settings"):
        training.denoiser().adjusted({"width": 4})


@pytest.mark.parametrize("name", models())
def test_any_noise_gives_finite_pixels_alike_in_tiles(model, name):
    """With a halo that reaches as far as the solver does."""
    method = model.adjusted({"noise": name}).methods[0]
    stride = method.stride
    halo = -(-method.halo // stride) * stride
    torch.manual_seed(0)
    whole = torch.rand(1, 1, 2 * halo + 3 * stride, 2 * halo + 2 * stride)
    with torch.inference_mode():
        expected = method.denoise(whole)
        core = method.denoise(whole, halo=halo)
    assert expected.isfinite().all()
    # Filters' inverses amplify what rounding leaves.
    atol = 1e-4 if "correlated" in name else 1e-5
    size = 1 + float(expected.abs().max())
    torch.testing.assert_close(
        core, expected[..., halo:-halo, halo:-halo], atol=atol * size, rtol=0
    )


@pytest.mark.parametrize("name", ["gaussian-correlated", "rayleigh"])
def test_noise_that_a_camera_does_not_make(name):
    """With nothing given but its kind."""
    light = phantom(size=128, photons=1000, seed=3).clean.astype(np.float32)
    clean = torch.from_numpy(20 + 200 * (light - 100) / float(light.max()))
    noise = models()[name].noise(Parameters())
    noisy = noise.sample(clean, torch.Generator().manual_seed(0)).numpy()
    volume = Volume((noisy,), Axes.parse("YX"), name)
    model = trained(volume, 200, {"noise": name, "width": 8})
    found = model.methods[0].found()
    expected = noise.first.sigma if name == "gaussian-correlated" else noise.spread
    key = "sigma" if name == "gaussian-correlated" else "spread"
    assert found[key] == pytest.approx(expected, rel=0.15)
    before, after = (psnr(y, clean.numpy(), 255.0) for y in (noisy, model(noisy)))
    assert after > before + 1
    filtered = [0.1, 0.05] if name == "gaussian-correlated" else [0.0, 0.0]
    assert model.methods[0].gauge.filter[0].tolist() == pytest.approx(
        filtered, abs=0.02
    )


def test_a_camera_that_filters_gets_no_rougher():
    """Even noise of one level, which only the filter makes alike in neighbors."""
    random = torch.Generator().manual_seed(0)
    noise = models()["gaussian-correlated"].noise(Parameters())
    clean = torch.full((128, 128), 500.0)
    noisy = noise.sample(clean, random).numpy()
    model = trained(Volume((noisy,), Axes.parse("YX"), "shared"), 120)
    assert model.methods[0].gauge.filter.any()
    left = model(noisy) - 500
    assert left.std() < 0.5 * noisy.std()
    steps = np.diff(left, axis=0).std() / np.diff(noisy, axis=0).std()
    assert steps < 0.7


def test_channels_have_numbers_of_their_own():
    made = phantom(size=64, channels=2)
    model = trained(made.volume(), 8, channels="joint")
    found = model.methods[0].found()
    assert {"gain of channel 0", "gain of channel 1"} <= found.keys()


def test_more_noise_at_the_end_than_at_the_start_is_refused():
    with pytest.raises(ValueError, match="must decrease"):
        ScoreConfig(smoothing_start=0.5, smoothing_end=0.7)


def test_less_and_less_noise_is_added():
    config = ScoreConfig()
    assert config.smoothing(0) > config.smoothing(0.5) > config.smoothing(1)


def test_the_score_is_that_of_the_noise_where_the_image_is_known():
    """One level of light: the score of y + added noise is -(y - mean) / variance."""
    random = np.random.default_rng(0)
    noisy = (500 + 20 * random.standard_normal((128, 128))).astype(np.float32)
    model = trained(Volume((noisy,), Axes.parse("YX"), "flat"), 150)
    method = model.methods[0]
    plane = torch.from_numpy(model.preprocessing.normalize(noisy[None, None]))
    with torch.inference_mode():
        score = method.score(plane)
    scale = float(method.gauge.scale)
    variance = (20 / scale) ** 2 + float(method.smoothing * method.gauge.unit) ** 2
    expected = -(plane - plane.mean()) / variance
    slope = float((score * expected).sum() / expected.square().sum())
    assert slope == pytest.approx(1, abs=0.1)
    assert float(np.corrcoef(score.ravel(), expected.ravel())[0, 1]) > 0.97
    assert isinstance(method, Score)
