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
    residual_of,
    without_outliers,
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
_SMALLEST_RESPONSE = 0.85
_STILL_QUANTILE = 0.7
_LEAST_STATIC = 0.25
_LEVELS = (0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 1)
_STILL_LEVEL = 0.8
# White noise is measured as well on planes, so that doubt speaks against the frames;
# correlated noise, which answers less than this, is not, and varies with brightness.
_WHITE_RESPONSE, _LEAST_WHITE, _LEAST_CORRELATED = 0.85, 0.975, 0.9
_ERRORS = 3.0
# Below this, the differences are measured by the Laplacian, which motion changes less.
_SURELY_STILL, _DOUBT = 0.985, 1.5
_CERTAIN = 4.0
_OUTLIER_SIGMAS, _OUTLIER_PHOTONS = 8.0, 4.0


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
    still = [ratio >= limit for ratio in ratios]
    response = _response(clean, still)
    if response == 0:
        return FrameSamples(None, static, drift)
    side, first, parts = block_side(stacks), 0, []
    for stack, one, blocks in zip(stacks, clean, still, strict=True):
        numbers = block_numbers(one.mean.shape, side, first)
        first = int(numbers[-1, -1]) + 1
        parts.append(_of_stack(stack, one, blocks, rough, ends, numbers, response))
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


def _response(
    clean: Sequence[_Residuals], static: Sequence[NDArray[np.bool_]]
) -> float | None:
    """How the Laplacian answers to the noise, if the differences need it.

    None where they can be used as they are, since the answer is the same at all levels
    of brightness. What moves has brightness of its own, so that motion shows here: 0
    where there is too much of it.
    """
    parts = []
    for one, blocks in zip(clean, static, strict=True):
        kept = _inner(_spread_out(blocks, one.mean.shape))
        across = np.diff(one.residuals, axis=0)
        squares = (_inner(across) ** 2).mean(axis=0)[kept]
        level = around(one.mean - one.mean.mean()).level[kept] + one.mean.mean()
        parts.append((level, squares, _fine(one.residuals)[kept]))
    level, squares, fine = map(np.concatenate, zip(*parts, strict=True))
    edges = np.quantile(level[:: max(1, len(level) // 100_000)], _LEVELS)
    group = np.searchsorted(edges[1:-1], level)
    whole, part = (
        np.bincount(group, values, minlength=len(_LEVELS) - 1)
        for values in (squares, fine)
    )
    known = whole > 0
    if not known.any():
        return 0.0
    ratios, count = part[known] / whole[known], np.bincount(group)[known]
    still = float(np.quantile(ratios, _STILL_LEVEL))
    least = _LEAST_WHITE if still > _WHITE_RESPONSE else _LEAST_CORRELATED
    # Of the ratio of a difference of frames, with some dependence of its pixels.
    errors = np.sqrt(4 / (count * (len(clean[0].residuals) - 1)))
    if (ratios < (least - _ERRORS * errors) * still).any():
        return 0.0
    sure = ratios >= (_SURELY_STILL - _DOUBT * errors) * still
    if sure.all() or still <= _WHITE_RESPONSE:
        return None
    return float(np.average(ratios[sure], weights=count[sure]))


def _fine(residuals: Floats) -> Floats:
    """Squared response to differences of neighboring frames, without the margin."""
    response = laplacian(np.diff(residuals, axis=0))
    response = response[..., MARGIN - 1 : 1 - MARGIN, MARGIN - 1 : 1 - MARGIN]
    return np.asarray((response * response).mean(axis=0))


def _inner(image: NDArray[Any]) -> NDArray[Any]:
    return image[..., MARGIN:-MARGIN, MARGIN:-MARGIN]


def _of_stack(
    stack: NDArray[Any],
    one: _Residuals,
    static: NDArray[np.bool_],
    rough: NoiseModel,
    ends: tuple[float, float],
    numbers: NDArray[np.intp],
    response: float | None,
) -> Samples:
    count = len(stack)
    residuals = _inner(one.residuals)
    ring = around(one.mean - one.mean.mean())
    level = ring.level + one.mean.mean()
    limit = _OUTLIER_SIGMAS * np.sqrt(rough.variance(level))
    limit += _OUTLIER_PHOTONS * rough.gain
    kept = _inner(_spread_out(static, one.mean.shape))
    kept = kept & without_outliers(residual_of(one.mean - one.mean.mean()), limit)
    kept &= without_outliers(abs(residuals).max(axis=0), limit)
    squares = residuals * residuals
    variance = squares.sum(axis=0) / (count - 1)
    if response is not None:
        variance = _fine(one.residuals) / np.float32(2 * response)
    third = np.full_like(variance, np.nan)
    if count > 2:
        third = (squares * residuals).sum(axis=0)
        third *= count / ((count - 1) * (count - 2))
    counts = _inner(stack)
    return Samples(
        level[kept],
        _inner(one.mean)[kept],
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
