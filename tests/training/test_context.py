"""Training on planes that are seen with their neighbors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_blindsound.errors import DataError, RecipeError
from napari_blindsound.images.array import LazyArray
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.context import Context
from napari_blindsound.images.phantom import phantom
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.tiling import denoise_region
from napari_blindsound.methods.blind2unblind import Blind2Unblind, Blind2UnblindConfig
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training import sampling
from napari_blindsound.training.judge import Judge
from napari_blindsound.training.preprocessing import Preprocessing
from napari_blindsound.training.repeats import (
    frames_needed,
    seen_by_each,
    squared_errors,
)
from napari_blindsound.training.sampling import PatchSampler
from napari_blindsound.training.trainer import TrainConfig

Z1 = Context("Z", 1)


def places(planes: int = 20, size: int = 64, axes: str = "ZYX") -> Volume:
    """Every pixel says where it lies, and in which plane."""
    z, y, x = np.mgrid[:planes, :size, :size]
    return Volume((1000.0 * z + 10 * y + 0.1 * x,), Axes.parse(axes), "places")


def make(volume: Volume, context: Context = Z1, **changes: object) -> PatchSampler:
    settings = {"patch": 32, "batch": 8, "stride": 8, **changes}
    fitted = Preprocessing.fit([volume])
    return PatchSampler([volume], fitted, context=context, **settings)


def counts(sampler: PatchSampler, noisy: torch.Tensor) -> np.ndarray:
    planes = noisy.double()[:, :, None].numpy()
    intensity = sampler._preprocessing.intensity
    return intensity.restore(planes, channel_axis=2)[:, :, 0]


@pytest.mark.parametrize("context", [Z1, Context("Z", 2)])
def test_neighbors_are_cut_and_turned_as_the_plane(context):
    sampler = make(places(), context)
    seen = set()
    for _ in range(40):
        for window in counts(sampler, sampler.draw()[0]):
            steps = (window[1:] - window[0]) / 1000
            assert np.abs(steps - steps.mean((1, 2), keepdims=True)).max() < 1e-3
            seen.add(tuple(np.round(steps.mean((1, 2))).astype(int).tolist()))
    if context.planes == 1:
        # In both directions, and twice the same at the ends.
        assert seen == {(-1, 1), (1, -1), (1, 1), (-1, -1)}
    else:
        assert {(-2, -1, 1, 2), (2, 1, -1, -2)} <= seen
        assert not any(0 in steps for steps in seen)


def test_time_has_a_direction():
    sampler = make(places(axes="TYX"), Context("T", 1))
    for _ in range(20):
        noisy = counts(sampler, sampler.draw()[0])
        steps = np.round((noisy[:, 1:] - noisy[:, :1]).mean((2, 3)) / 1000)
        assert (steps[:, 0] <= steps[:, 1]).all()


def test_every_plane_is_drawn_within_the_bound(monkeypatch):
    monkeypatch.setattr(sampling, "FIRST_PIXELS", 1)
    monkeypatch.setattr(sampling, "REFRESH", 2)
    block = 4 * 64 * 64 * (sampling.RUN + 2)
    sampler = make(places(30), cache_bytes=2 * block)
    seen = set()
    for _ in range(80):
        noisy = counts(sampler, sampler.draw()[0])[:, 0]
        seen |= {int(plane.mean() // 1000) for plane in noisy}
        assert sampler._held_bytes <= 2 * block
    assert seen == set(range(30))


def test_continues_identically_from_a_state(monkeypatch):
    monkeypatch.setattr(sampling, "FIRST_PIXELS", 1)
    monkeypatch.setattr(sampling, "REFRESH", 3)
    sampler, again = (make(places(), cache_bytes=400_000) for _ in range(2))
    for _ in range(10):
        sampler.draw()
    state = sampler.state()
    expected = [sampler.draw()[0] for _ in range(10)]
    again.restore(state)
    assert all(torch.equal(again.draw()[0], noisy) for noisy in expected)


def test_weights_are_those_of_the_plane():
    rng = np.random.default_rng(0)
    pixels = rng.poisson(100, (3, 48, 48)).astype(np.uint16)
    pixels[1, 10:14, 10:14] = 65535
    volume = Volume((pixels,), Axes.parse("ZYX"), "saturated")
    sampler = make(volume, patch=48, orientations=(0,))
    noisy, weight = sampler.draw()
    assert noisy.shape == (8, 3, 48, 48)
    assert weight.shape == (8, 1, 48, 48)
    normalized = sampler._preprocessing.normalize(pixels[:, None])[:, 0, 0, 0]
    for window, teaches in zip(noisy, weight, strict=True):
        is_saturated = float(window[0, 0, 0]) == float(normalized[1])
        assert bool((teaches == 0).any()) == is_saturated


def test_what_is_no_number_in_a_neighbor_is_refused():
    pixels = places(4).levels[0].copy()
    fitted = Preprocessing.fit([places(4)])
    pixels[2, 7, 9] = np.nan
    bad = Volume((pixels,), Axes.parse("ZYX"), "bad")
    sampler = PatchSampler([bad], fitted, patch=32, batch=1, stride=8, context=Z1)
    with pytest.raises(DataError, match="Z=2, Y=7, X=9"):
        sampler.draw()


class Endless(LazyArray):
    """A hundred gigabytes of noise that are made where they are read."""

    def __init__(self) -> None:
        super().__init__((50_000, 1024, 1024), np.uint16, (1, 256, 256))
        self.read_pixels = 0

    def read(self, region):
        shape = [part.stop - part.start for part in region]
        self.read_pixels += int(np.prod(shape))
        rng = np.random.default_rng(region[0].start)
        return rng.integers(90, 250, shape, np.uint16)


def test_a_stack_far_larger_than_memory_is_begun_at_once(monkeypatch):
    monkeypatch.setattr(sampling, "FIRST_PIXELS", 2_000_000)
    source = Endless()
    volume = Volume((source,), Axes.parse("ZYX"), "endless")
    fitted = Preprocessing.fit([places(4)])
    sampler = PatchSampler(
        [volume], fitted, patch=64, batch=4, stride=8, context=Z1, cache_bytes=10**8
    )
    assert sampler.draw()[0].shape == (4, 3, 64, 64)
    assert source.read_pixels < 10**7
    sampler.close()


@pytest.mark.parametrize("around", [1, 2])
def test_frames_that_were_seen_do_not_judge(around):
    """A mean over frames is better than one, by as much as it is."""
    rng = np.random.default_rng(0)
    least, count = frames_needed(around, 4)
    assert least == around + 3
    frames = rng.normal(0, 1, (count + 2 * around, 300, 300))
    window = np.lib.stride_tricks.sliding_window_view(frames, 2 * around + 1, axis=0)
    estimates, seen = window.mean(-1), frames[around:-around]
    each = np.broadcast_to(seen, (count, *seen.shape))
    true = 1 / (2 * around + 1)
    assert squared_errors(estimates, each, around).mean() == pytest.approx(
        true, abs=0.01
    )
    assert squared_errors(estimates, each).mean() < true - 0.1


def test_without_neighbors_all_frames_judge():
    rng = np.random.default_rng(0)
    frames = rng.normal(5, 1, (4, 64, 64)) + rng.normal(0, 3, (64, 64))
    seen = seen_by_each(frames)
    assert squared_errors(frames, seen, 0).mean() == pytest.approx(1, abs=0.05)
    assert frames_needed(0, 4) == (2, 4)


class Mean(Blind2Unblind):
    """Knows nothing but to take the mean over the frames that it sees."""

    def denoise(self, noisy, *, halo=0, output=None):
        del halo, output
        return noisy.mean(1, keepdim=True)


@pytest.mark.parametrize(("frames", "left"), [(4, 5 / 9), (8, 4 / 9)])
def test_the_judge_does_not_take_repeats_that_the_network_saw(frames, left):
    made = phantom("2d", size=192, seed=11)
    random = np.random.default_rng(0)
    light = np.maximum(made.clean.astype("f8") - made.camera.offset, 0)
    noisy = np.stack(
        [made.camera.expose(light / made.camera.gain, random) for _ in range(frames)]
    )
    volume = Volume((noisy,), Axes.parse("TYX"), "repeats")
    method = Mean(Blind2UnblindConfig(width=4, depth=2, context="T1"))
    judge = Judge([volume], Preprocessing.fit([volume]), method)
    assert judge.source == "repeats"
    found = judge.judge(method, 1)
    # The mean of three frames, or of one and, twice, the only one beside it.
    assert found.gain == pytest.approx(-10 * np.log10(left), abs=0.15)


@pytest.mark.parametrize(
    ("method", "ending"), [("blind2unblind", "best"), ("blind2sound", "last")]
)
def test_a_stack_is_better_with_its_neighbors(method, ending):
    made = phantom("zstack", size=128, planes=8, photons=15, seed=21)
    volume, errors = made.volume(), {}
    for context in ("none", "auto"):
        recipe = Recipe(
            method=method,
            settings={"context": context, "batch": 2, "start": "cold"},
            train=TrainConfig(steps=150, ending=ending, threads=1, seed=1),
        )
        training = Training([volume], recipe)
        list(training.run())
        training.close()
        denoiser = training.result()
        whole = tuple(slice(0, size) for size in volume.shape)
        denoised = denoise_region(denoiser, volume, whole)
        errors[context] = float(((denoised - made.clean) ** 2).mean())
    assert denoiser.context == Z1
    assert "along Z" in denoiser.provenance["context"]
    assert 10 * np.log10(errors["none"] / errors["auto"]) > 0.4


def test_a_context_that_the_image_has_not_is_refused():
    volume = phantom("2d", size=64).volume()
    with pytest.raises(RecipeError, match="2 neighboring planes along T"):
        Training([volume], Recipe(settings={"context": "T2"}))


def test_channels_share_their_context_and_joint_ones_see_all():
    made = phantom("zstack", size=64, planes=5, channels=2, photons=20)
    for channels, networks, inputs in (("each", 2, 3), ("joint", 1, 6)):
        recipe = Recipe(
            channels=channels,
            settings={"context": "Z1", "width": 4, "depth": 2, "patch": 32},
            train=TrainConfig(steps=3, threads=1),
        )
        training = Training([made.volume()], recipe)
        list(training.run())
        training.close()
        denoiser = training.denoiser()
        assert len(denoiser.methods) == networks
        assert denoiser.methods[0].network.inputs == inputs
        whole = tuple(slice(0, size) for size in made.noisy.shape)
        found = denoise_region(denoiser, made.volume(), whole)
        assert found.shape == made.noisy.shape
