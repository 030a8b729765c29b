"""Coarser levels of a pyramid, made shard by shard as the finer ones are written.

Each is the mean over 2 x 2 pixels of the level before. What a finer shard adds to it is
kept in memory until the coarser shard is complete, within a bound, and read back from
the disk otherwise: the result is the same.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    import zarr

    from napari_blindsound.images.volume import Region
    from napari_blindsound.inference.shards import Shards

MOST = 2**27  # bytes of halved shards that are kept in memory
_THREADS = 2

Built = tuple[int, int, int]
"""A coarser shard that is written: level, number, bytes of its file."""


@dataclass(frozen=True)
class Level:
    """One level of a pyramid on the disk, written shard by shard.

    Parameters
    ----------
    array : zarr.Array
        In `folder`.
    folder : Path
        Of the array.
    grid : Shards
        Its shards.
    """

    array: zarr.Array[Any]
    folder: Path
    grid: Shards

    def file(self, region: Region) -> Path:
        """Where the shard lies that a region is."""
        steps = zip(region, self.grid.shard_shape, strict=True)
        numbers = tuple(span.start // step for span, step in steps)
        return self.folder / self.array.metadata.encode_chunk_key(numbers)

    def size(self, region: Region) -> int:
        """Bytes of a shard's file; one that holds nothing but zeros has none."""
        try:
            return self.file(region).stat().st_size
        except FileNotFoundError:
            return 0

    def write(
        self, region: Region, pixels: npt.NDArray[Any], *, is_new: bool = True
    ) -> None:
        """Write one shard; several threads may, each its own.

        Parameters
        ----------
        region : tuple of slice
            That of the shard.
        pixels : ndarray
            Of the region.
        is_new : bool
            Whether no earlier run can have written there.
        """
        if not is_new:
            # A shard at the border would be read first, and may have been torn.
            self.file(region).unlink(missing_ok=True)
        self.array[region] = pixels


class Coarser:
    """The coarser levels of one pyramid.

    Parameters
    ----------
    levels : sequence of Level
        All, the finest first.
    is_new : bool
        Whether no earlier run can have written there.
    most : int
        Bytes of halved shards that are kept in memory.
    """

    def __init__(
        self, levels: Sequence[Level], *, is_new: bool, most: int = MOST
    ) -> None:
        self._levels = levels
        self._is_new = is_new
        self._most = most
        self._lock = threading.Lock()
        # Numbers of finer shards, by level and number of the coarser one. A shard that
        # is put a second time must not count for another one.
        self._awaited: dict[tuple[int, int], set[int]] = {}
        self._halves: dict[tuple[int, int], npt.NDArray[Any]] = {}
        self._held = 0
        self._is_built = [np.zeros(len(level.grid), bool) for level in levels]

    def add(self, level: int, region: Region, pixels: npt.NDArray[Any]) -> list[Built]:
        """Take in a shard that was written, and build those that it completes.

        Several threads may, each its own shard.

        Returns
        -------
        list of tuple of int
            What was built.
        """
        if level + 1 == len(self._levels):
            return []
        above = [
            number
            for number in self._levels[level + 1].grid.meeting(_halved_region(region))
            if not self._is_built[level + 1][number]
        ]
        finer = self._levels[level].grid.number(region)
        if above and self._is_even(level):
            self._keep((level, finer), halved(pixels))
        complete = [number for number in above if self._is_last(level, finer, number)]
        return [built for n in complete for built in self._build(level + 1, n)]

    def known(self, built: Sequence[Sequence[int]]) -> None:
        """Take note of what an earlier run, or another process, has built."""
        for level, number, size in built:
            target = self._levels[level]
            is_there = target.size(target.grid[number]) == size
            self._is_built[level][number] = is_there

    def rest(self) -> Iterator[str]:
        """Build what is not there yet; all shards of the finest level must be.

        Yields
        ------
        str
            What was done, after each piece of work.
        """
        for level in range(1, len(self._levels)):
            left = np.flatnonzero(~self._is_built[level]).tolist()
            total = len(self._is_built[level])
            done = total - len(left)
            for _ in self._all_of(level, left):
                done += 1
                yield f"level {level}: shard {done} of {total}"

    def _all_of(self, level: int, numbers: list[int]) -> Iterator[None]:
        begun: deque[Future[None]] = deque()
        with ThreadPoolExecutor(_THREADS, "blindsound-coarser") as pool:
            try:
                for number in numbers:
                    begun.append(pool.submit(self._fill, level, number))
                    if len(begun) > _THREADS:
                        yield begun.popleft().result()
                while begun:
                    yield begun.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _is_even(self, level: int) -> bool:
        """Whether no 2 x 2 pixels are shared by two shards of a level."""
        grid = self._levels[level].grid
        pairs = zip(grid.grid[-2:], grid.shard_shape[-2:], strict=True)
        return all(count == 1 or step % 2 == 0 for count, step in pairs)

    def _is_last(self, level: int, finer: int, number: int) -> bool:
        """Count a shard of a level as written; whether all below one coarser are."""
        key = level + 1, number
        with self._lock:
            if key not in self._awaited:
                region = self._levels[level + 1].grid[number]
                self._awaited[key] = set(self._below(level + 1, region))
            self._awaited[key].discard(finer)
            if self._awaited[key]:
                return False
            del self._awaited[key]
            return True

    def _below(self, level: int, region: Region) -> Iterator[int]:
        """Numbers of the finer shards that a shard is made of."""
        finer = self._levels[level - 1].grid
        return finer.meeting(_doubled_region(region, finer.shape))

    def _build(self, level: int, number: int) -> list[Built]:
        """Write one shard, and those above that it completes."""
        pixels = self._write(level, number, is_new=self._is_new)
        target = self._levels[level]
        region = target.grid[number]
        mine = level, number, target.size(region)
        return [mine, *self.add(level, region, pixels)]

    def _fill(self, level: int, number: int) -> None:
        # Another process may have been killed in the middle of it.
        self._write(level, number, is_new=False)

    def _write(self, level: int, number: int, *, is_new: bool) -> npt.NDArray[Any]:
        target = self._levels[level]
        region = target.grid[number]
        pixels = self._means(level, region)
        target.write(region, pixels, is_new=is_new)
        self._is_built[level][number] = True
        return pixels

    def _means(self, level: int, region: Region) -> npt.NDArray[Any]:
        """One shard of means, of what is in memory or else on the disk."""
        finer = self._levels[level - 1]
        if not self._is_even(level - 1):
            below = _doubled_region(region, finer.grid.shape)
            return halved(np.asarray(finer.array[below]))
        out = np.empty([part.stop - part.start for part in region], finer.array.dtype)
        for number in self._below(level, region):
            half = self._halves.get((level - 1, number))
            whole = _halved_region(finer.grid[number])
            part = _common(region, whole)
            if half is None:
                below = _doubled_region(part, finer.grid.shape)
                out[_within(part, region)] = halved(np.asarray(finer.array[below]))
            else:
                out[_within(part, region)] = half[_within(part, whole)]
        self._forget(level, region)
        return out

    def _keep(self, key: tuple[int, int], half: npt.NDArray[Any]) -> None:
        """Remember a halved shard, and forget the oldest where there are too many."""
        with self._lock:
            self._halves[key] = half
            self._held += half.nbytes
            while self._held > self._most:
                self._held -= self._halves.pop(next(iter(self._halves))).nbytes

    def _forget(self, level: int, region: Region) -> None:
        """Give up halved shards that are needed by no other than this one."""
        finer = self._levels[level - 1].grid
        for number in self._below(level, region):
            whole = _halved_region(finer[number])
            if _common(region, whole) == whole:
                with self._lock:
                    half = self._halves.pop((level - 1, number), None)
                    self._held -= 0 if half is None else half.nbytes


def halved(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Mean over 2 x 2 pixels of the last two axes, in the same dtype.

    The last row or column of an odd size stands for two. Integers are rounded.
    """
    exact = pixels.dtype.itemsize > 2 and pixels.dtype != np.float32
    kind = np.float64 if exact else np.float32
    odd = [(0, 0)] * (pixels.ndim - 2) + [(0, size % 2) for size in pixels.shape[-2:]]
    full = np.pad(pixels, odd, mode="edge") if np.any(odd) else pixels
    rows = full[..., 0::2, :].astype(kind) + full[..., 1::2, :]
    mean: npt.NDArray[Any] = (rows[..., 0::2] + rows[..., 1::2]) / 4
    if pixels.dtype.kind in "ui":
        np.rint(mean, out=mean)
    return mean.astype(pixels.dtype, copy=False)


def _halved_region(region: Region) -> Region:
    """Where the means over a region lie, those that it shares included."""
    ends = [slice(part.start // 2, -(-part.stop // 2)) for part in region[-2:]]
    return (*region[:-2], *ends)


def _doubled_region(region: Region, shape: tuple[int, ...]) -> Region:
    """What the means of a region are taken over."""
    pairs = zip(region[-2:], shape[-2:], strict=True)
    ends = [slice(2 * part.start, min(2 * part.stop, size)) for part, size in pairs]
    return (*region[:-2], *ends)


def _common(one: Region, other: Region) -> Region:
    pairs = zip(one, other, strict=True)
    return tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in pairs)


def _within(part: Region, whole: Region) -> Region:
    """A region, counted from where another one begins."""
    pairs = zip(part, whole, strict=True)
    return tuple(slice(a.start - b.start, a.stop - b.start) for a, b in pairs)
