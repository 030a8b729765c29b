"""What a judgement finds, and how two of them compare."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_blindsound.training.events import MOST_DECIBELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Judgement:
    """What was found at one step; all squares in the network's units.

    Parameters
    ----------
    step : int
        Of the training.
    errors : ndarray
        (n,) float32: mean estimate of the squared error in each block of the crops,
        with noise of its own; only the mean is close to the truth. Where nothing is
        known of the noise, the error of predicting noisy pixels.
    noise : float
        Mean variance of the noise at these pixels; NaN where it is not known.
    identity : float
        Mean square of what denoising takes away, against that of what a pixel differs
        from its prediction by the others: near 1 where denoising works, near 0 where
        the network has become the identity.
    excess : float
        By how much the error at held-out pixels has surely grown against that at all
        pixels since the first judgement: what others have learned by heart.
    held : ndarray
        (m,) float32: estimates at the held-out pixels, in the first judgement only.
    """

    step: int
    errors: Floats
    noise: float
    identity: float
    excess: float = 0.0
    held: Floats = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def error(self) -> float:
        """Mean squared error; below zero by chance, where it is near it."""
        return float(self.errors.mean(dtype=np.float64)) + self.excess

    @property
    def gain(self) -> float:
        """Decibels by which the error is lower than the noise; NaN if not known."""
        if not self.noise > 0:
            return float("nan")
        return float(10 * np.log10(self.noise / max(self.error, self._floor)))

    def worse_by(self, other: Judgement) -> tuple[float, float]:
        """Decibels by which the other one is better, and their standard error.

        The pixels are the same, so most of what each is wrong by cancels.
        """
        differences = (self.errors - other.errors).astype(np.float64)
        spread = float(differences.std(ddof=1)) / math.sqrt(len(differences))
        level = max(min(self.error, other.error), self._floor)
        away = self.error - other.error
        decibels = math.copysign(10 * math.log10(1 + abs(away) / level), away)
        return decibels, 10 / math.log(10) * spread / level

    @property
    def _floor(self) -> float:
        """Least error that is told from none."""
        known = self.noise if self.noise > 0 else 0.0
        return max(known * 10 ** (-MOST_DECIBELS / 10), 1e-12)
