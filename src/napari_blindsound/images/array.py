"""Arrays that are read by region: what a `Volume` is made of.

`LazyArray` is the base of the file readers here: they say how a rectangle is read, it
makes an object that numpy, dask and napari take for an array. `read_region` is the one
place where pixels leave a source, whatever kind of array that is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from operator import index as as_index
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from napari_blindsound.errors import BlindsoundError, ImageFormatError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Region = tuple[slice, ...]


class ArrayLike(Protocol):
    """What is needed of an array: numpy, dask, zarr and `LazyArray` all have it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each axis."""

    @property
    def dtype(self) -> Any:  # noqa: ANN401 - dask and xarray are not typed
        """Type of a pixel."""

    def __getitem__(self, region: Any, /) -> Any: ...  # noqa: ANN401 - as above


class LazyArray(ABC):
    """An array whose pixels stay in files until a region is asked for.

    Parameters
    ----------
    shape : tuple of int
    dtype : numpy.dtype
        In native byte order.
    chunks : tuple of int
        What is read at once, at best: a plane, a tile, a strip.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike,
        chunks: tuple[int, ...],
    ) -> None:
        self.shape = shape
        self.dtype = native(dtype)
        self.chunks = chunks

    @abstractmethod
    def read(self, region: Region) -> npt.NDArray[Any]:
        """Pixels of a region, one slice of step 1 and in range per axis.

        Called from several threads at once.
        """

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def files(self) -> Sequence[Path]:
        """Files on this computer that the pixels lie in, where they are known."""
        return ()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(
        self, key: int | slice | EllipsisType | tuple[int | slice | EllipsisType, ...]
    ) -> npt.NDArray[Any]:
        """Pixels of a basic index: integers and slices, of any positive step."""
        keys = _spelled_out(key if isinstance(key, tuple) else (key,), self.ndim)
        region: list[slice] = []
        within: list[int | slice] = []
        for item, size in zip(keys, self.shape, strict=True):
            if isinstance(item, slice):
                span = range(*item.indices(size))
                if span.step < 0:
                    msg = "lazy arrays are not read backwards: read, then reverse"
                    raise IndexError(msg)
                region.append(slice(span.start, max(span.start, span.stop)))
                within.append(slice(None, None, span.step))
            else:
                position = range(size)[as_index(item)]
                region.append(slice(position, position + 1))
                within.append(0)
        if any(part.start == part.stop for part in region):
            empty = tuple(part.stop - part.start for part in region)
            return np.empty(empty, self.dtype)[tuple(within)]
        return self.read(tuple(region))[tuple(within)]

    def __array__(
        self,
        dtype: npt.DTypeLike | None = None,
        copy: bool | None = None,  # noqa: FBT001 - numpy's protocol
    ) -> npt.NDArray[Any]:
        return np.array(self[...], dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.shape} {self.dtype}>"


class SlicedArray(LazyArray):
    """Part of another array, still unread.

    Parameters
    ----------
    source : ArrayLike
    index : tuple of int or slice
        One per axis of the source; slices have step 1, integers drop their axis, and
        all lie inside.
    """

    def __init__(self, source: ArrayLike, index: tuple[int | slice, ...]) -> None:
        kept = [part for part in index if isinstance(part, slice)]
        axes = [i for i, part in enumerate(index) if isinstance(part, slice)]
        whole = chunk_shape(source)
        shape = tuple(part.stop - part.start for part in kept)
        chunks = tuple(min(whole[i], n) for i, n in zip(axes, shape, strict=True))
        super().__init__(shape, source.dtype, chunks)
        self._source = source
        self._index = index

    @property
    def files(self) -> Sequence[Path]:
        """Those of the source."""
        return getattr(self._source, "files", ())

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Pixels of a region, read from the source alone where they lie there."""
        parts = iter(region)
        full: list[slice] = []
        for part in self._index:
            if isinstance(part, slice):
                wanted = next(parts)
                full.append(slice(part.start + wanted.start, part.start + wanted.stop))
            else:
                full.append(slice(part, part + 1))
        block = read_region(self._source, tuple(full))
        return block.reshape(tuple(part.stop - part.start for part in region))


def read_region(array: ArrayLike, region: Region) -> npt.NDArray[Any]:
    """Pixels of a region in an array of their own, in native byte order.

    A dask array is computed in the calling thread: readers run in worker threads, and a
    pool inside a pool helps nobody and can deadlock.

    Raises
    ------
    ImageFormatError
        If a chunk of a zarr array cannot be read; the message names it.
    """
    try:
        block = array[region]
    except (BlindsoundError, MemoryError):
        raise
    except Exception as error:
        # Here, so that arrays which never fail do not wait for its import.
        from napari_blindsound.images.chunks import damage

        msg = damage(array, region, error)
        if msg is None:
            raise
        raise ImageFormatError(msg) from error
    if is_dask(block):
        block = block.compute(scheduler="synchronous")
    found = np.asarray(block)
    pixels = found.astype(native(found.dtype), copy=False)
    return pixels if pixels.flags.owndata and pixels.flags.writeable else pixels.copy()


def chunk_shape(array: ArrayLike) -> tuple[int, ...]:
    """Shape of the blocks in which an array is stored; itself where it has none."""
    chunks = getattr(array, "chunksize", None) or getattr(array, "chunks", None)
    if isinstance(chunks, tuple) and all(isinstance(n, int) for n in chunks):
        return chunks
    return tuple(array.shape)


def native(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return a type in the byte order of this machine."""
    ordered: np.dtype[Any] = np.dtype(dtype).newbyteorder("=")
    return ordered


def is_dask(array: object) -> bool:
    """Whether this is a dask collection, told without importing dask."""
    return hasattr(array, "__dask_graph__") and hasattr(array, "compute")


def _spelled_out(
    keys: tuple[int | slice | EllipsisType, ...], ndim: int
) -> list[int | slice]:
    """One integer or slice per axis, the ellipsis and missing ends filled in."""
    given = sum(key is not Ellipsis for key in keys)
    if given > ndim:
        msg = f"too many indices: {given} for an array of {ndim} dimensions"
        raise IndexError(msg)
    fill = [slice(None)] * (ndim - given)
    spelled: list[int | slice] = []
    for key in keys if Ellipsis in keys else (*keys, Ellipsis):
        if isinstance(key, EllipsisType):
            spelled += fill
            fill = []
        else:
            spelled.append(key)
    return spelled
