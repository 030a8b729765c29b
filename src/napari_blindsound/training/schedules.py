"""Learning rate as a function of the fraction of training done."""

from __future__ import annotations

import math
from dataclasses import dataclass

RISE = 0.15
"""Fraction of a one-cycle schedule that the learning rate rises."""
FIRST, LAST = 1 / 25, 1e-3
"""Learning rate at the start and at the end of the cycle, against its peak."""

HOLD = {"one-cycle": (0.4, 0.85), "halving": (0.19, 0.19)}
"""Progress that a training without a known end reaches soon, and what it then creeps
towards until it has settled: the learning rate falls with the root of the steps."""
WARM_STEPS, WARM_FRACTION = 300, 0.25
"""Steps to get there, or part of the budget, whichever is shorter."""
_LEAST_CARE, _MANY_STEPS = 0.2, 20_000
COOL = 0.25
"""Part of all its steps that such a training cools down for."""


def one_cycle(progress: float) -> float:
    """Rise from 1/25 to 1 and fall to nothing, both by half a cosine (Smith, 2018)."""
    if progress < RISE:
        return _half_cosine(FIRST, 1.0, progress / RISE)
    return _half_cosine(1.0, LAST, (progress - RISE) / (1 - RISE))


def halving(progress: float) -> float:
    """Half after 20, 40, 60 and 80 % of the training, as the papers have it."""
    return float(0.5 ** min(4, int(progress * 5 + 1e-9)))


def care(steps: float) -> float:
    """Part of the highest learning rate for weights that are good from the start.

    A fifth where there are few steps, which could not win back what they lose; all of
    it where there are many.

    Parameters
    ----------
    steps : float
        Of the whole training, as far as that is known.
    """
    return min(1.0, max(_LEAST_CARE, math.sqrt(steps / _MANY_STEPS)))


def _half_cosine(start: float, stop: float, at: float) -> float:
    at = min(1.0, at)
    return stop + (start - stop) * (1 + math.cos(math.pi * at)) / 2


SCHEDULES = {"one-cycle": one_cycle, "halving": halving}


@dataclass
class OpenEnd:
    """Progress of a training whose end shows only on the way.

    It soon reaches the first number of `hold` and creeps towards the second; told to
    cool down, it goes on to 1, in a third of the steps made until then. Whatever
    depends on progress, such as the learning rate and the weight of the visible branch,
    so works with an end that nobody knew.

    Attributes
    ----------
    hold : tuple of float
        One of `HOLD`.
    cools_from : tuple of int and float, or None
        Step, and fraction of the budget, where cooling began.
    """

    hold: tuple[float, float]
    cools_from: tuple[int, float] | None = None

    def cool(self, step: int, fraction: float) -> None:
        """Begin the end."""
        self.cools_from = (step, fraction)

    def must_cool(self, fraction: float) -> bool:
        """Whether the budget ends it, were nothing else to."""
        return self.cools_from is None and fraction >= 1 - COOL

    @property
    def last_step(self) -> float:
        """Step at which cooling ends; infinite before it has begun."""
        if self.cools_from is None:
            return math.inf
        first, _ = self.cools_from
        return first + max(1.0, first * COOL / (1 - COOL))

    def cooled(self, step: int, fraction: float) -> float:
        """Part of the cooling done, from 0 to 1; never later than the budget."""
        if self.cools_from is None:
            return 0.0
        first, before = self.cools_from
        by_steps = (step - first) / max(1.0, first * COOL / (1 - COOL))
        by_budget = (fraction - before) / (1 - before) if before < 1 else 1.0
        return min(1.0, max(by_steps, by_budget))

    def progress(self, step: int, fraction: float) -> float:
        """Progress of the training, from 0 to 1.

        Parameters
        ----------
        step : int
            Steps done.
        fraction : float
            Of the budget used.
        """
        if self.cools_from is None:
            return self._held(step, fraction)
        reached = self._held(*self.cools_from)
        return reached + (1 - reached) * self.cooled(step, fraction)

    def _held(self, step: int, fraction: float) -> float:
        """Progress before cooling."""
        first, limit = self.hold
        warm = max(step / WARM_STEPS, fraction / WARM_FRACTION)
        if warm < 1:
            return first * warm
        later = max(1.0, step / WARM_STEPS)
        return limit - (limit - first) / math.sqrt(later)

    def done(self, step: int, fraction: float) -> float:
        """How much of the training is done, as far as is known: it only grows."""
        if self.cools_from is None:
            return min(fraction, 1 - COOL)
        before = min(self.cools_from[1], 1 - COOL)
        return before + (1 - before) * self.cooled(step, fraction)
