"""Two noises, one after the other: that of the light, then a constant Gaussian one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from napari_blindsound.noise.base import (
    MOST_SIGMAS,
    Bounds,
    Noise,
    Solved,
    normal_like,
)
from napari_blindsound.noise.correlated import Blurred
from napari_blindsound.noise.kernel import Kernel, eased
from napari_blindsound.noise.poisson import Poisson
from napari_blindsound.noise.taken import Taken

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Generator, Tensor

_NODES = 512
_STEPS, _HALVINGS = 300, 60
_LEAST_RATIO, _MOST_RATIO, _TINY = 0.01, 10.0, 1e-12
_REACH = 8.0  # standard deviations of the first noise that its integral covers


class Mixture(Noise):
    """Nos. 11 to 16: y = z + N(0, sigma^2), with z of another noise model.

    The density is an integral over z. Where the first noise is pixel by pixel it is
    taken at 512 values (of Poisson noise: the sum over whole numbers). Where neighbors
    share it, it is an integral over whole images, of which only the largest integrand
    is taken: Laplace's approximation, without its determinant.

    The solver, as the paper's, does without the integral. It takes the Gaussian noise
    away, z = y + sigma^2 s(y), and then solves s(y) = s(z | x) with one more term of
    its series, see :mod:`napari_blindsound.noise.taken`.
    """

    first: Noise = Field(description="the noise that comes first")
    sigma: float = Field(gt=0, description="standard deviation of the Gaussian noise")

    @property
    def radius(self) -> int:
        """That of the first noise."""
        return self.first.radius

    def sample(self, clean: Tensor, generator: Generator | None = None) -> Tensor:
        """The first noise, then the Gaussian one."""
        drawn = self.first.sample(clean, generator)
        return drawn + self.sigma * normal_like(drawn, generator)

    def mean(self, clean: Tensor) -> Tensor:
        """That of the first noise."""
        return self.first.mean(clean)

    def variance(self, clean: Tensor) -> Tensor:
        """Both added up."""
        return self.first.variance(clean) + self.sigma**2

    def log_density(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """Of each pixel; where neighbors share noise, only the sum has a meaning."""
        if isinstance(self.first, Blurred):
            between = self.most_likely(noisy, clean)
            away = (noisy - between) / self.sigma
            return self.first.log_density(between, clean) - away**2 / 2
        between, weight = self._nodes(clean)
        away = (noisy[..., None] - between) / self.sigma
        return torch.logsumexp(weight - away**2 / 2, dim=-1)

    def score(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """(E[z | y, x] - y) / sigma^2; of blurred noise, with the likeliest z."""
        if isinstance(self.first, Blurred):
            return (self.most_likely(noisy, clean) - noisy) / self.sigma**2
        between, weight = self._nodes(clean)
        away = (noisy[..., None] - between) / self.sigma
        share = torch.softmax(weight - away**2 / 2, dim=-1)
        return -(share * away).sum(-1) / self.sigma

    @torch.no_grad()
    def most_likely(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """Largest p(z | x) p(y | z) of all images z.

        The logarithm is concave, so that proximal gradient steps find it: what the
        filter does is followed by its gradient, and each pixel of the image before it
        by bisection. For tests, not for images of any size.
        """
        first, kernel = self.first, None
        if isinstance(first, Blurred):
            kernel, first = first.kernel, first.first
        sharp = noisy if kernel is None else kernel.invert(noisy)
        for _ in range(1 if kernel is None else _STEPS):
            target = noisy
            if kernel is not None:
                target = sharp + kernel.apply(noisy - kernel.apply(sharp))
            sharp = self._nearest(first, target, clean)
        return sharp if kernel is None else kernel.apply(sharp)

    def _nearest(self, first: Noise, target: Tensor, clean: Tensor) -> Tensor:
        """Where s(z | x) = (z - target) / sigma^2, pixel by pixel; falls with z."""
        low = first.lowest(clean)
        reach = 50 * (self.variance(clean).sqrt() + (target - clean).abs())
        high = torch.maximum(target, low) + reach
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            rises = first.score(middle, clean) > (middle - target) / self.sigma**2
            low, high = (
                torch.where(rises, middle, low),
                torch.where(rises, high, middle),
            )
        return (low + high) / 2

    def easing(self, light: float) -> NDArray[np.float64] | None:
        """Less of the details that the first noise's filter leaves the Gaussian noise.

        To solve for what was before the filter is to undo it, and amplifies them.
        """
        if not isinstance(self.first, Blurred):
            return None
        noise, kernel = self.first.first, self.first.kernel
        level = torch.tensor(max(light, 0.0), dtype=torch.float64)
        before = max(float(noise.variance(level)), _TINY)
        ratio = min(max(self.sigma**2 / before, _LEAST_RATIO), _MOST_RATIO)
        # To two digits, as each ratio has a filter that is kept.
        return eased(kernel.weights, float(f"{ratio:.2g}"))

    def solve(self, noisy: Tensor, score: Tensor, taken: Taken | None = None) -> Solved:
        """The first noise's solver, of z = y + sigma^2 s (section 3.4 of the paper)."""
        bounds = Bounds()
        sigmas = bounds.clamp(
            self.sigma * bounds.tame(score), -MOST_SIGMAS, MOST_SIGMAS
        )
        between = bounds.tame(noisy) + self.sigma * sigmas
        alone = Taken.of(self.sigma, Kernel(weights=((1.0,),)))
        on_top = alone if taken is None else taken.beside(self.sigma)
        found = self.first.solve(between, sigmas / self.sigma, on_top)
        most = torch.maximum(found.bounded, bounds.fraction)
        return Solved(found.clean, most, found.iterations, found.change)

    def _nodes(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Values of z around its mean, and logarithms of their weights."""
        middle, spread = self.first.mean(clean), self.first.variance(clean).sqrt()
        if isinstance(self.first, Poisson):
            lam = self.first.lam
            stride = math.ceil(2 * _REACH * float(spread.max()) * lam / _NODES)
            start = (lam * middle - stride * _NODES / 2).clamp(min=0).floor()
            steps = torch.arange(_NODES, dtype=clean.dtype, device=clean.device)
            between = (start[..., None] + stride * steps) / lam
        else:
            low = torch.maximum(middle - _REACH * spread, self.first.lowest(clean))
            width = (middle + _REACH * spread - low) / _NODES
            steps = torch.arange(_NODES, dtype=clean.dtype, device=clean.device) + 0.5
            between = low[..., None] + width[..., None] * steps
        return between, self.first.log_density(between, clean[..., None])
