r"""What is finished of a result that grows: a line of JSON a shard, only ever appended.

The first line says what run it belongs to, the second that the empty result stands;
every other one is written after its shard. A process killed at any moment leaves at
worst a torn last line, which counts for nothing, like the shard that it was for.
"""

from __future__ import annotations

import json
import math
import threading
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

FORMAT = 1
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

    @classmethod
    def over(cls, parts: Iterable[Tally]) -> Self:
        """Sums over several parts: the same whatever their order, to the last bit."""
        pixels, clipped, noisy, written = zip(
            (0, 0, 0.0, 0.0),
            *((p.pixels, p.clipped, p.noisy, p.written) for p in parts),
            strict=True,
        )
        return cls(sum(pixels), sum(clipped), _sum(noisy), _sum(written))

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
    """

    source: str
    total: int
    run: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Contents:
    """What a ledger says.

    Parameters
    ----------
    header : Header
        The run.
    records : dict of int to Record
        Finished shards by number; empty where not even the empty result stood.
    """

    header: Header
    records: dict[int, Record]


def is_ledger(path: Path) -> bool:
    """Whether a file is a ledger, or the beginning of one."""
    try:
        with path.open("rb") as file:
            return _MARK.startswith(file.read(len(_MARK)))
    except OSError:
        return False


def read(path: Path) -> Contents | None:
    """Read a ledger; None where there is none, or none that this version knows."""
    try:
        with path.open("rb") as file:
            first = _parsed(file.readline())
            if first is None or first.pop("blindsound", None) != FORMAT:
                return None
            header = Header(**first)
            is_ready = _parsed(file.readline()) is not None
            records = (_record(line) for line in file) if is_ready else ()
            return Contents(header, {r.shard: r for r in records if r is not None})
    except (OSError, TypeError):
        return None


class Ledger:
    """A ledger that is being written; several threads may add to it.

    Parameters
    ----------
    path : Path
        The file.
    header : Header, optional
        Begins a new ledger, in place of any other; without it the one that is there is
        continued.
    records : mapping of int to Record, optional
        What is known to be finished.

    Raises
    ------
    OSError
        If the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        header: Header | None = None,
        records: Mapping[int, Record] | None = None,
    ) -> None:
        self.records = dict(records or {})
        self.tally = self.whole()
        self._lock = threading.Lock()
        self._file = path.open("ab" if header is None else "wb", buffering=0)
        if header is None:
            # What the last line lacks must not be completed by the next one.
            self._file.write(b"\n")
        else:
            self._append({"blindsound": FORMAT, **asdict(header)})

    def ready(self) -> None:
        """Say that the empty result stands: from now on it can be continued."""
        self._append({"ready": True})

    def add(self, record: Record) -> None:
        """Say that a shard is finished."""
        with self._lock:
            self._append(asdict(record))
            self.records[record.shard] = record
            self.tally = self.tally.plus(record.tally)

    def whole(self) -> Tally:
        """Sums over all records, in which the order of the work does not show."""
        return Tally.over(record.tally for record in self.records.values())

    def close(self) -> None:
        """Close the file; what was added is in it already."""
        self._file.close()

    def _append(self, facts: Mapping[str, Any]) -> None:
        rest = memoryview(json.dumps(facts).encode() + b"\n")
        while rest:
            rest = rest[self._file.write(rest) :]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        facts = json.loads(line)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) else None


def _record(line: bytes) -> Record | None:
    facts = _parsed(line)
    if facts is None:
        return None
    try:
        return Record(**{**facts, "tally": Tally(**facts["tally"])})
    except (KeyError, TypeError):
        return None


def _sum(values: Iterable[float]) -> float:
    values = list(values)
    rough = sum(values)
    return math.fsum(values) if math.isfinite(rough) else rough
