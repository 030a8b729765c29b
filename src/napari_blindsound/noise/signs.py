"""What the histogram tells of the way from the camera to the file.

Counts that pile up at an end were cut off there; counts that are missing in between
were stretched, or never told apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_FEWEST, _PILED = 10, 1e-5
# An end holds this many times the counts beside it only where it was cut off.
_TIMES, _BESIDE = 3.0, 4
_CLIPPED = 0.01
_ENOUGH_A_LEVEL = 20
_WIDEST = 1 << 20
_COUNTING, _SAME = 3.0, 0.4
_ZEROS = 5e-4


class Histogram(NamedTuple):
    """Ends and steps of the counts.

    Attributes
    ----------
    ends
        Counts at which the camera or the file stopped; infinite where it did not.
    step
        Distance of neighboring counts, 0 for numbers that are not rounded.
    dark, bright
        Fractions of the pixels at the ends.
    signs
        Troubles, each a sentence without a full stop.
    """

    ends: tuple[float, float]
    step: float
    dark: float
    bright: float
    signs: tuple[str, ...]


def histogram(tiles: Sequence[NDArray[Any]], gain: float) -> Histogram:
    """Look at all pixels of arrays of one channel, of any real dtypes.

    ``gain`` is a first estimate of the counts a photon.
    """
    values, numbers = _levels(tiles)
    total = int(numbers.sum())
    step = _step(values, numbers)
    top = _is_cut(numbers[::-1])
    if values[0] == 0:
        # Nobody knows which zeros were below it, unless they are those of photons.
        is_counting = abs(gain - step) < _SAME * step and _is_poisson(values, numbers)
        bottom = not is_counting and len(values) > 1 and numbers[0] > _ZEROS * total
    else:
        # A camera without read noise has many pixels at its offset, but none below.
        bottom = step == 0 and _is_cut(numbers)
    dark = float(numbers[0] / total) if bottom else 0.0
    bright = float(numbers[-1] / total) if top else 0.0
    signs = []
    if dark > _CLIPPED:
        signs.append(
            f"clipped at the dark end: {100 * dark:.2g} % of the pixels have the lowest"
            f" count, {values[0]:g}"
        )
    if bright:
        signs.append(
            f"saturated: {100 * bright:.2g} % of the pixels have the highest count,"
            f" {values[-1]:g}"
        )
    if values[0] < 0:
        signs.append("counts below zero: an offset was subtracted")
    if _has_gaps(values, numbers, step):
        signs.append(
            "quantized: only some of the counts between the lowest and the highest"
            " occur, as after a conversion from 8 bits or a stretched contrast"
        )
    ends = (
        float(values[0]) if bottom else -np.inf,
        float(values[-1]) if top else np.inf,
    )
    return Histogram(ends, step, dark, bright, tuple(signs))


def _levels(
    tiles: Sequence[NDArray[Any]],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Values that occur, rising, and how often."""
    low = min(float(tile.min()) for tile in tiles)
    high = max(float(tile.max()) for tile in tiles)
    if all(tile.dtype.kind in "ui" for tile in tiles) and high - low < _WIDEST:
        counts = np.zeros(int(high - low) + 1, dtype=np.int64)
        for tile in tiles:
            shifted = tile.ravel().astype(np.int64) - int(low)
            counts += np.bincount(shifted, minlength=len(counts))
        occurs = np.flatnonzero(counts)
        return occurs.astype(np.float64) + low, counts[occurs]
    pixels = np.concatenate([tile.ravel() for tile in tiles]).astype(np.float64)
    values, numbers = np.unique(pixels, return_counts=True)
    return np.asarray(values), numbers.astype(np.int64)


def _step(values: NDArray[np.float64], numbers: NDArray[np.int64]) -> float:
    if len(values) < 2 or len(values) > 0.25 * numbers.sum():
        return 0.0
    steps = np.diff(values)
    if (values == np.rint(values)).all():
        return float(np.gcd.reduce(steps.astype(np.int64)))
    return float(steps.min())


def _is_cut(numbers: NDArray[np.int64]) -> bool:
    """Whether the first of the values holds what lay beyond it."""
    total = numbers.sum()
    if len(numbers) < 2 or numbers[0] < max(_FEWEST, _PILED * total):
        return False
    return bool(numbers[0] > _TIMES * numbers[1 : 1 + _BESIDE].mean())


def _is_poisson(values: NDArray[np.float64], numbers: NDArray[np.int64]) -> bool:
    """Whether the zeros are as many as where single photons are counted.

    For Poisson numbers ``2 n0 n2 / n1^2`` is one; cut-off noise has far more zeros.
    """
    if len(values) < 3:
        return False
    steps = np.diff(values[:3])
    if steps[0] != steps[1]:
        return False
    ratio = 2.0 * float(numbers[0]) * float(numbers[2]) / float(numbers[1]) ** 2
    return ratio < _COUNTING


def _has_gaps(
    values: NDArray[np.float64], numbers: NDArray[np.int64], step: float
) -> bool:
    if step <= 0 or len(values) < 8:
        return False
    if step > 1 and (values == np.rint(values)).all():
        return True
    # Rare bright pixels leave gaps of their own, so the ends do not count.
    share = np.cumsum(numbers) / numbers.sum()
    common = values[(share > 0.02) & (share < 0.9)]
    if len(common) < 8:
        return False
    places = (common[-1] - common[0]) / step + 1
    enough = numbers.sum() / places > _ENOUGH_A_LEVEL
    # The gaps between single photons are wider than the steps within one.
    steps = np.rint(np.diff(common) / step)
    return bool(enough and len(common) < 0.9 * places and np.ptp(steps) <= 1)
