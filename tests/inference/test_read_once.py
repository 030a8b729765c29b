from __future__ import annotations

import itertools
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

from napari_blindsound.errors import ImageFormatError
from napari_blindsound.images.array import LazyArray
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.context import Context
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.plan import Plan
from napari_blindsound.inference.read_once import read_once
from napari_blindsound.inference.reading import read_padded
from napari_blindsound.inference.shards import Shards, output_order
from napari_blindsound.inference.store import WriteConfig, write

SMALL = WriteConfig(chunk=32, shard=64)


class Counting(LazyArray):
    """An array in chunks that counts how often each is read."""

    def __init__(self, array, chunks):
        super().__init__(array.shape, array.dtype, chunks)
        self.array = array
        self.reads = Counter()
        self._lock = threading.Lock()

    def read(self, region):
        spans = [
            range(part.start // step, -(-part.stop // step))
            for part, step in zip(region, self.chunks, strict=True)
        ]
        with self._lock:
            self.reads.update(itertools.product(*spans))
        return self.array[region].copy()


class Wide:
    """A denoiser that needs much around a tile."""

    n_channels, bytes_per_pixel, revision, device = 1, 64, "wide", "cpu"

    def __init__(self, halo=16, stride=4, context=None):
        self.halo, self.stride = halo, stride
        if context is not None:
            self.context = context

    def core(self, padded, halo):
        middle = padded[:, padded.shape[1] // 2 :][:, :1]
        return middle[..., halo:-halo, halo:-halo].astype(np.float32)


def shards_of(volume, config=SMALL):
    names = output_order(volume.axes.names)
    shape = tuple(volume.shape[volume.axes.names.index(name)] for name in names)
    return Shards(names, shape, config.chunk, config.shard)


def counted(array, chunks, axes):
    """The image whose reads are counted, and the same in memory."""
    counting = Counting(array, chunks)
    of = Axes.parse(axes)
    return counting, Volume((counting,), of, "counted"), Volume((array,), of, "plain")


def read_all(volume, reference, operator=None, numbers=None, **options):
    """Read shards as the pipeline does; the array that remembers chunks."""
    shards = shards_of(volume)
    operator = operator or Wide()
    operator.n_channels = volume.n_channels
    numbers = range(len(shards)) if numbers is None else numbers
    plan = Plan(shards, volume, operator, numbers)
    assert sorted(plan.order) == sorted(numbers)
    with ThreadPoolExecutor(3) as pool:
        source = read_once(volume, plan, pool, **options)
        for number in plan.order.tolist():
            plan.take(number)
            region = shards[number]
            place = tuple(region[shards.names.index(n)] for n in volume.axes.names)
            once = read_padded(operator, source, place)
            again = read_padded(operator, reference, place)
            np.testing.assert_array_equal(once.pixels, again.pixels)
    return source.levels[0]


@pytest.mark.parametrize(
    ("axes", "shape", "chunks"),
    [
        ("YX", (300, 200), (50, 70)),
        ("YX", (300, 200), (7, 200)),  # strips
        ("YX", (70, 500), (16, 16)),
        ("YX", (300, 200), (300, 200)),  # one chunk for many shards
        ("ZYX", (9, 150, 170), (4, 40, 40)),  # as deep as wide
        ("TZYX", (3, 4, 100, 100), (2, 2, 100, 100)),
        ("XYZ", (130, 150, 7), (40, 30, 3)),  # another order than the output
        ("CYXZ", (2, 90, 80, 3), (1, 40, 40, 3)),
        ("ZYX", (20, 30, 20), (3, 11, 9)),  # several planes a shard
    ],
)
def test_every_chunk_is_read_once(axes, shape, chunks, noisy):
    counting, volume, reference = counted(noisy(shape), chunks, axes)
    level = read_all(volume, reference)
    assert set(counting.reads.values()) == {1}
    assert level.held == 0  # nothing is remembered in vain


@pytest.mark.parametrize("axis", ["Z", "T"])
@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_neighboring_planes_are_read_once_too(axis, chunk, noisy):
    counting, volume, reference = counted(
        noisy((9, 60, 70)), (chunk, 40, 40), f"{axis}YX"
    )
    level = read_all(volume, reference, Wide(context=Context(axis, 2)))
    assert set(counting.reads.values()) == {1}
    assert level.held == 0


def test_memory_stays_within_the_bound_and_pixels_are_right(noisy):
    array = noisy((2, 400, 300))
    total = {}
    for most in (0, 5_000, 20_000, 10**9):
        counting, volume, reference = counted(array, (1, 50, 50), "ZYX")
        level = read_all(volume, reference, most=most)
        assert level.peak <= most
        total[most] = counting.reads.total()
    # Rows and columns of chunks at the borders of shards, not the plane.
    assert 20_000 < level.peak < array[0].nbytes
    assert total[0] > total[5_000] > total[20_000] > total[10**9] == 2 * 8 * 6


def test_what_others_read_is_not_waited_for(noisy):
    counting, volume, reference = counted(noisy((1, 300, 300)), (1, 50, 50), "ZYX")
    level = read_all(volume, reference, numbers=[7, 12, 13, 1])
    assert level.held == 0
    assert set(counting.reads.values()) == {1}


def test_shards_of_one_chunk_come_together(noisy):
    # Chunks of 4 planes and 2 x 2 shards: 16 visits each.
    _, volume, _ = counted(noisy((8, 200, 256)), (4, 128, 128), "ZYX")
    shards = shards_of(volume)
    plan = Plan(shards, volume, Wide(), range(len(shards)))
    spans = [shards[number] for number in plan.order.tolist()]
    chunks = [
        tuple(s.start // c for s, c in zip(r, (4, 128, 128), strict=True))
        for r in spans
    ]
    assert len(list(itertools.groupby(chunks))) == len(set(chunks)) == 8


def test_arrays_in_memory_are_left_alone(noisy):
    volume = Volume((noisy((2, 100, 100)),), Axes.parse("ZYX"), "plain")
    shards = shards_of(volume)
    plan = Plan(shards, volume, Wide(), range(len(shards)))
    with ThreadPoolExecutor(1) as pool:
        assert read_once(volume, plan, pool) is volume
    assert plan.order.tolist() == list(range(len(shards)))


def sources(array, folder):
    """The same pixels, stored in every way."""
    kinds = {"zarr 2": {"zarr_format": 2}, "zarr 3": {"shards": (1, 80, 120)}}
    for name, options in kinds.items():
        stored = zarr.create_array(
            folder / name, shape=array.shape, chunks=(1, 40, 60), dtype="u2", **options
        )
        stored[:] = array
        yield open_volume(folder / name, axes="ZYX")
    for name, options in {
        "raw": {},
        "tiles": {"tile": (48, 32), "compression": "zlib"},
        "strips": {"rowsperstrip": 11, "compression": "zlib"},
    }.items():
        path = folder / f"{name}.tif"
        metadata = {"axes": "ZYX"}
        tifffile.imwrite(
            path, array, photometric="minisblack", metadata=metadata, **options
        )
        yield open_volume(path)
    yield open_volume(da.from_array(array, chunks=(2, 33, 100)), axes="ZYX")
    yield open_volume(da.from_array(array, chunks=((1, 2), (90, 60), 170)), axes="ZYX")
    whole = open_volume(folder / "zarr 3", axes="ZYX")
    yield whole.select(Z=slice(1, 3), Y=slice(13, 140), X=slice(5, 170))


def test_results_do_not_depend_on_how_the_source_is_stored(tmp_path, pyramid, noisy):
    array = noisy((3, 150, 170))
    plain = open_volume(array, axes="ZYX")
    list(write(pyramid(), plain, tmp_path / "plain.ome.zarr", SMALL))
    cut = plain.select(Z=slice(1, 3), Y=slice(13, 140), X=slice(5, 170))
    list(write(pyramid(), cut, tmp_path / "cut.ome.zarr", SMALL))
    for number, volume in enumerate(sources(array, tmp_path)):
        path = tmp_path / f"{number}.ome.zarr"
        list(write(pyramid(), volume, path, SMALL))
        like = "plain" if volume.shape == array.shape else "cut"
        expected = zarr.open_array(tmp_path / f"{like}.ome.zarr" / "0", mode="r")
        found = zarr.open_array(path / "0", mode="r")
        np.testing.assert_array_equal(found[:], expected[:])


def stored_noise(path, noisy):
    shape = (2, 150, 170)
    stored = zarr.create_array(path, shape=shape, chunks=(1, 50, 50), dtype="u2")
    stored[:] = noisy(shape)
    return path / "c" / "1" / "2" / "0", {p: p.stat() for p in path.rglob("*")}


@pytest.mark.parametrize("what", ["torn", "garbage"])
def test_a_damaged_chunk_is_named_and_the_source_untouched(
    what, tmp_path, pyramid, noisy
):
    victim, before = stored_noise(tmp_path / "in.zarr", noisy)
    whole = victim.read_bytes()
    victim.write_bytes(whole[:100] if what == "torn" else b"no chunk at all")
    volume, dest = open_volume(tmp_path / "in.zarr", axes="ZYX"), tmp_path / "o.zarr"
    with pytest.raises(ImageFormatError, match=r"c/1/2/0 .*cannot be read"):
        list(write(pyramid(), volume, dest, SMALL))
    victim.write_bytes(whole)
    *_, last = write(pyramid(), volume, dest, SMALL)
    assert last.path == dest
    after = {p: p.stat() for p in (tmp_path / "in.zarr").rglob("*")}
    assert after.keys() == before.keys()
    assert all(
        after[p].st_mtime_ns == before[p].st_mtime_ns for p in after if p != victim
    )


def test_a_missing_chunk_is_told(tmp_path, pyramid, noisy, caplog):
    victim, _ = stored_noise(tmp_path / "in.zarr", noisy)
    volume = open_volume(tmp_path / "in.zarr", axes="ZYX")
    list(write(pyramid(), volume, tmp_path / "whole.zarr", SMALL))
    assert caplog.text == ""
    victim.unlink()
    part = volume.select(Z=slice(1, 2), Y=slice(7, 150))
    *_, last = write(pyramid(), part, tmp_path / "o.zarr", SMALL)
    assert last.path is not None
    (record,) = caplog.records
    assert str(victim) in record.message
    assert "saved without its empty chunks" in record.message
