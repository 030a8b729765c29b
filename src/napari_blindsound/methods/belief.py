"""What a Gaussian guess of a clean pixel and a noisy look at it tell together.

Channels are either apart, with variances (B, C, H, W), or seen together, with
covariances (B, H, W, C, C). Formulas are those of D-BSN (Wu et al., ECCV 2020).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def likelihood(
    error: Tensor, own: Tensor, noise: Tensor, *, constrained: bool
) -> Tensor:
    """Negative logarithm, but for a constant, of a noisy pixel.

    Parameters
    ----------
    error : Tensor
        Noisy pixel minus guess, (B, C, H, W).
    own, noise : Tensor
        (Co)variance of the guess, and of the noise.
    constrained : bool
        Equation (8), which leaves to the guess what the noise cannot explain, in place
        of the plain likelihood (6).

    Returns
    -------
    Tensor
        (B, C, H, W); with covariances (B, 1, H, W).
    """
    total = own + noise
    if own.ndim == error.ndim:
        volume = noise.log() + own / noise if constrained else total.log()
        apart: Tensor = 0.5 * (error**2 / total + volume)
        return apart
    # Without a check: a failure is not a number, and the trainer skips the step.
    factor, _ = torch.linalg.cholesky_ex(total)
    away = _column(error)
    distance = torch.linalg.solve_triangular(factor, away, upper=False)
    if constrained:
        of_noise, _ = torch.linalg.cholesky_ex(noise)
        share = torch.cholesky_solve(own, of_noise)
        volume = _volume(of_noise) + share.diagonal(dim1=-2, dim2=-1).sum(-1)
    else:
        volume = _volume(factor)
    pixel: Tensor = 0.5 * (distance.square().sum((-2, -1)) + volume)
    return pixel.unsqueeze(1)


def fused(noisy: Tensor, guess: Tensor, own: Tensor, noise: Tensor) -> Tensor:
    """Posterior mean (9), (B, C, H, W): the noisy pixel as far as the guess is unsure.

    Parameters
    ----------
    noisy, guess : Tensor
        (B, C, H, W).
    own, noise : Tensor
        (Co)variance of the guess, and of the noise.
    """
    total = own + noise
    if own.ndim == noisy.ndim:
        known: Tensor = guess + own / total * (noisy - guess)
        return known
    factor, _ = torch.linalg.cholesky_ex(total)
    step: Tensor = own @ torch.cholesky_solve(_column(noisy - guess), factor)
    return guess + step.squeeze(-1).movedim(-1, 1)


def deviation(own: Tensor, noise: Tensor) -> Tensor:
    """Standard deviation of the posterior, (B, C, H, W).

    Parameters
    ----------
    own, noise : Tensor
        (Co)variance of the guess, and of the noise.
    """
    if own.ndim == 4:
        return (own * noise / (own + noise)).sqrt()
    factor, _ = torch.linalg.cholesky_ex(own + noise)
    left = noise @ torch.cholesky_solve(own, factor)
    return left.diagonal(dim1=-2, dim2=-1).movedim(-1, 1).clamp(min=0).sqrt()


def _column(vectors: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H, W, C, 1)."""
    return vectors.movedim(1, -1)[..., None]


def _volume(factor: Tensor) -> Tensor:
    """Logarithm of the determinant, from a Cholesky factor."""
    return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
