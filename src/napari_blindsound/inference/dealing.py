"""Work for several processes: shards are dealt out in groups until none is left.

A group is so large that it takes a while, and so small at the end that all finish
together. What a worker finishes it tells at once, shard by shard, so that little is
lost whoever dies: a group of a lost worker is done again by another one, and where this
process dies the ledger has all but the last seconds.
"""

from __future__ import annotations

import platform
import queue
import time
import warnings
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from napari_blindsound.errors import BlindsoundError, ClusterError
from napari_blindsound.images.array import LazyArray
from napari_blindsound.inference.destination import output_errors
from napari_blindsound.inference.ledger import as_record, read
from napari_blindsound.inference.parts import check_whole
from napari_blindsound.inference.working import Order, end, versions, work

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import numpy.typing as npt

    Future = Any  # distributed comes without types
    from napari_blindsound.images.array import Region
    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.cluster import Workers
    from napari_blindsound.inference.ledger import Ledger
    from napari_blindsound.inference.pipeline import Sink
    from napari_blindsound.inference.result import Result

GROUP_SECONDS = 10.0
"""That a group takes, where there is enough to do."""
SHARES = 4
"""A group is at most this part of what would be left for each worker."""
AHEAD = 2
"""Groups a worker: the one it works on and the next."""
MOST_BYTES = 2**28
"""Of an image in memory that is sent to workers."""
_LOOK, _PATIENCE, _COUNT = 0.1, 60.0, 1.0  # s


def dealt(
    result: Result, sink: Sink, ledger: Ledger, workers: Workers
) -> Generator[tuple[int, str]]:
    """Let workers denoise all shards that are not finished.

    Parameters
    ----------
    result : Result
        What is written.
    sink : Sink
        The output, which is told what the workers found.
    ledger : Ledger
        Where finished shards are noted.
    workers : Workers
        Who does it.

    Yields
    ------
    int, str
        Pixels finished since the last time, often 0, and what is being done.

    Raises
    ------
    ClusterError
        If the scheduler is lost, workers do not fit, or die of a shard.
    BlindsoundError
        What a worker raised.
    """
    while not workers.count():
        yield 0, f"waiting for {workers.name}"
        time.sleep(_LOOK)
    hosts = workers.check()
    if hosts != [platform.node()]:
        check_whole(result.destination.path)
    deal = _Deal(result, sink, ledger, workers)
    try:
        yield from deal.steps()
    finally:
        deal.close()


@dataclass
class _Deal:
    """The groups of one result that are out, and what came back."""

    result: Result
    sink: Sink
    ledger: Ledger
    workers: Workers
    out: dict[str, tuple[Future, list[int]]] = field(default_factory=dict)
    came: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        done, count = self.ledger.records, len(self.result.shards)
        left = [number for number in range(count) if number not in done]
        # From the end, which is cheap: the first is the last here.
        self.left = self.result.in_order(left)[::-1]
        self.first = len(self.left)
        self.began = time.monotonic()
        self.counted, self.count = 0.0, 1
        self.order = _order(self.result, self.workers)
        self.client = self.workers.client
        name = self.order.name
        self.client.subscribe_topic(name, lambda event: self.came.put(event[1]))
        with warnings.catch_warnings():
            # Large models are told to be large; they travel once a worker all the same.
            warnings.simplefilter("ignore", UserWarning)
            self.sent = self.client.submit(
                _carried, self.order, key=f"blindsound-{name}", pure=False
            )

    def steps(self) -> Iterator[tuple[int, str]]:
        """Deal until all is finished."""
        while self.left or self.out:
            self._send()
            yield self._take(), self._told()
            if self.workers.are_lost():
                raise self.workers.lost()

    def close(self) -> None:
        """Let the workers end at their next tile, and note what they finished."""
        try:
            if not self.workers.are_lost():
                self.client.run(end, self.order.name, on_error="ignore")
                until = time.monotonic() + _PATIENCE
                while self.out and time.monotonic() < until:
                    if self.workers.are_lost():
                        return
                    self._take()
            self.client.unsubscribe_topic(self.order.name)
        except (BlindsoundError, OSError, RuntimeError, ValueError, CancelledError):
            # It has ended already, and for a reason that is told.
            return

    def _send(self) -> None:
        """Give every worker something to do, and the next thing."""
        now = time.monotonic()
        if now - self.counted > _COUNT:
            self.counted, self.count = now, max(1, self.workers.count())
        while self.left and len(self.out) < AHEAD * self.count:
            size = self._size()
            numbers = self.left[: -size - 1 : -1]
            del self.left[-size:]
            future = self.client.submit(work, self.sent, numbers, pure=False)
            self.out[future.key] = future, numbers
            future.add_done_callback(self.came.put)

    def _size(self) -> int:
        """Shards of the next group."""
        dealt = self.first - len(self.left)
        finished = dealt - sum(len(numbers) for _, numbers in self.out.values())
        seconds = time.monotonic() - self.began
        in_time = int(GROUP_SECONDS * finished / max(seconds, 1e-3) / self.count)
        return max(1, min(in_time, len(self.left) // (SHARES * self.count)))

    def _take(self) -> int:
        """Wait a moment for what workers tell, and note it; the pixels finished."""
        try:
            came = [self.came.get(timeout=_LOOK)]
        except queue.Empty:
            return 0
        while not self.came.empty():
            came.append(self.came.get())
        before = self.ledger.tally.pixels
        for one in came:
            if isinstance(one, dict):
                self._note(one["record"])
            else:
                self._returned(one)
        return self.ledger.tally.pixels - before

    def _note(self, facts: dict[str, Any]) -> None:
        record = as_record(facts)
        if record.shard not in self.ledger.records:
            self.sink.recall(record.notes)
            with output_errors(self.result.destination.path, is_kept=True):
                self.ledger.add(record)

    def _returned(self, future: Future) -> None:
        _, numbers = self.out.pop(future.key)
        try:
            told = future.result()
        except BlindsoundError:
            raise
        except CancelledError as error:
            raise self.workers.lost() from error
        except Exception as error:
            raise self._explained(error, numbers) from error
        for facts in told:
            self._note(facts)
        rest = {*numbers} - {facts["shard"] for facts in told}
        self.left += sorted(rest, reverse=True)

    def _explained(self, error: Exception, numbers: list[int]) -> Exception:
        if type(error).__name__ != "KilledWorker":
            return error
        return ClusterError(
            f"several workers died one after the other of the shards {numbers[0]} to "
            f"{numbers[-1]}: most likely memory ran out, so give each more of it; what "
            "is finished is kept, and the same command goes on"
        )

    def _told(self) -> str:
        return f"denoising, {self.count} worker{'s' if self.count > 1 else ''}"


def _carried(order: Order) -> Order:
    """A task whose result is what all others need: it travels once to each worker."""
    return order


def _order(result: Result, workers: Workers) -> Order:
    contents = read(result.destination.ledger)
    assert contents is not None
    place = result.destination.path.absolute()
    sent = replace(
        result,
        volume=_portable(result.volume),
        destination=replace(result.destination, path=place),
    )
    cloudpickle: Any = import_module("cloudpickle")
    return Order(
        name=uuid4().hex,
        token=contents.header.token,
        versions=versions(),
        threads=workers.threads,
        gpus=_gpus(result) if workers.share_gpus else 0,
        result=cloudpickle.dumps(sent),
    )


def _gpus(result: Result) -> int:
    if str(getattr(result.denoiser, "device", "cpu")) != "cuda":
        return 0
    import torch

    return torch.cuda.device_count()


def _portable(volume: Volume) -> Volume:
    """What workers need of an image, of which they read the pixels themselves.

    Raises
    ------
    ClusterError
        If all of it would have to be sent.
    """
    level = volume.levels[0]
    if isinstance(level, np.memmap) and (mapped := _Mapped.found(level)) is not None:
        level = mapped
    if isinstance(level, np.ndarray) and level.nbytes > MOST_BYTES:
        msg = (
            f"{volume.name} is in memory, and workers cannot open it by themselves: "
            "save it to a file, or leave the workers out"
        )
        raise ClusterError(msg)
    return replace(volume, levels=(level,))


class _Mapped(LazyArray):
    """A .npy file, opened by whoever reads it."""

    def __init__(self, path: Path, array: npt.NDArray[Any]) -> None:
        super().__init__(array.shape, array.dtype, array.shape)
        self._path = path

    @classmethod
    def found(cls, array: np.memmap[Any, Any]) -> _Mapped | None:
        """The file that an array is the whole of."""
        path = Path(array.filename or "").absolute()
        if path.suffix != ".npy":
            return None
        same = np.load(path, mmap_mode="r")
        is_whole = same.shape == array.shape and same.offset == array.offset
        return cls(path, same) if is_whole else None

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Pixels of a region."""
        return np.array(np.load(self._path, mmap_mode="r")[region])
