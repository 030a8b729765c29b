"""Noise from what differs between images of the same place, one shortly after another.

Differences are exact where the noise is correlated between pixels and where the image
is full of texture, as long as nothing moves. Brightness that changes, all over or
slowly across the image, is taken out first. Where something moves, the differences are
smooth, which noise is not: the Laplacian's response to them is too small beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter

from napari_blindsound.noise.moments import (
    MARGIN,
    Samples,
    around,
    block_numbers,
    block_side,
    laplacian,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindsound.noise.calibration import NoiseModel

    Floats = NDArray[np.float32]

_COARSE = 8
_SLOW = 33
_STATIC_BLOCK = 32
# The response to the noise is the same all over the image to some 10 % in still places.
_SMALLEST_RESPONSE = 0.8
_STILL_QUANTILE = 0.7
_LEAST_STATIC = 0.25
_CERTAIN = 4.0
_OUTLIER_SIGMAS, _OUTLIER_PHOTONS = 8.0, 4.0
_MOST_OUTLIERS = 1e-3


class FrameSamples(NamedTuple):
    """What consecutive frames say of the noise.

    Attributes
    ----------
    samples
        Of the places where nothing moves; None if they are too few.
    static
        Fraction of the image where nothing moves.
    drift
        Largest change of brightness from frame to frame that is certain, as a fraction.
    """

    samples: Samples | None
    static: float
    drift: float


class _Residuals(NamedTuple):
    mean: Floats
    residuals: Floats
    drift: float


def samples_of_frames(
    stacks: Sequence[NDArray[Any]], rough: NoiseModel, ends: tuple[float, float]
) -> FrameSamples:
    """Variance and third cumulant of each pixel over time.

    Parameters
    ----------
    stacks
        Arrays ``(t, h, w)`` of counts, t at least 2, h and w at least 16; with t of 2
        there is no third cumulant.
    rough
        A first estimate of the noise, for what stands out.
    ends
        Lowest and highest count of the camera.
    """
    clean = [_residuals(stack) for stack in stacks]
    ratios = [_responses(one.residuals) for one in clean]
    every = np.concatenate([ratio.ravel() for ratio in ratios])
    known = every[np.isfinite(every)]
    drift = max(one.drift for one in clean)
    if not known.size:
        return FrameSamples(None, 0.0, drift)
    limit = _SMALLEST_RESPONSE * float(np.quantile(known, _STILL_QUANTILE))
    static = float((known >= limit).mean())
    if static < _LEAST_STATIC:
        return FrameSamples(None, static, drift)
    side, first, parts = block_side(stacks), 0, []
    for stack, one, ratio in zip(stacks, clean, ratios, strict=True):
        numbers = block_numbers(one.mean.shape, side, first)
        first = int(numbers[-1, -1]) + 1
        parts.append(_of_stack(stack, one, ratio >= limit, rough, ends, numbers))
    columns = zip(*parts, strict=True)
    return FrameSamples(Samples(*map(np.concatenate, columns)), static, drift)


def _residuals(stack: NDArray[Any]) -> _Residuals:
    """Frames less their mean, each scaled to its own brightness."""
    frames = stack.astype(np.float32)
    base = np.float32(frames.mean(dtype=np.float64))
    frames -= base
    mean = frames.mean(axis=0)
    coarse, scale = _coarse(mean), []
    coarse -= coarse.mean()
    power = float((coarse * coarse).sum())
    noise = _coarse_noise(frames - mean)
    certain, residuals = 0.0, np.empty_like(frames)
    error = (noise / power) ** 0.5 if power else np.inf
    for index, frame in enumerate(frames):
        slope = float((coarse * _coarse(frame)).sum()) / power if power else 1.0
        # A slope of the noise alone would take some of the noise away.
        if error > 0.02 and abs(slope - 1) < _CERTAIN * error:
            slope = 1.0
        rest = frame - np.float32(slope) * mean
        residuals[index] = rest - uniform_filter(rest, _SLOW)
        scale.append(slope)
        if abs(slope - 1) > _CERTAIN * error:
            certain = max(certain, abs(slope - 1))
    return _Residuals(mean + base, residuals, certain)


def _coarse(image: Floats) -> NDArray[np.float64]:
    height, width = (size // _COARSE for size in image.shape)
    part = image[: height * _COARSE, : width * _COARSE]
    squares = part.reshape(height, _COARSE, width, _COARSE)
    return np.asarray(squares.mean(axis=(1, 3), dtype=np.float64))


def _coarse_noise(residuals: Floats) -> float:
    """Variance of the means of 8 x 8 pixels, from how they differ from neighbors."""
    coarse = np.stack([_coarse(frame) for frame in residuals])
    steps = np.diff(coarse, axis=2)
    count = len(residuals)
    return float(np.median(steps * steps)) / 0.455 / 2 * count / (count - 1)


def _responses(residuals: Floats) -> NDArray[np.float64]:
    """Laplacian's response over the variance itself, of the differences, per block."""
    across = np.diff(residuals, axis=0)
    squares = (across * across).mean(axis=0)
    response = laplacian(across)
    fine = (response * response).mean(axis=0)
    rows, columns = (
        np.arange(0, max(size - _STATIC_BLOCK // 2, 1), _STATIC_BLOCK)
        for size in fine.shape
    )
    whole, part = (
        np.add.reduceat(np.add.reduceat(image, rows, 0), columns, 1)
        for image in (squares[1:-1, 1:-1], fine)
    )
    found = np.full(whole.shape, np.nan)
    return np.asarray(np.divide(part, whole, out=found, where=whole > 0))


def _of_stack(
    stack: NDArray[Any],
    one: _Residuals,
    static: NDArray[np.bool_],
    rough: NoiseModel,
    ends: tuple[float, float],
    numbers: NDArray[np.intp],
) -> Samples:
    count = len(stack)
    inside = slice(MARGIN, -MARGIN)
    residuals = one.residuals[:, inside, inside]
    ring = around(one.mean - one.mean.mean())
    level = ring.level + one.mean.mean()
    limit = _OUTLIER_SIGMAS * np.sqrt(rough.variance(level))
    limit += _OUTLIER_PHOTONS * rough.gain
    outliers = (abs(residuals) > limit).any(axis=0)
    kept = _spread_out(static, one.mean.shape)[inside, inside]
    if outliers.mean() <= _MOST_OUTLIERS:
        kept = kept & ~outliers
    squares = residuals * residuals
    variance = squares.sum(axis=0) / (count - 1)
    third = np.full_like(variance, np.nan)
    if count > 2:
        third = (squares * residuals).sum(axis=0)
        third *= count / ((count - 1) * (count - 2))
    counts = stack[:, inside, inside]
    return Samples(
        level[kept],
        one.mean[inside, inside][kept],
        variance[kept],
        third[kept],
        numbers[kept],
        (counts <= ends[0]).mean(axis=0, dtype=np.float32)[kept],
        (counts >= ends[1]).mean(axis=0, dtype=np.float32)[kept],
    )


def _spread_out(static: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """One truth a pixel from one a block; the last blocks reach to the border."""
    rows, columns = (
        np.minimum(np.maximum(np.arange(size) - 1, 0) // _STATIC_BLOCK, count - 1)
        for size, count in zip(shape, static.shape, strict=True)
    )
    return np.asarray(static[rows[:, None], columns[None]])
