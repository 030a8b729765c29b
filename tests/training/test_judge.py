from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, shift, uniform_filter

from napari_blindsound.images.axes import Axes
from napari_blindsound.images.phantom import phantom
from napari_blindsound.images.volume import Volume
from napari_blindsound.methods.blind2unblind import Blind2Unblind, Blind2UnblindConfig
from napari_blindsound.training.held_out import CELL, held_out
from napari_blindsound.training.judge import Judge
from napari_blindsound.training.places import places
from napari_blindsound.training.preprocessing import Preprocessing
from napari_blindsound.training.repeats import (
    are_repeats,
    matched,
    noise_variance,
    seen_by_each,
    squared_errors,
)
from napari_blindsound.training.sampling import PatchSampler

SIZE = 320


@pytest.fixture(scope="module")
def cells():
    return phantom("2d", size=SIZE, seed=11)


@pytest.fixture
def method():
    return Blind2Unblind(Blind2UnblindConfig(width=4, depth=2))


def exposures(cells, count, *, seed=0, change=lambda light, _: light):
    """Noisy frames of the same light, or of what `change` makes of it."""
    camera, random = cells.camera, np.random.default_rng(seed)
    light = np.maximum(cells.clean.astype("f8") - camera.offset, 0) / camera.gain
    frames = [
        camera.expose(np.maximum(change(light, i), 0), random) for i in range(count)
    ]
    return np.stack(frames)


def volume(frames):
    return Volume((frames,), Axes.parse("TYX"[-frames.ndim :]), "test")


def judge_of(frames, method):
    image = volume(frames)
    return Judge([image], Preprocessing.fit([image]), method)


class Filter(Blind2Unblind):
    """Knows nothing but to take the mean over `size` x `size` pixels."""

    size = 1

    def denoise(self, noisy, *, halo=0, output=None):
        smooth = uniform_filter(noisy.numpy(), (0, 0, self.size, self.size))
        return torch.from_numpy(smooth)


def filtering(size):
    smooth = Filter(Blind2UnblindConfig(width=4, depth=2))
    smooth.size = size
    return smooth


def true_gain(frames, clean, size):
    smooth = uniform_filter(frames.astype("f8"), (0, size, size))
    noise = ((frames - clean.astype("f8")) ** 2).mean()
    return 10 * np.log10(noise / ((smooth - clean) ** 2).mean())


def test_one_pixel_of_each_cell_is_held_out_wherever_a_window_begins():
    whole = held_out(slice(0, 200), slice(0, 300))
    cells = whole.reshape(40, CELL, 60, CELL).sum((1, 3))
    assert (cells == 1).all()
    assert np.array_equal(
        held_out(slice(33, 120), slice(71, 300)), whole[33:120, 71:300]
    )
    places = np.argwhere(whole)
    for axis in (0, 1):
        counts = np.bincount(places[:, axis] % CELL, minlength=CELL)
        assert counts.min() > 0.85 * counts.mean()


def test_held_out_pixels_do_not_teach_nor_do_saturated_ones(cells):
    frames = cells.noisy.copy()
    frames[20:24, 30:34] = 4095
    image = volume(frames)
    sampler = PatchSampler(
        [image],
        Preprocessing.fit([image]),
        patch=64,
        batch=2,
        stride=8,
        hold_out=True,
    )
    block = sampler._read(0)
    expected = ~held_out(slice(0, SIZE), slice(0, SIZE))
    expected[20:24, 30:34] = False
    sampler.close()
    assert np.array_equal(block.weight[0, 0].numpy() > 0, expected)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_repeats_tell_the_error_whatever_the_noise(cells, count):
    random = np.random.default_rng(count)
    clean = cells.clean.astype("f8")
    white = random.normal(0, 60, (count, SIZE + 8, SIZE + 8))
    frames = clean + gaussian_filter(white, (0, 1, 1))[:, 4:-4, 4:-4]
    estimates = uniform_filter(frames, (0, 3, 3))
    true = ((estimates - clean) ** 2).mean()
    seen = seen_by_each(frames)
    assert squared_errors(estimates, seen).mean() == pytest.approx(true, rel=0.08)
    noise = ((frames - clean) ** 2).mean()
    assert noise_variance(seen).mean() == pytest.approx(noise, rel=0.05)


def test_repeats_are_known_from_other_scenes(cells):
    assert are_repeats(exposures(cells, 4).astype("f8"))
    assert are_repeats(exposures(cells, 2).astype("f8"))
    bleached = exposures(cells, 4, change=lambda light, i: light * 0.97**i)
    drifted = exposures(
        cells, 4, change=lambda light, i: shift(light, (0, i / 4), order=1)
    )
    for frames in (bleached, drifted):
        assert are_repeats(frames.astype("f8"))

    def one_cell_lights_up(light, i):
        y, x = np.mgrid[:SIZE, :SIZE]
        spot = np.exp(-((y - 90) ** 2 + (x - 70) ** 2) / (2 * 12.0**2))
        return light + i * 0.5 * light.max() * spot

    others = np.stack([phantom("2d", size=SIZE, seed=s).noisy for s in range(3)])
    copies = np.stack([cells.noisy] * 3)
    moving = exposures(cells, 4, change=one_cell_lights_up)
    for frames in (others, copies, moving, others[:1], others[:, :20, :20]):
        assert not are_repeats(frames.astype("f8"))


def test_matched_frames_have_the_brightness_of_one(cells):
    frames = exposures(cells, 4, change=lambda light, i: light * 0.9**i).astype("f8")
    for index, frame in enumerate(frames):
        seen = matched(frames, index)
        assert seen[index] is not frame
        assert np.array_equal(seen[index], frame)
        assert seen.mean((1, 2)) == pytest.approx(frame.mean(), rel=0.01)


@pytest.mark.parametrize(("count", "source"), [(1, "stein"), (4, "repeats")])
@pytest.mark.parametrize("size", [1, 3])
def test_the_gain_is_the_true_one(cells, count, source, size):
    frames = exposures(cells, count, seed=3)
    judge = judge_of(frames, filtering(size))
    assert judge.source == source
    found = judge.judge(filtering(size), 7)
    assert found.step == 7
    true = true_gain(frames, cells.clean, size)
    assert found.gain == pytest.approx(true, abs=0.8 if count == 1 else 0.5)
    assert found.identity == pytest.approx(0 if size == 1 else 0.8, abs=0.2)


def test_the_better_of_two_is_told_with_its_error(cells):
    frames = exposures(cells, 1, seed=4)
    judge = judge_of(frames[0], filtering(1))
    first = judge.judge(filtering(9), 1)
    better = judge.judge(filtering(5), 2, first=first)
    true = true_gain(frames, cells.clean, 5) - true_gain(frames, cells.clean, 9)
    decibels, error = first.worse_by(better)
    assert decibels == pytest.approx(true, abs=min(0.5, 3 * error))
    assert decibels > 2 * error > 0
    assert better.worse_by(first)[0] == -decibels
    assert better.worse_by(better) == (0, 0)
    assert better.excess < 0.1 * better.error


class Rote(Filter):
    """Knows the held-in pixels of one image by heart."""

    size = 3

    def denoise(self, noisy, *, halo=0, output=None):
        smooth = super().denoise(noisy)
        return torch.where(self.held, smooth, 0.7 * smooth + 0.3 * self.clean)


def test_what_is_learned_by_heart_is_no_gain(cells):
    frames = exposures(cells, 1, seed=5)[0]
    judge, simple = judge_of(frames, filtering(3)), filtering(3)
    first = judge.judge(simple, 1)
    normalized = Preprocessing.fit([volume(frames)]).normalize(
        np.stack([frames.astype("f4"), cells.clean])[:, None]
    )
    assert judge._noisy.shape[0] == 4
    rote = Rote(Blind2UnblindConfig(width=4, depth=2))
    side = judge._noisy.shape[-1]
    estimates = judge._estimates

    def at_crop(method, index):
        # The crop is found again by its pixels, as only the image has them all.
        crop = judge._noisy[index, 0, 0].numpy()
        tops = [0, frames.shape[0] - side]
        top, left = next(
            (y, x)
            for y in tops
            for x in tops
            if np.array_equal(normalized[0, 0, y : y + side, x : x + side], crop)
        )
        window = slice(top, top + side), slice(left, left + side)
        method.held = torch.from_numpy(held_out(*window))
        method.clean = torch.from_numpy(normalized[1, 0][window])
        return estimates(method, index)

    judge._estimates = at_crop
    found = judge.judge(rote, 2, first=first)
    assert float(found.errors.mean()) < 0.8 * first.error
    assert found.error == pytest.approx(first.error, rel=0.15)
    assert found.excess > 0


def test_correlated_noise_is_judged_by_the_blind_estimate(cells, method):
    random = np.random.default_rng(0)
    noise = gaussian_filter(random.normal(0, 200, (SIZE, SIZE)), 1)
    frames = np.clip(cells.clean + noise, 0, 4095).astype(np.uint16)
    judge = judge_of(frames, method)
    assert judge.source == "blind error"
    found = judge.judge(method, 1)
    blank = Preprocessing.fit([volume(frames)]).normalized_noise()[0]
    assert found.noise == pytest.approx(blank.variance(0.3), rel=0.9)
    assert judge.cost > 16 * SIZE**2 / 2


def test_judging_changes_nothing_and_repeats(cells, method):
    judge = judge_of(cells.noisy, method)
    before = [p.clone() for p in method.parameters()]
    state, global_state = method.random.get_state(), torch.get_rng_state()
    found, again = judge.judge(method, 1), judge.judge(method, 1)
    assert np.array_equal(found.errors, again.errors)
    assert torch.equal(state, method.random.get_state())
    assert torch.equal(global_state, torch.get_rng_state())
    assert all(
        torch.equal(a, b) for a, b in zip(before, method.parameters(), strict=True)
    )


def test_places_are_few_distinct_and_inside():
    big = Volume((np.zeros((6, 3, 300, 500), np.uint8),), Axes.parse("TZYX"), "big")
    for frames in (1, 4):
        found = list(places([big], 128, 8, frames, seed=0))
        assert len(found) == min(8, 6 // frames * 3 * 2 * 3)
        assert len({str(regions) for _, regions in found}) == len(found)
        for image, regions in found:
            assert image is big
            assert len(regions) == frames
            assert [r[0].start for r in regions] == list(
                range(regions[0][0].start, regions[0][0].start + frames)
            )
            assert all(big.read(r).shape == (1, 1, 128, 128) for r in regions)
    assert str(list(places([big], 128, 8, 1, seed=0))) != str(
        list(places([big], 128, 8, 1, seed=1))
    )
