"""An image as the rest of the package sees it: read by region, never whole."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_blindsound.errors import AxesError, BlindsoundError, ImageFormatError
from napari_blindsound.images.array import (
    ArrayLike,
    Region,
    SlicedArray,
    chunk_shape,
    is_dask,
    native,
    read_region,
)
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.pixels import require_intensities

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["ArrayLike", "Region", "Volume"]


@dataclass(frozen=True, eq=False)
class Volume:
    """A noisy image, lazy and of any size.

    Parameters
    ----------
    levels : tuple of ArrayLike
        The same image at falling resolution; level 0 is the full one. Anything with a
        shape, a dtype and slicing: numpy, dask, zarr, or a reader of this package.
    axes : Axes
        One per dimension, in the arrays' order.
    name : str
        What to call the image in messages and layers.
    channel_names : tuple of str
        One per channel, or empty.
    source : str or None
        Absolute path or URL that the pixels come from.
    omero : mapping or None
        Display settings as OME-Zarr stores them.

    Raises
    ------
    AxesError
        If axes or channel names do not fit the arrays.
    DataError
        If the arrays hold no pixels, or values that are no intensities.
    """

    levels: tuple[ArrayLike, ...]
    axes: Axes
    name: str
    channel_names: tuple[str, ...] = ()
    source: str | None = None
    omero: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for level in self.levels:
            self.axes.check_fits(tuple(level.shape), self.name)
        require_intensities(self.levels[0], self.name)
        if self.channel_names and len(self.channel_names) != self.n_channels:
            msg = (
                f"{self.name} has {self.n_channels} channels but "
                f"{len(self.channel_names)} channel names: give one name per channel"
            )
            raise AxesError(msg)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of level 0."""
        return tuple(int(n) for n in self.levels[0].shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel, in native byte order."""
        return native(self.levels[0].dtype)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.axes)

    @property
    def files(self) -> tuple[Path, ...]:
        """Files on this computer that the pixels lie in, where they are known."""
        return tuple(getattr(self.levels[0], "files", ()))

    @property
    def nbytes(self) -> int:
        """Bytes that level 0 would take in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of the blocks that level 0 is stored in; a plane where it has none."""
        stored = chunk_shape(self.levels[0])
        if stored != self.shape:
            return tuple(min(c, n) for c, n in zip(stored, self.shape, strict=True))
        pairs = zip(self.axes, self.shape, strict=True)
        return tuple(size if axis.name in "YX" else 1 for axis, size in pairs)

    @property
    def n_channels(self) -> int:
        """Number of channels, 1 without a channel axis."""
        return self.shape[self.axes.index("C")] if "C" in self.axes else 1

    def read(self, region: Region, halo: int | tuple[int, ...] = 0) -> npt.NDArray[Any]:
        """Pixels of level 0 with real neighbors around them.

        Beyond the border of the image, and only there, the halo is the image's
        reflection about its outermost pixels, repeated where the axis is shorter than
        the halo (as ``numpy.pad`` with ``mode="reflect"``).

        Parameters
        ----------
        region : tuple of slice
            One slice of step 1 per axis, inside the array.
        halo : int or tuple of int
            Pixels added on both sides: of Y and X if an integer, of each axis if a
            tuple.

        Returns
        -------
        numpy.ndarray
            Of shape ``stop - start + 2 * halo`` per axis, in the source's dtype and
            native byte order; its own memory, free to be changed.

        Raises
        ------
        ValueError
            If the region is empty, has steps, or leaves the array.
        ImageFormatError
            If the source cannot deliver the pixels.
        """
        widths = self._widths(halo)
        bounds, gathers = [], []
        for part, width, size in zip(region, widths, self.shape, strict=True):
            start = 0 if part.start is None else part.start
            stop = size if part.stop is None else part.stop
            if not 0 <= start < stop <= size or part.step not in (None, 1):
                msg = f"region {region} is not inside {self.name} of {self.shape}"
                raise ValueError(msg)
            wanted = _reflected(np.arange(start - width, stop + width), size)
            low, high = int(wanted.min()), int(wanted.max()) + 1
            bounds.append(slice(low, high))
            is_inside = start - width >= 0 and stop + width <= size
            gathers.append(None if is_inside else wanted - low)
        block = self._read(tuple(bounds))
        for axis, gather in enumerate(gathers):
            if gather is not None:
                block = block.take(gather, axis=axis)
        return block

    def select(self, **ranges: int | slice) -> Volume:
        """Part of the image by axis name, still lazy.

        ``select(C=1)`` takes a channel and drops the axis, ``select(T=slice(0, 10))``
        keeps ten frames. Positions (`Axis.translate`), channel names and display
        settings follow. Lower levels stay as long as the axes cut are not downsampled
        in them; otherwise level 0 stays alone.

        Parameters
        ----------
        **ranges : int or slice
            By axis name; an integer (negative from the end) drops the axis, a slice of
            step 1 restricts it.

        Raises
        ------
        AxesError
            If an axis is not there, a range leaves it or is empty, or Y or X would go.
        """
        index: list[int | slice] = [slice(0, size) for size in self.shape]
        for name, wanted in ranges.items():
            axis = self.axes.index(name)
            index[axis] = self._range(name, wanted)
        cut = [i for i, n in enumerate(self.shape) if index[i] != slice(0, n)]
        fine = [
            level
            for level in self.levels
            if all(level.shape[axis] == self.shape[axis] for axis in cut)
        ]
        channels = index[self.axes.index("C")] if "C" in self.axes else slice(0, 1)
        return replace(
            self,
            levels=tuple(_sliced(level, _kept(level, index, cut)) for level in fine),
            axes=self._cut_axes(index),
            channel_names=_chosen(self.channel_names, channels),
            omero=self._cut_omero(channels),
        )

    @property
    def n_planes(self) -> int:
        """Number of planes: positions along all axes but C, Y and X."""
        pairs = zip(self.axes, self.shape, strict=True)
        return math.prod(size for axis, size in pairs if axis.name in "TZ")

    def plane(self, number: int) -> Region:
        """Region of one plane, all its channels included.

        Parameters
        ----------
        number : int
            From 0 to ``n_planes - 1``, in the order of the array.

        Returns
        -------
        tuple of slice
            Of size 1 along all axes but C, Y and X, which are whole.

        Raises
        ------
        IndexError
            If there is no such plane.
        """
        pairs = list(zip(self.axes, self.shape, strict=True))
        stacked = [size for axis, size in pairs if axis.name in "TZ"]
        if not 0 <= number < self.n_planes:
            msg = f"plane {number} is outside {self.name}, which has {self.n_planes}"
            raise IndexError(msg)
        position = iter(np.unravel_index(number, stacked) if stacked else ())
        region = []
        for axis, size in pairs:
            at = int(next(position)) if axis.name in "TZ" else None
            region.append(slice(0, size) if at is None else slice(at, at + 1))
        return tuple(region)

    def planes(self) -> Iterator[Region]:
        """Regions of all planes, in the order of the array."""
        return (self.plane(number) for number in range(self.n_planes))

    def _read(self, region: Region) -> npt.NDArray[Any]:
        try:
            return read_region(self.levels[0], region)
        except BlindsoundError:
            raise
        except (OSError, RuntimeError, ValueError) as error:
            msg = (
                f"pixels of {self.source or self.name} cannot be read ({error}): check "
                "that the file is whole and its disk or network within reach"
            )
            raise ImageFormatError(msg) from error

    def _widths(self, halo: int | tuple[int, ...]) -> tuple[int, ...]:
        if isinstance(halo, tuple):
            return halo
        return tuple(halo if axis.name in "YX" else 0 for axis in self.axes)

    def _range(self, name: str, wanted: int | slice) -> int | slice:
        size = self.shape[self.axes.index(name)]
        if isinstance(wanted, slice):
            start, stop, step = wanted.indices(size)
            if step == 1 and start < stop:
                return slice(start, stop)
        elif -size <= wanted < size and name not in "YX":
            return wanted % size
        msg = (
            f"{name}={wanted} cannot be taken from {self.name}: {name} runs from 0 to "
            f"{size - 1}" + (" and is kept, so give a slice" if name in "YX" else "")
        )
        raise AxesError(msg)

    def _cut_axes(self, index: list[int | slice]) -> Axes:
        return Axes(
            tuple(
                replace(axis, translate=axis.translate + part.start * axis.scale)
                for axis, part in zip(self.axes, index, strict=True)
                if isinstance(part, slice)
            )
        )

    def _cut_omero(self, channels: int | slice) -> Mapping[str, Any] | None:
        settings = (self.omero or {}).get("channels")
        if not settings or len(settings) != self.n_channels:
            return self.omero
        return {**(self.omero or {}), "channels": list(_chosen(settings, channels))}


def _reflected(positions: npt.NDArray[np.intp], size: int) -> npt.NDArray[np.intp]:
    """Positions folded into 0..size-1 about the first and the last one."""
    if size == 1:
        return np.zeros_like(positions)
    folded = positions % (2 * (size - 1))
    return np.minimum(folded, 2 * (size - 1) - folded)


def _sliced(level: ArrayLike, index: tuple[int | slice, ...]) -> ArrayLike:
    """Part of a level, unread; numpy and dask make their own views."""
    if all(part == slice(0, n) for part, n in zip(index, level.shape, strict=True)):
        return level
    if isinstance(level, np.ndarray) or is_dask(level):
        part: ArrayLike = level[index]
        return part
    return SlicedArray(level, index)


def _kept(
    level: ArrayLike, index: list[int | slice], cut: list[int]
) -> tuple[int | slice, ...]:
    """Say an index into level 0 for another level, whose uncut axes differ."""
    return tuple(
        index[axis] if axis in cut else slice(0, int(size))
        for axis, size in enumerate(level.shape)
    )


def _chosen(items: tuple[Any, ...] | list[Any], part: int | slice) -> tuple[Any, ...]:
    """Pick entries by an integer or a slice, as a tuple either way."""
    return tuple(items[part]) if isinstance(part, slice) else tuple(items)[part:][:1]
