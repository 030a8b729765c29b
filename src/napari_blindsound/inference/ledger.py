r"""What is finished of a result that grows: a line of JSON a shard, only ever appended.

The first line says what run it belongs to, the second that the empty result stands;
every other one is written after its shard. A process killed at any moment leaves at
worst a torn last line, which counts for nothing, like the shard that it was for.

In memory a shard takes some 40 bytes, so that a million of them are no burden: what a
format noted of its shard stays in the file, and is read from there where it is wanted.
"""

from __future__ import annotations

import json
import math
import threading
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

FORMAT = 1
_FEWEST = 64  # shards that room is made for at once
_ROW = np.dtype(
    [
        ("is_there", "?"),
        *((name, "i8") for name in ("size", "pixels", "clipped")),
        *((name, "f8") for name in ("noisy", "written")),
    ]
)
_MARK = b'{"blindsound":'


@dataclass(frozen=True)
class Tally:
    """Sums over pixels that were written.

    Parameters
    ----------
    pixels, clipped : int
        How many, and how many of them did not fit the type.
    noisy, written : float
        Sums of the counts read and of those written.
    """

    pixels: int = 0
    clipped: int = 0
    noisy: float = 0.0
    written: float = 0.0

    def plus(self, other: Tally) -> Tally:
        """Sums over both."""
        return Tally(
            self.pixels + other.pixels,
            self.clipped + other.clipped,
            self.noisy + other.noisy,
            self.written + other.written,
        )

    @property
    def mean_in(self) -> float | None:
        """Mean count read; None before anything is written."""
        return self.noisy / self.pixels if self.pixels else None

    @property
    def mean_out(self) -> float | None:
        """Mean count written; None before anything is."""
        return self.written / self.pixels if self.pixels else None


@dataclass(frozen=True)
class Record:
    """One finished shard.

    Parameters
    ----------
    shard : int
        Its number in the order of `Shards`.
    size : int
        Bytes by which its format knows it again.
    tally : Tally
        Over its pixels.
    notes : object
        Plain data that its format wants back when the work is continued.
    """

    shard: int
    size: int
    tally: Tally
    notes: Any = None


@dataclass(frozen=True)
class Header:
    """The run that a ledger belongs to.

    Parameters
    ----------
    source : str
        Name of the noisy image.
    total : int
        Pixels of the whole result, channels counted.
    run : mapping
        Plain data; all that must be the same for the work to be continued.
    token : str
        Another one each time that a result is begun: a process that still works for an
        earlier beginning knows by it that it must not write.
    """

    source: str
    total: int
    run: Mapping[str, Any] = field(default_factory=dict)
    token: str = field(default_factory=lambda: uuid4().hex)


class Records:
    """Which shards are finished, and sums over them; notes are not kept.

    Parameters
    ----------
    records : iterable of Record
        To begin with; of two for one shard the last one counts.
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._rows = np.zeros(0, _ROW)
        self._count = 0
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Take in a record."""
        shard, tally = record.shard, record.tally
        if shard >= len(self._rows):
            more = max(_FEWEST, shard + 1 - len(self._rows), len(self._rows))
            self._rows = np.concatenate([self._rows, np.zeros(more, _ROW)])
        self._count += shard not in self
        sums = (tally.pixels, tally.clipped, tally.noisy, tally.written)
        self._rows[shard] = (True, record.size, *sums)

    def discard(self, shard: int) -> None:
        """Forget a shard, if it is there."""
        if shard in self:
            self._rows[shard] = np.zeros((), _ROW)
            self._count -= 1

    def __contains__(self, shard: int) -> bool:
        return 0 <= shard < len(self._rows) and bool(self._rows["is_there"][shard])

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        """Numbers of the finished shards, rising."""
        return iter(np.flatnonzero(self._rows["is_there"]).tolist())

    def size(self, shard: int) -> int:
        """Bytes by which the format knows a finished shard again."""
        return int(self._rows["size"][shard])

    def tally(self) -> Tally:
        """Sums over all: the same whatever the order of the work, to the last bit."""
        rows = self._rows[self._rows["is_there"]]
        return Tally(
            int(rows["pixels"].sum()),
            int(rows["clipped"].sum()),
            _sum(rows["noisy"].tolist()),
            _sum(rows["written"].tolist()),
        )


@dataclass(frozen=True)
class Contents:
    """What a ledger says.

    Parameters
    ----------
    header : Header
        The run.
    is_ready : bool
        Whether the empty result stands; nothing can be finished before.
    """

    header: Header
    is_ready: bool


class Notebook(Protocol):
    """Where it is noted which shards are finished."""

    records: Records

    @property
    def is_begun(self) -> bool:
        """Whether any shard is finished, by whomever."""

    def add(self, record: Record) -> None:
        """Say that a shard is finished; called by several threads."""


def is_ledger(path: Path) -> bool:
    """Whether a file is a ledger, or the beginning of one."""
    try:
        with path.open("rb") as file:
            return _MARK.startswith(file.read(len(_MARK)))
    except OSError:
        return False


def read(path: Path) -> Contents | None:
    """Read what a ledger begins with, at no cost however long it is.

    Returns
    -------
    Contents or None
        None where there is none, or none that this version knows.
    """
    try:
        with path.open("rb") as file:
            first = _parsed(file.readline())
            if first is None or first.pop("blindsound", None) != FORMAT:
                return None
            header = Header(**{"token": "", **first})
            return Contents(header, _parsed(file.readline()) is not None)
    except (OSError, TypeError):
        return None


def records_of(path: Path) -> Iterator[Record]:
    """Finished shards as a ledger tells them, line by line.

    A shard that was made again is told again. Nothing comes of what is no ledger, or
    was not ready.
    """
    contents = read(path)
    if contents is None or not contents.is_ready:
        return
    with path.open("rb") as file:
        for line in file:
            record = _record(line)
            if record is not None:
                yield record


class Notepad:
    """Finished shards in memory, where another process writes the ledger.

    Parameters
    ----------
    told : callable, optional
        Given each record, by the thread that adds it.

    Attributes
    ----------
    records : Records
        Those added.
    added : list of Record
        The same with their notes.
    """

    def __init__(self, told: Callable[[Record], object] | None = None) -> None:
        self.records = Records()
        self.added: list[Record] = []
        self._told = told
        self._lock = threading.Lock()

    @property
    def is_begun(self) -> bool:
        """True: others may have finished some, and that is not lost."""
        return True

    def add(self, record: Record) -> None:
        """Say that a shard is finished."""
        with self._lock:
            self.records.add(record)
            self.added.append(record)
        if self._told is not None:
            self._told(record)


class Ledger:
    """A ledger that is being written; several threads may add to it.

    Parameters
    ----------
    path : Path
        The file.
    header : Header, optional
        Begins a new ledger, in place of any other; without it the one that is there is
        continued.
    records : Records, optional
        What is known to be finished.

    Raises
    ------
    OSError
        If the file cannot be written.

    Attributes
    ----------
    tally : Tally
        Sums so far, in the order of the work: good to be shown, not to be kept.
    """

    def __init__(
        self,
        path: Path,
        header: Header | None = None,
        records: Records | None = None,
    ) -> None:
        self.records = Records() if records is None else records
        self.tally = self.records.tally()
        self._lock = threading.Lock()
        self._file = path.open("ab" if header is None else "wb", buffering=0)
        if header is None:
            # What the last line lacks must not be completed by the next one.
            self._file.write(b"\n")
        else:
            self._append({"blindsound": FORMAT, **asdict(header)})

    @property
    def is_begun(self) -> bool:
        """Whether any shard is finished."""
        return bool(self.records)

    def ready(self) -> None:
        """Say that the empty result stands: from now on it can be continued."""
        self._append({"ready": True})

    def add(self, record: Record) -> None:
        """Say that a shard is finished; to be told twice changes nothing."""
        with self._lock:
            if record.shard in self.records:
                return
            self._append(as_facts(record))
            self.records.add(record)
            self.tally = self.tally.plus(record.tally)

    def close(self) -> None:
        """Close the file; what was added is in it already."""
        self._file.close()

    def _append(self, facts: Mapping[str, Any]) -> None:
        rest = memoryview(json.dumps(facts).encode() + b"\n")
        while rest:
            rest = rest[self._file.write(rest) :]


def as_facts(record: Record) -> dict[str, Any]:
    """A record as plain data."""
    return {**vars(record), "tally": vars(record.tally)}


def as_record(facts: Mapping[str, Any]) -> Record:
    """Inverse of :func:`as_facts`.

    Raises
    ------
    KeyError, TypeError
        If it is no record.
    """
    return Record(**{**facts, "tally": Tally(**facts["tally"])})


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        facts = json.loads(line)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) else None


def _record(line: bytes) -> Record | None:
    facts = _parsed(line)
    if facts is None or "shard" not in facts:
        return None
    try:
        return as_record(facts)
    except (KeyError, TypeError):
        return None


def _sum(values: list[float]) -> float:
    rough = sum(values)
    return math.fsum(values) if math.isfinite(rough) else rough
