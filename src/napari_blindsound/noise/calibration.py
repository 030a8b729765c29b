"""How noisy a camera is, estimated from noisy images alone.

The variance of one pixel's noise grows in a straight line with its mean: by the gain,
for photon noise, from the variance of the read noise. The line is fitted to the
response of a Laplacian, which leaves the noise and little of the image, against the
local mean. The noise has to be independent from pixel to pixel.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter

from napari_blindsound.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

_WINDOW = 5
_BINS = 24
_MAX_PIXELS = 2_000_000
_LOW_QUANTILE = 0.005
# |r| of a Gaussian r lies below 1.6449 standard deviations in 90 % of the pixels.
_QUANTILE, _QUANTILE_SIGMAS = 0.9, 1.6448536
_ITERATIONS = 30
# Saturation takes a part of the noise away, so groups with more of it do not count.
_MOST_SATURATED = 0.01
_BIT_DEPTHS = (8, 10, 12, 14, 16)
_PLATEAU_PIXELS, _PLATEAU_FRACTION = 10, 1e-5
_OUTLIER = 3.0
_LEAST_SPREAD = 0.05


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """Variance of one pixel: ``gain * (mean - offset) + read_variance``.

    Parameters
    ----------
    gain
        Counts a photoelectron, at least 0.
    offset
        Level of darkness, counts. Without knowledge of the camera, the lowest level of
        the images, so that ``read_variance`` is the variance found there.
    read_variance
        Variance that does not depend on the light, counts squared, at least 0.
    """

    gain: float
    offset: float
    read_variance: float

    def variance(self, mean: ArrayLike) -> NDArray[Any]:
        """Variance, in counts squared, of pixels with the given mean.

        Parameters
        ----------
        mean
            Expected counts, any shape. Below ``offset`` the variance stays at
            ``read_variance``.

        Returns
        -------
        numpy.ndarray
            Same shape, float32 for float32 and float64 otherwise, never negative.
        """
        array = np.asarray(mean)
        if array.dtype != np.float32:
            array = array.astype(np.float64)
        light = np.maximum(array - self.offset, 0)
        return np.asarray(light * self.gain + self.read_variance, dtype=array.dtype)

    def to_json(self) -> dict[str, float]:
        """Return the three numbers for a model's header."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> NoiseModel:
        """Rebuild the model from `to_json`; raises KeyError for a missing number."""
        return cls(
            float(data["gain"]), float(data["offset"]), float(data["read_variance"])
        )


class _Bins(NamedTuple):
    """Mean and variance of groups of equally many pixels, darkest first."""

    means: Floats
    variances: Floats
    low: float


def estimate_noise(
    planes: Sequence[NDArray[Any]], *, offset: float | None = None
) -> NoiseModel:
    """Fit the line of variance against mean to noisy planes of one channel.

    Every pixel has a Laplacian response of unit noise gain and the mean of the 5 x 5
    pixels around it. The pixels are divided into 24 groups by that mean; a group's
    variance comes from the 90 % quantile of the responses' size, which edges and hot
    pixels cannot reach, and which unlike the median does not fail where photons are
    rare. Groups with saturated pixels are left out. A robust line through the others,
    weighted by their relative error, is the model.

    Parameters
    ----------
    planes
        Arrays ``(h, w)`` of counts, of any real dtypes and sizes from 5 x 5 up.
    offset
        The camera's dark level, if known, counts. Otherwise it is the lowest level of
        the images, or where the line reaches zero if that is higher.

    Returns
    -------
    NoiseModel
        Its variance is at least zero everywhere.

    Raises
    ------
    DataError
        If a plane is not a plane or not finite, or all are smaller than 5 x 5 pixels.
    """
    model, _ = fit_noise(planes, offset=offset)
    return model


def fit_noise(
    planes: Sequence[NDArray[Any]], *, offset: float | None = None
) -> tuple[NoiseModel, Floats]:
    """Fit the line as :func:`estimate_noise`, and show what it was fitted to.

    Parameters
    ----------
    planes, offset
        As there.

    Returns
    -------
    NoiseModel, numpy.ndarray
        The model, and (n, 2) float64: mean and variance of each group of pixels, in
        counts and counts squared, darkest first.
    """
    bins = _bins(planes)
    gain, intercept = _robust_line(bins.means, bins.variances)
    dark = bins.low if offset is None else offset
    read_variance = gain * dark + intercept
    if read_variance < 0.0 and gain > 0.0 and offset is None:
        dark = -intercept / gain
    model = NoiseModel(gain, float(dark), max(0.0, float(read_variance)))
    return model, np.stack([bins.means, bins.variances], axis=1)


def saturation_level(planes: Sequence[NDArray[Any]]) -> float | None:
    """Count at which the camera, or its file format, stopped counting.

    Parameters
    ----------
    planes
        Arrays of counts of one channel.

    Returns
    -------
    float or None
        The highest count, if the planes hold integers, it is the last of 8, 10, 12, 14
        or 16 bits, and more pixels sit there than chance allows: 10, and 1 in 100,000.
    """
    filled = [plane for plane in planes if plane.size]
    if not filled or any(plane.dtype.kind not in "ui" for plane in filled):
        return None
    highest = max(int(plane.max()) for plane in filled)
    if highest not in {2**bits - 1 for bits in _BIT_DEPTHS}:
        return None
    pixels = sum(plane.size for plane in filled)
    count = sum(int(np.count_nonzero(plane == highest)) for plane in filled)
    enough = max(_PLATEAU_PIXELS, _PLATEAU_FRACTION * pixels)
    return float(highest) if count >= enough else None


def _bins(planes: Sequence[NDArray[Any]]) -> _Bins:
    usable = [plane for plane in planes if _check(plane)]
    if not usable:
        message = (
            f"no plane to estimate the noise from has {_WINDOW} x {_WINDOW} pixels;"
            " give larger images"
        )
        raise DataError(message)
    step = -(-sum(plane.size for plane in usable) // _MAX_PIXELS)
    means, responses, pixels = (
        np.concatenate(parts)
        for parts in zip(*(_responses(plane, step) for plane in usable), strict=True)
    )
    order = np.argsort(means, kind="stable")
    ceiling = saturation_level(usable)
    saturated = pixels >= (np.inf if ceiling is None else ceiling)
    groups = [
        group
        for group in np.array_split(order, min(_BINS, len(order)))
        if saturated[group].mean() <= _MOST_SATURATED
    ] or [order]
    return _Bins(
        np.array([means[group].mean() for group in groups]),
        np.array([_spread(responses[group]) for group in groups]),
        float(means[order[int(_LOW_QUANTILE * (len(order) - 1))]]),
    )


def _check(plane: NDArray[Any]) -> bool:
    """Whether the plane is large enough; raises if it is no plane of numbers."""
    if plane.ndim != 2 or not np.isfinite(plane).all():
        message = (
            f"the noise is estimated from planes of finite numbers, but one has shape"
            f" {plane.shape} or holds NaN; give (h, w) arrays without NaN"
        )
        raise DataError(message)
    return bool(min(plane.shape) >= _WINDOW)


def _responses(plane: NDArray[Any], step: int) -> tuple[Floats, Floats, Floats]:
    """Local mean, Laplacian and count of every step-th pixel with its 5 x 5 inside."""
    image = plane.astype(np.float32)
    # 32-bit sums lose the noise on a pedestal, so the mean level is taken off first.
    level = float(image.mean(dtype=np.float64))
    image -= np.float32(level)
    across = image[:, :-2] - 2 * image[:, 1:-1] + image[:, 2:]
    response = (across[:-2] - 2 * across[1:-1] + across[2:]) / 6
    local = uniform_filter(image, _WINDOW)[2:-2, 2:-2].ravel()[::step]
    inner = response[1:-1, 1:-1].ravel()[::step]
    pixels = plane[2:-2, 2:-2].ravel()[::step]
    return (
        local + np.float64(level),
        inner.astype(np.float64),
        pixels.astype(np.float64),
    )


def _spread(responses: Floats) -> float:
    """Variance from the 90 % quantile of sizes, or from squares where that is zero."""
    size = np.abs(responses - np.median(responses))
    quantile = float(np.quantile(size, _QUANTILE))
    if quantile == 0.0:
        return float(np.mean(responses * responses))
    return (quantile / _QUANTILE_SIGMAS) ** 2


def _robust_line(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope (at least 0) and intercept, by relative errors with outliers weighed less.

    The variance of a bin's variance is proportional to its square, so every bin counts
    by the inverse square of the line itself.
    """
    floor = max(0.1 * float(y.mean()), 1e-12)
    fitted = np.maximum(y, floor)
    trust = np.ones_like(y)
    slope = intercept = 0.0
    for _ in range(_ITERATIONS):
        slope, intercept = _weighted_line(x, y, trust / fitted**2)
        line = slope * x + intercept
        fitted = np.maximum(line, floor)
        relative = np.abs(y - line) / fitted
        spread = max(1.4826 * float(np.median(relative)), _LEAST_SPREAD)
        trust = np.minimum(1.0, _OUTLIER * spread / np.maximum(relative, 1e-12))
    return slope, intercept


def _weighted_line(x: Floats, y: Floats, weights: Floats) -> tuple[float, float]:
    total = float(weights.sum())
    mean_x, mean_y = float(weights @ x) / total, float(weights @ y) / total
    centered = x - mean_x
    spread = float(weights @ (centered * centered))
    # Means that differ by rounding alone say nothing about a slope.
    if spread <= total * (1e-6 * (1.0 + abs(mean_x))) ** 2:
        return 0.0, mean_y
    slope = max(0.0, float(weights @ (centered * (y - mean_y))) / spread)
    return slope, mean_y - slope * mean_x
