"""Whether denoising keeps the mean: in flat regions, and at every intensity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_blindsound.quality.windows import BLOCK, by_level, windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindsound.noise.calibration import NoiseModel

    Floats = NDArray[np.float64]

_WINDOW = 16  # px
_DARK, _FLAT = 0.25, 0.5  # parts of the windows: the darkest, and of those the flattest
_FEWEST = 8  # windows
_BLUR = 4.0  # px


@dataclass(frozen=True, eq=False)
class Bias:
    """Mean of denoised minus noisy, counts.

    Parameters
    ----------
    dark, error : float
        In the dark, flat regions, with its standard error; NaN where there are too few.
    sigma : float
        Standard deviation of the noise there.
    windows : int
        How many windows of 16 x 16 pixels were taken.
    levels, shift, errors : ndarray
        By intensity: mean of the denoised image, mean of denoised minus noisy, and its
        standard error, (n,).
    slope, slope_error : float
        Of the shift against the intensity; NaN where there is one intensity only.
    """

    dark: float
    error: float
    sigma: float
    windows: int
    levels: Floats
    shift: Floats
    errors: Floats
    slope: float
    slope_error: float

    def as_data(self) -> dict[str, Any]:
        """For programs."""
        known = np.isfinite(self.dark)
        return {
            "dark": self.dark if known else None,
            "dark_error": self.error if known else None,
            "windows": self.windows,
            "levels": self.levels.tolist(),
            "shift": self.shift.tolist(),
            "slope": self.slope if np.isfinite(self.slope) else None,
            "slope_error": self.slope_error if np.isfinite(self.slope) else None,
        }


def bias_of(
    noisy: Sequence[NDArray[Any]], denoised: Sequence[NDArray[Any]], noise: NoiseModel
) -> Bias:
    """Compare the means of pairs of planes (h, w) of one channel.

    Parameters
    ----------
    noisy, denoised : sequence of ndarray
        Counts.
    noise : NoiseModel
        Of the channel.
    """
    dark, error, sigma, count = _in_the_dark(noisy, denoised, noise)
    made, given = windows(denoised, BLOCK), windows(noisy, BLOCK)
    groups = by_level(made)
    level = made.mean(axis=1)
    difference = level - given.mean(axis=1)
    levels = np.array([level[group].mean() for group in groups])
    shift = np.array([difference[group].mean() for group in groups])
    errors = np.array([difference[group].std() / len(group) ** 0.5 for group in groups])
    slope, slope_error = _line(levels, shift, errors)
    return Bias(dark, error, sigma, count, levels, shift, errors, slope, slope_error)


def _in_the_dark(
    noisy: Sequence[NDArray[Any]], denoised: Sequence[NDArray[Any]], noise: NoiseModel
) -> tuple[float, float, float, int]:
    """Shift, its standard error, the noise and the number of windows.

    The windows are chosen in the denoised image: chosen in the noisy one they would be
    those whose noise happens to be low.
    """
    smooth = [gaussian_filter(made.astype(np.float64), _BLUR) for made in denoised]
    level = windows(smooth, _WINDOW).mean(axis=1)
    roughness = windows(smooth, _WINDOW).std(axis=1)
    shift = (windows(denoised, _WINDOW) - windows(noisy, _WINDOW)).mean(axis=1)
    dark = np.argsort(level, kind="stable")[: int(np.ceil(_DARK * len(level)))]
    flat = dark[np.argsort(roughness[dark], kind="stable")]
    chosen = flat[: int(np.ceil(_FLAT * len(flat)))]
    if len(chosen) < _FEWEST:
        return float("nan"), float("nan"), float("nan"), len(chosen)
    sigma = float(noise.variance(level[chosen]).mean()) ** 0.5
    error = float(shift[chosen].std(ddof=1)) / len(chosen) ** 0.5
    return float(shift[chosen].mean()), error, sigma, len(chosen)


def _line(x: Floats, y: Floats, errors: Floats) -> tuple[float, float]:
    """Slope by weighted least squares, and its standard error."""
    weights = 1 / np.maximum(errors, 1e-9) ** 2
    centered = x - np.average(x, weights=weights)
    spread = float(weights @ centered**2)
    # Levels that differ by rounding alone say nothing about a slope.
    if np.ptp(x) <= 1e-6 * (1 + np.abs(x).max()):
        return float("nan"), float("nan")
    return float(weights @ (centered * y)) / spread, spread**-0.5
