from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

from napari_blindsound.images.array import SlicedArray
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.stored import chunk_edges

SHAPE = (3, 50, 70)


def as_lists(array):
    edges = chunk_edges(array)
    return None if edges is None else [along.tolist() for along in edges]


@pytest.mark.parametrize("shards", [None, (2, 40, 60)])
def test_zarr(shards):
    array = zarr.create_array(
        {}, shape=SHAPE, chunks=(2, 20, 30), shards=shards, dtype="u2"
    )
    assert as_lists(array) == [[0, 2, 3], [0, 20, 40, 50], [0, 30, 60, 70]]


def test_part_of_a_zarr_keeps_the_chunks_of_the_whole():
    array = zarr.create_array({}, shape=SHAPE, chunks=(2, 20, 30), dtype="u2")
    part = SlicedArray(array, (1, slice(10, 45), slice(30, 60)))
    assert as_lists(part) == [[0, 10, 30, 35], [0, 30]]


def test_dask_has_chunks_of_any_size():
    array = da.zeros(SHAPE, chunks=((1, 2), (50,), (7, 60, 3)))
    assert as_lists(array) == [[0, 1, 3], [0, 50], [0, 7, 67, 70]]


def test_what_lies_in_memory_has_none(tmp_path):
    assert chunk_edges(np.zeros(SHAPE)) is None
    mapped = np.memmap(tmp_path / "pixels", "u2", "w+", shape=SHAPE)
    assert chunk_edges(mapped) is None
    assert chunk_edges(SlicedArray(mapped, (0, slice(0, 5), slice(0, 5)))) is None


@pytest.mark.parametrize(
    ("options", "edges"),
    [
        ({}, None),
        ({"compression": "zlib", "rowsperstrip": 20}, [[0, 20, 40, 50], [0, 70]]),
        ({"tile": (32, 48)}, [[0, 32, 50], [0, 48, 70]]),
    ],
)
def test_tiff_has_them_where_it_is_compressed_or_tiled(options, edges, tmp_path):
    pixels = np.arange(np.prod(SHAPE), dtype="u2").reshape(SHAPE)
    path = tmp_path / "stack.tif"
    tifffile.imwrite(
        path, pixels, photometric="minisblack", metadata={"axes": "ZYX"}, **options
    )
    found = as_lists(open_volume(path).levels[0])
    assert found == (edges and [[0, 1, 2, 3], *edges])
