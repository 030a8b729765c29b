"""What the fitted line says of the camera: numbers, intervals, and what is not known.

A number is known where its interval is narrow enough to rely on. Otherwise the reason
is given in words that a user can act on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_blindsound.noise.calibration import NoiseModel
from napari_blindsound.noise.estimated import Calibration, Estimated, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindsound.noise.line import Groups, Line
    from napari_blindsound.noise.signs import Histogram

    Floats = NDArray[np.float64]

_GAIN_WIDTH, _READ_WIDTH, _OFFSET_WIDTH = 0.10, 0.15, 0.5
# Below it, rounding to whole counts changes the noise in ways of its own.
_FINEST = 0.75
_PHOTON_LIMITED = 0.1
BENT = 2.5


class Found(NamedTuple):
    """All that the numbers are made of, in counts.

    Attributes
    ----------
    line, groups
        The fit and what it was made to.
    counts
        The histogram.
    low
        Darkest level of the image.
    given
        Offset that the user knows, or None.
    """

    line: Line
    groups: Groups
    counts: Histogram
    low: float
    given: float | None


def calibration(found: Found, source: Source, signs: tuple[str, ...]) -> Calibration:
    """Numbers with their intervals, reasons and signs, those given coming first."""
    line, groups = found.line, found.groups
    ground = _ground(found)
    gain = _gain(found)
    offset, read = _offset(found, ground), _read_noise(found, ground)
    slope = max(0.0, float(line.gain[0]))
    height = float(line.height[0])
    if offset.known and read.known:
        model = NoiseModel(slope, offset.value, max(0.0, float(ground[0])))
    else:
        model = _usable(slope, line.pivot, height, found.low, found.given)
    points = zip(groups.mean[0], groups.variance[0], groups.error, strict=True)
    return Calibration(
        model,
        gain,
        offset,
        read,
        tuple((float(m), float(v), float(e)) for m, v, e in points),
        source,
        (*signs, *_line_signs(found, ground, read, source)),
    )


def _usable(
    gain: float, pivot: float, height: float, low: float, given: float | None
) -> NoiseModel:
    """The line itself, from the lowest level of the image or the given one."""
    dark = low if given is None else given
    variance = height + gain * (dark - pivot)
    if variance < 0 < gain:
        dark, variance = pivot - height / gain, 0.0
    return NoiseModel(gain, dark, max(0.0, variance))


def _ground(found: Found) -> Floats:
    """Variance in the dark of each draw, NaN where nothing tells."""
    line = found.line
    if found.given is None:
        return line.ground
    return line.height + line.gain * (found.given - line.pivot)


def _interval(draws: Floats, misfit: float) -> tuple[float, float]:
    value = float(draws[0])
    low, high = np.quantile(draws[1:], (0.025, 0.975))
    return value + misfit * (float(low) - value), value + misfit * (float(high) - value)


def _gain(found: Found) -> Estimated:
    low, high = _interval(found.line.gain, found.line.misfit)
    value, low, high = (max(0.0, n) for n in (float(found.line.gain[0]), low, high))
    reason = _too_coarse(found)
    if not reason and value == 0:
        reason = (
            "too few photons: the variance does not grow with the mean; the data only"
            f" say that it is at most {high:.3g}"
        )
    elif not reason and (high - low) / 2 > _GAIN_WIDTH * value:
        reason = (
            "too few photons, pixels or levels of brightness: the data only say that it"
            f" lies between {low:.3g} and {high:.3g}"
        )
    return Estimated(value, low, high, known=not reason, reason=reason)


def _dark_variance(found: Found) -> float:
    line = found.line
    darkest = float(found.groups.mean[0, 0])
    return max(0.0, float(line.height[0] + line.gain[0] * (darkest - line.pivot)))


def _too_coarse(found: Found) -> str:
    step = found.counts.step
    sigma = math.sqrt(_dark_variance(found))
    if step == 0 or sigma >= _FINEST * step:
        return ""
    return f"quantized: one step is {step:g} counts, the noise in the dark {sigma:.2g}"


def _why_no_ground(found: Found, ground: Floats) -> str:
    """Why offset and read noise cannot be told apart; empty where they can."""
    if found.given is not None:
        return _too_coarse(found)
    apart = "no dark region: offset and read noise cannot be told apart from these data"
    if found.counts.dark and found.groups.clipped[:1].all():
        return f"clipped at {found.counts.ends[0]:g}: {apart}"
    if not found.line.is_photons:
        return (
            "the noise is not as skewed as photons make it (it was filtered, converted"
            f" or multiplied); {apart}"
        )
    if not np.isfinite(ground).all():
        return apart
    low, high = np.quantile(found.line.gain[1:], (0.025, 0.975))
    if low <= 0 or high > 4 * low:
        return f"the gain is unknown, and with it what light adds; {apart}"
    return _too_coarse(found)


def _read_noise(found: Found, ground: Floats) -> Estimated:
    rounding = found.counts.step**2 / 12
    most = math.sqrt(_dark_variance(found))
    reason = _why_no_ground(found, ground)
    if not np.isfinite(ground).all():
        return Estimated(most, 0.0, most, known=False, reason=reason)
    bounds = (float(ground[0]), *_interval(ground, found.line.misfit))
    value, low, high = (math.sqrt(max(0.0, bound - rounding)) for bound in bounds)
    if not reason and bounds[2] < 0:
        reason = "the variance in the dark comes out below zero"
    if reason:
        return Estimated(value, 0.0, max(most, high), known=False, reason=reason)
    if value == 0 or (high - low) / 2 > _READ_WIDTH * value:
        reason = (
            f"hidden by the noise of the light: the data only say that it lies between"
            f" {low:.3g} and {high:.3g}"
        )
    return Estimated(value, low, high, known=not reason, reason=reason)


def _offset(found: Found, ground: Floats) -> Estimated:
    line, given = found.line, found.given
    if given is not None:
        return Estimated(given, given, given, known=True)
    reason = _why_no_ground(found, ground)
    darkest = float(found.groups.mean[0, 0])
    if reason or (line.gain <= 0).any():
        return Estimated(darkest, -math.inf, darkest, known=False, reason=reason)
    draws = line.pivot - (line.height - ground) / line.gain
    low, high = _interval(draws, line.misfit)
    value = float(draws[0])
    if high - low > 2 * _OFFSET_WIDTH * math.sqrt(_dark_variance(found)):
        reason = (
            "no region dark enough: the data only say that it lies between"
            f" {low:.4g} and {high:.4g}"
        )
    return Estimated(value, low, high, known=not reason, reason=reason)


def _line_signs(
    found: Found, ground: Floats, read: Estimated, source: Source
) -> list[str]:
    signs = []
    if coarse := _too_coarse(found):
        signs.append(coarse)
    if found.line.misfit > BENT:
        also = ", such as movement between the frames" if source == "frames" else ""
        signs.append(
            "the variance does not lie on a line against the mean: something else than"
            f" photons and read noise changes it{also}"
        )
    if np.isfinite(ground).all() and _interval(ground, found.line.misfit)[1] < 0:
        signs.append(
            "the variance in the dark comes out below zero: the offset is higher than"
            " the given one, or the noise is not a camera's"
        )
    elif read.high**2 < _PHOTON_LIMITED * _dark_variance(found):
        signs.append("limited by photons: the read noise does not matter here")
    return signs
