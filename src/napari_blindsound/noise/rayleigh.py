"""Rayleigh noise: light that only ever becomes brighter, as in some speckle."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from napari_blindsound.noise.base import RARE, Bounds, Noise, Solved

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from napari_blindsound.noise.taken import Taken

MEAN, VARIANCE = math.sqrt(math.pi / 2), 2 - math.pi / 2
"""Mean, in units of the parameter, and variance, in its square."""
_ROUNDS = 8
_TINY = 1e-6
_MOST_PRODUCT = 1e6  # of image and score


class Rayleigh(Noise):
    """No. 9: y = (eta + 1) x, with eta of a Rayleigh distribution."""

    has_zero = True

    spread: float = Field(gt=0, description="parameter of the Rayleigh distribution")

    def sample(self, clean: Tensor, generator: Generator | None = None) -> Tensor:
        """Clean image, brightened."""
        drawn = torch.rand(clean.shape, generator=generator, dtype=clean.dtype)
        eta = self.spread * (-2 * torch.log1p(-drawn)).sqrt()
        return clean * (1 + eta.to(clean.device))

    def lowest(self, clean: Tensor) -> Tensor:
        """The clean image."""
        return clean

    def mean(self, clean: Tensor) -> Tensor:
        """(1 + spread sqrt(pi / 2)) x, brighter than the clean image."""
        return clean * (1 + MEAN * self.spread)

    def variance(self, clean: Tensor) -> Tensor:
        """(2 - pi / 2) spread^2 x^2."""
        return VARIANCE * (self.spread * clean) ** 2

    def log_density(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """Of each pixel; noisy above clean above 0."""
        eta = noisy / clean - 1
        return eta.log() - (eta / self.spread) ** 2 / 2 - clean.log()

    def score(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """1 / (y - x) - (y - x) / (spread x)^2."""
        above = noisy - clean
        return 1 / above - above / (self.spread * clean) ** 2

    def solve(self, noisy: Tensor, score: Tensor, taken: Taken | None = None) -> Solved:
        """X = y / (1 + t), with t the brightening that has the score (Algorithm 5).

        The paper repeats t = (-b + sqrt(b^2 + 4 spread^2)) / 2, b = spread^2 s x, x = y
        / (1 + t), which need not converge. Put together, these are t^3 + t^2 + spread^2
        (y s - 1) t = spread^2, a cubic with one root above zero, and convex there:
        Newton's iteration from above it comes down to it, whatever the numbers.
        """
        bounds = Bounds()
        light, known = bounds.clamp(bounds.tame(noisy), 0.0), bounds.tame(score)
        if taken is not None:
            known = known - self._bend(light, self.solve(light, known).clean, taken)
        product = light * known
        product = bounds.clamp(product, -_MOST_PRODUCT, _MOST_PRODUCT)
        square = self.spread**2
        slope = square * (product - 1)
        above = self.spread * (1 + (1 - product).clamp(min=0).sqrt())
        most = (1 / (product - 1).clamp(min=1e-6)).clamp(max=self.spread)
        t = torch.where(product > 1, most, above)
        change = t.new_zeros(())
        for _ in range(_ROUNDS):
            value = ((t + 1) * t + slope) * t - square
            rise = (3 * t + 2) * t + slope
            step = value / rise
            t, change = t - step, step
        low, high = (math.sqrt(-2 * math.log(p)) for p in (1 - RARE, RARE))
        t = bounds.clamp(t, self.spread * low, self.spread * high)
        last = (light * change).abs().max() if t.numel() else t.new_zeros(())
        return Solved(light / (1 + t), bounds.fraction, _ROUNDS, last)

    def _bend(self, noisy: Tensor, clean: Tensor, taken: Taken) -> Tensor:
        """What noise that was taken away adds to the score, l''' v / 2.

        See :mod:`napari_blindsound.noise.taken`.
        """
        above = (noisy - clean).clamp(min=_TINY)
        wide = (self.spread * clean).clamp(min=_TINY)
        return 1 / (above * (1 + above**2 / taken.variance + (above / wide) ** 2))
