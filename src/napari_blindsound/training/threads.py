"""How many processor threads a training step uses: all, or one while others work.

Threads that share a small step wait for one another at every operation. On an idle
processor two are half as fast again as one; where another program keeps one of the
cores busy, they are ten times slower. So both are tried now and then.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

PROBE_STEPS = 3
FIRST_SECONDS, MOST_SECONDS = 2.0, 20.0
"""Between two trials: doubled from the first to the most while the answer stays."""


class Threads:
    """Chooses the number of threads for the next step by the times of the last ones.

    Parameters
    ----------
    adapt : bool
        False keeps torch's own number. The number decides in which order sums are
        added, so a training that must be repeatable to the bit keeps it.
    """

    def __init__(self, *, adapt: bool) -> None:
        self.all = torch.get_num_threads()
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

    @contextmanager
    def used(self) -> Iterator[None]:
        """Run a step with :attr:`count` threads, and leave torch as it was."""
        torch.set_num_threads(self.count)
        try:
            yield
        finally:
            torch.set_num_threads(self.all)

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
