from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_blindsound.errors import AxesError, DataError, ImageFormatError
from napari_blindsound.images.array import SlicedArray
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.volume import Volume

_ORDERS = ["".join(p) for n in range(4) for p in permutations("TCZYX", n + 2)]
_ORDERS = [order for order in _ORDERS if {"Y", "X"} <= set(order)]


def volume_of(array, axes="TCZYX"):
    return Volume((array,), Axes.parse(axes[-array.ndim :]), "a movie")


def in_zarr(array):
    chunks = tuple(min(n, 16) for n in array.shape)
    stored = zarr.create_array(
        zarr.storage.MemoryStore(), shape=array.shape, chunks=chunks, dtype=array.dtype
    )
    stored[...] = array
    return stored


def in_slices(array):
    padded = np.pad(array, [(1, 2)] * array.ndim)
    return SlicedArray(padded, tuple(slice(1, 1 + n) for n in array.shape))


@st.composite
def reads(draw):
    """An order of axes, a shape, a region and a halo per axis."""
    axes = draw(st.sampled_from(_ORDERS))
    most = {"Y": 40, "X": 40}
    shape = tuple(draw(st.integers(1, most.get(name, 4))) for name in axes)
    starts = [draw(st.integers(0, n - 1)) for n in shape]
    stops = [draw(st.integers(a + 1, n)) for a, n in zip(starts, shape, strict=True)]
    region = tuple(map(slice, starts, stops))
    halo = tuple(
        draw(st.integers(0, 60 if name in "YX" else 6)) if draw(st.booleans()) else 0
        for name in axes
    )
    return axes, shape, region, halo


@settings(deadline=None, max_examples=150)
@given(reads(), st.sampled_from([np.asarray, da.from_array, in_slices]))
def test_read_is_the_whole_image_reflected_and_cut(case, stored):
    axes, shape, region, halo = case
    whole = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)
    padded = np.pad(whole, [(h, h) for h in halo], mode="reflect")
    expected = padded[
        tuple(slice(r.start, r.stop + 2 * h) for r, h in zip(region, halo, strict=True))
    ]
    found = Volume((stored(whole),), Axes.parse(axes), "it").read(region, halo)
    assert found.dtype == whole.dtype
    assert np.array_equal(found, expected)


def test_an_integer_halo_goes_to_rows_and_columns(hyperstack):
    volume = volume_of(hyperstack, "TZCYX")
    block = volume.read(volume.plane(5), 3)
    assert block.shape == (1, 1, 2, 36, 51)
    assert np.array_equal(block[..., 3:-3, 3:-3], hyperstack[1:2, 1:2])


def test_reading_from_many_threads(rng):
    whole = rng.random((6, 50, 60)).astype(np.float32)
    padded = np.pad(whole, [(0, 0), (9, 9), (9, 9)], mode="reflect")
    volume = volume_of(in_zarr(whole))
    starts = [(int(t), int(y), int(x)) for t, y, x in rng.integers(0, 6, (60, 3)) * 7]

    def is_exact(start):
        t, y, x = start[0] // 7, start[1], start[2]
        region = (slice(t, t + 1), slice(y, y + 8), slice(x, x + 8))
        return np.array_equal(
            volume.read(region, 9)[0], padded[t, y : y + 26, x : x + 26]
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(is_exact, starts))


@pytest.mark.parametrize(
    "region",
    [
        (slice(0, 9), slice(0, 4)),
        (slice(-2, 4), slice(0, 4)),
        (slice(3, 3), slice(0, 4)),
        (slice(0, 8, 2), slice(0, 4)),
    ],
)
def test_regions_outside_are_refused(region):
    with pytest.raises(ValueError, match="is not inside a movie"):
        volume_of(np.zeros((8, 8)), "YX").read(region)


def test_big_endian_becomes_native():
    stored = np.arange(12, dtype=">u2").reshape(3, 4)
    volume = volume_of(stored, "YX")
    assert volume.dtype == np.dtype("=u2")
    block = volume.read((slice(0, 3), slice(0, 4)))
    assert block.dtype.isnative
    assert np.array_equal(block, stored)


def test_what_is_read_may_be_changed():
    whole = np.ones((4, 4))
    volume_of(whole, "YX").read((slice(0, 4), slice(0, 4)))[...] = 0
    assert whole.all()


def test_sizes(hyperstack):
    volume = volume_of(hyperstack, "TZCYX")
    assert volume.shape == hyperstack.shape
    assert volume.ndim == 5
    assert volume.nbytes == hyperstack.nbytes
    assert volume.n_channels == 2
    assert volume.chunks == (1, 1, 1, 30, 45)
    assert volume_of(in_zarr(hyperstack), "TZCYX").chunks == (3, 4, 2, 16, 16)
    chunked = da.from_array(hyperstack, chunks=(1, 4, 1, 20, 20))
    assert volume_of(chunked, "TZCYX").chunks == (1, 4, 1, 20, 20)
    assert volume_of(hyperstack[0, 0, 0], "YX").n_channels == 1


def test_planes_cover_the_image_once(hyperstack):
    volume = Volume((hyperstack,), Axes.parse("TZCYX"), "it")
    assert volume.n_planes == 12
    seen = np.zeros(volume.shape, int)
    for region in volume.planes():
        seen[region] += 1
    assert (seen == 1).all()
    assert volume.plane(5)[:2] == (slice(1, 2), slice(1, 2))
    with pytest.raises(IndexError, match="plane 12"):
        volume.plane(12)
    odd = Volume((hyperstack,), Axes.parse("YCXTZ"), "it")
    assert odd.n_planes == 30 * 45
    assert odd.plane(46)[3:] == (slice(1, 2), slice(1, 2))
    assert volume_of(hyperstack[0, 0, 0], "YX").plane(0) == (slice(0, 30), slice(0, 45))


@pytest.mark.parametrize("stored", [np.asarray, da.from_array, in_zarr, in_slices])
def test_select_cuts_lazily(hyperstack, stored):
    axes = Axes.parse("TZCYX", scale={"T": 2.0, "Y": 0.1}, unit={"T": "s"})
    omero = {"channels": [{"label": "a"}, {"label": "b"}], "rdefs": {}}
    volume = Volume((stored(hyperstack),), axes, "it", ("a", "b"), omero=omero)
    part = volume.select(C=1, T=slice(1, 3), Y=slice(5, 25))
    assert part.axes.names == "TZYX"
    assert part.axes[0].translate == 2.0
    assert part.axes[2].translate == pytest.approx(0.5)
    assert part.axes[2].scale == 0.1
    assert part.channel_names == ("b",)
    assert part.omero == {"channels": [{"label": "b"}], "rdefs": {}}
    expected = hyperstack[1:3, :, 1, 5:25]
    assert part.shape == expected.shape
    assert np.array_equal(part.read(tuple(slice(0, n) for n in part.shape)), expected)
    last = part.select(T=-1, Z=0)
    assert np.array_equal(last.read((slice(2, 9), slice(0, 45))), expected[1, 0, 2:9])


def test_select_reads_nothing_but_what_is_asked(hyperstack):
    stored = in_zarr(hyperstack)
    first = volume_of(stored, "TZCYX").select(T=0, C=0)
    stored[1:] = 0
    stored[:, :, 1] = 0
    read = first.read((slice(0, 4), slice(0, 30), slice(0, 45)))
    assert np.array_equal(read, hyperstack[0, :, 0])


def test_select_keeps_the_levels_that_still_fit():
    levels = (np.zeros((3, 2, 16, 16)), np.zeros((3, 2, 8, 8)), np.zeros((3, 1, 4, 4)))
    volume = Volume(levels, Axes.parse("TZYX"), "it")
    assert [x.shape for x in volume.select(T=1).levels] == [
        (2, 16, 16),
        (2, 8, 8),
        (1, 4, 4),
    ]
    assert [x.shape for x in volume.select(Z=1).levels] == [(3, 16, 16), (3, 8, 8)]
    assert len(volume.select(Y=slice(0, 8)).levels) == 1
    assert len(volume.select(Y=slice(None)).levels) == 3


@pytest.mark.parametrize(
    ("ranges", "reason"),
    [
        ({"C": 0}, "no axis 'C'"),
        ({"T": 3}, "T runs from 0 to 2"),
        ({"T": -4}, "T runs from 0 to 2"),
        ({"T": slice(2, 2)}, "T runs from 0 to 2"),
        ({"T": slice(0, 3, 2)}, "T runs from 0 to 2"),
        ({"Y": 2}, "is kept, so give a slice"),
    ],
)
def test_select_refuses_what_is_not_there(ranges, reason):
    with pytest.raises(AxesError, match=reason):
        volume_of(np.zeros((3, 8, 8)), "TYX").select(**ranges)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 4), complex), "complex128: denoise the magnitude"),
        (np.zeros((4, 4), bool), "bool: this is a mask"),
        (np.zeros((4, 4), object), "object: convert it to numbers"),
        (np.zeros((4, 4), "U3"), "give integer or floating point"),
        (np.zeros((4, 0)), "holds no pixels"),
    ],
)
def test_what_holds_no_intensities_is_refused(array, reason):
    with pytest.raises(DataError, match=reason):
        volume_of(array, "YX")


def test_axes_and_channel_names_must_fit():
    with pytest.raises(AxesError, match="name 3 dimensions, but a movie has 2"):
        Volume((np.zeros((4, 4)),), Axes.parse("TYX"), "a movie")
    with pytest.raises(AxesError, match="2 channels but 1 channel names"):
        Volume((np.zeros((2, 4, 4)),), Axes.parse("CYX"), "it", ("a",))


def test_a_source_that_breaks_is_named(tmp_path):
    stored = zarr.create_array(tmp_path / "a", shape=(8, 8), chunks=(4, 8), dtype="u2")
    stored[...] = 1
    volume = Volume((stored,), Axes.parse("YX"), "a", source="/data/a.zarr")
    (tmp_path / "a" / "c" / "1" / "0").write_bytes(b"no chunk")
    assert volume.read((slice(0, 4), slice(0, 8))).all()
    with pytest.raises(ImageFormatError, match=r"chunk c/1/0 of .*/a cannot be read"):
        volume.read((slice(0, 8), slice(0, 8)))
