"""Gain, offset and read noise of a camera from noisy images, and how sure they are.

The gain is the slope of the variance against the mean. What the variance is in the
dark, the line cannot say, as long as nobody knows which brightness is darkness; the
skewness of the noise can, where photons are few. What remains open is said to be open.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_blindsound.errors import DataError
from napari_blindsound.noise.calibration import NoiseModel, fit_noise
from napari_blindsound.noise.estimated import Calibration, Estimated, Source
from napari_blindsound.noise.frames import samples_of_frames
from napari_blindsound.noise.line import Groups, Line, fitted, grouped
from napari_blindsound.noise.moments import (
    SMALLEST_SIDE,
    Samples,
    bounded,
    response_gain,
    samples_of_planes,
)
from napari_blindsound.noise.signs import Histogram, histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Calibration", "Estimated", "calibrate", "response_gain"]

_MAX_PIXELS, _ROUGH_PIXELS = 2_000_000, 500_000
_WHITE = 0.1
_GAIN_WIDTH, _READ_WIDTH, _OFFSET_WIDTH = 0.10, 0.15, 0.5
_LOW_QUANTILE = 0.005
# Below it, rounding to whole counts changes the noise in ways of its own.
_FINEST = 0.75
_DRIFT = 0.01
_SMALLEST_NOISE, _LARGEST_NOISE = 1e-5, 1e6
_PHOTON_LIMITED = 0.1


class _Found(NamedTuple):
    """All that the verdicts are made of."""

    line: Line
    groups: Groups
    counts: Histogram
    low: float
    given: float | None


class _Light(NamedTuple):
    """What the samples need to know, in the unit that they are taken in."""

    rough: NoiseModel
    ends: tuple[float, float]
    response_gain: float


def calibrate(
    planes: Sequence[NDArray[Any]],
    *,
    offset: float | None = None,
    frames: Sequence[NDArray[Any]] = (),
    response_gain: float = 1.0,
    seed: int = 0,
) -> Calibration:
    """Estimate the camera of one channel.

    From planes, the variance comes from a Laplacian's response. From frames, it comes
    from their differences, if at least a quarter of the place keeps still; then the
    noise may be correlated between pixels. Groups that clipping changes are left out.

    The intervals come from 400 draws, with replacement, of small blocks of the image.
    Known are a gain within 10 %, a read noise within 15 %, and an offset within half
    the standard deviation of the darkest pixels (half widths of the 95 % interval).

    Parameters
    ----------
    planes
        Arrays ``(h, w)`` of counts, of any real dtypes.
    offset
        The camera's dark level, if known, counts.
    frames
        Arrays ``(t, h, w)``: the same place at t consecutive times, t at least 2.
        With less than 3 frames the offset remains unknown.
    response_gain
        Variance of the Laplacian's response over that of the noise: 1 for white noise,
        less for noise that is alike in neighboring pixels (see `response_gain`). With
        a value far from 1 the offset remains unknown, unless there are frames.
    seed
        Of the draws.

    Returns
    -------
    Calibration
        Also for data that say nothing: then nothing in it is known, with the reasons.

    Raises
    ------
    DataError
        If a plane is no plane or a frame not finite, or all are smaller than 5 x 5.
    """
    stacks = [frame for frame in frames if _check(frame)]
    planes = [*planes] or [stack[0] for stack in stacks]
    tiles = bounded(planes, _MAX_PIXELS, seed)
    few = bounded(planes, _ROUGH_PIXELS, seed + 1) or planes
    rough, points = fit_noise(few if len(tiles) > len(few) else planes, offset=offset)
    if not tiles:
        return _nothing(rough, points, (), _too_small(planes))
    stacks = bounded(stacks, _MAX_PIXELS, seed)
    counts = histogram([*tiles, *stacks])
    unit = _unit(points)
    low, high = counts.ends
    seen = rough.gain / unit, rough.offset / unit, rough.read_variance / unit**2
    light = _Light(NoiseModel(*seen), (low / unit, high / unit), response_gain)
    if unit != 1:
        tiles, stacks = [t / unit for t in tiles], [s / unit for s in stacks]
    samples, source, seen_signs = _sampled(tiles, stacks, light)
    signs = (*counts.signs, *seen_signs)
    groups = grouped(samples, seed)
    line = None if groups is None else fitted(groups)
    if groups is None or line is None:
        return _nothing(rough, points, signs, _why_nothing(groups, counts))
    dark = unit * float(np.quantile(samples.level, _LOW_QUANTILE))
    found = _Found(line.times(unit), groups.times(unit), counts, dark, offset)
    return _calibration(found, source, signs)


def _unit(points: Floats) -> float:
    """A power of two whose cubes of noise fit 32 bits; 1 for all counts of cameras."""
    sigma = math.sqrt(float(points[:, 1].max()))
    if sigma == 0 or _SMALLEST_NOISE < sigma < _LARGEST_NOISE:
        return 1.0
    return math.ldexp(1.0, round(math.log2(sigma)))


def _check(stack: NDArray[Any]) -> bool:
    if stack.ndim != 3 or not np.isfinite(stack).all():
        message = (
            f"the noise is estimated from frames of finite numbers, but some have shape"
            f" {stack.shape} or hold NaN; give (t, h, w) arrays without NaN"
        )
        raise DataError(message)
    return len(stack) > 1 and min(stack.shape[1:]) >= SMALLEST_SIDE


def _sampled(
    tiles: Sequence[NDArray[Any]], stacks: Sequence[NDArray[Any]], light: _Light
) -> tuple[Samples, Source, list[str]]:
    """Samples of the frames if they keep still, else of the planes; and what showed."""
    signs = []
    if stacks:
        moved = samples_of_frames(stacks, light.rough, light.ends)
        if moved.drift > _DRIFT:
            percent = f"{100 * moved.drift:.2g} %"
            signs.append(f"the brightness changes by up to {percent} between frames")
        if moved.samples is not None:
            return moved.samples, "frames", signs
        signs.append(
            "the frames differ by more than noise, as where something moves, or not at"
            " all"
        )
    samples = samples_of_planes(tiles, light.rough, light.ends, light.response_gain)
    if abs(light.response_gain - 1) > _WHITE:
        samples = samples._replace(third=np.full_like(samples.third, np.nan))
    return samples, "planes", signs


def _too_small(planes: Sequence[NDArray[Any]]) -> str:
    height, width = max((plane.shape for plane in planes), key=min)
    return (
        f"the image is tiny: {height} x {width} pixels, where at least {SMALLEST_SIDE}"
        f" x {SMALLEST_SIDE}, better 256 x 256, are needed"
    )


def _why_nothing(groups: Groups | None, counts: Histogram) -> str:
    if groups is None:
        return "the image is tiny: too few pixels to tell noise from chance"
    if groups.clipped.all() and (counts.dark or counts.bright):
        return "clipped: the counts are cut off at all brightness levels"
    if not groups.error.any():
        return "there is no noise in the image"
    return "all of one brightness, or too few pixels: the gain cannot be told"


def _nothing(
    rough: NoiseModel, points: Floats, signs: tuple[str, ...], reason: str
) -> Calibration:
    read = math.sqrt(rough.read_variance)
    return Calibration(
        rough,
        Estimated(rough.gain, 0.0, math.inf, known=False, reason=reason),
        Estimated(rough.offset, -math.inf, math.inf, known=False, reason=reason),
        Estimated(read, 0.0, math.inf, known=False, reason=reason),
        tuple((float(mean), float(variance), math.inf) for mean, variance in points),
        "planes",
        signs,
    )


def _calibration(found: _Found, source: Source, signs: tuple[str, ...]) -> Calibration:
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
        (*signs, *_line_signs(found, ground, read)),
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


def _ground(found: _Found) -> Floats:
    """Variance in the dark of each draw, NaN where nothing tells."""
    line = found.line
    if found.given is None:
        return line.ground
    return line.height + line.gain * (found.given - line.pivot)


def _interval(draws: Floats, misfit: float) -> tuple[float, float]:
    value = float(draws[0])
    low, high = np.quantile(draws[1:], (0.025, 0.975))
    return value + misfit * (float(low) - value), value + misfit * (float(high) - value)


def _gain(found: _Found) -> Estimated:
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


def _dark_variance(found: _Found) -> float:
    line = found.line
    darkest = float(found.groups.mean[0, 0])
    return max(0.0, float(line.height[0] + line.gain[0] * (darkest - line.pivot)))


def _too_coarse(found: _Found) -> str:
    step = found.counts.step
    sigma = math.sqrt(_dark_variance(found))
    if step == 0 or sigma >= _FINEST * step:
        return ""
    return f"quantized: one step is {step:g} counts, the noise in the dark {sigma:.2g}"


def _why_no_ground(found: _Found, ground: Floats) -> str:
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


def _read_noise(found: _Found, ground: Floats) -> Estimated:
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


def _offset(found: _Found, ground: Floats) -> Estimated:
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


def _line_signs(found: _Found, ground: Floats, read: Estimated) -> list[str]:
    signs = []
    if coarse := _too_coarse(found):
        signs.append(coarse)
    if np.isfinite(ground).all() and _interval(ground, found.line.misfit)[1] < 0:
        signs.append(
            "the variance in the dark comes out below zero: the offset is higher than"
            " the given one, or the noise is not a camera's"
        )
    elif read.high**2 < _PHOTON_LIMITED * _dark_variance(found):
        signs.append("limited by photons: the read noise does not matter here")
    return signs
