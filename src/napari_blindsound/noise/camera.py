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
from napari_blindsound.noise.findings import BENT, Found, calibration
from napari_blindsound.noise.frames import samples_of_frames
from napari_blindsound.noise.line import Groups, fitted, grouped
from napari_blindsound.noise.moments import (
    SMALLEST_SIDE,
    Samples,
    bounded,
    samples_of_planes,
)
from napari_blindsound.noise.signs import Histogram, histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Calibration", "Estimated", "calibrate"]

_MAX_PIXELS, _ROUGH_PIXELS = 2_000_000, 500_000
_WHITE = 0.1
_LOW_QUANTILE = 0.005
_DRIFT = 0.01
_MOVES = (
    "from frame to frame the variance is not that of noise alone, as where something"
    " moves: measured on single planes"
)
_SMALLEST_NOISE, _LARGEST_NOISE = 1e-5, 1e6


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
        less for noise that is alike in neighboring pixels, see
        `survey.laplacian_response`. With a value far from 1 the offset remains unknown,
        unless there are frames.
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
    counts = histogram([*tiles, *stacks], rough.gain)
    unit = _unit(points)
    low, high = counts.ends
    seen = rough.gain / unit, rough.offset / unit, rough.read_variance / unit**2
    light = _Light(NoiseModel(*seen), (low / unit, high / unit), response_gain)
    if unit != 1:
        tiles, stacks = [t / unit for t in tiles], [s / unit for s in stacks]
    samples, source, seen_signs = _sampled(tiles, stacks, light)
    groups = grouped(samples, seed)
    line = None if groups is None else fitted(groups)
    if source == "frames" and line is not None and line.misfit > BENT:
        # What moves a little, too little to be left out, adds to the brightest most.
        alone, _, _ = _sampled(tiles, (), light)
        still = grouped(alone, seed)
        straight = None if still is None else fitted(still)
        if straight is not None and straight.misfit <= BENT:
            samples, source, groups, line = alone, "planes", still, straight
            seen_signs = [*seen_signs, _MOVES]
    signs = (*counts.signs, *seen_signs)
    if groups is None or line is None:
        return _nothing(rough, points, signs, _why_nothing(groups, counts))
    dark = unit * float(np.quantile(samples.level, _LOW_QUANTILE))
    found = Found(line.times(unit), groups.times(unit), counts, dark, offset)
    return calibration(found, source, signs)


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
