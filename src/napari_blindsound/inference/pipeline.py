"""Read, compute and write at once: shards on their way from a source to an output.

One thread reads ahead, the caller's thread computes, others write behind. The queues
between them are short, so that a few shards are in memory at most. Shards that share
chunks of the source follow one another, and each chunk is read once.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from napari_blindsound.inference.destination import output_errors
from napari_blindsound.inference.ledger import Record, Tally
from napari_blindsound.inference.plan import Plan
from napari_blindsound.inference.read_once import read_once
from napari_blindsound.inference.reading import Padded, read_padded, unstack
from napari_blindsound.inference.shards import Shards, pixels_of
from napari_blindsound.inference.tiling import Tiler

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_blindsound.images.volume import Region, Volume
    from napari_blindsound.inference.ledger import Notebook
    from napari_blindsound.inference.tiling import TileOperator

READ_AHEAD = 2  # shards
FETCHERS = min(4, os.cpu_count() or 1)  # threads that decode for the one that reads
BESIDE = 3  # threads that prepare shards for a device, and restore their results
WRITERS = 2  # threads, and shards that wait for them


class Sink(Protocol):
    """A format that is written shard by shard."""

    @property
    def shards(self) -> Shards:
        """Of the full resolution."""

    def put(self, region: Region, pixels: npt.NDArray[Any]) -> Any:  # noqa: ANN401
        """Write one shard; called by several threads, each with its own shard.

        Returns plain data for :meth:`recall`.
        """

    def recall(self, notes: Any) -> None:  # noqa: ANN401 - JSON
        """Take in what an earlier run found while it wrote a shard."""

    def size(self, region: Region) -> int:
        """Bytes by which a shard that was put can be told from one that was not."""

    def finish(self, result: Mapping[str, Any]) -> Iterator[str]:
        """Do what is left when all shards are there; yield between pieces of work."""


@dataclass(frozen=True)
class _Piece:
    """A shard that was read: its number and region, its source and the sum of that."""

    number: int
    region: Region
    padded: Padded
    noisy: float

    @property
    def size(self) -> int:
        return pixels_of(self.region)


_Pixels = npt.NDArray[np.float32]
_Result = tuple[_Piece, _Pixels]


@dataclass(frozen=True)
class Pipeline:
    """One image on its way to one output.

    Parameters
    ----------
    denoiser : TileOperator
        The denoiser; called in the thread that takes the steps, and there only, unless
        it has a ``device`` other than the processor: then in a few threads at once.
    volume : Volume
        The noisy image.
    sink : Sink
        The output.
    dtype : numpy.dtype
        Of the pixels written.
    path : Path
        What to call the output in errors.
    ledger : Notebook
        Where finished shards are noted; those noted already are left out.
    numbers : sequence of int, optional
        The only shards to denoise, in whatever order, where others do the rest.
    """

    denoiser: TileOperator
    volume: Volume
    sink: Sink
    dtype: np.dtype[Any]
    path: Path
    ledger: Notebook
    numbers: Sequence[int] | None = None

    def steps(self) -> Generator[int]:
        """Denoise all shards that are not finished.

        Yields
        ------
        int
            Pixels denoised since the last step, channels counted; after each tile.

        Raises
        ------
        DataError
            If a pixel is NaN or infinite.
        OutputError
            If writing fails.
        """
        plan = Plan(self.sink.shards, self.volume, self.denoiser, self._left())
        with (
            _threads(FETCHERS, "fetch") as fetchers,
            _threads(1, "read") as readers,
            _threads(WRITERS, "write") as writers,
        ):
            source = read_once(self.volume, plan, fetchers)
            behind: deque[Future[_Pixels]] = deque()
            spare: list[_Pixels] = []
            read = self._read_ahead(source, plan, readers)
            with closing(self._computed(read, spare)) as work:
                for done in work:
                    if isinstance(done, int):
                        yield done
                        continue
                    if len(behind) == WRITERS:
                        spare.append(behind.popleft().result())
                    behind.append(writers.submit(self._put, *done))
            while behind:
                behind.popleft().result()

    def _computed(
        self, pieces: Iterator[_Piece], spare: list[_Pixels]
    ) -> Generator[int | _Result]:
        """Denoise what was read: pixels after each tile, and results as they come.

        Into `spare` memory, where its shape fits: new memory is slow at first touch,
        and what is given back and taken again in turns makes a process grow.
        """
        tiler = Tiler(self.denoiser)
        if str(getattr(self.denoiser, "device", "cpu")) != "cpu":
            yield from self._computed_beside(pieces, tiler)
            return
        for piece in pieces:
            shape = piece.padded.shape
            fit = [i for i, pixels in enumerate(spare) if pixels.shape == shape]
            denoised = spare.pop(fit[0]) if fit else np.empty(shape, np.float32)
            # Of another shape are those of an earlier part of the image.
            spare.clear()
            tiles = tiler.steps(piece.padded.pixels, denoised)
            yield from _shares(tiles, piece.padded.n_pixels, piece.size)
            yield piece, denoised

    def _computed_beside(
        self, pieces: Iterator[_Piece], tiler: Tiler
    ) -> Iterator[int | _Result]:
        """As `_computed`, where processors prepare while a device computes.

        The denoiser lets one shard at a time onto the device; what comes before and
        after is done for others meanwhile.
        """
        begun: deque[tuple[_Piece, Future[npt.NDArray[np.float32]]]] = deque()
        with _threads(BESIDE, "compute") as pool:
            for piece in pieces:
                begun.append((piece, pool.submit(_denoised, tiler, piece.padded)))
                if len(begun) > BESIDE:
                    first, future = begun.popleft()
                    yield first, future.result()
                    yield first.size
            for piece, future in begun:
                yield piece, future.result()
                yield piece.size

    def _left(self) -> Iterator[int]:
        """Numbers of the shards that are to be denoised."""
        given = self.numbers
        numbers = range(len(self.sink.shards)) if given is None else given
        finished = self.ledger.records
        return (number for number in numbers if number not in finished)

    def _read_ahead(
        self, source: Volume, plan: Plan, readers: ThreadPoolExecutor
    ) -> Iterator[_Piece]:
        ahead: deque[Future[_Piece]] = deque()
        for number in map(int, plan.order):
            ahead.append(readers.submit(self._read, source, plan, number))
            if len(ahead) > READ_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def _read(self, source: Volume, plan: Plan, number: int) -> _Piece:
        """Read the source of a shard, and add its counts up."""
        plan.take(number)
        shards = self.sink.shards
        region, names = shards[number], shards.names
        place = tuple(region[names.index(name)] for name in source.axes.names)
        padded = read_padded(self.denoiser, source, place)
        noisy = float(padded.noisy.sum(dtype=np.float64))
        return _Piece(number, region, padded, noisy)

    def _arranged(
        self, padded: Padded, denoised: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Core of the planes in the order of the output, a view."""
        planes = denoised[..., padded.core[0], padded.core[1]]
        source, target = self.volume.axes.names, self.sink.shards.names
        return unstack(planes, source, padded.lead, target)

    def _put(self, piece: _Piece, denoised: _Pixels) -> _Pixels:
        """Write one shard, and say so; the memory that is no longer needed."""
        number, region = piece.number, piece.region
        pixels, clipped = converted(self._arranged(piece.padded, denoised), self.dtype)
        written = float(pixels.sum(dtype=np.float64))
        tally = Tally(pixels.size, clipped, piece.noisy, written)
        with output_errors(self.path, is_kept=self.ledger.is_begun):
            notes = self.sink.put(region, pixels)
            self.ledger.add(Record(number, self.sink.size(region), tally, notes))
        return denoised


def converted(
    counts: npt.NDArray[np.float32], dtype: np.dtype[Any]
) -> tuple[npt.NDArray[Any], int]:
    """Counts in another type: rounded for integers, clipped to its range.

    Returns
    -------
    ndarray
        Contiguous, of type `dtype`.
    int
        How many pixels were clipped.
    """
    if dtype.kind == "f" and dtype.itemsize >= 4:
        return np.ascontiguousarray(counts, dtype), 0
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    low, high = float(limits.min), float(limits.max)
    if dtype.kind in "iu":
        # Wide integers are exact in float64 up to 2^53; the largest float within the
        # range is below the largest integer of 64 bits.
        high = high if int(high) <= limits.max else float(np.nextafter(high, 0))
        wide = np.float64 if dtype.itemsize > 2 else np.float32
        counts = np.rint(counts, dtype=wide)
    if low <= counts.min() and counts.max() <= high:
        return np.ascontiguousarray(counts, dtype), 0
    clipped = int(np.count_nonzero((counts < low) | (counts > high)))
    return np.ascontiguousarray(np.clip(counts, low, high), dtype), clipped


def _denoised(tiler: Tiler, padded: Padded) -> npt.NDArray[np.float32]:
    out = np.empty(padded.shape, np.float32)
    for _ in tiler.steps(padded.pixels, out):
        pass
    return out


def _shares(tiles: Iterator[int], whole: int, size: int) -> Iterator[int]:
    """Scale the pixels of tiles, aligned to the stride, to those of the region."""
    part = told = 0
    for pixels in tiles:
        part += pixels
        yield size * part // whole - told
        told = size * part // whole


@contextmanager
def _threads(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Threads that end with the block, and do not begin what is still waiting."""
    pool = ThreadPoolExecutor(count, f"blindsound-{name}")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
