"""How much better an image has become, judged without a clean one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_blindsound.inference.denoiser import Denoiser

MOST_DECIBELS = 13.0
"""More is not told apart: the rest is less than the noise's estimate is wrong by."""

_STEP = 0.1  # of the noise's standard deviation


def estimated_gain(
    denoiser: Denoiser, noisy: npt.NDArray[np.generic], *, seed: int = 0
) -> float:
    r"""Decibels by which denoising lowers the error, by Stein's unbiased estimate.

    .. math:: \|f(y) - y\|^2 - \sum_i \sigma_i^2
              + 2 \sum_i \sigma_i^2 \, \partial f_i / \partial y_i

    is the squared error of f(y) on average over noise of variance
    :math:`\sigma_i^2` = gain (mean - offset) + read variance, whatever the clean image;
    the derivatives are taken along one random direction. Right as far as the noise is
    independent from pixel to pixel and its variance known.

    Parameters
    ----------
    denoiser : Denoiser
        f; also of the noise numbers.
    noisy : ndarray
        y: counts, (C, H, W), C the denoiser's channels; some 10 000 pixels or more.
    seed : int
        Of the random direction.

    Returns
    -------
    float
        At most `MOST_DECIBELS`; below zero where denoising did harm. NaN where no noise
        was found.

    References
    ----------
    Stein, Annals of Statistics 9 (1981), for the estimate; Ramani, Blu, Unser, IEEE
    Trans. Image Processing 17 (2008), for the random direction.
    """
    given = noisy.astype(np.float32)
    models = denoiser.preprocessing.noise
    image = given if len(models) > 1 else given.reshape(-1, *given.shape[-2:])
    denoised = denoiser(image)
    variance = np.stack(
        [
            np.broadcast_to(np.maximum(model.variance(plane), 0), plane.shape)
            for model, plane in zip(models, denoised, strict=True)
        ]
    )
    total = float(variance.mean())
    if not total > 0:
        return float("nan")
    signs = np.random.default_rng(seed).choice((-1, 1), image.shape)
    signs = signs.astype(np.float32)
    nudge = np.float32(_STEP) * np.sqrt(variance.mean(axis=(-2, -1), keepdims=True))
    nudge = nudge.astype(np.float32)
    moved = denoiser(image + nudge * signs) - denoised
    slope = float((variance * signs * moved / np.maximum(nudge, 1e-12)).mean())
    error = float(((denoised - image) ** 2).mean()) - total + 2 * slope
    floor = total * 10 ** (-MOST_DECIBELS / 10)
    return float(-10 * np.log10(max(error, floor) / total))
