from __future__ import annotations

import logging
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from napari_blindsound.errors import DataError, ImageNotFoundError
from napari_blindsound.images.intensity import Intensity
from napari_blindsound.images.phantom import phantom
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.methods.base import DEVIATION
from napari_blindsound.methods.dbsn import DBSN, DBSNConfig
from napari_blindsound.networks.mwcnn import MWCNN
from napari_blindsound.noise.calibration import NoiseModel
from napari_blindsound.pace import measure_pace
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig

SMALL = {"width": 4, "blocks": 1, "patch": 32, "student_width": 4, "student_depth": 2}
NOISE, RANGE = NoiseModel(0.02, 0.0, 0.001), Intensity((100.0,), (500.0,))


def make(channels: int = 1, **settings) -> DBSN:
    torch.manual_seed(0)
    method = DBSN(DBSNConfig(**{**SMALL, **settings}), channels)
    method.calibrate(
        [NOISE] * channels, Intensity((100.0,) * channels, (500.0,) * channels)
    )
    return method


def middles(method: DBSN) -> list[float]:
    begins = [0.0, *(stage.end for stage in method.stages)]
    return [(begin + end) / 2 for begin, end in pairwise(begins)]


def image(photons: float = 32.0, size: int = 96, seed: int = 5, **more):
    return phantom(size=size, photons=photons, seed=seed, **more)


def train(made, steps: int, **settings) -> Training:
    recipe = Recipe(
        method="dbsn",
        settings={**SMALL, **settings},
        channels="joint",
        train=TrainConfig(steps=steps, device="cpu", threads=1),
    )
    training = Training([made.volume()], recipe)
    for _ in training.run():
        pass
    training.close()
    return training


def error(result: np.ndarray, made) -> float:
    return float(np.mean((result - made.clean) ** 2))


def test_stages_are_shared_out_with_and_without_a_student():
    assert [stage.name for stage in make().stages] == [
        "mean", "likelihood", "distillation",
    ]  # fmt: skip
    alone = make(student="none", mean_until=0.3, likelihood_until=0.6).stages
    assert [(s.name, s.end) for s in alone] == [("mean", 0.5), ("likelihood", 1.0)]
    with pytest.raises(ValueError, match="must be the larger"):
        DBSNConfig(mean_until=0.6, likelihood_until=0.5)
    with pytest.raises(ValueError, match="no time for the student"):
        DBSNConfig(likelihood_until=1.0)


def test_the_papers_sizes():
    method = DBSN(DBSNConfig.preset("paper"))
    count = sum(p.numel() for p in method.network.parameters())
    # One block of two 3 x 3 convolutions less in each branch than the code has.
    assert count == 5_581_633 - 2 * 323_424
    assert isinstance(method.student, MWCNN)


@pytest.mark.parametrize("subsampling", ["1", "2", "3"])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_blind_estimate_is_blind(subsampling, channels):
    method = make(channels, subsampling=subsampling)
    noisy = torch.rand(1, channels, 48, 48)
    other = noisy.clone()
    other[..., 20, 17] += 100
    with torch.inference_mode():
        before, after = (
            method.denoise(each, output="blind")[..., 20, 17] for each in (noisy, other)
        )
    assert torch.equal(before, after)


def test_fusion_takes_of_the_pixel_what_bayes_rule_says():
    method = make()
    noisy = torch.rand(1, 1, 24, 24)
    with torch.inference_mode():
        blind, result, doubt = (
            method.denoise(noisy, output=o) for o in ("blind", "fused", DEVIATION)
        )
    weight = (result - blind) / (noisy - blind)
    noise = torch.from_numpy(NOISE.variance(blind.numpy()))
    assert ((weight > 0) & (weight < 1)).all()
    torch.testing.assert_close(doubt**2, weight * noise, atol=2e-4, rtol=0.02)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
@pytest.mark.parametrize("variance", ["share", "square"])
@pytest.mark.parametrize("noise", ["calibrated", "learned"])
@pytest.mark.parametrize("likelihood", ["plain", "constrained"])
def test_every_form_of_the_likelihood_teaches(covariance, variance, noise, likelihood):
    method = make(
        2, covariance=covariance, variance=variance, noise=noise,
        likelihood=likelihood, end_to_end=True, student="none",
    )  # fmt: skip
    (terms,) = method.losses(torch.rand(1, 2, 32, 32), 0.95)
    terms["likelihood"].backward()
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("level", [0.0, 1e6, -50.0])
@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_nothing_is_ever_not_a_number(level, preset):
    small = {**SMALL, "covariance": "full"}
    torch.manual_seed(0)
    method = DBSN(DBSNConfig.preset(preset, small), 2)
    noisy = torch.full((1, 2, 32, 32), level)
    for at in middles(method):
        for terms in method.losses(noisy, at):
            total = sum(terms.values())
            total.backward()
            assert total.isfinite()
    for name, parameter in method.named_parameters():
        assert parameter.grad.isfinite().all(), name
    for output in method.outputs:
        assert method.denoise(noisy, output=output).isfinite().all()


def test_pixels_that_must_not_teach_do_not():
    method = make()
    noisy = torch.rand(1, 1, 32, 32)
    weight = torch.ones_like(noisy)
    weight[..., 10:20, 10:20] = 0
    none = torch.zeros_like(noisy)
    for at in middles(method):
        assert all(term == 0 for term in method.loss(noisy, at, none).values())
        assert method.loss(noisy, at, weight) != method.loss(noisy, at)


def test_subsampling_follows_the_noise_that_pixels_share():
    config = DBSNConfig()
    assert config.suited((0, 0)).subsampling == "1"
    shared = config.suited((1, 2))
    assert (shared.subsampling, shared.patch) == ("3", 144)
    assert config.suited((9, 0)).subsampling == "4"
    assert DBSNConfig(subsampling=2).suited((3, 3)).subsampling == "2"


def test_learns_to_denoise_in_three_stages_and_the_student_takes_over():
    made = image()
    training = train(made, 400, width=8)
    model = training.denoiser()
    assert bool(model.methods[0].distilled)
    noisy = error(made.noisy, made)
    found = {
        name: error(model.with_output(name)(made.noisy), made)
        for name in ("blind", "fused", "denoised")
    }
    assert all(left < noisy / 3 for left in found.values())
    assert found["fused"] < found["blind"]
    assert model.deviation() is not None


def test_stopped_before_the_student_knows_enough_the_teacher_answers():
    made = image(size=48)
    recipe = Recipe(
        method="dbsn",
        settings=SMALL,
        train=TrainConfig(steps=40, device="cpu", threads=1),
        stop_after=(25,),
    )
    training = Training([made.volume()], recipe)
    for _ in training.run():
        pass
    training.close()
    model = training.denoiser()
    fused = model.with_output("fused")
    assert np.array_equal(model(made.noisy), fused(made.noisy))


def test_learned_noise_is_told_in_counts_and_survives_the_file(tmp_path):
    made = image(size=64)
    training = train(made, 40, noise="learned", end_to_end=True)
    model = training.denoiser()
    told = model.methods[0].found()
    assert set(told) == {"noise in the dark", "noise in full light", "gain"}
    # It begins where the calibration says, and is no finer known after so little.
    assert 1 < told["noise in the dark"] < 30
    again = Denoiser.load(model.save(tmp_path / "model.blindsound"))
    assert again.methods[0].found() == told
    assert make().found() == {}
    assert set(make(2, noise="learned").found()) == {
        f"channel {c}: {name}" for c in (0, 1) for name in told
    }


def test_clean_images_teach_the_student_too(tmp_path):
    Image.fromarray(np.uint8(image(size=64).clean / 2)).save(tmp_path / "a.png")
    method = make(clean=str(tmp_path))
    (terms,) = method.losses(torch.rand(1, 1, 32, 32), 0.9)
    assert set(terms) == {"noisy pairs", "clean pairs"}
    assert all(term.isfinite() for term in terms.values())
    (alone,) = make().losses(torch.rand(1, 1, 32, 32), 0.9)
    assert set(alone) == {"noisy pairs"}


def test_noise_drawn_for_clean_images_is_that_of_the_camera():
    method = make()
    clean = torch.full((8, 1, 128, 128), 0.5)
    drawn = method._with_noise(clean) - clean
    assert float(drawn.mean()) == pytest.approx(0, abs=2e-3)
    assert float(drawn.var()) == pytest.approx(0.02 * 0.5 + 0.001, rel=0.1)


def test_clean_images_that_cannot_be_used_are_told_before_training(tmp_path):
    with pytest.raises(ImageNotFoundError):
        make(clean=str(tmp_path / "nowhere"))
    Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20)).save(
        tmp_path / "small.png"
    )
    with pytest.raises(DataError, match="20 x 20 pixels or less"):
        make(clean=str(tmp_path))


def test_clean_images_are_left_out_where_noise_is_shared(tmp_path, caplog):
    Image.fromarray(np.uint8(image(size=64).clean / 2)).save(tmp_path / "a.png")
    with caplog.at_level(logging.WARNING):
        method = make(clean=str(tmp_path), subsampling="2")
    assert "share noise" in caplog.text
    (terms,) = method.losses(torch.rand(1, 1, 32, 32), 0.9)
    assert set(terms) == {"noisy pairs"}


def test_without_a_calibration_bayes_rule_keeps_to_the_mean():
    method = DBSN(DBSNConfig(**SMALL))
    method.calibrate([NoiseModel(0.0, 0.0, 0.0)], RANGE)
    noisy = torch.rand(1, 1, 24, 24)
    with torch.inference_mode():
        blind, result = (method.denoise(noisy, output=o) for o in ("blind", "fused"))
    assert ((result - blind).abs() <= 0.1 * (noisy - blind).abs() + 1e-6).all()
    assert math.isfinite(float(result.sum()))


def test_the_pace_of_denoising_is_that_of_the_student():
    recipe = Recipe(
        method="dbsn",
        settings={"width": 32, "blocks": 6, "student_width": 4},
        train=TrainConfig(device="cpu", threads=1),
    )
    volume = image(size=128).volume()
    with_student = measure_pace([volume], recipe, seconds=0.6)
    changes = {**recipe.settings, "student": "none"}
    without = measure_pace(
        [volume], recipe.model_copy(update={"settings": changes}), seconds=0.6
    )
    assert with_student.pixels_per_second > 3 * without.pixels_per_second
