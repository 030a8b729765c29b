from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_blindsound.errors import DataError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.volume import Volume
from napari_blindsound.training import sampling
from napari_blindsound.training.preprocessing import Preprocessing
from napari_blindsound.training.sampling import PatchSampler, _shuffled, fitting_patch


def make_sampler(*volumes: Volume, **changes: object) -> PatchSampler:
    settings = {"patch": 32, "batch": 4, "stride": 8, **changes}
    return PatchSampler(volumes, Preprocessing.fit(volumes), **settings)


def draws(sampler: PatchSampler, count: int) -> torch.Tensor:
    return torch.stack([sampler.draw()[0] for _ in range(count)])


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50, 1000])
def test_every_block_comes_once_a_lap(count):
    orders = [[_shuffled(i, count, seed=seed) for i in range(count)] for seed in (0, 1)]
    assert sorted(orders[0]) == list(range(count))
    assert count < 7 or orders[0] != orders[1]


def test_crops_come_from_the_image(stack):
    sampler = make_sampler(stack, orientations=(0,))
    normalized = Preprocessing.fit([stack]).normalize(stack.levels[0][:, None])
    known = {float(v) for v in normalized.ravel()}
    noisy, weight = sampler.draw()
    assert noisy.shape == (4, 1, 32, 32)
    assert weight is None
    assert {float(v) for v in noisy.ravel()} <= known


def test_every_offset_can_be_drawn_the_last_included():
    corner = np.zeros((40, 40), np.uint16)
    corner[::39, ::39] = 1000
    corner += np.random.default_rng(0).integers(90, 110, corner.shape, np.uint16)
    sampler = make_sampler(Volume((corner,), Axes.parse("YX"), "corner"))
    brightest = [sampler.draw()[0].amax((1, 2, 3)) for _ in range(200)]
    assert (torch.stack(brightest) > 0.5).any()


def test_same_seed_same_crops_and_another_seed_others(stack):
    first, again = (draws(make_sampler(stack, seed=3), 5) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, draws(make_sampler(stack, seed=4), 5))


def test_continues_identically_from_a_state(stack, monkeypatch):
    # A cache of two frames of five: the state must bring back the same two.
    monkeypatch.setattr(sampling, "FIRST_PIXELS", 1)
    monkeypatch.setattr(sampling, "REFRESH", 3)
    frame = 4 * 96 * 80
    sampler = make_sampler(stack, cache_bytes=2 * frame)
    draws(sampler, 25)
    state = sampler.state()
    expected = draws(sampler, 25)
    resumed = make_sampler(stack, cache_bytes=2 * frame)
    resumed.restore(state)
    assert torch.equal(draws(resumed, 25), expected)


def test_stack_larger_than_the_cache_is_seen_whole_within_the_bound(monkeypatch):
    monkeypatch.setattr(sampling, "FIRST_PIXELS", 1)
    monkeypatch.setattr(sampling, "REFRESH", 2)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 10, (12, 64, 64)) + 1000 * np.arange(12)[:, None, None]
    volume = Volume((frames.astype(np.uint16),), Axes.parse("ZYX"), "levels")
    sampler = make_sampler(volume, cache_bytes=3 * 4 * 64 * 64)
    intensity = sampler._preprocessing.intensity
    seen = set()
    for _ in range(80):
        counts = intensity.restore(sampler.draw()[0].numpy(), channel_axis=1)
        seen |= {round(float(c.mean()) / 1000) for c in counts}
        assert len(sampler._blocks) <= 3
        assert sampler._held_bytes <= 3 * 4 * 64 * 64
    assert seen == set(range(12))


def test_large_planes_are_cut_into_windows(monkeypatch):
    monkeypatch.setattr(sampling, "BLOCK", 64)
    rng = np.random.default_rng(0)
    plane = rng.integers(100, 200, (150, 70)).astype(np.uint16)
    sampler = make_sampler(Volume((plane,), Axes.parse("YX"), "plane"))
    assert len(sampler._grids[0]) == 6
    sampler.draw()
    assert sum(block.noisy.numel() for block in sampler._blocks) == plane.size


def test_saturated_pixels_get_no_weight(stack):
    frames = stack.levels[0].copy()
    frames[:, 10:14, 10:14] = 65535
    sampler = make_sampler(Volume((frames,), stack.axes, "saturated"), patch=80)
    noisy, weight = sampler.draw()
    assert weight is not None
    assert torch.equal(weight == 0, noisy > noisy.median() + 100) or (
        (weight == 0).sum() >= 16
    )
    assert set(weight.unique().tolist()) == {0.0, 1.0}


def test_patch_shrinks_to_the_image_and_too_small_is_refused():
    def volume(*shape: int) -> Volume:
        return Volume((np.zeros(shape, np.uint8),), Axes.parse("YX"), "tiny")

    assert fitting_patch(volume(100, 50), 64, 8) == 48
    assert fitting_patch(volume(64, 64), 64, 32) == 64
    with pytest.raises(DataError, match="20 x 15 pixels"):
        fitting_patch(volume(15, 20), 64, 8)


def test_not_a_number_is_refused_with_its_place(stack):
    frames = stack.levels[0].astype(np.float32)
    preprocessing = Preprocessing.fit([Volume((frames,), stack.axes, "good")])
    frames[2, 7, 9] = np.nan
    sampler = PatchSampler(
        [Volume((frames,), stack.axes, "bad")],
        preprocessing,
        patch=32,
        batch=1,
        stride=8,
    )
    with pytest.raises(DataError, match="T=2, Y=7, X=9"):
        sampler.draw()


def test_several_images_are_all_drawn_from(stack):
    brighter = Volume((stack.levels[0] + np.uint16(1000),), stack.axes, "brighter")
    sampler = make_sampler(stack, brighter)
    means = draws(sampler, 20).mean((2, 3, 4))
    assert means.min() < 0.3 < 0.7 < means.max()
