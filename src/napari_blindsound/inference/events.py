"""What is told while a result is written, and how often."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from napari_blindsound.inference.ledger import Ledger

EVENTS_PER_SECOND = 10


@dataclass(frozen=True)
class WriteEvent:
    """How far the work has come.

    Parameters
    ----------
    done, total : int
        Pixels of the full resolution, channels counted. The first event of a continued
        run has those of the earlier ones; that of a stop only those that are kept.
    seconds : float
        Since the start, or since the work was continued.
    seconds_left : float or None
        Estimate; None where there is nothing to judge by.
    message : str
        What is being done.
    path : Path or None
        The complete result; only in the last event.
    clipped : int
        Pixels so far that did not fit the range of an integer type.
    mean_in, mean_out : float or None
        Means of the noisy and the written pixels so far.
    stopped : bool
        The work ended early; what is finished is kept to be continued.
    pixels_per_second : float or None
        Since the work was begun or continued.
    """

    done: int
    total: int
    seconds: float
    seconds_left: float | None
    message: str
    path: Path | None = None
    clipped: int = 0
    mean_in: float | None = None
    mean_out: float | None = None
    stopped: bool = False
    pixels_per_second: float | None = None


@dataclass
class Progress:
    """What events are made of, and when the next one is due.

    Parameters
    ----------
    total : int
        Pixels of the whole result.
    ledger : Ledger
        Of what is finished.
    """

    total: int
    ledger: Ledger
    done: int = 0
    before: int = 0
    started: float = field(default_factory=time.monotonic)
    due: float = 0.0

    def __post_init__(self) -> None:
        self.done = self.before = self.ledger.tally.pixels

    def is_due(self) -> bool:
        """Whether to tell something again; if so, not before the next tenth."""
        now = time.monotonic()
        if now < self.due:
            return False
        self.due = now + 1 / EVENTS_PER_SECOND
        return True

    def event(self, message: str) -> WriteEvent:
        """How far it is now."""
        seconds = time.monotonic() - self.started
        # The pace is this run's: an earlier one may have had another computer.
        new, rest = self.done - self.before, self.total - self.done
        tally = self.ledger.tally
        seconds_left = seconds * rest / new if new else None
        return WriteEvent(
            done=self.done,
            total=self.total,
            seconds=seconds,
            seconds_left=seconds_left if rest else 0.0,
            message=message,
            clipped=tally.clipped,
            mean_in=tally.mean_in,
            mean_out=tally.mean_out,
            pixels_per_second=new / seconds if new and seconds else None,
        )
