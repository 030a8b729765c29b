"""Photon noise: a pixel holds a whole number of photoelectrons."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from napari_blindsound.noise.base import RARE, Bounds, Noise, Solved

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from napari_blindsound.noise.taken import Taken

# log(clean / noisy) that is believed: without a photon, the light may still be so much
# that this happens once in a million; and there may be none where one was seen.
_MOST = math.log(-math.log(RARE)) + 0.58
_LEAST = -20.0


class Poisson(Noise):
    """No. 7: y = P(lam x) / lam, with 1 / lam the intensity of one photoelectron.

    The density of whole numbers has no gradient. As in the paper, it is continued
    between them by the Gamma function, whose logarithm's derivative is the digamma
    function psi: the score is lam (log(lam x) - psi(lam y + 1)). The paper then takes
    psi(n + 1) as log(n + 1/2), which is 12 % off at n = 0 and not needed.
    """

    has_zero = True

    lam: float = Field(gt=0, description="photoelectrons a unit of intensity")

    def sample(self, clean: Tensor, generator: Generator | None = None) -> Tensor:
        """Photoelectrons, in units of the image."""
        rate = (clean * self.lam).clamp(min=0).cpu()
        return torch.poisson(rate, generator=generator).to(clean) / self.lam

    def lowest(self, clean: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(clean)

    def mean(self, clean: Tensor) -> Tensor:
        """The clean image."""
        return clean

    def variance(self, clean: Tensor) -> Tensor:
        """X / lam."""
        return clean / self.lam

    def log_density(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """Of each pixel, continued between whole numbers; clean above 0."""
        count, rate = self.lam * noisy, self.lam * clean
        return count * rate.log() - rate - torch.lgamma(count + 1)

    def score(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """Lam (log(lam x) - psi(lam y + 1))."""
        count, rate = self.lam * noisy, self.lam * clean
        return self.lam * (rate.log() - torch.digamma(count + 1))

    def solve(self, noisy: Tensor, score: Tensor, taken: Taken | None = None) -> Solved:
        """X = exp(psi(lam y + 1) + s / lam) / lam (Algorithm 4)."""
        bounds = Bounds()
        count = bounds.clamp(self.lam * bounds.tame(noisy), 0.0)
        away = bounds.clamp(bounds.tame(score) / self.lam, _LEAST, _MOST)
        # Large counts times the exponential could be too large for what follows.
        level = torch.digamma(count + 1) + away
        if taken is not None:
            level = level + _bend(count + 1, self.lam**2 * taken.variance)
        return Solved(level.exp() / self.lam, bounds.fraction)


def _bend(count: Tensor, variance: float) -> Tensor:
    """What noise that was taken away adds, in photoelectrons: minus l''' v / 2.

    See :mod:`napari_blindsound.noise.taken`. The derivatives of the digamma function
    are taken from their series, right to 4 % at one.
    """
    part = 1 / count
    slope = part * (1 + part * (1 / 2 + part / 6))
    curve = -(part**2) * (1 + part * (1 + part / 2))
    return curve / (slope + 1 / variance) / 2
