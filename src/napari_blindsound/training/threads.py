"""How many processor threads work uses: as many as asked for, all, or one.

The number decides in which order sums are added, so work that must be repeatable to the
bit names it. A training by the clock need not: threads that share a small step wait for
one another at every operation. On an idle processor two are half as fast again as one;
where another program keeps one of the cores busy, they are ten times slower. So both
are tried now and then.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

T = TypeVar("T")

PROBE_STEPS = 3
FIRST_SECONDS, MOST_SECONDS = 2.0, 20.0
"""Between two trials: doubled from the first to the most while the answer stays."""

WINDOW_SECONDS = 1.0
SLOW = 2.5
"""Steps that take so many times longer than the best are those of a busy machine."""


@contextmanager
def fixed(count: int | None) -> Iterator[None]:
    """Let torch use `count` threads in a ``with``, and leave it as it was.

    Parameters
    ----------
    count : int or None
        None changes nothing.
    """
    if count is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def each_fixed(events: Iterator[T], count: int | None) -> Iterator[T]:
    """Pass on what a generator yields, and let it work with `count` threads only."""
    while True:
        with fixed(count):
            try:
                event = next(events)
            except StopIteration:
                return
        yield event


class Slowdown:
    """Notices that steps take much longer than they did: other programs are at work.

    Threads that wait for one another then cost more than they bring; see
    :class:`Threads`, which tries both again and again, at the price that a training
    cannot be repeated to the bit.
    """

    def __init__(self) -> None:
        self._best = math.inf  # seconds a step
        self._steps = 0
        self._seconds = 0.0

    def note(self, seconds: float) -> bool:
        """Take in how long a step took, and say whether all have become slow."""
        self._steps += 1
        self._seconds += seconds
        if self._seconds < WINDOW_SECONDS or self._steps < PROBE_STEPS:
            return False
        pace = self._seconds / self._steps
        self._steps, self._seconds = 0, 0.0
        self._best = min(self._best, pace)
        return pace > SLOW * self._best


class Threads:
    """Chooses the number of threads for the next step by the times of the last ones.

    Parameters
    ----------
    adapt : bool
        False keeps one number.
    count : int, optional
        The number to begin with; torch's own by default.
    """

    def __init__(self, *, adapt: bool, count: int | None = None) -> None:
        self.all = count or torch.get_num_threads()
        self.best = self.all
        self._adapt = adapt and self.all > 1
        self._times: dict[int, list[float]] = {self.all: [], 1: []}
        self._wait = FIRST_SECONDS
        self._since_trial = 0.0
        self._on_trial = [self.all, 1] if self._adapt else []

    @property
    def count(self) -> int:
        """Threads for the next step."""
        return self._on_trial[0] if self._on_trial else self.best

    def used(self) -> AbstractContextManager[None]:
        """Run a step with :attr:`count` threads, and leave torch as it was."""
        return fixed(self.count)

    def note(self, seconds: float) -> None:
        """Take in how long the last step took."""
        if not self._on_trial:
            self._since_trial += seconds
            if self._adapt and self._since_trial >= self._wait:
                self._on_trial = [self.best, self.all + 1 - self.best]
            return
        times = self._times[self.count]
        times.append(seconds)
        if len(times) > PROBE_STEPS:  # the first step warms up
            self._on_trial.pop(0)
        if not self._on_trial:
            self._decide()

    def _decide(self) -> None:
        costs = {count: sum(times[1:]) for count, times in self._times.items()}
        best = min(costs, key=lambda count: costs[count])
        same = best == self.best
        self._wait = min(2 * self._wait, MOST_SECONDS) if same else FIRST_SECONDS
        self.best = best
        self._since_trial = 0.0
        for times in self._times.values():
            times.clear()
