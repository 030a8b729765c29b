"""The whole way from a noisy image to a denoised one, as scripts go it."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import zarr
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter

import napari_blindsound as nb
from napari_blindsound.errors import (
    AxesError,
    DataError,
    ModelError,
    ModelMismatchError,
    ModelNotFoundError,
    OutputExistsError,
)
from napari_blindsound.images.open import open_volume
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig

TINY = {"width": 4, "depth": 2, "patch": 32}
GAIN, OFFSET = 2.0, 100.0


def flats(frames: int = 4, size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Disks of 40 and 120 photons on a background of 10, noisy (uint16) and clean."""
    y, x = np.mgrid[:size, :size]
    photons = np.full((size, size), 10.0)
    photons[np.hypot(y - size / 4, x - size / 4) < size / 6] = 40
    photons[np.hypot(y - size * 0.7, x - size * 0.7) < size / 5] = 120
    photons = gaussian_filter(photons, 1.0)
    rng = np.random.default_rng(0)
    counts = GAIN * rng.poisson(photons, (frames, size, size)) + OFFSET
    counts += rng.normal(0, 3, counts.shape)
    return counts.round().astype(np.uint16), GAIN * photons + OFFSET


@pytest.fixture(scope="module")
def trained() -> nb.api.Denoiser:
    settings = {"width": 8, "context": "none"}
    return nb.train(flats()[0], axes="TYX", steps=500, settings=settings)


def test_denoises_and_keeps_the_means_of_flat_regions(trained):
    noisy, clean = flats()
    denoised = nb.denoise(noisy, trained, axes="TYX")
    assert denoised.dtype == np.float32
    before, after = (np.mean((image - clean) ** 2) for image in (noisy, denoised))
    assert after < before / 12
    y, x = np.mgrid[:128, :128]
    for at, radius in [(32, 16), (89.6, 20)]:
        disk = np.hypot(y - at, x - at) < radius
        assert denoised[:, disk].mean() == pytest.approx(clean[disk].mean(), rel=1e-2)
    rest = (clean < OFFSET + GAIN * 10.1) & (y > 4) & (x > 4)
    assert denoised[:, rest].mean() == pytest.approx(clean[rest].mean(), rel=1e-2)


def test_inspect_measures_the_camera():
    [glance] = nb.inspect(flats()[0], axes="TYX")
    assert glance.noise.gain == pytest.approx(GAIN, rel=0.1)
    assert "photon" in glance.as_rows()["gain"]


def test_trust_tests_a_model_and_writes_a_page(trained, tmp_path):
    noisy, _ = flats()
    page = tmp_path / "report.html"
    found = nb.trust(noisy, trained, page, axes="TYX")
    assert found.summary
    assert not found.stopped
    assert found.summary in page.read_text(encoding="utf-8")
    with pytest.raises(OutputExistsError):
        nb.trust(noisy, trained, page, axes="TYX")


def test_a_training_with_an_open_end_says_what_it_kept():
    noisy, _ = flats(2, 64)
    model = nb.train(noisy, axes="TYX", steps=200, settings=TINY, ending="auto")
    assert model.provenance["kept_steps"][0] > 0


def test_the_deviation_is_denoised_like_a_result(tmp_path):
    noisy, _ = flats(4, 64)
    model = nb.train(noisy, axes="TYX", steps=100, settings=TINY, method="blind2sound")
    deviation = model.deviation()
    assert deviation is not None
    in_memory = nb.denoise(noisy, deviation, axes="TYX")
    assert in_memory.shape == noisy.shape
    assert in_memory.min() > 0
    place = nb.denoise(noisy, deviation, tmp_path / "d.ome.zarr", axes="TYX")
    np.testing.assert_allclose(zarr.open_array(place / "0"), in_memory, rtol=1e-4)


def test_result_scales_with_the_camera():
    noisy, _ = flats(2, 64)
    results = []
    for gain, offset in [(1, 0), (4, 1024)]:
        data = (gain * noisy + offset).astype(np.uint16)
        model = nb.train(data, axes="TYX", steps=20, settings=TINY)
        results.append((nb.denoise(data, model, axes="TYX") - offset) / gain)
    np.testing.assert_allclose(results[0], results[1], rtol=1e-3)


def test_each_channel_gets_its_own_network():
    noisy, _ = flats(2, 64)
    channels = np.stack([noisy, noisy[:, ::-1]], axis=1)
    events = []
    model = nb.train(
        channels, axes="TCYX", steps=10, settings=TINY, on_event=events.append
    )
    assert len(model.methods) == 2
    assert {event.network for event in events} == {"channel 0", "channel 1", ""}
    assert [event.fraction for event in events[:-1]] == sorted(
        event.fraction for event in events[:-1]
    )
    assert (events[-1].reason, events[-1].step) == ("done", 20)
    assert nb.denoise(channels, model, axes="TCYX").shape == channels.shape
    joint = nb.train(channels, axes="TCYX", steps=10, settings=TINY, channels="joint")
    assert len(joint.methods) == 1
    assert nb.denoise(channels, joint, axes="TCYX").shape == channels.shape
    with pytest.raises(ModelMismatchError):
        nb.denoise(noisy, joint, axes="TYX")


def test_writes_and_refuses_to_write_twice(trained, tmp_path):
    noisy, _ = flats()
    events = []
    path = tmp_path / "out.ome.zarr"
    assert nb.denoise(noisy, trained, path, axes="TYX", on_event=events.append) == path
    np.testing.assert_allclose(
        zarr.open_group(path)["0"][:], nb.denoise(noisy, trained, axes="TYX"), rtol=1e-5
    )
    assert events[-1].path == path
    with pytest.raises(OutputExistsError):
        nb.denoise(noisy, trained, path, axes="TYX")


def test_model_file_goes_round(trained, tmp_path):
    noisy, _ = flats()
    path = trained.save(tmp_path / "m.blindsound")
    again = nb.load(path)
    np.testing.assert_array_equal(again(noisy), trained(noisy))
    assert again.provenance["trained_on"][0]["shape"] == [4, 128, 128]
    assert again.provenance["recipe"]["train"]["seed"] == 0
    assert again.provenance["versions"]["torch"]
    with pytest.raises(ModelNotFoundError):
        nb.load(tmp_path / "none")


def test_stopped_training_leaves_a_model_and_continues(tmp_path):
    noisy = open_volume(np.stack([flats(2, 64)[0]] * 2, axis=1), axes="TCYX")
    recipe = Recipe(settings=TINY, train=TrainConfig(steps=12))

    whole = Training([noisy], recipe)
    list(whole.run())

    first, stop = Training([noisy], recipe), threading.Event()
    for trainer in first._trainers[:1]:
        while trainer.step < 5:
            trainer._advance(stop)
    assert first.denoiser()(np.zeros((2, 64, 64), np.uint16)).shape == (2, 64, 64)
    checkpoint = first.save(tmp_path / "checkpoint")

    second = Training([noisy], recipe)
    second.restore(checkpoint)
    *_, last = second.run()
    assert last.step == 24
    ours, theirs = second.denoiser(), whole.denoiser()
    for mine, other in zip(ours.methods, theirs.methods, strict=True):
        for name, tensor in mine.state_dict().items():
            assert tensor.equal(other.state_dict()[name]), name
    with pytest.raises(ModelError, match="--checkpoint"):
        second.restore(ours.save(tmp_path / "model"))


def test_channels_are_equally_far_when_stopped():
    noisy = open_volume(np.stack([flats(2, 64)[0]] * 3, axis=1), axes="TCYX")
    stop = threading.Event()
    training = Training([noisy], Recipe(settings=TINY))
    for event in training.run(stop):
        if event.seconds > 1.0:
            stop.set()
    steps = training.denoiser().provenance["steps"]
    assert training.reason == "stopped"
    assert min(steps) > 0.3 * max(steps)


def test_stop_is_heeded_at_once():
    stop = threading.Event()
    stop.set()
    noisy, _ = flats(1, 64)
    model = nb.train(noisy, axes="TYX", settings=TINY, stop=stop)
    assert model.provenance["ended"] == "stopped"
    assert model.provenance["steps"] == [0]


def test_preparation_counts_as_training_time_but_leaves_half():
    for seconds, fraction in [(1000, 0.0), (1e-3, 0.5)]:
        recipe = Recipe(settings=TINY, train=TrainConfig(seconds=seconds))
        training = Training([open_volume(flats(1, 64)[0][0])], recipe)
        assert training._trainers[0].fraction == pytest.approx(fraction, abs=0.1)
        assert training._trainers[0].seconds > 0


@pytest.mark.parametrize(
    ("image", "axes", "error"),
    [
        (np.full((64, 64), 5, np.uint8), None, DataError),
        (np.where(np.eye(64) > 0, np.nan, 1.0), None, DataError),
        (np.ones((64, 64), complex), None, DataError),
        (np.random.default_rng(0).integers(0, 9, (10, 80)), None, DataError),
        (np.zeros((3, 64, 64), np.uint8), None, AxesError),
    ],
    ids=["constant", "nan", "complex", "tiny", "axes unknown"],
)
def test_bad_images_are_refused(image, axes, error):
    with pytest.raises(error):
        nb.train(image, axes=axes, steps=5, settings=TINY)


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="no method"):
        Recipe(method="magic").config()
    with pytest.raises(ValueError, match="no preset"):
        Recipe(preset="magic").config()
    with pytest.raises(ValidationError, match="wdith"):
        Recipe(settings={"wdith": 3}).config()
