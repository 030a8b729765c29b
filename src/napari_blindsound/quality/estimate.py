"""How much better an image has become, judged without a clean one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_blindsound.inference.windows import denoise_windows, nudged
from napari_blindsound.training.events import MOST_DECIBELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.noise.calibration import NoiseModel

__all__ = [
    "MOST_DECIBELS",
    "SteinTerms",
    "estimated_gain",
    "stein_terms",
    "variance_at",
]

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
        With the planes that the denoiser sees beside it, (depth, C, H, W): their noise
        is their own, so that it plays no part.
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
    terms = stein_terms(denoiser, noisy, seed=seed)
    if not terms.noise > 0:
        return float("nan")
    floor = terms.noise * 10 ** (-MOST_DECIBELS / 10)
    return float(-10 * np.log10(max(terms.error, floor) / terms.noise))


class SteinTerms(NamedTuple):
    """What Stein's estimate is made of: means over pixels, counts squared.

    Parameters
    ----------
    residual : float
        Square of what denoising took away.
    noise : float
        Variance of the noise.
    kept : float
        Covariance of the noise and the result: the variance times its derivative.
    """

    residual: float
    noise: float
    kept: float

    @property
    def error(self) -> float:
        """Squared error of the result; below zero by chance."""
        return self.residual - self.noise + 2 * self.kept


def stein_terms(
    denoiser: Denoiser, noisy: npt.NDArray[np.generic], *, seed: int = 0
) -> SteinTerms:
    """Terms of the estimate; parameters as of :func:`estimated_gain`."""
    given = noisy.astype(np.float32)
    models, at = denoiser.preprocessing.noise, denoiser.context.planes
    windows = given.reshape(-1, 2 * at + 1, len(models), *given.shape[-2:])
    image = windows[:, at]
    denoised = denoise_windows(denoiser, windows)
    variance = variance_at(models, denoised, image, np.ones(image.shape, bool))
    total, kept = float(variance.mean()), 0.0
    if total > 0:
        signs = np.random.default_rng(seed).choice((-1, 1), image.shape)
        signs = signs.astype(np.float32)
        nudge = np.float32(_STEP) * np.sqrt(variance.mean(axis=(-2, -1), keepdims=True))
        nudge = nudge.astype(np.float32)
        moved = denoise_windows(denoiser, nudged(windows, nudge * signs)) - denoised
        kept = float((variance * signs * moved / np.maximum(nudge, 1e-12)).mean())
    return SteinTerms(float(((denoised - image) ** 2).mean()), total, kept)


def variance_at(
    models: Sequence[NoiseModel],
    denoised: npt.NDArray[np.floating],
    noisy: npt.NDArray[np.floating],
    good: npt.NDArray[np.bool_],
) -> npt.NDArray[np.floating]:
    """Variance of the noise, by the brightness of the result.

    A result that is too dark as a whole would tell of too little noise: its mean is
    taken from the image, which is right on average.

    Parameters
    ----------
    models : sequence of NoiseModel
        One a channel.
    denoised, noisy : ndarray
        (N, C, H, W), counts.
    good : ndarray
        Broadcast to that: pixels that the means are taken of.

    Returns
    -------
    ndarray
        (N, C, H, W), counts squared, at least 0.
    """
    found = []
    for channel, model in enumerate(models):
        own, chosen = denoised[:, channel], good[:, channel]
        shift = np.float32(0)
        if chosen.any():
            away = noisy[:, channel] - own
            shift = np.float32(away.mean(where=chosen, dtype=np.float64))
        found.append(np.broadcast_to(model.variance(own + shift), own.shape))
    return np.asarray(np.maximum(np.stack(found, axis=1), 0))
