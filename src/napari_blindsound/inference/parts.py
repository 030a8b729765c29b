"""A result that several commands write together, each its part: job arrays.

A part is a run of consecutive shards, in the order in which those of one chunk of the
source come together: neighbors are read by one command, so that chunks are read once,
but for those at the few borders between parts. Each part has a ledger and a lock of its
own beside the result; the lock of the result is held in turns, to make the empty result
and to complete it. Nothing but the number of the part must differ between the commands,
and a part that was killed is started again by its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from napari_blindsound.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

_PART = re.compile(r"\s*(\d+)\s*/\s*(\d+)\s*")


@dataclass(frozen=True)
class Part:
    """One of several parts of a result.

    Parameters
    ----------
    number, count : int
        Which one, counted from 1, and how many there are.

    Raises
    ------
    ValueError
        If there is no such part.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            msg = f"there is no part {self}: give one from 1/{self.count} to its end"
            raise ValueError(msg)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``3/16``.

        Raises
        ------
        ValueError
            If it is no such thing.
        """
        found = _PART.fullmatch(text)
        if found is None:
            msg = f"{text!r} is no part: give its number and their count, such as 3/16"
            raise ValueError(msg)
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def numbers(self, shards: int) -> range:
        """Places of this part's shards among so many, in the order of the visits."""
        first = (self.number - 1) * shards // self.count
        return range(first, self.number * shards // self.count)

    def ledger(self, result: Path) -> Path:
        """Where it is said what of this part is finished."""
        return result.with_name(f"{result.name}.partial.{self._word}.jsonl")

    def lock(self, result: Path) -> Path:
        """Where it is said who writes this part."""
        return result.with_name(f"{result.name}.partial.{self._word}.lock")

    @property
    def _word(self) -> str:
        return f"{self.number}of{self.count}"


def part_ledgers(result: Path) -> list[Path]:
    """Ledgers of all parts of a result that were ever begun."""
    return _beside(result, "jsonl")


def part_locks(result: Path) -> list[Path]:
    """Locks of all parts, of the dead as of the living."""
    return _beside(result, "lock")


def check_whole(result: Path) -> None:
    """Refuse to write a result in parts that cannot be.

    Raises
    ------
    OutputError
        If its format is one file, which several computers would tear.
    """
    if result.suffix.lower() in (".tif", ".tiff"):
        msg = (
            f"{result} is one file, which several computers cannot write at once: "
            "write an OME-Zarr (a name that ends in .ome.zarr)"
        )
        raise OutputError(msg)


def _beside(result: Path, end: str) -> list[Path]:
    name = re.compile(re.escape(f"{result.name}.partial.") + rf"\d+of\d+\.{end}")
    try:
        return sorted(p for p in result.parent.iterdir() if name.fullmatch(p.name))
    except (FileNotFoundError, NotADirectoryError):
        return []
