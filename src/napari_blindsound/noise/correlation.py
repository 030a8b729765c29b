"""Whether the noise is independent from pixel to pixel, and if not, how it is shared.

A blind spot hides one pixel from the network. Where neighbors share their noise, they
give the hidden pixel's noise away and nothing is removed. The autocorrelation comes
from the spectrum of flat parts of the images, or of differences of frames where these
leave less of the image; a small rest of the image is told from noise by its shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindsound.errors import DataError
from napari_blindsound.noise.spectrum import (
    REACH,
    Source,
    Spectra,
    fit_autocorrelation,
    spectra,
)
from napari_blindsound.noise.verdict import Correlation, Verdict, neighbors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Correlation", "measure_correlation"]

_SMALLEST_SIDE = 32
_MOST_DIFFERENCES = 2_000_000  # pixels
_STILL = 1.3  # texture below which differences of frames are used without asking
_BLOCK = 8  # px; means over such blocks show brightness, not noise
_CORRELATED = 0.12  # a correlation along an axis that a verdict is made of
_FILTERED = 0.8  # part of the product of those along both axes
_LARGEST_ERROR = 0.1  # by chance
# A textured image is like noise that is correlated, but not like white noise. Other
# verdicts need a correlation that is so many errors above the second number.
_CERTAIN, _LEAST_CERTAIN = 2.0, 0.05
# What the image leaves falls with distance like a Gaussian of so many pixels; it is at
# most the first part of the power, and told from noise only where the correlation along
# one axis is below the second.
_REST_WIDTH, _MOST_REST, _REST_BELOW = 1.6, 0.25, 0.22
_LEAST_DIVISOR = 0.15
# Half of the rest may be wrong, and beside it so much for the texture of the image.
_REST_ERROR, _TEXTURE_ERROR, _MOST_TEXTURE_ERROR = 0.5, 0.04, 0.3
_LEAST_ERROR = 0.02


def measure_correlation(
    planes: Sequence[NDArray[Any]],
    *,
    frames: Sequence[NDArray[Any]] = (),
    seed: int = 0,
) -> Correlation:
    """Measure the autocorrelation of the noise of one channel to 3 pixels.

    Parameters
    ----------
    planes
        Arrays ``(h, w)`` of noisy counts, of any real dtypes and sizes.
    frames
        Arrays ``(t, h, w)``: the same place at consecutive times. Their differences,
        after a change of brightness is scaled out, are used instead of the planes,
        unless the image moves so much that they hold more of it.
    seed
        Of the draw of at most 2000 parts of the images.

    Returns
    -------
    Correlation
        With the verdict "unknown" and the reason, where the images are too small, too
        empty or too sharp for one.

    Raises
    ------
    DataError
        If a plane is not a plane, frames are no stack of planes, or one is not finite.
    """
    for plane in planes:
        _check(plane, 2, "(h, w)")
    for stack in frames:
        _check(stack, 3, "(t, h, w)")
    usable = [plane for plane in planes if min(plane.shape) >= _SMALLEST_SIDE]
    best = spectra(_differences(frames), seed)
    if best is None or best.texture > _STILL:
        single = spectra([Source(plane, plane) for plane in usable], seed)
        options = [part for part in (best, single) if part is not None]
        best = min(options, key=lambda part: part.texture, default=None)
    if best is None:
        return _unknown(_why_not([*usable, *frames]))
    return _judge(best)


def _check(array: NDArray[Any], axes: int, shape: str) -> None:
    if array.ndim != axes or not np.isfinite(array).all():
        message = (
            "the correlation of the noise is measured on finite numbers, but an array"
            f" has shape {array.shape} or holds NaN; give {shape} arrays without NaN"
        )
        raise DataError(message)


def _why_not(arrays: Sequence[NDArray[Any]]) -> str:
    largest = max((min(array.shape[-2:]) for array in arrays), default=0)
    side = 2 * _SMALLEST_SIDE
    if largest < side:
        return f"the images are too small, give {side} x {side} pixels or more"
    if all(array.min() == array.max() for array in arrays):
        return "all pixels of an image are the same"
    return "nearly all pixels hold the lowest or the highest count"


def _unknown(reason: str) -> Correlation:
    center = np.zeros((2 * REACH + 1, 2 * REACH + 1))
    center[REACH, REACH] = 1.0
    return Correlation(center, 1.0 - center, "unknown", reason)


def _differences(frames: Sequence[NDArray[Any]]) -> list[Source]:
    """Differences of consecutive frames, spread evenly over all, at least one."""
    pairs = [
        (stack, i)
        for stack in frames
        for i in range(len(stack) - 1)
        if min(stack.shape[1:]) >= _SMALLEST_SIDE
    ]
    if not pairs:
        return []
    largest = max(stack[0].size for stack, _ in pairs)
    count = min(len(pairs), max(1, _MOST_DIFFERENCES // largest))
    chosen = np.linspace(0, len(pairs) - 1, count).round().astype(int)
    return [_difference(pairs[i][0][pairs[i][1] :][:2]) for i in chosen]


def _difference(pair: NDArray[Any]) -> Source:
    first, second = (frame.astype(np.float32) for frame in pair)
    spreads = [float(np.std(_coarse(frame))) for frame in (first, second)]
    ratio = spreads[1] / spreads[0] if min(spreads) > 0 else 1.0
    return Source(second - np.float32(ratio) * first, (first + second) / 2)


def _coarse(frame: NDArray[np.float32]) -> NDArray[np.float64]:
    """Means of blocks of 8 x 8 pixels."""
    rows, columns = (size // _BLOCK for size in frame.shape)
    blocks = frame[: rows * _BLOCK, : columns * _BLOCK]
    shape = (rows, _BLOCK, columns, _BLOCK)
    return np.asarray(blocks.reshape(shape).mean(axis=(1, 3), dtype=np.float64))


def _judge(found: Spectra) -> Correlation:
    raw, chance = fit_autocorrelation(found)
    rest, shape = _rest(raw), _rest_shape()
    correlation = (raw - rest * shape) / (1 - rest)
    texture = min(_TEXTURE_ERROR * max(0.0, found.texture - 1), _MOST_TEXTURE_ERROR)
    image = (texture**2 + (_REST_ERROR * rest) ** 2) * shape**2
    error = np.sqrt(chance**2 + image + _LEAST_ERROR**2)
    error[REACH, REACH] = 0.0
    verdict: Verdict = _verdict(correlation)
    reason = ""
    if max(neighbors(chance)) > _LARGEST_ERROR:
        verdict, reason = "unknown", "too few of their pixels show noise"
    elif verdict != "white" and not _certain(correlation, error):
        verdict, reason = "unknown", "the image is too sharp to be told from it"
    return Correlation(correlation, error, verdict, reason)


def _certain(correlation: Floats, error: Floats) -> bool:
    """Whether the strongest correlation is more than error and image may make."""
    beside = np.abs(correlation)
    beside[REACH, REACH] = 0.0
    at = np.unravel_index(np.argmax(beside), beside.shape)
    return bool(beside[at] - _CERTAIN * error[at] > _LEAST_CERTAIN)


def _verdict(correlation: Floats) -> Verdict:
    along_x, along_y = correlation[REACH, REACH + 1 :], correlation[REACH + 1 :, REACH]
    rows, columns = (np.abs(line).max() > _CORRELATED for line in (along_x, along_y))
    if not (rows and columns):
        return "rows" if rows else "columns" if columns else "white"
    # A filter is nearly a product of one along x and one along y, and so is what it
    # does to the correlation. What rows and columns share does not reach across.
    product = np.outer(along_y, along_x)
    across = correlation[REACH + 1 :, REACH + 1 :]
    across = (across + correlation[REACH + 1 :, REACH - 1 :: -1]) / 2
    like_product = np.sum(across * product) / np.sum(product * product)
    return "filtered" if like_product > _FILTERED else "both"


def _rest(raw: Floats) -> float:
    """Part of the power that is the image's.

    With a correlation r along one axis, noise has r times that of the other axis across
    corners. What is more there is the rest of the image, which is alike in all
    directions.
    """
    x, y, corner = neighbors(raw)
    strong, weak = max(x, y), min(x, y)
    if weak > _REST_BELOW:
        return 0.0
    side, _, across = neighbors(_rest_shape())
    divisor = max(across - side * strong, _LEAST_DIVISOR)
    rest = (corner - strong * weak) / divisor
    return float(np.clip(min(rest, weak / side), 0.0, _MOST_REST))


def _rest_shape() -> Floats:
    lag = np.arange(-REACH, REACH + 1)
    line = np.exp(-(lag**2) / (2 * _REST_WIDTH**2))
    return np.outer(line, line)
