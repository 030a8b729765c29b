"""What denoising will bring, foretold from the noise and from how smooth the image is.

A wavelet transform tells at each scale how much of the power is more than noise. A
linear filter that knew as much, scale by scale and place by place, would leave a known
error. Networks leave less, by a margin that was found on images with a known truth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_blindsound.noise.estimated import Estimated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindsound.noise.calibration import NoiseModel
    from napari_blindsound.noise.survey import Survey
    from napari_blindsound.noise.verdict import Correlation

    Floats = NDArray[np.floating[Any]]

_LEVELS = 5
_SMALLEST = 8  # px, of what is halved again
_GROUPS = 8
# What networks gained more than the filter, dB: 9 of 11 images without a region (FMDD
# view 00, phantoms, natural images; 1500 steps; benchmarks/prospect.py). Through a
# region around blind pixels they gained 0 to 1 where the noise was smoothed; a camera's
# own filter may reach farther than the map of correlations, so that it is less certain.
_MARGINS, _MARGINS_SMOOTHED = (0.0, 3.0), (-2.0, 1.5)
# Daubechies' filters of 4 taps, low and high pass (Ten Lectures on Wavelets, 1992).
_ROOT = 3**0.5
_LOW = np.array([1 + _ROOT, 3 + _ROOT, 3 - _ROOT, 1 - _ROOT]) / (4 * 2**0.5)
_HIGH = _LOW[::-1] * (1, -1, 1, -1)
# Along y and x: what is smooth, and three directions of detail.
_PAIRS = ((_LOW, _LOW), (_LOW, _HIGH), (_HIGH, _LOW), (_HIGH, _HIGH))


class _Step(NamedTuple):
    """Wavelet coefficients of one scale: mean, three directions, and their variance."""

    mean: Floats
    details: tuple[Floats, ...]
    variance: Floats


class _Band(NamedTuple):
    """Squares of the coefficients of one scale and direction, and what is around.

    ``parent`` says how far the next larger scale stands out of its noise.
    """

    power: Floats
    variance: Floats
    parent: Floats


def prospect(planes: Sequence[NDArray[np.generic]], survey: Survey) -> Estimated:
    """Decibels by which denoising will lower the error, as a range.

    Parameters
    ----------
    planes
        Arrays ``(h, w)`` of counts.
    survey
        Of their noise.

    Returns
    -------
    Estimated
        Unknown where no noise was found, or the planes are too small.
    """
    calibration, noise = survey.calibration, survey.noise
    if not (noise.gain or noise.read_variance):
        return _unknown("no noise was found")
    if not any(np.isfinite(error) for _, _, error in calibration.points):
        return _unknown(calibration.gain.reason)
    found = filter_gain(planes, noise, survey.correlation)
    if found is None:
        return _unknown("the image is too small")
    is_smoothed = survey.correlation.verdict == "filtered"
    margins = _MARGINS_SMOOTHED if is_smoothed else _MARGINS
    least, most = (max(0.0, found + margin) for margin in margins)
    return Estimated((least + most) / 2, least, most, known=True)


def _unknown(reason: str) -> Estimated:
    return Estimated(0.0, 0.0, np.inf, known=False, reason=reason)


def filter_gain(
    planes: Sequence[NDArray[np.generic]],
    noise: NoiseModel,
    correlation: Correlation | None = None,
) -> float | None:
    r"""Decibels by which the best linear filter of wavelets would lower the error.

    In groups of coefficients of one scale and direction whose parents are alike, the
    mean power is :math:`S + \sigma^2`, and the Wiener filter's error :math:`S \sigma^2
    / (S + \sigma^2)`. Parents tell where the image has edges, and have noise of their
    own, so that chance chooses nothing that it is judged by.

    Parameters
    ----------
    planes
        Arrays ``(h, w)`` of counts.
    noise
        Their noise.
    correlation
        Of the noise; independent from pixel to pixel where it is not given.

    Returns
    -------
    float or None
        At least 0; None where there is no noise, or no plane of 8 x 8 pixels.
    """
    pyramids = [_pyramid(plane.astype(np.float32), noise) for plane in planes]
    total = error = 0.0
    for level in range(_LEVELS):
        here = [pyramid for pyramid in pyramids if len(pyramid) > level]
        for direction in range(3):
            share = _share(level, direction + 1, correlation)
            bands = [_band(pyramid, level, direction) for pyramid in here]
            if bands:
                before, after = _filtered(bands, share)
                total, error = total + before, error + after
        # Of what is smooth beyond the largest scale nothing is known: it stays noisy.
        share = _share(level, 0, correlation)
        for pyramid in here:
            if len(pyramid) == level + 1:
                rest = share * float(pyramid[-1].variance.sum(dtype=np.float64))
                total, error = total + rest, error + rest
    return float(10 * np.log10(total / error)) if total > 0 else None


def _pyramid(plane: Floats, noise: NoiseModel) -> list[_Step]:
    """Steps from fine to coarse, as many as the plane has room for."""
    steps: list[_Step] = []
    while min(plane.shape) >= _SMALLEST and len(steps) < _LEVELS:
        rows = [_halved(plane, taps, 0) for taps in (_LOW, _HIGH)]
        plane, *details = (
            _halved(part, taps, 1) for part in rows for taps in (_LOW, _HIGH)
        )
        variance = noise.variance(plane / 2 ** (len(steps) + 1))
        steps.append(_Step(plane, tuple(details), variance))
    return steps


def _halved(image: Floats, taps: NDArray[np.float64], axis: int) -> Floats:
    """Every other pixel along an axis, filtered; reflected at the border."""
    size = image.shape[axis] // 2 * 2
    image = np.moveaxis(image, axis, 0)[:size]
    padded = np.concatenate([image[1:2], image, image[-2:-1]])
    total = np.float32(taps[0]) * padded[0:size:2]
    for start, tap in enumerate(taps[1:], 1):
        total += np.float32(tap) * padded[start : start + size : 2]
    return np.moveaxis(total, 0, axis)


def _band(pyramid: Sequence[_Step], level: int, direction: int) -> _Band:
    step = pyramid[level]
    power, variance = step.details[direction] ** 2, step.variance
    if level + 1 == len(pyramid):
        return _Band(power.ravel(), variance.ravel(), np.zeros(power.size, np.float32))
    above = pyramid[level + 1]
    powers = np.sum([detail**2 for detail in above.details], axis=0)
    outstanding = powers / np.maximum(above.variance, 1e-12)
    parent = np.repeat(np.repeat(outstanding, 2, axis=0), 2, axis=1)
    rows, columns = parent.shape
    inside = (slice(rows), slice(columns))
    return _Band(power[inside].ravel(), variance[inside].ravel(), parent.ravel())


def _filtered(bands: Sequence[_Band], share: float) -> tuple[float, float]:
    """Error before and after, where the noise has `share` of its variance here."""
    whole = _Band(*(np.concatenate(part) for part in zip(*bands, strict=True)))
    groups = _GROUPS if whole.parent.any() else 1
    before = after = 0.0
    for group in np.array_split(np.argsort(whole.parent, kind="stable"), groups):
        noise = share * float(whole.variance[group].sum(dtype=np.float64))
        power = float(whole.power[group].sum(dtype=np.float64))
        signal = max(0.0, power - noise)
        before += noise
        after += noise * signal / (signal + noise) if signal else 0.0
    return before, after


def _share(level: int, direction: int, correlation: Correlation | None) -> float:
    """Variance that noise has in a wavelet, over that in a pixel."""
    if correlation is None or correlation.verdict in ("white", "unknown"):
        return 1.0
    smooth = np.ones(1)
    for scale in range(level):
        smooth = np.convolve(_spread(_LOW, scale), smooth)
    along_y, along_x = (
        np.convolve(_spread(taps, level), smooth) for taps in _PAIRS[direction]
    )
    return correlation.gain_of(np.outer(along_y, along_x))


def _spread(taps: NDArray[np.float64], level: int) -> NDArray[np.float64]:
    """Taps with the distances that they have at a level."""
    spread = np.zeros((len(taps) - 1) * 2**level + 1)
    spread[:: 2**level] = taps
    return spread
