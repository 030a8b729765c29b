"""What a process of a cluster does: it opens model, image and output once, then works.

Everything here is called in a worker, by `dealing` in the process that gives the work
out. A worker puts shards into the output and says so; only the process that began the
result writes its ledger.
"""

from __future__ import annotations

import os
import pickle
import platform
import threading
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from napari_blindsound.errors import ClusterError, OutputError
from napari_blindsound.inference.ledger import Notepad, Record, as_facts, read
from napari_blindsound.training.threads import fixed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_blindsound.inference.pipeline import Sink
    from napari_blindsound.inference.result import Result

MATTER = ("napari-blindsound", "torch")
"""Packages of which all processes must have the same version."""

_AT_WORK = threading.Lock()  # one group at a time, however many threads a worker has
_ENDED: set[str] = set()
_BENCHES: dict[str, _Bench] = {}


@dataclass(frozen=True)
class Order:
    """What a worker must know, the same for all groups of shards.

    Parameters
    ----------
    name : str
        Another one each time that work is given out.
    token : str
        Of the beginning of the result, as the ledger has it.
    versions : mapping
        Of the packages that matter, where the work is given out.
    threads : int
        Processor threads for the network.
    gpus : int
        Accelerators that the workers of one computer share, one each; 0 leaves the
        choice to the worker.
    result : bytes
        The pickled result. Only workers whose versions fit can read it.
    """

    name: str
    token: str
    versions: Mapping[str, str]
    threads: int
    gpus: int
    result: bytes


def versions() -> dict[str, str]:
    """Versions, in this process, of the packages that matter."""
    found = {}
    for name in MATTER:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def other_versions(here: Mapping[str, str], there: Mapping[str, str], who: str) -> str:
    """A sentence on versions that differ, empty if none do."""
    told = [
        f"{name} {there.get(name, 'none')} (here {here[name]})"
        for name in here
        if there.get(name) != here[name]
    ]
    if not told:
        return ""
    return (
        f"{who} has {' and '.join(told)}, and would give other pixels: install the "
        "same versions on all computers, and start its workers again"
    )


def work(order: Order, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Denoise some shards; a task of dask.

    Parameters
    ----------
    order : Order
        What it is about.
    numbers : sequence of int
        Of the shards.

    Returns
    -------
    list of dict
        A record for each finished shard, as `ledger.as_record` takes it; fewer than
        asked for where the work was ended. Each is also sent as an event, at once.

    Raises
    ------
    ClusterError
        If this process has other versions of what matters.
    OutputError
        If it does not see the output, or cannot write it.
    """
    worker = _distributed().get_worker()

    def tell(record: Record) -> None:
        worker.log_event(order.name, {"record": as_facts(record)})

    with _AT_WORK:
        if order.name in _ENDED:
            return []
        notepad = Notepad(tell)
        _bench(order, worker.name).work(numbers, notepad)
    return [as_facts(record) for record in notepad.added]


def end(name: str) -> None:
    """Let this process do no more for an order, from the next tile on."""
    _ENDED.add(name)
    _BENCHES.pop(name, None)


def _distributed() -> Any:  # noqa: ANN401 - it comes without types
    return import_module("distributed")


def _bench(order: Order, name: object) -> _Bench:
    """The open files and the model of an order; those of earlier ones are let go."""
    if order.name not in _BENCHES:
        _BENCHES.clear()
        _BENCHES[order.name] = _Bench(order, name)
    return _BENCHES[order.name]


class _Bench:
    """Model, image and output, opened."""

    def __init__(self, order: Order, name: object) -> None:
        self._order = order
        who = f"a worker on {platform.node()}"
        difference = other_versions(order.versions, versions(), who)
        if difference:
            raise ClusterError(difference)
        _take_gpu(order.gpus, name)
        self._result: Result = pickle.loads(order.result)
        self._check_seen()
        self._sink: Sink = self._result.sink(shared=True)

    def work(self, numbers: Sequence[int], notepad: Notepad) -> None:
        """Denoise some shards, and note each when it is finished."""
        self._check_seen()
        pipeline = self._result.pipeline(self._sink, notepad, numbers)
        with fixed(self._order.threads), closing(pipeline.steps()) as steps:
            for _ in steps:
                if self._order.name in _ENDED:
                    return

    def _check_seen(self) -> None:
        """Refuse to write where there is another result, or none."""
        destination = self._result.destination
        contents = read(destination.ledger)
        if contents is not None and contents.header.token == self._order.token:
            return
        msg = (
            f"a worker on {platform.node()} does not see {destination.partial} as it "
            "was begun: write to a folder that all computers of the cluster share"
        )
        raise OutputError(msg)


def _take_gpu(count: int, name: object) -> None:
    """Choose one of several accelerators by the number of a local worker."""
    if count < 2 or not isinstance(name, int):
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    chosen = visible.split(",") if visible else [str(i) for i in range(count)]
    os.environ["CUDA_VISIBLE_DEVICES"] = chosen[name % len(chosen)]
