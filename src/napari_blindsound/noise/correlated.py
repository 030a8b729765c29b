"""Noise that neighbors share: a filter A of the noise, or of the noisy image.

A is a small symmetric kernel. Images go on beyond their border as in a mirror at its
edge, under which A is a symmetric matrix, and its inverse is a filter, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from napari_blindsound.noise.base import (
    MOST_SIGMAS,
    Bounds,
    Noise,
    Solved,
    normal_like,
)
from napari_blindsound.noise.gaussian import Gaussian, LinearDeviation
from napari_blindsound.noise.kernel import Kernel

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from napari_blindsound.noise.taken import Taken

_ROUNDS = 12
_DAMPING = 0.8


class Filtered(Noise):
    """Nos. 2 and 4: y = x + A n, with n Gaussian; the image itself is not filtered.

    The covariance of the noise is Sigma = A diag(variance of n) A.
    """

    has_zero = True

    first: Gaussian | LinearDeviation = Field(description="noise n before the filter")
    kernel: Kernel = Field(Kernel(), description="filter A of the noise")

    @property
    def radius(self) -> int:
        """Sigma's, or of as many rounds as the solver makes."""
        rounds = 1 if isinstance(self.first, Gaussian) else _ROUNDS
        return self.kernel.radius * (1 + rounds)

    def sample(self, clean: Tensor, generator: Generator | None = None) -> Tensor:
        """Clean image plus filtered noise."""
        noise = self.first.deviation(clean) * normal_like(clean, generator)
        return clean + self.kernel.apply(noise)

    def mean(self, clean: Tensor) -> Tensor:
        """The clean image."""
        return clean

    def variance(self, clean: Tensor) -> Tensor:
        """Variances of neighbors, times the squares of the kernel."""
        return self.kernel.squared(self.first.variance(clean))

    def log_density(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """Of the noise before the filter, as an image; only its sum has a meaning."""
        spread = self.first.deviation(clean)
        noise = self.kernel.invert(noisy - clean)
        return -((noise / spread) ** 2) / 2 - spread.log()

    def score(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """Inverse of Sigma, times (x - y)."""
        noise = self.kernel.invert(noisy - clean)
        return -self.kernel.invert(noise / self.first.variance(clean))

    def solve(self, noisy: Tensor, score: Tensor, taken: Taken | None = None) -> Solved:
        """X = y + Sigma(x) s (Algorithm 2).

        Where Sigma depends on x, the iteration begins with the solution for a Sigma
        that is constant nearby, and is damped; it cannot leave the bounds of the noise.
        """
        bounds = Bounds()
        tamed, known = bounds.tame(noisy), self.kernel.apply(bounds.tame(score))
        if isinstance(self.first, Gaussian):
            step = self._step(known, self.first.deviation(tamed), bounds)
            return Solved(tamed + step, bounds.fraction)
        clean = self.first.solve(tamed, self.kernel.apply(known)).clean
        change = clean.new_zeros(())
        for _ in range(_ROUNDS):
            step = self._step(known, self.first.deviation(clean), bounds)
            following = clean + _DAMPING * (tamed + step - clean)
            change = (following - clean).abs().max() if clean.numel() else change
            clean = following
        return Solved(clean, bounds.fraction, _ROUNDS, change)

    def _step(self, known: Tensor, spread: Tensor, bounds: Bounds) -> Tensor:
        sigmas = bounds.clamp(spread * known, -MOST_SIGMAS, MOST_SIGMAS)
        return self.kernel.apply(spread * sigmas)


class Blurred(Noise):
    """Nos. 6, 8 and 10: y = A z, with z of another noise model.

    Signal and noise are filtered alike, as by a camera that blurs after the light was
    counted. The clean image is the one before the filter, so that it comes out sharper.
    """

    has_zero = True

    first: Noise = Field(description="the noise before the filter, pixel by pixel")
    kernel: Kernel = Field(Kernel(), description="filter A")

    @property
    def radius(self) -> int:
        """That of the filter's inverse."""
        return self.kernel.inverse_radius

    def sample(self, clean: Tensor, generator: Generator | None = None) -> Tensor:
        """A noisy image, filtered."""
        return self.kernel.apply(self.first.sample(clean, generator))

    def mean(self, clean: Tensor) -> Tensor:
        """A times the mean of z."""
        return self.kernel.apply(self.first.mean(clean))

    def variance(self, clean: Tensor) -> Tensor:
        """Variances of neighbors, times the squares of the kernel."""
        return self.kernel.squared(self.first.variance(clean))

    def log_density(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """Of z, as an image; only its sum has a meaning."""
        return self.first.log_density(self.kernel.invert(noisy), clean)

    def score(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """Inverse of A times the score of z."""
        return self.kernel.invert(self.first.score(self.kernel.invert(noisy), clean))

    def solve(self, noisy: Tensor, score: Tensor, taken: Taken | None = None) -> Solved:
        """The first noise's solver, of the inverse of A times y and of A times s."""
        bounds = Bounds()
        sharp = self.kernel.invert(bounds.tame(noisy))
        known = self.kernel.apply(bounds.tame(score))
        inner = None if taken is None else taken.behind(self.kernel)
        found = self.first.solve(sharp, known, inner)
        return Solved(found.clean, found.bounded, found.iterations, found.change)
