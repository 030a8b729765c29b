from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from napari_blindsound.errors import DataError
from napari_blindsound.images.array import LazyArray
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.sample import sample_frames, sample_planes
from napari_blindsound.images.volume import Volume


class Endless(LazyArray):
    """An image of any size whose pixels say in which plane and row they lie."""

    def __init__(self, shape, chunks):
        super().__init__(shape, np.float32, chunks)
        self.n_read = 0
        self.regions = []

    def read(self, region):
        block = np.zeros([r.stop - r.start for r in region], self.dtype)
        self.n_read += block.size
        self.regions.append(region)
        block += np.arange(region[0].start, region[0].stop).reshape(
            -1, *[1] * (block.ndim - 1)
        )
        return block


def test_a_small_image_is_taken_whole(hyperstack):
    volume = Volume((hyperstack,), Axes.parse("TZCYX"), "it")
    blocks = sample_planes(volume)
    assert len(blocks) == 12
    assert np.array_equal(np.stack(blocks), hyperstack.reshape(12, 2, 30, 45))
    assert blocks[0].dtype == np.uint16
    (plane,) = sample_planes(Volume((hyperstack[0, 0, 0],), Axes.parse("YX"), "it"))
    assert plane.shape == (1, 30, 45)


def test_the_same_seed_gives_the_same_blocks(rng):
    array = rng.random((9, 300, 400))
    volume = Volume((array,), Axes.parse("TYX"), "it")
    first, again, other = (
        sample_planes(volume, pixels=50_000, seed=seed) for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    assert sum(block.size for block in first) <= 50_000


def test_blocks_come_from_all_over_the_stack():
    pixels = Endless((100, 2048, 2048), (1, 2048, 2048))
    blocks = sample_planes(Volume((pixels,), Axes.parse("TYX"), "it"))
    frames = sorted(int(block[0, 0, 0]) for block in blocks)
    assert len(frames) == 38
    assert np.diff(frames).max() <= 6
    assert frames[0] < 3
    assert frames[-1] > 96
    columns = {region[2].start for region in pixels.regions}
    assert len(columns) == 4


def test_no_block_is_read_twice():
    pixels = Endless((3, 1000, 1000), (1, 64, 64))
    volume = Volume((pixels,), Axes.parse("TYX"), "it")
    sample_planes(volume, pixels=2_500_000)
    assert len(set(map(str, pixels.regions))) == len(pixels.regions)


@pytest.mark.parametrize(
    ("chunk", "side"), [(64, 512), (500, 500), (512, 512), (1024, 512), (1200, 400)]
)
def test_blocks_follow_the_chunks(chunk, side):
    pixels = Endless((4, 7000, 7000), (1, chunk, chunk))
    blocks = sample_planes(Volume((pixels,), Axes.parse("TYX"), "it"))
    assert {block.shape for block in blocks} == {(1, side, side)}
    inner = [r[1] for r in pixels.regions if r[1].stop < 7000]
    assert all(r.start % side == 0 for r in inner)


def test_a_huge_plane_is_not_read_whole():
    pixels = Endless((50_000, 50_000), (50_000, 50_000))
    volume = Volume((pixels,), Axes.parse("YX"), "it")
    tracemalloc.start()
    blocks = sample_planes(volume, pixels=2_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert pixels.n_read <= 2_000_000
    assert sum(block.size for block in blocks) <= 2_000_000
    assert peak < 3 * 2_000_000 * 4


def test_channels_count():
    pixels = Endless((60, 2000, 2000), (1, 2000, 2000))
    blocks = sample_planes(Volume((pixels,), Axes.parse("CYX"), "it"), pixels=10**6)
    assert all(block.shape[0] == 60 for block in blocks)
    assert sum(block.size for block in blocks) <= 10**6
    assert len(blocks) >= 16


def test_channels_come_first_wherever_they_lie(rng):
    array = rng.random((20, 30, 4, 2))
    volume = Volume((array,), Axes.parse("YXTC"), "it")
    blocks = sample_planes(volume)
    assert np.array_equal(blocks[3], array[:, :, 3].transpose(2, 0, 1))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_found_and_located(value):
    array = np.ones((5, 20, 30), np.float32)
    array[3, 4, 5] = value
    volume = Volume((array,), Axes.parse("TYX"), "cells.tif")
    with pytest.raises(DataError, match=rf"cells.tif holds {value} at T=3, Y=4, X=5"):
        sample_planes(volume)


def test_frames_of_a_small_image_are_taken_whole(hyperstack):
    volume = Volume((hyperstack,), Axes.parse("TZCYX"), "it")
    times, depths = hyperstack.shape[:2]
    blocks = sample_frames(volume, frames=2)
    assert len(blocks) == times // 2 * depths
    assert blocks[0].dtype == np.uint16
    for number, block in enumerate(blocks):
        run, depth = divmod(number, depths)
        expected = hyperstack[2 * run : 2 * run + 2, depth].swapaxes(0, 1)
        assert np.array_equal(block, expected)


def test_frames_are_consecutive_and_from_all_times():
    pixels = Endless((403, 2048, 1024), (1, 512, 512))
    volume = Volume((pixels,), Axes.parse("TYX"), "it")
    blocks = sample_frames(volume, pixels=500_000)
    assert sum(block.size for block in blocks) <= 500_000
    assert all(block.shape[:2] == (1, 4) for block in blocks)
    times = np.array([block[0, :, 0, 0] for block in blocks])
    assert (np.diff(times, axis=1) == 1).all()
    assert len(set(times[:, 0])) == len(times) >= 16
    assert times[0, 0] < 40
    assert times[-1, 0] > 360
    assert pixels.n_read <= 500_000


def test_frames_come_from_one_depth_whatever_the_order_of_the_axes(rng):
    array = rng.random((20, 30, 5, 2, 3))
    blocks = sample_frames(Volume((array,), Axes.parse("YXTCZ"), "it"), frames=3)
    assert len(blocks) == 3
    expected = array[:, :, :3, :, 1].transpose(3, 2, 0, 1)
    assert np.array_equal(blocks[1], expected)


def test_the_same_seed_gives_the_same_frames(rng):
    array = rng.random((9, 300, 400))
    volume = Volume((array,), Axes.parse("TYX"), "it")
    first, again, other = (
        sample_frames(volume, pixels=50_000, seed=seed) for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_without_two_times_there_are_no_frames(rng):
    for names, shape in (("ZYX", (4, 20, 30)), ("TYX", (1, 20, 30)), ("YX", (20, 30))):
        volume = Volume((rng.random(shape),), Axes.parse(names), "it")
        assert sample_frames(volume) == []


def test_frames_with_what_is_no_number_are_refused():
    array = np.ones((4, 20, 30), np.float32)
    array[3, 4, 5] = np.nan
    volume = Volume((array,), Axes.parse("TYX"), "cells.tif")
    with pytest.raises(DataError, match=r"cells.tif holds nan at T=3, Y=4, X=5"):
        sample_frames(volume)
