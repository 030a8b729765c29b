"""What every noise model is: how noise comes into an image, and what takes it out.

A denoiser that knows only the score s(y), the gradient of the logarithm of the noisy
density, finds the clean image by solving s(y) = s(y | x) for x (Xie et al., NeurIPS
2023, equation 7). So a model samples noise, gives the score of a noisy pixel whose
clean value is known, and solves that equation.

Scores of a network are never exact. A solver therefore bounds what it believes: noise
that would be rarer than one pixel in a million is taken to be that rare, and the report
says how many pixels this was done to. No finite input gives anything else than finite
numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Generator, Tensor

    from napari_blindsound.noise.taken import Taken

RARE = 1e-6
"""Probability below which noise is not believed."""
MOST_SIGMAS = 6.0
"""The same for Gaussian noise, generously: standard deviations."""
_LARGEST = 1e12  # counts, or their inverse, that float32 can be squared with


@dataclass(frozen=True)
class Solved:
    """A clean image, and how it was found.

    Parameters
    ----------
    clean : Tensor
        Of the shape of the noisy image, in its units.
    bounded : Tensor
        Fraction of pixels that a floor or bound was put to, one number.
    iterations : int
        Rounds of the solver; 0 where the solution is a formula.
    change : Tensor, optional
        Largest change of a pixel in the last round, one number, in units of the image;
        None where the solution is a formula.
    """

    clean: Tensor
    bounded: Tensor
    iterations: int = 0
    change: Tensor | None = None


class Noise(BaseModel, ABC):
    """A model of noise, with its parameters, in the units of the images it is used on.

    Images are tensors of any shape where noise is pixel by pixel, and (..., H, W) where
    neighbors share it. Models with a :attr:`has_zero` need images whose zero is where
    there is no light.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    has_zero: ClassVar[bool] = False
    """Whether the model depends on where zero is."""

    @property
    def radius(self) -> int:
        """Pixels on each side that the solution at a pixel depends on."""
        return 0

    @abstractmethod
    def sample(self, clean: Tensor, generator: Generator | None = None) -> Tensor:
        """A noisy image.

        Parameters
        ----------
        clean : Tensor
            At least 0 where the model has a zero.
        generator : torch.Generator, optional
            Where randomness comes from; torch's own by default.
        """

    def lowest(self, clean: Tensor) -> Tensor:
        """What a noisy pixel is never below; minus infinity where there is no limit."""
        return torch.full_like(clean, -torch.inf)

    @abstractmethod
    def mean(self, clean: Tensor) -> Tensor:
        """Mean of the noisy image."""

    @abstractmethod
    def variance(self, clean: Tensor) -> Tensor:
        """Variance of each noisy pixel."""

    @abstractmethod
    def log_density(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """Logarithm of p(noisy | clean), whose sum over pixels is the image's.

        Up to a constant that depends on neither.
        """

    @abstractmethod
    def score(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """Gradient of :meth:`log_density` in the noisy image, in closed form."""

    def easing(self, light: float) -> NDArray[np.float64] | None:
        """Filter for what :meth:`solve` finds, where noise has no other way out.

        Parameters
        ----------
        light : float
            Mean of the clean image.

        Returns
        -------
        ndarray or None
            Weights for :func:`napari_blindsound.noise.kernel.filtered`; None where the
            solution is as good as it can be.
        """
        del light
        return None

    @abstractmethod
    def solve(self, noisy: Tensor, score: Tensor, taken: Taken | None = None) -> Solved:
        """Clean image whose :meth:`score` is the one given.

        Parameters
        ----------
        noisy, score : Tensor
            Of one shape; the score in units of 1 / noisy.
        taken : Taken, optional
            Gaussian noise that was on top, and that `noisy` is without: it is the mean
            of what was before, as Tweedie's formula makes it. The score is still the
            one with it.
        """


class Bounds:
    """Keeps values within limits, and counts the pixels where that was needed."""

    def __init__(self) -> None:
        self._hit: Tensor | None = None

    def tame(self, value: Tensor) -> Tensor:
        """Values that can be squared without an overflow."""
        return self.clamp(value, -_LARGEST, _LARGEST)

    def clamp(
        self,
        value: Tensor,
        low: Tensor | float | None = None,
        high: Tensor | float | None = None,
    ) -> Tensor:
        """The nearest values from `low` to `high`."""
        kept = torch.clamp(value, _as_tensor(low, value), _as_tensor(high, value))
        hit = kept != value
        self._hit = hit if self._hit is None else self._hit | hit
        return kept

    @property
    def fraction(self) -> Tensor:
        """Part of the pixels that were outside of any limit so far."""
        assert self._hit is not None
        return self._hit.float().mean()


def _as_tensor(limit: Tensor | float | None, like: Tensor) -> Tensor | None:
    if limit is None or isinstance(limit, torch.Tensor):
        return limit
    return like.new_tensor(limit)


def normal_like(image: Tensor, generator: Generator | None) -> Tensor:
    """Independent standard normal numbers of the shape of an image."""
    drawn = torch.randn(
        image.shape,
        generator=generator,
        dtype=image.dtype,
        device=None if generator is None else generator.device,
    )
    return drawn.to(image.device)
