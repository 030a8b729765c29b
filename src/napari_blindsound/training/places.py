"""Windows to judge by: few, spread over all images, the same for the same seed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_blindsound.images.volume import Region, Volume


def frames_of(image: Volume) -> int:
    """Number of frames, 1 without a time axis."""
    names = image.axes.names
    return image.shape[names.index("T")] if "T" in names else 1


def places(
    images: Sequence[Volume], side: int, windows: int, frames: int, seed: int
) -> Iterator[tuple[Volume, list[Region]]]:
    """Windows chosen at random, none twice.

    Parameters
    ----------
    images : sequence of Volume
        At least `side` pixels wide and high, and `frames` frames long.
    side : int
        Of a window, in pixels.
    windows : int
        At most so many.
    frames : int
        Of each window, one after the other.
    seed : int
        Of the choice.

    Yields
    ------
    Volume, list of Region
        The image, and the same window in each frame, all channels included.
    """
    grids = [_Places(image, side, frames) for image in images]
    ends = np.cumsum([grid.count for grid in grids])
    random = np.random.default_rng(seed)
    total = int(ends[-1])
    for number in random.choice(total, min(windows, total), replace=False):
        which = int(np.searchsorted(ends, number, side="right"))
        yield grids[which].image, grids[which].regions(int(number - ends[which]))


class _Places:
    """Windows of an image that lie side by side, evenly spread."""

    def __init__(self, image: Volume, side: int, frames: int) -> None:
        sizes = dict(zip(image.axes.names, image.shape, strict=True))
        self.image, self._side, self._frames = image, side, frames
        self._starts = [_evenly(sizes[name], side) for name in "YX"]
        self._runs = sizes.get("T", 1) // frames
        self._slices = sizes.get("Z", 1)

    @property
    def count(self) -> int:
        return math.prod([self._runs, self._slices, *map(len, self._starts)])

    def regions(self, number: int) -> list[Region]:
        """Of window `number`, counted from either end."""
        rows, columns = (len(starts) for starts in self._starts)
        number %= self.count
        number, column = divmod(number, columns)
        number, row = divmod(number, rows)
        run, deep = divmod(number, self._slices)
        top, left = self._starts[0][row], self._starts[1][column]
        parts = {
            "Z": slice(deep, deep + 1),
            "Y": slice(top, top + self._side),
            "X": slice(left, left + self._side),
            "C": slice(0, self.image.n_channels),
        }
        first = run * self._frames
        return [
            tuple(
                slice(t, t + 1) if axis.name == "T" else parts[axis.name]
                for axis in self.image.axes
            )
            for t in range(first, first + self._frames)
        ]


def _evenly(size: int, side: int) -> list[int]:
    """Starts of as many windows as fit without overlap, spread over all of it."""
    count = size // side
    if count == 1:
        return [(size - side) // 2]
    return [(size - side) * index // (count - 1) for index in range(count)]
