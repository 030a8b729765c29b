"""Noisy pixels for a viewer: read once, kept for a while, and in time for scrolling."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_blindsound.errors import ImageNotFoundError
from napari_blindsound.images.array import read_region

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.reader import Reader
    from napari_blindsound.inference.recent import Recent

Span = tuple[int, int]
"""First position, and the one after the last."""

AHEAD = (1, 2, -1)
"""Planes that are read before somebody scrolls to them, the likeliest first."""
_SHARE = 8  # of what is kept, that one part may have to be kept as well


@dataclass(frozen=True)
class Part:
    """Part of a plane.

    Parameters
    ----------
    plane : tuple of int
        Position along the T and Z axes, in the array's order.
    channels, rows, columns : Span
        Which ones.
    """

    plane: tuple[int, ...]
    channels: Span
    rows: Span
    columns: Span

    @property
    def spans(self) -> dict[str, Span]:
        """By axis."""
        return {"C": self.channels, "Y": self.rows, "X": self.columns}

    @property
    def size(self) -> int:
        """Number of pixels."""
        return math.prod(stop - start for start, stop in self.spans.values())

    def place_of(self, other: Part) -> tuple[slice, ...] | None:
        """Where a part of the same plane lies in it, None if not all of it does."""
        pairs = list(zip(self.spans.values(), other.spans.values(), strict=True))
        if any(a[0] < has[0] or a[1] > has[1] for has, a in pairs):
            return None
        return tuple(slice(a[0] - has[0], a[1] - has[0]) for has, a in pairs)


@dataclass(frozen=True)
class Noisy:
    """What was read.

    Parameters
    ----------
    part : Part
        Which pixels they are.
    pixels : ndarray
        (C, h, w), in the source's dtype.
    """

    part: Part
    pixels: npt.NDArray[Any]

    @property
    def nbytes(self) -> int:
        """Bytes it takes."""
        return self.pixels.nbytes


class NoisyPlanes:
    """Planes of one level of an image.

    Parameters
    ----------
    volume : Volume
        The noisy image.
    number : int
        Of the level.
    recent : Recent
        Keeps what was read, of all levels.
    report : callable
        Told, in the reading thread, what went wrong.
    reader : Reader, optional
        Reads single planes, and those that may come next; without one, planes are read
        where they are asked for.
    """

    def __init__(
        self,
        volume: Volume,
        number: int,
        *,
        recent: Recent[Noisy],
        report: Callable[[Exception], None],
        reader: Reader | None,
    ) -> None:
        self._volume, self._number = volume, number
        self._level = volume.levels[number]
        self._sizes = [
            int(size)
            for name, size in zip(volume.axes.names, self._level.shape, strict=True)
            if name in "TZ"
        ]
        self._recent, self._report, self._reader = recent, report, reader
        self._last: tuple[int, ...] | None = None

    def get(self, part: Part, *, is_alone: bool) -> npt.NDArray[Any] | None:
        """Pixels (C, h, w) of a part; None if they cannot be read, or not soon enough.

        Parameters
        ----------
        part : Part
            What is wanted.
        is_alone : bool
            Whether no other planes are asked for at the same time.
        """
        known = self._known(part)
        if known is None and self._is_read_apart(part, is_alone=is_alone):
            assert self._reader is not None
            self._reader.read((self._number, part), partial(self._load, part))
            return self._known(part)
        return self._load(part) if known is None else known

    def expect(self, part: Part) -> None:
        """Take note of what is looked at, and have the next planes read."""
        plane, last = part.plane, self._last
        if plane == last or not self._is_read_apart(part, is_alone=True):
            return
        self._last = plane
        step = (
            [int(np.sign(to - at)) for at, to in zip(last, plane, strict=True)]
            if last is not None
            else [*(0 for _ in plane[1:]), 1][: len(plane)]
        )
        planes = [
            tuple(at + times * by for at, by in zip(plane, step, strict=True))
            for times in AHEAD
        ]
        parts = [
            replace(part, plane=other)
            for other in planes
            if all(0 <= at < n for at, n in zip(other, self._sizes, strict=True))
        ]
        jobs = [
            ((self._number, other), partial(self._load, other))
            for other in parts
            if self._known(other) is None
        ]
        assert self._reader is not None
        self._reader.expect(self._number, jobs)

    def _is_read_apart(self, part: Part, *, is_alone: bool) -> bool:
        """Whether the reader reads it: what is late must still be there when drawn."""
        nbytes = part.size * np.dtype(self._level.dtype).itemsize
        return (
            self._reader is not None
            and is_alone
            and nbytes * _SHARE <= self._recent.limit
        )

    def _key(self, part: Part) -> tuple[object, ...]:
        return self._number, part.plane, part.channels

    def _known(self, part: Part) -> npt.NDArray[Any] | None:
        noisy = self._recent.get(self._key(part))
        place = noisy.part.place_of(part) if noisy is not None else None
        return noisy.pixels[place] if noisy is not None and place is not None else None

    def _load(self, part: Part) -> npt.NDArray[Any] | None:
        """Read a part, unless somebody has; None if it cannot be."""
        known = self._known(part)
        if known is not None:
            return known
        try:
            pixels = self._from_source(part)
        except Exception as error:  # noqa: BLE001 - any reader's, in a viewer's drawing
            self._report(error)
            return None
        self._recent.put(self._key(part), Noisy(part, pixels))
        return pixels

    def _from_source(self, part: Part) -> npt.NDArray[Any]:
        require_source(self._volume)
        at, spans = iter(part.plane), part.spans
        names = self._volume.axes.names
        bounds = (
            (start := next(at), start + 1) if name in "TZ" else spans[name]
            for name in names
        )
        region = tuple(itertools.starmap(slice, bounds))
        pixels = read_region(self._level, region)
        plane: npt.NDArray[Any] = self._volume.axes.as_planes(pixels)[0]
        return plane


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
