from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest

from napari_blindsound.images.array import LazyArray, SlicedArray, read_region


class Counted(LazyArray):
    """A lazy array over one in memory, which remembers what was read."""

    def __init__(self, array):
        super().__init__(array.shape, array.dtype, array.shape)
        self.array = array
        self.regions = []

    def read(self, region):
        self.regions.append(region)
        return self.array[region].astype(self.dtype)


@pytest.fixture
def counted(rng):
    return Counted(rng.integers(0, 99, (6, 7, 8)).astype(">u2"))


@pytest.mark.parametrize(
    "key",
    [
        ...,
        0,
        -1,
        slice(2, 5),
        slice(None, None, 3),
        (2, slice(1, 6, 2)),
        (..., -2),
        (slice(1, 2), ..., slice(3, None)),
        (1, 2, 3),
        (slice(4, 2), 0),
        (slice(None), np.int64(3)),
    ],
)
def test_lazy_arrays_are_indexed_as_numpy_is(counted, key):
    assert np.array_equal(counted[key], counted.array[key])
    assert np.shape(counted[key]) == np.shape(counted.array[key])


def test_lazy_arrays_are_native_arrays(counted):
    assert counted.dtype.isnative
    assert counted.ndim == 3
    assert len(counted) == 6
    assert np.array_equal(np.asarray(counted), counted.array)
    assert np.asarray(counted, np.float32).dtype == np.float32


@pytest.mark.parametrize("key", [6, (0, 0, 0, 0), slice(None, None, -1)])
def test_wrong_indices_are_refused(counted, key):
    with pytest.raises(IndexError):
        counted[key]


def test_dask_reads_only_what_it_computes(counted):
    lazy = da.from_array(counted, chunks=(1, 7, 8))
    assert np.array_equal(lazy[3].compute(), counted.array[3])
    assert counted.regions == [(slice(3, 4), slice(0, 7), slice(0, 8))]


def test_slices_of_slices_read_the_one_region(counted):
    outer = SlicedArray(counted, (slice(2, 6), 3, slice(1, 8)))
    inner = SlicedArray(outer, (1, slice(2, 5)))
    assert inner.shape == (3,)
    assert np.array_equal(inner[...], counted.array[3, 3, 3:6])
    assert counted.regions == [(slice(3, 4), slice(3, 4), slice(3, 6))]


def test_pixels_read_are_ones_own(counted):
    array = counted.array.copy()
    for source in (array, da.from_array(array), counted):
        block = read_region(source, (slice(0, 2), slice(0, 2), slice(0, 2)))
        assert block.dtype.isnative
        block[...] = 0
    assert np.array_equal(array, counted.array)


def test_dask_is_computed_in_the_calling_thread(rng):
    import threading

    def remember(block):
        threads.append(threading.get_ident())
        return block

    threads: list[int] = []
    lazy = da.from_array(rng.random((8, 8)), chunks=4).map_blocks(
        remember, dtype=float, meta=np.empty((0, 0))
    )
    with dask.config.set(scheduler="threads"):
        read_region(lazy, (slice(0, 8), slice(0, 8)))
    assert set(threads) == {threading.get_ident()}
