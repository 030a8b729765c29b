"""Coarser levels for looking at an image: which ones are means, and those missing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_blindsound.images.array import LazyArray, read_region

if TYPE_CHECKING:
    from napari_blindsound.images.array import ArrayLike, Region
    from napari_blindsound.images.volume import Volume

Pixels = npt.NDArray[np.float32]

LARGEST_SIDE = 2048  # px in Y and X that a viewer shows at once without a pyramid
SMALLEST_SIDE = 256  # px of the coarsest level of an image of two axes


class Halved(LazyArray):
    """Mean over 2 x 2 pixels of another array in Y and X.

    Parameters
    ----------
    finer : ArrayLike
    names : str
        Its axes, a letter each.
    """

    def __init__(self, finer: ArrayLike, names: str) -> None:
        pairs = list(zip(names, finer.shape, strict=True))
        shape = tuple(-(-int(n) // 2) if name in "YX" else int(n) for name, n in pairs)
        plane = tuple(
            n if name in "CYX" else 1 for name, n in zip(names, shape, strict=True)
        )
        super().__init__(shape, np.float32, plane)
        self._finer = finer
        self._names = names

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Pixels of a region."""
        finer = tuple(
            slice(2 * part.start, min(2 * part.stop, int(size)))
            if name in "YX"
            else part
            for name, part, size in zip(
                self._names, region, self._finer.shape, strict=True
            )
        )
        ends = (self._names.index("Y"), self._names.index("X"))
        pixels = np.moveaxis(read_region(self._finer, finer), ends, (-2, -1))
        return np.moveaxis(_half(pixels), (-2, -1), ends)


class Unknown(LazyArray):
    """NaN everywhere: what is shown of an image that nobody has computed yet.

    Parameters
    ----------
    like : ArrayLike
        Whose shape it has.
    """

    def __init__(self, like: ArrayLike) -> None:
        shape = tuple(int(size) for size in like.shape)
        super().__init__(shape, np.float32, shape)

    def read(self, region: Region) -> npt.NDArray[Any]:
        """NaN, of the shape of a region."""
        shape = [part.stop - part.start for part in region]
        return np.full(shape, np.nan, np.float32)


def unknown(volume: Volume) -> Volume:
    """An image with the same levels, all of them NaN."""
    levels = tuple(Unknown(level) for level in volume.levels)
    return replace(volume, levels=levels, source=None)


def with_pyramid(volume: Volume) -> Volume:
    """An image with as many levels as a viewer needs, the new ones means of the last.

    Parameters
    ----------
    volume : Volume
        Its own pyramid, if it has one, comes first.

    Returns
    -------
    Volume
        One level alone is enough up to 2048 pixels a side.
    """
    names = volume.axes.names
    levels = list(volume.levels)

    def side(level: ArrayLike) -> int:
        pairs = zip(names, level.shape, strict=True)
        return max(int(n) for name, n in pairs if name in "YX")

    if len(levels) == 1:
        while side(levels[-1]) > LARGEST_SIDE:
            levels.append(Halved(levels[-1], names))
    # Of a pyramid of two axes, napari reads the coarsest level once and never again: it
    # shall be one that is not looked at.
    if len(levels) > 1 and volume.ndim == 2:
        while side(levels[-1]) > SMALLEST_SIDE:
            levels.append(Halved(levels[-1], names))
    return replace(volume, levels=tuple(levels))


def halvings(volume: Volume, number: int, side: int) -> int | None:
    """How often level 0 is halved in Y and X to give another level.

    Parameters
    ----------
    volume : Volume
        The image.
    number : int
        Of the level.
    side : int
        Of a tile at full resolution.

    Returns
    -------
    int or None
        None if the level is something else, such as one with fewer planes, so that it
        cannot be made of denoised tiles.
    """
    pairs = list(
        zip(volume.axes.names, volume.shape, volume.levels[number].shape, strict=True)
    )
    for count in range(side.bit_length()):
        factor = 2**count
        if side % factor == 0 and all(
            int(size) in ((n // factor, -(-n // factor)) if name in "YX" else (n,))
            for name, n, size in pairs
        ):
            return count
    return None


def halved_often(tile: Pixels, count: int) -> Pixels:
    """Mean over squares of ``2**count`` pixels of (C, h, w)."""
    for _ in range(count):
        tile = _half(tile)
    return tile


def _half(pixels: npt.NDArray[Any]) -> Pixels:
    # zarr and the writers come with it: not before somebody needs a coarser level.
    from napari_blindsound.inference.coarser import halved

    mean: Pixels = halved(pixels.astype(np.float32, copy=False))
    return mean
