"""Learning rate as a function of the fraction of training done."""

from __future__ import annotations

import math

RISE = 0.15
"""Fraction of a one-cycle schedule that the learning rate rises."""
FIRST, LAST = 1 / 25, 1e-3
"""Learning rate at the start and at the end of the cycle, against its peak."""


def one_cycle(progress: float) -> float:
    """Rise from 1/25 to 1 and fall to nothing, both by half a cosine (Smith, 2018)."""
    if progress < RISE:
        return _half_cosine(FIRST, 1.0, progress / RISE)
    return _half_cosine(1.0, LAST, (progress - RISE) / (1 - RISE))


def halving(progress: float) -> float:
    """Half after 20, 40, 60 and 80 % of the training, as the papers have it."""
    return float(0.5 ** min(4, int(progress * 5 + 1e-9)))


def _half_cosine(start: float, stop: float, at: float) -> float:
    at = min(1.0, at)
    return stop + (start - stop) * (1 + math.cos(math.pi * at)) / 2


SCHEDULES = {"one-cycle": one_cycle, "halving": halving}
