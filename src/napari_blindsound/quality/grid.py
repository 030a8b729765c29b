"""Checkerboards and grids that a network with poolings or masks can leave behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

_NEAR = (-4, -3, -2, 2, 3, 4)  # bins; the window spreads a peak over one bin a side


class Peak(NamedTuple):
    """Power at one period.

    Parameters
    ----------
    ratio : float
        Power at the period over that beside it; 1 where there is no grid.
    amplitude : float
        Standard deviation, in the image's units, of the grid; 0 where there is none.
    """

    ratio: float
    amplitude: float


def grid_peaks(images: NDArray[Any], periods: Iterable[int]) -> dict[int, Peak]:
    """Look for grids of the given periods, along rows, columns and both.

    The power of the Hann-windowed images at the period's frequency is compared with
    that of bins two to four further in and out on the same ray.

    Parameters
    ----------
    images : ndarray
        (n, h, w); the powers are added up over n.
    periods : iterable of int
        In pixels; those with fewer than 8 repeats in the images are left out.
    """
    return {
        period: _peak(images, period)
        for period in sorted(set(periods))
        if 2 <= period <= min(images.shape[-2:]) // 8
    }


def _peak(images: NDArray[Any], period: int) -> Peak:
    rows, columns = (size // period * period for size in images.shape[-2:])
    cut = images[..., :rows, :columns].astype(np.float64)
    cut -= cut.mean(axis=(-2, -1), keepdims=True)
    window = np.multiply.outer(_hann(rows), _hann(columns))
    power = (np.abs(np.fft.fft2(cut * window)) ** 2).reshape(-1, rows, columns).sum(0)
    at, beside = 0.0, 0.0
    for y, x in _frequencies(period, rows, columns):
        at += power[y % rows, x % columns]
        near = [
            power[(y + _toward(y, n)) % rows, (x + _toward(x, n)) % columns]
            for n in _NEAR
        ]
        beside += float(np.mean(near))
    if not beside > 0:
        return Peak(1.0, 0.0)
    # A wave of variance v in all has v (sum of the window)**2 in its bins.
    excess = max(0.0, at - beside) / (window.sum() ** 2 * len(images))
    return Peak(at / beside, excess**0.5)


def _frequencies(period: int, rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """All bins of the fundamental: one wave along rows, columns or both diagonals."""
    y, x = rows // period, columns // period
    signs = (1,) if period == 2 else (1, -1)
    yield from ((sign * y, 0) for sign in signs)
    yield from ((0, sign * x) for sign in signs)
    yield from ((one * y, two * x) for one in signs for two in signs)


def _toward(bin_: int, step: int) -> int:
    return step if bin_ > 0 else -step if bin_ < 0 else 0


def _hann(size: int) -> NDArray[np.float64]:
    return np.asarray(np.hanning(size + 2)[1:-1])
