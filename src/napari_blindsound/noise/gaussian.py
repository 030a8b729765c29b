"""Gaussian noise, pixel by pixel: constant, growing with the light, or a camera's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Self

import torch
from pydantic import Field, model_validator

from napari_blindsound.noise.base import MOST_SIGMAS, Bounds, Noise, Solved, normal_like

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from napari_blindsound.noise.taken import Taken

_TINY = 1e-12
# Of 1 - gain * score in the closed form for a camera, which is noisy / clean.
_LEAST_SHARE = 0.2


class GaussianBase(Noise):
    """Noise that is Gaussian at every pixel, of a variance that depends on it."""

    def deviation(self, clean: Tensor) -> Tensor:
        """Standard deviation of each noisy pixel, above 0."""
        return self.variance(clean).sqrt()

    def sample(self, clean: Tensor, generator: Generator | None = None) -> Tensor:
        """Clean image plus noise of :meth:`deviation`."""
        return clean + self.deviation(clean) * normal_like(clean, generator)

    def mean(self, clean: Tensor) -> Tensor:
        """The clean image."""
        return clean

    def log_density(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """Of each pixel."""
        spread = self.deviation(clean)
        return -(((noisy - clean) / spread) ** 2) / 2 - spread.log()

    def score(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """(x - y) / variance."""
        return (clean - noisy) / self.variance(clean)


class Gaussian(GaussianBase):
    """No. 1: y = x + N(0, sigma^2)."""

    sigma: float = Field(gt=0, description="standard deviation")

    def variance(self, clean: Tensor) -> Tensor:
        """sigma^2 everywhere."""
        return torch.full_like(clean, self.sigma**2)

    def solve(self, noisy: Tensor, score: Tensor, taken: Taken | None = None) -> Solved:
        """X = y + sigma^2 s (Algorithm 1; Tweedie's formula)."""
        bounds = Bounds()
        sigmas = self.sigma * bounds.tame(score)
        step = bounds.clamp(sigmas, -MOST_SIGMAS, MOST_SIGMAS)
        return Solved(bounds.tame(noisy) + self.sigma * step, bounds.fraction)


class LinearDeviation(GaussianBase):
    """No. 3: y = x + N(0, (a x + b)^2), a deviation that grows with the light."""

    has_zero = True

    a: float = Field(ge=0, description="growth of the standard deviation with x")
    b: float = Field(gt=0, description="standard deviation in the dark")

    def deviation(self, clean: Tensor) -> Tensor:
        """A x + b, and no less than b / 1000 below zero."""
        return (self.a * clean + self.b).clamp(min=self.b / 1000)

    def variance(self, clean: Tensor) -> Tensor:
        """(a x + b)^2."""
        return self.deviation(clean) ** 2

    def solve(self, noisy: Tensor, score: Tensor, taken: Taken | None = None) -> Solved:
        """Fixed point of x = y + (a x + b)^2 s, in closed form.

        With w = a x + b it reads w = w_0 + a s w^2, of which w = 2 w_0 / (1 + sqrt(1 -
        4 a s w_0)) is the root that is w_0 without a score, and the one that the
        paper's iteration finds where it converges.
        """
        bounds = Bounds()
        tamed = bounds.tame(noisy)
        dark = bounds.clamp(self.a * tamed + self.b, self.b / 1000)
        steep = self.a * dark
        known = bounds.clamp(bounds.tame(score), None, 1 / (4 * steep + _TINY))
        root = (1 - 4 * steep * known).clamp(min=0).sqrt()
        spread = 2 * dark / (1 + root)
        sigmas = bounds.clamp(spread * known, -MOST_SIGMAS, MOST_SIGMAS)
        return Solved(tamed + spread * sigmas, bounds.fraction)


class Camera(GaussianBase):
    """A camera: y = x + N(0, gain x + sigma^2), photons and read noise."""

    has_zero = True

    gain: float = Field(ge=0, description="counts a photoelectron")
    sigma: float = Field(ge=0, description="read noise")

    @model_validator(mode="after")
    def _is_noisy(self) -> Self:
        if not (self.gain or self.sigma):
            msg = "gain and sigma are both 0: that is no noise; give one of them"
            raise ValueError(msg)
        return self

    def variance(self, clean: Tensor) -> Tensor:
        """Gain x + sigma^2; below zero as at zero."""
        return (self.gain * clean.clamp(min=0) + self.sigma**2).clamp(min=_TINY)

    def solve(self, noisy: Tensor, score: Tensor, taken: Taken | None = None) -> Solved:
        """X = (y + sigma^2 s) / (1 - gain s): the equation is linear in x."""
        bounds = Bounds()
        most = MOST_SIGMAS / self.sigma if self.sigma else math.inf
        bright = (1 - _LEAST_SHARE) / self.gain if self.gain else math.inf
        known = bounds.clamp(bounds.tame(score), -most, min(most, bright))
        light = bounds.tame(noisy) + self.sigma**2 * known
        return Solved(light / (1 - self.gain * known), bounds.fraction)
