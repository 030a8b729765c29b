"""The standard deviation of white noise in one image, from the spectrum of its patches.

Clean patches fill few of their 64 dimensions, white noise all of them alike: the small
eigenvalues of the patches' covariance are the noise's variance. How many of them are
noise alone is where their mean is also their median (Chen, Zhu, Heng, ICCV 2015).

Every step has a gradient, so that a network can learn from the answer. Nothing here
raises for what the pixels are: training goes on whatever the images hold.
"""

from __future__ import annotations

import torch
from torch import Tensor

SIDE, STEP = 8, 4
_DIMENSIONS = SIDE * SIDE
_LARGEST = 1e150
"""Beyond it, squares overflow."""


def noise_level(images: Tensor) -> Tensor:
    """Standard deviation of the white noise in each image.

    Patches of 8 x 8 pixels are taken every 4 pixels, and their eigenvalues, in rising
    order, averaged from the smallest on. Of the averages with as many of their
    eigenvalues above as below, the largest is the variance of the noise.

    Computed in float64, on the processor where the device has none, and unchanged by
    automatic mixed precision. Few patches spread the eigenvalues, so that small images
    give too little: of pure noise of one, 0.34 at 40 x 40 pixels, 0.79 at 64 x 64, 0.92
    at 96 x 96, 0.965 at 128 x 128, 0.99 at 256 x 256.

    Parameters
    ----------
    images : Tensor
        (..., H, W), each an image of its own.

    Returns
    -------
    Tensor
        (...), in the images' dtype and unit. NaN, with a gradient of zero, where it
        cannot be known: an image with no more patches than a patch has pixels (below
        40 x 40), with a pixel that is not finite, or whose decomposition fails. Zero,
        also without a gradient, for images without noise.

    Raises
    ------
    ValueError
        If the images have fewer than two dimensions: a mistake of the program.

    References
    ----------
    Chen, Zhu, Heng: An Efficient Statistical Method for Image Noise Level Estimation,
    ICCV 2015, algorithm 1. The covariance is divided by the number of patches.
    """
    if images.ndim < 2:
        msg = f"images are (..., H, W), but these have the shape {tuple(images.shape)}"
        raise ValueError(msg)
    if not _is_large_enough(images):
        return images.new_full(images.shape[:-2], torch.nan)
    usable = (images.detach().abs() < _LARGEST).all(-1).all(-1)
    safe = torch.where(usable[..., None, None], images, 0)
    spectrum = _eigenvalues(_covariance(safe))
    level = _root(_variance(spectrum), spectrum.detach()[..., -1]).to(images)
    return torch.where(usable, level, torch.nan)


def _is_large_enough(images: Tensor) -> bool:
    height, width = images.shape[-2:]
    if min(height, width) < SIDE:
        return False
    rows, columns = ((size - SIDE) // STEP + 1 for size in (height, width))
    return rows * columns > _DIMENSIONS


def _covariance(images: Tensor) -> Tensor:
    """Covariance of the patches of each image, (..., H, W) to (..., 64, 64)."""
    if images.device.type == "mps":  # neither float64 nor eigenvalues there
        images = images.cpu()
    patches = images.double().unfold(-2, SIDE, STEP).unfold(-2, SIDE, STEP)
    samples = patches.flatten(-4, -3).flatten(-2)
    centered = samples - samples.mean(-2, keepdim=True)
    return centered.mT @ centered / centered.shape[-2]


def _eigenvalues(covariance: Tensor) -> Tensor:
    """Eigenvalues in rising order; NaN, without gradient, where there are none."""
    try:
        spectrum: Tensor = torch.linalg.eigvalsh(covariance)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # public, unlisted
        if covariance.ndim == 2:
            return covariance.new_full(covariance.shape[:1], torch.nan)
        # One failure fails the whole batch, so each is tried alone.
        return torch.stack([_eigenvalues(matrix) for matrix in covariance])
    return spectrum


def _variance(spectrum: Tensor) -> Tensor:
    """Largest mean of a prefix that is its median too, (..., 64) to (...)."""
    ranks = torch.arange(1, _DIMENSIONS + 1, device=spectrum.device)
    means = spectrum.cumsum(-1) / ranks
    values, bounds = spectrum.detach()[..., None, :], means.detach()[..., :, None]
    prefix = ranks <= ranks[:, None]
    above = ((values > bounds) & prefix).sum(-1)
    below = ((values < bounds) & prefix).sum(-1)
    # The first always qualifies, and means only rise: the last is the largest.
    last = torch.where(above == below, ranks, 0).argmax(-1, keepdim=True)
    return means.gather(-1, last)[..., 0]


def _root(variance: Tensor, largest: Tensor) -> Tensor:
    """Square root, and zero without a gradient where rounding is all there is."""
    rounding = _DIMENSIONS * torch.finfo(variance.dtype).eps * largest
    is_noise = ~(variance.detach() <= rounding)
    return torch.where(is_noise, torch.where(is_noise, variance, 1).sqrt(), 0)
