"""How an array is stored: where its chunks begin and end.

A chunk is what has to be fetched and decoded as a whole, even for a single pixel of it.
Arrays in memory and uncompressed TIFF files have none: any rectangle of them is read by
itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from zarr import Array
from zarr.core.sync import sync

from napari_blindsound.images.array import SlicedArray, is_dask
from napari_blindsound.images.tiff_blocks import RawBlock
from napari_blindsound.images.tiff_pixels import TiffArray

if TYPE_CHECKING:
    from napari_blindsound.images.array import ArrayLike

Edges = npt.NDArray[np.intp]


def chunk_edges(array: ArrayLike) -> tuple[Edges, ...] | None:
    """Where the chunks of an array begin, along each of its axes.

    Parameters
    ----------
    array : ArrayLike
        Of any kind.

    Returns
    -------
    tuple of ndarray or None
        For each axis the first position of each chunk, and the size of the axis at the
        end; rising from 0. None where there are no chunks.
    """
    if isinstance(array, SlicedArray):
        return _sliced_edges(array)
    if is_dask(array):
        return tuple(_begun(np.cumsum(sizes)) for sizes in array.chunks)  # type: ignore[attr-defined] # dask
    if isinstance(array, TiffArray) and isinstance(array._blocks[0], RawBlock):
        return None
    chunks = getattr(array, "chunks", None)
    if not isinstance(chunks, tuple) or not all(isinstance(n, int) for n in chunks):
        return None
    pairs = zip(array.shape, chunks, strict=True)
    return tuple(np.r_[0 : size : max(1, step), size] for size, step in pairs)


def missing_chunk(array: ArrayLike, position: tuple[int, ...]) -> str | None:
    """Name of the chunk that a pixel lies in, if it is not there.

    zarr reads such a chunk as one value; what is wrong with a copy that was cut off is
    right for an image that was saved without its empty chunks.

    Parameters
    ----------
    array : ArrayLike
        Of any kind.
    position : tuple of int
        Of the pixel.

    Returns
    -------
    str or None
        None where the chunk is there, or `array` is not stored by zarr.
    """
    if isinstance(array, SlicedArray):
        given = iter(position)
        inside = [
            part.start + next(given) if isinstance(part, slice) else part
            for part in array._index
        ]
        return missing_chunk(array._source, tuple(inside))
    if not isinstance(array, Array):
        return None
    files = array.shards or array.chunks
    numbers = tuple(at // step for at, step in zip(position, files, strict=True))
    place = array.store_path / array.metadata.encode_chunk_key(numbers)
    return None if sync(place.exists()) else str(place).removeprefix("file://")


def _sliced_edges(array: SlicedArray) -> tuple[Edges, ...] | None:
    whole = chunk_edges(array._source)
    if whole is None:
        return None
    found = []
    for edges, part in zip(whole, array._index, strict=True):
        if isinstance(part, slice):
            within = edges[(edges > part.start) & (edges < part.stop)] - part.start
            found.append(np.r_[0, within, part.stop - part.start])
    return tuple(found)


def _begun(ends: npt.NDArray[Any]) -> Edges:
    begun: Edges = np.r_[0, ends].astype(np.intp)
    return begun
