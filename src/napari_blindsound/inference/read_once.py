"""A source of which every chunk is fetched and decoded once, not once for every halo.

The halos of neighboring shards overlap, and a shard cuts through chunks that others
need, too. What was decoded for one shard is kept until the last of the others has been
read, within a bound: what is beyond it is fetched again, and nothing else is lost.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_blindsound.images.array import LazyArray, read_region
from napari_blindsound.images.stored import missing_chunk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

    from napari_blindsound.images.array import ArrayLike, Region
    from napari_blindsound.images.stored import Edges
    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.plan import Plan

log = logging.getLogger(__name__)

# Bytes of decoded chunks. Chunks of 64 planes below a shard of 2048 pixels a side are
# 0.7 GB of 16 bits; where chunks are flat, a hundredth of it is used.
MOST = 2**30
# Bytes fetched by one thread at once: less than a shard, much beside a request.
_PIECE = 2**22

Chunk = tuple[int, ...]
_Mask = npt.NDArray[np.bool_]


def read_once(
    volume: Volume, plan: Plan, pool: Executor, *, most: int = MOST
) -> Volume:
    """An image that remembers the chunks that are wanted again.

    Parameters
    ----------
    volume : Volume
        The source.
    plan : Plan
        Which chunks are; each shard must be taken there before it is read here.
    pool : Executor
        Threads that fetch; those that read must be others.
    most : int
        Bytes that are remembered at most.

    Returns
    -------
    Volume
        Of the same pixels, level 0 alone; `volume` itself if it has no chunks.
    """
    if plan.edges is None:
        return volume
    level = ReadOnce(volume.levels[0], plan, plan.edges, pool, most=most)
    return replace(volume, levels=(level,))


class ReadOnce(LazyArray):
    """An array that remembers the chunks that are wanted again.

    Parameters
    ----------
    source : ArrayLike
        What it is read from.
    plan : Plan
        Which chunks are wanted.
    edges : tuple of ndarray
        Of the chunks.
    pool : Executor
        Threads that fetch.
    most : int
        Bytes that are remembered at most.

    Attributes
    ----------
    held : int
        Bytes that are remembered now.
    peak : int
        The most that were.
    """

    def __init__(
        self,
        source: ArrayLike,
        plan: Plan,
        edges: tuple[Edges, ...],
        pool: Executor,
        *,
        most: int = MOST,
    ) -> None:
        chunks = tuple(int(np.diff(along).max()) for along in edges)
        super().__init__(tuple(int(n) for n in source.shape), source.dtype, chunks)
        self.held = self.peak = 0
        self._source = source
        self._plan = plan
        self._edges = edges
        self._pool = pool
        self._most = most
        self._blank = getattr(source, "fill_value", None) or 0
        self._is_told = False
        self._known: dict[Chunk, npt.NDArray[Any]] = {}
        self._lock = threading.Lock()

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Pixels of a region; several threads may fetch one chunk each, or the same."""
        out = np.empty([part.stop - part.start for part in region], self.dtype)
        spans = [
            range(
                int(np.searchsorted(edges, part.start, side="right")) - 1,
                int(np.searchsorted(edges, part.stop, side="left")),
            )
            for edges, part in zip(self._edges, region, strict=True)
        ]
        missing = np.ones([len(span) for span in spans], bool)
        for at, chunk in enumerate(itertools.product(*spans)):
            pixels = self._recalled(chunk)
            if pixels is not None:
                self._paste(out, region, pixels, self._place(chunk, chunk))
                missing.flat[at] = False
        first = tuple(span.start for span in spans)
        self._fetch_all(out, region, list(self._pieces(missing, first)))
        return out

    def _fetch_all(
        self, out: npt.NDArray[Any], region: Region, pieces: list[tuple[Chunk, Chunk]]
    ) -> None:
        if len(pieces) == 1:
            return self._fetch(out, region, *pieces[0])
        begun = [self._pool.submit(self._fetch, out, region, *p) for p in pieces]
        try:
            for future in begun:
                future.result()
        finally:
            for future in begun:
                future.cancel()
        return None

    def _fetch(
        self, out: npt.NDArray[Any], region: Region, first: Chunk, last: Chunk
    ) -> None:
        """Read a block of chunks, use it, and keep what is wanted again."""
        place = self._place(first, last)
        pixels = read_region(self._source, place)
        self._paste(out, region, pixels, place)
        for chunk in _chunks(first, last):
            at = self._place(chunk, chunk)
            part = pixels[_within(at, place)]
            if self._plan.is_wanted(chunk):
                self._keep(chunk, part)
            if part[(0,) * part.ndim] == self._blank:
                self._warn_of_missing(part, at)

    def _warn_of_missing(self, pixels: npt.NDArray[Any], place: Region) -> None:
        """Say once if a chunk without any signal is none."""
        if self._is_told or not (pixels == self._blank).all():
            return
        name = missing_chunk(self._source, tuple(part.start for part in place))
        if name is not None:
            self._is_told = True
            log.warning(
                "%s is not there and reads as %s, and there may be others: copy the "
                "image again, unless it was saved without its empty chunks",
                name,
                self._blank,
            )

    def _recalled(self, chunk: Chunk) -> npt.NDArray[Any] | None:
        """A chunk that is known; for the last time if nobody else wants it."""
        is_wanted = chunk in self._known and self._plan.is_wanted(chunk)
        with self._lock:
            pixels = self._known.get(chunk)
            if pixels is not None and not is_wanted:
                del self._known[chunk]
                self.held -= pixels.nbytes
            return pixels

    def _keep(self, chunk: Chunk, pixels: npt.NDArray[Any]) -> None:
        with self._lock:
            if self.held + pixels.nbytes > self._most or chunk in self._known:
                return
            # A copy: a view would hold all that was fetched with it.
            self._known[chunk] = pixels.copy()
            self.held += pixels.nbytes
            self.peak = max(self.peak, self.held)

    def _place(self, first: Chunk, last: Chunk) -> Region:
        """Where a block of chunks lies, from the first to the last of them."""
        return tuple(
            slice(int(edges[low]), int(edges[high + 1]))
            for edges, low, high in zip(self._edges, first, last, strict=True)
        )

    def _paste(
        self,
        out: npt.NDArray[Any],
        region: Region,
        pixels: npt.NDArray[Any],
        place: Region,
    ) -> None:
        """Copy what a block of pixels has of a region."""
        there, here = [], []
        for wanted, given in zip(region, place, strict=True):
            low, high = max(wanted.start, given.start), min(wanted.stop, given.stop)
            there.append(slice(low - wanted.start, high - wanted.start))
            here.append(slice(low - given.start, high - given.start))
        out[tuple(there)] = pixels[tuple(here)]

    def _pieces(self, missing: _Mask, first: Chunk) -> Iterator[tuple[Chunk, Chunk]]:
        """Cut the chunks that are missing into blocks, none of them too large."""
        if not missing.any():
            return
        box = tuple(
            slice(int(along.min()), int(along.max()) + 1) for along in missing.nonzero()
        )
        missing = missing[box]
        first = tuple(at + part.start for at, part in zip(first, box, strict=True))
        last = tuple(at + n - 1 for at, n in zip(first, missing.shape, strict=True))
        sizes = (part.stop - part.start for part in self._place(first, last))
        nbytes = math.prod(sizes) * self.dtype.itemsize
        if missing.size == 1 or (missing.all() and nbytes <= _PIECE):
            yield first, last
            return
        axis = int(np.argmax(missing.shape))
        middle = missing.shape[axis] // 2
        for half, start in zip(
            np.split(missing, [middle], axis), (0, middle), strict=True
        ):
            yield from self._pieces(
                half, (*first[:axis], first[axis] + start, *first[axis + 1 :])
            )


def _within(part: Region, whole: Region) -> Region:
    """A region, counted from where another one begins."""
    pairs = zip(part, whole, strict=True)
    return tuple(slice(a.start - b.start, a.stop - b.start) for a, b in pairs)


def _chunks(first: Chunk, last: Chunk) -> Iterator[Chunk]:
    """Numbers of the chunks of a block."""
    pairs = zip(first, last, strict=True)
    return itertools.product(*(range(low, high + 1) for low, high in pairs))
