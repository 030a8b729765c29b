"""Frames that show the same scene again: what their differences say of an estimate.

Noise that is new in every frame cancels in a product of two differences, whatever its
distribution, its variance, or its correlation from pixel to pixel.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import uniform_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

MOST_CHANGE = 0.006
"""Power of what changes between frames, against that of their noise, that is passed."""

_MOST_MATCHED = 0.3  # the same, of what is put right: beyond, it is another scene
_BLOCK = 16
_REACH = 5  # px, as far as the noise of a camera may be correlated
_SURE = 2.0  # standard errors
_LEAST_SIDE = 2 * _BLOCK


def squared_errors(estimates: Floats, seen: Floats, around: int = 0) -> Floats:
    r"""Unbiased squared error of estimates, without a truth.

    With f of frame i, and frames j and k that it was not made of, the mean of
    (f - y_j)(f - y_k) is that of (f - x)^2: the noise of three frames is independent.
    Of two frames, (f_1 - y_2)^2 + (f_2 - y_1)^2 - (y_1 - y_2)^2 takes its place, if
    both are equally noisy.

    Parameters
    ----------
    estimates : ndarray
        (T, ...), T at least 2: what was made of each frame.
    seen : ndarray
        (T, T, ...): all frames, once matched to each, as :func:`seen_by_each` has them.
    around : int
        Frames on each side that an estimate was made of besides its own; those do not
        judge it. T is then at least that of :func:`frames_needed`.

    Returns
    -------
    ndarray
        (...), the mean over the estimates that can be judged; single pixels may be
        negative.
    """
    count = len(seen)
    if around:
        return np.asarray(
            np.mean(
                [
                    _judged(estimate, frames[_unseen(i, count, around)])
                    for i, (estimate, frames) in enumerate(
                        zip(estimates, seen, strict=True)
                    )
                    if len(_unseen(i, count, around)) > 1
                ],
                axis=0,
            )
        )
    away = estimates[:, None] - seen
    away[range(count), range(count)] = 0
    squares = (away**2).sum(axis=1)
    if count == 2:
        noise = (seen[:, 0] - seen[:, 1]) ** 2 / 2
        return np.asarray((squares - noise).mean(axis=0))
    pairs = (count - 1) * (count - 2)
    return np.asarray(((away.sum(axis=1) ** 2 - squares) / pairs).mean(axis=0))


def frames_needed(around: int, usual: int) -> tuple[int, int]:
    """Fewest frames that can judge, and how many to take where there are as many.

    Parameters
    ----------
    around : int
        Frames on each side that an estimate was made of besides its own.
    usual : int
        Frames to take without such.
    """
    least = around + 3 if around else 2
    return least, max(least, usual)


def _unseen(index: int, count: int, around: int) -> list[int]:
    """Frames that the estimate of one of them was not made of, all being in a row."""
    return [other for other in range(count) if abs(other - index) > around]


def _judged(estimate: Floats, frames: Floats) -> Floats:
    """Squared error of an estimate by frames (n, ...), two or more, it did not see."""
    away, count = estimate - frames, len(frames)
    squares = (away**2).sum(axis=0)
    return np.asarray((away.sum(axis=0) ** 2 - squares) / (count * (count - 1)))


def noise_variance(seen: Floats) -> Floats:
    """Unbiased variance of the noise at each pixel, (T, T, ...) to (...)."""
    return np.asarray(seen[0].var(axis=0, ddof=1))


def seen_by_each(frames: Floats) -> Floats:
    """Frames (T, h, w) matched to the first, to the second, ...: (T, T, h, w)."""
    return np.stack([matched(frames, index) for index in range(len(frames))])


def matched(frames: Floats, to: int) -> Floats:
    """Frames with the brightness and the place of one of them, to first order.

    Parameters
    ----------
    frames : ndarray
        (T, h, w), T at least 2.
    to : int
        The frame that stays as it is.

    Returns
    -------
    ndarray
        (T, h, w); noise is left as it was, but for the four numbers found a frame.
    """
    result = frames.copy()
    for other in range(len(frames)):
        if other != to:
            result[other] += _expected(frames, to, other).astype(frames.dtype)
    return result


def change(frames: Floats) -> float:
    """How much of a scene changes from frame to frame, beyond brightness and place.

    Looked for in the differences of consecutive frames, and of the first and the last,
    as whatever reaches farther than noise does.

    Parameters
    ----------
    frames : ndarray
        (T, h, w), T at least 2.

    Returns
    -------
    float
        Largest power of a change, against that of the noise in one frame; infinite
        where frames are copies, too small to tell, or of different scenes.
    """
    if len(frames) < 2 or min(frames.shape[-2:]) < _LEAST_SIDE:
        return float("inf")
    pairs = [*pairwise(range(len(frames)))]
    pairs += [(0, len(frames) - 1)] if len(frames) > 2 else []
    return max(_change(frames, first, second) for first, second in pairs)


def are_repeats(frames: Floats) -> bool:
    """Whether frames, (T, h, w), show the same scene but for what `matched` mends."""
    return change(frames) <= MOST_CHANGE


def _change(frames: Floats, first: int, second: int) -> float:
    difference = (frames[first] - frames[second]).astype(np.float64)
    power = float(difference.var())
    mended = _expected(frames, first, second)
    if power == 0 or float((mended**2).mean()) > _MOST_MATCHED * power:
        return float("inf")
    return 2 * _far(difference - mended)  # two frames' noise is in a difference


def _expected(frames: Floats, first: int, second: int) -> Floats:
    """Part of a difference that is another brightness, background or place."""
    rest = [i for i in range(len(frames)) if i not in (first, second)]
    scene = frames[rest or [first, second]].mean(axis=0, dtype=np.float64)
    smooth = uniform_filter(scene, 3)
    causes = [np.ones_like(smooth), smooth - smooth.mean(), *np.gradient(smooth)]
    table = np.stack([cause.ravel() for cause in causes], axis=1)
    scale = np.sqrt((table**2).mean(axis=0))
    table /= np.where(scale > 0, scale, 1)
    difference = (frames[first] - frames[second]).astype(np.float64)
    found, *_ = np.linalg.lstsq(table, difference.ravel(), rcond=None)
    return np.asarray((table @ found).reshape(difference.shape))


def _far(difference: Floats) -> float:
    """Part of the power that is common to blocks, beyond near pixels and chance."""
    height, width = (size // _BLOCK * _BLOCK for size in difference.shape)
    centered = difference[:height, :width] - difference[:height, :width].mean()
    blocks = centered.reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    means = blocks.mean(axis=(1, 3))
    seen = float((means**2).mean())
    chance = _SURE * seen * math.sqrt(2 / means.size)
    near = 0.0
    for down in range(-_REACH, _REACH + 1):
        for right in range(_REACH + 1):
            share = (1 - abs(down) / _BLOCK) * (1 - right / _BLOCK) / _BLOCK**2
            times = 2 if right else 1
            near += times * share * _lagged(centered, down, right)
    return (seen - near - chance) / float((centered**2).mean())


def _lagged(image: Floats, down: int, right: int) -> float:
    """Mean product of pixels `down` rows and `right` columns apart."""
    above = image[max(0, -down) : image.shape[0] - max(0, down)]
    below = image[max(0, down) : image.shape[0] - max(0, -down)]
    width = image.shape[1] - right
    return float((above[:, :width] * below[:, right:]).mean())
