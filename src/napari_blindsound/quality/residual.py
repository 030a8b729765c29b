"""Whether what was taken away, noisy minus denoised, is all noise and only noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindsound.quality.windows import BLOCK, by_level, windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindsound.noise.calibration import NoiseModel
    from napari_blindsound.quality.grid import Peak

    Floats = NDArray[np.float64]

LAGS = 3
"""Pixels to which the correlation of the residual is measured."""


@dataclass(frozen=True, eq=False)
class Residual:
    """The residual of one channel.

    Parameters
    ----------
    mean, error : float
        Mean of noisy minus denoised, and its standard error, counts.
    levels, variances, expected : ndarray
        By intensity: mean of the denoised image, mean square of the residual, and the
        variance of the noise, (n,), counts and counts squared.
    ratio : float
        Variance of the residual over that of the noise, over all pixels. Below 1 noise
        was left, above 1 structure taken away.
    correlation : ndarray
        Of the residual, in units of the noise, between pixels apart by 0 to 3 rows and
        -3 to 3 columns, (4, 7); 1 at the middle of the first row.
    identity : float
        ``|f(y) - y|**2 / |h - y|**2`` with the blind estimate h: near 1 for a good
        visible one, near 0 for one that returns its input. NaN without a blind one.
    grid : dict of int to Peak
        Grids in the denoised image by period, in units of the noise.
    """

    mean: float
    error: float
    levels: Floats
    variances: Floats
    expected: Floats
    ratio: float
    correlation: Floats
    identity: float
    grid: dict[int, Peak]

    @property
    def neighbors(self) -> tuple[float, float]:
        """Correlation with the next pixel along the rows (x) and down (y)."""
        return float(self.correlation[0, LAGS + 1]), float(self.correlation[1, LAGS])

    @property
    def largest(self) -> float:
        """The correlation furthest from zero, with its sign."""
        others = np.delete(self.correlation.ravel(), slice(0, LAGS + 1))
        return float(others[np.argmax(np.abs(others))])

    def as_data(self) -> dict[str, Any]:
        """For programs."""
        return {
            "mean": self.mean,
            "error": self.error,
            "levels": self.levels.tolist(),
            "variances": self.variances.tolist(),
            "noise": self.expected.tolist(),
            "variance_ratio": self.ratio,
            "correlation": self.correlation.tolist(),
            "identity_ratio": self.identity if np.isfinite(self.identity) else None,
            "grid": {str(period): peak.ratio for period, peak in self.grid.items()},
        }


def residual_of(
    noisy: Sequence[NDArray[Any]],
    denoised: Sequence[NDArray[Any]],
    noise: NoiseModel,
    *,
    identity: float = float("nan"),
    grid: dict[int, Peak] | None = None,
) -> Residual:
    """Measure the residuals of pairs of planes (h, w) of one channel.

    Parameters
    ----------
    noisy, denoised : sequence of ndarray
        Counts.
    noise : NoiseModel
        Of the channel.
    identity : float
        As :func:`identity_ratio` gives it.
    grid : dict of int to Peak
        As :func:`napari_blindsound.quality.grid.grid_peaks` gives it.
    """
    made, given = windows(denoised, BLOCK), windows(noisy, BLOCK)
    residual, variance = given - made, noise.variance(made)
    groups = by_level(made)
    return Residual(
        float(residual.mean()),
        float(residual.std() / residual.size**0.5),
        np.array([made[group].mean() for group in groups]),
        np.array([(residual[group] ** 2).mean() for group in groups]),
        np.array([variance[group].mean() for group in groups]),
        float((residual**2).mean() / max(variance.mean(), 1e-12)),
        _correlation(noisy, denoised, noise),
        identity,
        grid or {},
    )


def identity_ratio(
    noisy: NDArray[Any], denoised: NDArray[Any], blind: NDArray[Any]
) -> float:
    """``|f(y) - y|**2 / |h - y|**2``: 1 where seeing a pixel does not copy its noise.

    Parameters
    ----------
    noisy, denoised, blind : ndarray
        Counts, of one shape.
    """
    seen = float(((denoised.astype(np.float64) - noisy) ** 2).mean())
    unseen = float(((blind.astype(np.float64) - noisy) ** 2).mean())
    return seen / unseen if unseen else float("nan")


def _correlation(
    noisy: Sequence[NDArray[Any]], denoised: Sequence[NDArray[Any]], noise: NoiseModel
) -> Floats:
    """Autocorrelation over the lags, all planes together."""
    total = np.zeros((LAGS + 1, 2 * LAGS + 1))
    for given, made in zip(noisy, denoised, strict=True):
        deviation = np.sqrt(np.maximum(noise.variance(made.astype(np.float64)), 1e-12))
        unit = (given - made.astype(np.float64)) / deviation
        unit -= unit.mean()
        total += _products(unit)
    return np.asarray(total / max(total[0, LAGS], 1e-12))


def _products(unit: Floats) -> Floats:
    """Mean products of pixels at each lag, times the number of pixels."""
    height, width = unit.shape
    out = np.zeros((LAGS + 1, 2 * LAGS + 1))
    for dy in range(min(LAGS + 1, height)):
        for dx in range(-LAGS, LAGS + 1):
            if abs(dx) >= width:
                continue
            ahead = unit[dy:, max(dx, 0) : width + min(dx, 0)]
            behind = unit[: height - dy, max(-dx, 0) : width + min(-dx, 0)]
            out[dy, dx + LAGS] = (ahead * behind).mean() * unit.size
    return out
