"""The chunks of a stored zarr array as files: which is damaged, missing or rewritten.

A chunk here is what lies in one file: a shard where an array has shards.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore

from napari_blindsound.images.array import SlicedArray
from napari_blindsound.images.remote import version, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zarr.abc.store import Store

    from napari_blindsound.images.array import ArrayLike, Region

_TRIED = 256  # chunks of a region, at most, that are read one by one for their error


@dataclass(frozen=True)
class Missing:
    """How many chunks of an array are not there.

    Parameters
    ----------
    missing, looked, total : int
        Of those that were looked for, how many were not there; how many there are.
    example : str
        Name of the first that was not there; empty if all were.
    """

    missing: int
    looked: int
    total: int
    example: str

    @property
    def sentence(self) -> str:
        """What to know of it; empty if nothing is missing."""
        if not self.missing:
            return ""
        return (
            f"{self.missing} of {self.looked} chunks that were looked for are not "
            f"there, or empty (such as {self.example}) and read as one value: copy the "
            f"image again, unless it was saved without its empty chunks."
        )


def missing_chunks(array: ArrayLike, *, most: int = 64) -> Missing | None:
    """Look whether chunks of a zarr array are there, of many an even sample.

    zarr takes a chunk that is not there for one full of its fill value, and by default
    writes none that is: no error, but mostly a sign of a copy that was cut off. So it
    takes a shard of no bytes at all.

    Parameters
    ----------
    array : ArrayLike
        Any array.
    most : int
        Chunks looked for, at most.

    Returns
    -------
    Missing or None
        None for what is no zarr array.
    """
    stored = _stored(array)
    if stored is None:
        return None
    grid = _grid(stored)
    total = math.prod(grid)
    numbers = sorted({total * i // min(total, most) for i in range(min(total, most))})
    keys = [_key(stored, np.unravel_index(number, grid)) for number in numbers]
    store = stored.store_path.store
    lost = [key for key in keys if not _bytes(store, key)]
    return Missing(len(lost), len(keys), total, lost[0] if lost else "")


def damage(array: ArrayLike, region: Region, error: Exception) -> str | None:
    """Say which chunk of a zarr array cannot be read, by trying those of a region.

    Parameters
    ----------
    array : ArrayLike
        Any array.
    region : tuple of slice
        That could not be read, one slice of step 1 per axis.
    error : Exception
        What was raised then.

    Returns
    -------
    str or None
        A sentence; None for what is no zarr array.
    """
    if not isinstance(array, zarr.Array):
        return None
    place = _place(array)
    for key, part in itertools.islice(_meeting(array, region), _TRIED):
        try:
            array[part]
        except Exception as found:  # noqa: BLE001 - every codec and store has its own
            return (
                f"the chunk {key} of {place} cannot be read ({_said(found)}): copy "
                "that file again from its origin, or check that its disk or network "
                "is within reach"
            )
    return (
        f"pixels of {place} could not be read ({_said(error)}): check that its disk or "
        "network is within reach, and try again"
    )


def identity(array: ArrayLike) -> Any:  # noqa: ANN401 - whatever dask can name
    """Something that names the pixels of an array, for dask to make a token of.

    Of a zarr array on a disk or in a store: where it is, what it is, and when its
    metadata and its first and last chunk were written; of others, they themselves.
    """
    if isinstance(array, SlicedArray):
        return array._index, identity(array._source)
    if not isinstance(array, zarr.Array):
        return array
    store = array.store_path.store
    last = tuple(n - 1 for n in _grid(array))
    names = ("zarr.json", ".zarray", _relative(array, (0,) * array.ndim))
    keys = [_joined(array, name) for name in (*names, _relative(array, last))]
    if isinstance(store, LocalStore):
        stamps: list[Any] = [written(Path(store.root) / key) for key in keys]
    elif isinstance(store, FsspecStore):
        stamps = [version(_blocking(store.fs), f"{store.path}/{key}") for key in keys]
    else:
        return array
    return _place(array), str(array.metadata.to_dict()), stamps


def _bytes(store: Store, key: str) -> int:
    """Bytes of a chunk; none where it is not there."""
    try:
        return sync(store.getsize(key))
    except FileNotFoundError:
        return 0


def _stored(array: ArrayLike) -> zarr.Array[Any] | None:
    """The zarr array that an array is, or is a part of."""
    while isinstance(array, SlicedArray):
        array = array._source
    return array if isinstance(array, zarr.Array) else None


def _file_shape(array: zarr.Array[Any]) -> tuple[int, ...]:
    return array.shards or array.chunks


def _grid(array: zarr.Array[Any]) -> tuple[int, ...]:
    pairs = zip(array.shape, _file_shape(array), strict=True)
    return tuple(math.ceil(size / step) for size, step in pairs)


def _meeting(
    array: zarr.Array[Any], region: Region
) -> Iterator[tuple[str, tuple[slice, ...]]]:
    """Names of the chunks that a region meets, and what of them lies in it."""
    spans = []
    for part, step in zip(region, _file_shape(array), strict=True):
        numbers = range(part.start // step, math.ceil(part.stop / step))
        cuts = [
            slice(max(part.start, n * step), min(part.stop, (n + 1) * step))
            for n in numbers
        ]
        spans.append(list(zip(numbers, cuts, strict=True)))
    for met in itertools.product(*spans):
        numbers_of, cut = zip(*met, strict=True)
        yield _relative(array, numbers_of), cut


def _relative(array: zarr.Array[Any], numbers: tuple[int, ...]) -> str:
    """Name of a chunk below its array."""
    return array.metadata.encode_chunk_key(tuple(int(n) for n in numbers))


def _key(array: zarr.Array[Any], numbers: tuple[Any, ...]) -> str:
    """Name of a chunk in the whole store."""
    return _joined(array, _relative(array, numbers))


def _joined(array: zarr.Array[Any], name: str) -> str:
    return f"{array.path}/{name}" if array.path else name


def _place(array: zarr.Array[Any]) -> str:
    """Where an array lies: a path, or an address in a store."""
    store = array.store_path.store
    root = store.root if isinstance(store, LocalStore) else None
    if root is not None:
        return str(Path(root) / array.path)
    if isinstance(store, FsspecStore):
        protocol = store.fs.protocol
        kind = protocol if isinstance(protocol, str) else protocol[0]
        at = f"{store.path}/{array.path}".rstrip("/")
        return at if "://" in at else f"{kind}://{at.lstrip('/')}"
    return str(array.store_path)


def _blocking(fs: Any) -> Any:  # noqa: ANN401 - fsspec is not typed
    """The same store for calls that wait; zarr holds one for calls that do not."""
    inner = getattr(fs, "sync_fs", None)
    if inner is not None:
        return inner
    if not getattr(fs, "asynchronous", False):
        return fs
    options = {**fs.storage_options, "asynchronous": False}
    return type(fs)(*fs.storage_args, **options)


def _said(error: Exception) -> str:
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
