"""What is there of an image at this moment: denoised tiles over noisy pixels.

A `Patchwork` is read like an array and answers at once, whatever is asked of it. It
knows no model: somebody else puts denoised tiles in, and the next reading shows them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_blindsound.errors import ImageNotFoundError
from napari_blindsound.images.array import LazyArray, read_region
from napari_blindsound.inference.pyramid import halvings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_blindsound.images.array import Region
    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.recent import Recent

Pixels = npt.NDArray[np.float32]

NOISY_BYTES = 256 * 2**20
"""Noisy pixels that are kept, so that a finished tile costs no reading."""


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


@dataclass(frozen=True)
class Noisy:
    """Noisy pixels of a plane.

    Parameters
    ----------
    pixels : ndarray
        (C, h, w), counts.
    rows, columns : slice
        Which ones of the plane.
    """

    pixels: Pixels
    rows: slice
    columns: slice

    @property
    def nbytes(self) -> int:
        """Bytes it takes."""
        return self.pixels.nbytes

    def cut(self, rows: slice, columns: slice) -> Pixels | None:
        """Part of it, None if it does not hold all of that."""
        spans = ((rows, self.rows), (columns, self.columns))
        if any(want.start < has.start or want.stop > has.stop for want, has in spans):
            return None
        return self.pixels[
            :,
            rows.start - self.rows.start : rows.stop - self.rows.start,
            columns.start - self.columns.start : columns.stop - self.columns.start,
        ]


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
    noisy : Recent
        Noisy pixels that were read, of all levels.
    report : callable
        Told, in the reading thread, what went wrong with the source. Pixels that can
        be had from nowhere are NaN.
    """

    def __init__(
        self,
        volume: Volume,
        number: int,
        *,
        side: int,
        tiles: Recent[Pixels],
        noisy: Recent[Noisy],
        report: Callable[[Exception], None],
    ) -> None:
        self.names = volume.axes.names
        self.number = number
        level = volume.levels[number]
        shape = tuple(int(size) for size in level.shape)
        steps = {"C": max(shape), "Y": side // 2, "X": side // 2}
        pairs = zip(self.names, shape, strict=True)
        chunks = tuple(min(steps.get(name, 1), size) for name, size in pairs)
        super().__init__(shape, np.float32, chunks)
        self.halvings = halvings(volume, number, side)
        self._side = side >> (self.halvings or 0)
        self._volume, self._level = volume, level
        self._tiles, self._noisy, self._report = tiles, noisy, report

    def read(self, region: Region) -> Pixels:
        """Pixels of a region as they are now, whatever became of the source."""
        spans = dict(zip(self.names, region, strict=True))
        out = np.empty([part.stop - part.start for part in region], np.float32)
        lead = [name for name in self.names if name in "TZ"]
        order = [*lead, *(name for name in "CYX" if name in spans)]
        planes = out.transpose([self.names.index(name) for name in order])
        if "C" not in spans:
            planes = planes[..., None, :, :]
        for index in np.ndindex(*planes.shape[:-3]):
            at = tuple(
                spans[name].start + i for name, i in zip(lead, index, strict=True)
            )
            self._fill(planes[index], at, spans)
        return out

    def tiles_of(self, rows: slice, columns: slice) -> list[tuple[int, int]]:
        """Rows and columns of the tiles that a region of this level meets."""
        across, down = (
            range(part.start // self._side, -(-part.stop // self._side))
            for part in (columns, rows)
        )
        return [(row, column) for row in down for column in across]

    def _fill(
        self, out: Pixels, plane: tuple[int, ...], spans: Mapping[str, slice]
    ) -> None:
        """Fill (C, h, w) with a part of a plane."""
        rows, columns = spans["Y"], spans["X"]
        channels = spans.get("C", slice(0, 1))
        there, complete = [], self.halvings is not None
        if self.halvings is not None:
            for row, column in self.tiles_of(rows, columns):
                tile = self._tiles.get((self.number, Tile(plane, row, column)))
                complete = complete and tile is not None
                if tile is not None:
                    there.append((row * self._side, column * self._side, tile))
        if not complete:
            out[...] = self._read_noisy(plane, spans)
        for top, left, tile in there:
            (to_y, from_y), (to_x, from_x) = (
                _overlap(rows, top, tile.shape[1]),
                _overlap(columns, left, tile.shape[2]),
            )
            out[:, to_y, to_x] = tile[channels, from_y, from_x]

    def _read_noisy(
        self, plane: tuple[int, ...], spans: Mapping[str, slice]
    ) -> Pixels | float:
        """Noisy (C, h, w), NaN where it cannot be read."""
        rows, columns = spans["Y"], spans["X"]
        channels = spans.get("C", slice(0, 1))
        key = (self.number, plane, channels.start, channels.stop)
        known = self._noisy.get(key)
        pixels = known.cut(rows, columns) if known is not None else None
        if pixels is not None:
            return pixels
        try:
            pixels = self._from_source(plane, spans)
        except Exception as error:  # noqa: BLE001 - any reader's, in a viewer's drawing
            self._report(error)
            return float("nan")
        self._noisy.put(key, Noisy(pixels, rows, columns))
        return pixels

    def _from_source(
        self, plane: tuple[int, ...], spans: Mapping[str, slice]
    ) -> Pixels:
        require_source(self._volume)
        at = iter(plane)
        region = []
        for name in self.names:
            start = next(at) if name in "TZ" else None
            region.append(spans[name] if start is None else slice(start, start + 1))
        pixels = read_region(self._level, tuple(region))
        planes = self._volume.axes.as_planes(pixels)
        plane_pixels: Pixels = planes[0].astype(np.float32, copy=False)
        return plane_pixels


def require_source(volume: Volume) -> None:
    """Refuse an image whose file is gone, which some readers take for zeros.

    Raises
    ------
    ImageNotFoundError
        If the image comes from a path on this machine that is no longer there.
    """
    source = volume.source
    if source is None or "://" in source or Path(source).exists():
        return
    msg = f"{source} is no longer there: put it back, or open the image again"
    raise ImageNotFoundError(msg)


def _overlap(span: slice, start: int, size: int) -> tuple[slice, slice]:
    """Where a piece that begins at `start` lies within a span, and which part of it."""
    low, high = max(span.start, start), min(span.stop, start + size)
    return (
        slice(low - span.start, high - span.start),
        slice(low - start, high - start),
    )
