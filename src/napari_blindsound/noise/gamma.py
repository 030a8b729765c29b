"""Gamma noise: the light itself flickers, as speckle of several looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from scipy.special import gammainccinv, gammaincinv

from napari_blindsound.noise.base import RARE, Bounds, Noise, Solved

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from napari_blindsound.noise.taken import Taken

_TINY = 1e-12


class Gamma(Noise):
    """No. 5: y = eta x, with eta of a Gamma distribution of mean 1, variance 1 / alpha.

    Above alpha = 1 its density is zero at zero, without which it has no score there.
    """

    has_zero = True

    alpha: float = Field(gt=1, description="shape; 1 / variance of the factor")

    def sample(self, clean: Tensor, generator: Generator | None = None) -> Tensor:
        """Clean image times the factor."""
        shape = torch.full_like(clean, self.alpha, device="cpu")
        drawn = torch._standard_gamma(shape, generator=generator)
        return clean * drawn.to(clean.device) / self.alpha

    def lowest(self, clean: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(clean)

    def mean(self, clean: Tensor) -> Tensor:
        """The clean image."""
        return clean

    def variance(self, clean: Tensor) -> Tensor:
        """x^2 / alpha."""
        return clean**2 / self.alpha

    def log_density(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """Of each pixel; both images above 0."""
        ratio = noisy / clean
        return (self.alpha - 1) * ratio.log() - self.alpha * ratio - clean.log()

    def score(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """(alpha - 1) / y - alpha / x."""
        return (self.alpha - 1) / noisy - self.alpha / clean

    def solve(self, noisy: Tensor, score: Tensor, taken: Taken | None = None) -> Solved:
        """X = alpha y / (alpha - 1 - y s) (Algorithm 3).

        What is below zero is taken as zero, and the factor as no rarer than one in a
        million.
        """
        bounds = Bounds()
        light = bounds.clamp(bounds.tame(noisy), 0.0)
        looks: Tensor | float = self.alpha - 1
        if taken is not None:
            looks = looks * (1 + taken.variance / (light**2 + looks * taken.variance))
        factor = (looks - light * bounds.tame(score)) / self.alpha
        low, high = self._factors()
        return Solved(light / bounds.clamp(factor, low, high), bounds.fraction)

    def _factors(self) -> tuple[float, float]:
        """Factors that are believed."""
        low, high = (
            float(inverse(self.alpha, RARE)) / self.alpha
            for inverse in (gammaincinv, gammainccinv)
        )
        return max(low, _TINY), high
