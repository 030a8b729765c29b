"""What is there of an image at this moment: denoised tiles over noisy pixels.

A `Patchwork` is read like an array and answers at once, whatever is asked of it. It
knows no model: somebody else puts denoised tiles in, and the next reading shows them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_blindsound.images.array import LazyArray
from napari_blindsound.inference.noisy_planes import NoisyPlanes, Part
from napari_blindsound.inference.pyramid import halvings
from napari_blindsound.inference.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_blindsound.images.array import Region
    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.noisy_planes import Noisy, Span
    from napari_blindsound.inference.reader import Reader

Pixels = npt.NDArray[np.float32]

NOISY_BYTES = 256 * 2**20
"""Noisy pixels that are kept, so that a finished tile costs no reading."""

REACH = 32  # tiles on each side of the middle of the view, at most


@dataclass(frozen=True)
class Tile:
    """Place of a tile in an image.

    Parameters
    ----------
    plane : tuple of int
        Position along the T and Z axes, in the array's order; all channels belong to
        the tile.
    row, column : int
        Along Y and X, counted in tiles.
    """

    plane: tuple[int, ...]
    row: int
    column: int

    def region(self, volume: Volume, side: int) -> Region:
        """Region of an image, at full resolution and of all channels."""
        plane, starts = (
            iter(self.plane),
            {"Y": self.row * side, "X": self.column * side},
        )
        region = []
        for axis, size in zip(volume.axes, volume.shape, strict=True):
            if axis.name == "C":
                region.append(slice(0, size))
            elif axis.name in "YX":
                start = starts[axis.name]
                region.append(slice(start, min(start + side, size)))
            else:
                at = next(plane)
                region.append(slice(at, at + 1))
        return tuple(region)

    def distance(self, middle: tuple[float, float], side: int) -> float:
        """From its middle to a place (Y, X), in pixels."""
        return math.dist(((self.row + 0.5) * side, (self.column + 0.5) * side), middle)


class Patchwork(LazyArray):
    """One level of an image: denoised where it has been, noisy elsewhere.

    Parameters
    ----------
    volume : Volume
        The noisy image.
    number : int
        Of the level.
    side : int
        Of the tiles, in pixels at full resolution.
    tiles : Recent
        Denoised pixels (C, h, w), by number of the level and `Tile`.
    noisy : NoisyPlanes
        Of this level. Pixels that it does not have are NaN.
    """

    def __init__(
        self,
        volume: Volume,
        number: int,
        *,
        side: int,
        tiles: Recent[Pixels],
        noisy: NoisyPlanes,
    ) -> None:
        self.names = volume.axes.names
        self.number = number
        shape = tuple(int(size) for size in volume.levels[number].shape)
        steps = {"C": max(shape), "Y": side // 2, "X": side // 2}
        pairs = zip(self.names, shape, strict=True)
        chunks = tuple(min(steps.get(name, 1), size) for name, size in pairs)
        super().__init__(shape, np.float32, chunks)
        self.halvings = halvings(volume, number, side)
        self._side = side >> (self.halvings or 0)
        self._tiles, self._noisy = tiles, noisy

    def read(self, region: Region) -> Pixels:
        """Pixels of a region as they are now, whatever became of the source."""
        spans = dict(zip(self.names, region, strict=True))
        out = np.empty([part.stop - part.start for part in region], np.float32)
        lead = [name for name in self.names if name in "TZ"]
        order = [*lead, *(name for name in "CYX" if name in spans)]
        planes = out.transpose([self.names.index(name) for name in order])
        if "C" not in spans:
            planes = planes[..., None, :, :]
        lengths = planes.shape[:-3]
        for index in np.ndindex(*lengths):
            part = Part(
                tuple(spans[n].start + i for n, i in zip(lead, index, strict=True)),
                *(_bounds(spans.get(name, slice(0, 1))) for name in "CYX"),
            )
            self._fill(planes[index], part, is_alone=math.prod(lengths) == 1)
        return out

    def tiles_of(self, rows: slice, columns: slice) -> list[tuple[int, int]]:
        """Rows and columns of the tiles that a region of this level meets."""
        across, down = (
            range(part.start // self._side, -(-part.stop // self._side))
            for part in (columns, rows)
        )
        return [(row, column) for row in down for column in across]

    def _fill(self, out: Pixels, part: Part, *, is_alone: bool) -> None:
        """Fill (C, h, w) with a part of a plane."""
        there, is_complete = [], self.halvings is not None
        places = self.tiles_of(slice(*part.rows), slice(*part.columns))
        for row, column in places if self.halvings is not None else ():
            tile = self._tiles.get((self.number, Tile(part.plane, row, column)))
            is_complete = is_complete and tile is not None
            if tile is not None:
                there.append((row * self._side, column * self._side, tile))
        if not is_complete:
            noisy = self._noisy.get(part, is_alone=is_alone)
            out[...] = np.nan if noisy is None else noisy
        if is_alone:
            self._noisy.expect(part)
        for top, left, tile in there:
            to_y, from_y = _overlap(part.rows, top, tile.shape[1])
            to_x, from_x = _overlap(part.columns, left, tile.shape[2])
            out[:, to_y, to_x] = tile[slice(*part.channels), from_y, from_x]


def patchworks(
    volume: Volume,
    side: int,
    tiles: Recent[Pixels],
    report: Callable[[Exception], None],
    reader: Reader | None,
) -> list[Patchwork]:
    """One for each level of an image; they share what they keep."""
    recent: Recent[Noisy] = Recent(NOISY_BYTES)
    planes = (
        NoisyPlanes(volume, number, recent=recent, report=report, reader=reader)
        for number in range(len(volume.levels))
    )
    return [
        Patchwork(volume, number, side=side, tiles=tiles, noisy=noisy)
        for number, noisy in enumerate(planes)
    ]


def nearest_tiles(
    plane: tuple[int, ...],
    region: tuple[slice, slice],
    middle: tuple[float, float],
    side: int,
) -> list[Tile]:
    """Tiles that a region of a plane meets, those nearest to a place (Y, X) first.

    Parameters
    ----------
    plane : tuple of int
        Position along the T and Z axes.
    region : tuple of slice
        Rows and columns at full resolution; what lies very far is left out.
    middle : tuple of float
        The place, in pixels.
    side : int
        Of a tile.
    """
    down, across = (
        _near(span, at, REACH * side) for span, at in zip(region, middle, strict=True)
    )
    tiles = [
        Tile(plane, row, column)
        for row in range(down.start // side, -(-down.stop // side))
        for column in range(across.start // side, -(-across.stop // side))
    ]
    return sorted(tiles, key=lambda tile: tile.distance(middle, side))


def _near(span: slice, middle: float, reach: int) -> slice:
    """Part of a span that is not farther than `reach` from a place."""
    low = min(max(span.start, int(middle) - reach), span.stop - 1)
    return slice(low, max(low + 1, min(span.stop, int(middle) + reach)))


def _bounds(span: slice) -> Span:
    return span.start, span.stop


def _overlap(span: Span, start: int, size: int) -> tuple[slice, slice]:
    """Where a piece that begins at `start` lies within a span, and which part of it."""
    low, high = max(span[0], start), min(span[1], start + size)
    return slice(low - span[0], high - span[0]), slice(low - start, high - start)
