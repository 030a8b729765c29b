"""Reads what a viewer is about to show, without making it wait for a slow disk."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

IDLE_SECONDS = 2.0  # without work, after which the thread ends
THREAD = "blindsound-reader"
RECOVERY = 3  # times its patience, before somebody who waited in vain waits again
_URGENT = 4
"""What was asked for last; what was asked for before is no longer looked at."""


@dataclass(eq=False)
class _Job:
    key: Hashable
    work: Callable[[], object]
    done: threading.Event = field(default_factory=threading.Event)
    is_late: bool = False


class Reader:
    """A thread that reads: first what somebody waits for, then what may come next.

    Parameters
    ----------
    patience : float
        Seconds that somebody waits, at most.
    on_late : callable
        Called in the thread when something is there that was not waited for.
    """

    def __init__(self, patience: float, on_late: Callable[[], None]) -> None:
        self._patience, self._on_late = patience, on_late
        self._changed = threading.Condition()
        self._urgent: deque[_Job] = deque()
        self._next: dict[Hashable, list[_Job]] = {}
        self._busy: _Job | None = None
        self._is_working = False
        self._tired_until = 0.0

    def read(self, key: Hashable, work: Callable[[], object]) -> None:
        """Have something done before all else; wait for it, but not for long.

        Parameters
        ----------
        key : hashable
            Says what it is; the same thing is not done twice at a time.
        work : callable
            Which raises nothing.
        """
        with self._changed:
            job = self._busy
            if job is None or job.key != key:
                job = _Job(key, work)
                if len(self._urgent) == _URGENT:
                    self._urgent.popleft().done.set()
                self._urgent.append(job)
                self._start()
        # A viewer asks for several things to draw one picture: it waits for one.
        is_tired = time.monotonic() < self._tired_until
        if not job.done.wait(0 if is_tired else self._patience):
            self._tired_until = time.monotonic() + RECOVERY * self._patience
            with self._changed:
                job.is_late = True

    def expect(
        self, place: Hashable, jobs: Sequence[tuple[Hashable, Callable[[], object]]]
    ) -> None:
        """Have things done when there is time, instead of the earlier ones.

        Parameters
        ----------
        place : hashable
            For which they are expected.
        jobs : sequence of (key, work)
            As for :meth:`read`, the likeliest first.
        """
        with self._changed:
            self._next[place] = [_Job(*job) for job in jobs]
            self._start()

    def close(self) -> None:
        """Drop what is not begun."""
        with self._changed:
            while self._urgent:
                self._urgent.pop().done.set()
            self._next.clear()
            self._changed.notify()

    def _start(self) -> None:
        self._changed.notify()
        if not self._is_working:
            self._is_working = True
            threading.Thread(target=self._work, name=THREAD, daemon=True).start()

    def _work(self) -> None:
        while (job := self._take()) is not None:
            job.work()
            with self._changed:
                self._busy = None
                job.done.set()
                is_late = job.is_late
            if is_late:
                self._on_late()

    def _take(self) -> _Job | None:
        """What is to be done now; None if there is nothing for a while."""
        with self._changed:
            self._changed.wait_for(self._choose, IDLE_SECONDS)
            job = self._busy = self._choose()
            self._is_working = job is not None
            for jobs in (self._urgent, *self._next.values()):
                if job is not None and job in jobs:
                    jobs.remove(job)
            return job

    def _choose(self) -> _Job | None:
        if self._urgent:
            return self._urgent[-1]
        return next((jobs[0] for jobs in self._next.values() if jobs), None)
