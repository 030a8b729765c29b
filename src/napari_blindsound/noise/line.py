"""The line of variance against mean, what lies below it, and how sure both are.

Variance: ``V = gain (mean - offset) + R``. Third cumulant of photon noise, to which
Gaussian read noise adds nothing: ``K = gain^2 (mean - offset) = gain (V - R)``. So the
skewness of the noise tells how much of the variance is light's, and with it the offset,
from which the line alone cannot separate ``R``. All three are fitted together, and
again to blocks of the image drawn with replacement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import median_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindsound.noise.moments import Samples

    Floats = NDArray[np.float64]

DRAWS = 400
_QUANTILES = (*(i / 16 for i in range(16)), 31 / 32, 63 / 64, 127 / 128)
_FEWEST, _FEWEST_THIRD = 300, 100
_MOST_DARK, _MOST_BRIGHT = 0.01, 0.002
# The third power feels most what is cut off.
_MOST_DARK_THIRD = 0.0005
_FOR_QUANTILES = 100_000
_ITERATIONS, _STEPS = 8, 4
_HUBER = 2.5
_CAMERA_SKEWNESS, _DOUBT = (0.75, 1.33), 3.0


class Groups(NamedTuple):
    """Pixels of like brightness, darkest first; draws (d, n) of the image's blocks.

    Attributes
    ----------
    mean, variance, third
        (d, n), the first draw being the image itself. ``third`` is NaN without samples.
    third_mean
        Brightness of those samples, (d, n).
    error, third_error
        Standard errors of variance and third cumulant, (n,).
    clipped
        Whether clipping changes the group's noise, (n,).
    """

    mean: Floats
    variance: Floats
    third: Floats
    third_mean: Floats
    error: Floats
    third_error: Floats
    clipped: NDArray[np.bool_]

    def times(self, unit: float) -> Groups:
        """Return them in counts, from counts over ``unit``."""
        square, cube = unit**2, unit**3
        return Groups(
            self.mean * unit,
            self.variance * square,
            self.third * cube,
            self.third_mean * unit,
            self.error * square,
            self.third_error * cube,
            self.clipped,
        )


class Line(NamedTuple):
    """Numbers of each draw, (d,), the first being that of the image.

    Attributes
    ----------
    gain
        Slope.
    pivot
        Mean at which ``height`` is the variance, one number.
    height
        As said.
    ground
        Variance without light; NaN where the skewness does not tell.
    misfit
        Scatter of the groups about the line over what chance explains, at least 1.
    is_photons
        Whether the skewness is that of photon noise. Otherwise it was not used.
    """

    gain: Floats
    pivot: float
    height: Floats
    ground: Floats
    misfit: float
    is_photons: bool = True

    def times(self, unit: float) -> Line:
        """Return it in counts, from counts over ``unit``."""
        return self._replace(
            gain=self.gain * unit,
            pivot=self.pivot * unit,
            height=self.height * unit**2,
            ground=self.ground * unit**2,
        )


def grouped(samples: Samples, seed: int) -> Groups | None:
    """Sort the samples by brightness; None if they are too few for one group."""
    total = len(samples.level)
    if total < _FEWEST:
        return None
    some = samples.level[:: max(1, total // _FOR_QUANTILES)]
    wanted = [q for q in _QUANTILES[1:] if (1 - q) * total >= _FEWEST]
    wanted = [q for q in wanted if q * total >= _FEWEST]
    edges = np.unique(np.quantile(some, wanted)) if wanted else np.empty(0)
    group = np.searchsorted(edges, samples.level, side="right")
    count = len(edges) + 1
    blocks = int(samples.block.max()) + 1
    place = samples.block * count + group
    known = np.isfinite(samples.third)
    base = float(samples.mean.mean(dtype=np.float64))

    def sums(values: NDArray[np.generic] | None, at: NDArray[np.intp]) -> Floats:
        found = np.bincount(at, values, minlength=blocks * count)
        return found.reshape(blocks, count).astype(np.float64)

    place3, third = place[known], samples.third[known]
    mean, variance = samples.mean - np.float32(base), samples.variance
    tables = np.stack(
        [
            sums(None, place),
            sums(mean, place),
            sums(variance, place),
            sums(None, place3),
            sums(mean[known], place3),
            sums(third, place3),
        ]
    )
    squares = sums(variance * variance, place).sum(0)
    cubes = sums(third * third, place3).sum(0)
    dark, bright = (sums(part, place).sum(0) for part in (samples.dark, samples.bright))
    draws = _draws(tables[0].sum(axis=1) > 0, seed)
    drawn = np.einsum("db,kbg->kdg", draws, tables, optimize=True)
    full = tables[:, :, :].sum(axis=1)[0] > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        return _groups(drawn, squares, cubes, dark, bright, base, full)


def _draws(filled: NDArray[np.bool_], seed: int) -> Floats:
    """How often each block occurs: once in the first row, at random in the others."""
    rng = np.random.default_rng(seed)
    shares = filled / filled.sum()
    drawn = rng.multinomial(int(filled.sum()), shares, size=DRAWS)
    return np.concatenate([filled[None], drawn]).astype(np.float64)


def _groups(
    drawn: Floats,
    squares: Floats,
    cubes: Floats,
    dark: Floats,
    bright: Floats,
    base: float,
    full: NDArray[np.bool_],
) -> Groups:
    number, number3 = drawn[0], drawn[3]
    mean, variance = _kept(drawn[1] / number), _kept(drawn[2] / number)
    mean3, third = _kept(drawn[4] / number3), _kept(drawn[5] / number3)
    third[:, number3[0] < _FEWEST_THIRD] = np.nan
    third[:, dark > _MOST_DARK_THIRD * number[0]] = np.nan
    slope = _slope(mean[0], variance[0])
    scatter = np.std(variance[1:] - slope * mean[1:], axis=0)
    scatter3 = np.std(third[1:] - slope**2 * mean3[1:], axis=0)
    alone = (squares / number[0] - variance[0] ** 2) / number[0]
    alone3 = (cubes / number3[0] - third[0] ** 2) / number3[0]
    clipped = dark / number[0] > _MOST_DARK
    clipped |= bright / number[0] > _MOST_BRIGHT
    return Groups(
        (mean + base)[:, full],
        variance[:, full],
        third[:, full],
        (mean3 + base)[:, full],
        _errors(alone, scatter)[full],
        _errors(alone3, scatter3)[full],
        clipped[full],
    )


def _errors(alone: Floats, scatter: Floats) -> Floats:
    """Standard errors of the groups, enlarged where their pixels are dependent.

    ``alone`` are the squared ones of independent pixels, ``scatter`` those of the
    draws, each uncertain where the blocks are few: by how much they differ is taken
    from groups of like brightness together.
    """
    errors = np.sqrt(np.maximum(alone, 0))
    usable = np.isfinite(errors) & np.isfinite(scatter) & (errors > 0)
    if usable.any():
        ratio = scatter[usable] / errors[usable]
        errors[usable] *= np.maximum(1, median_filter(ratio, 5, mode="nearest"))
    return errors


def _kept(values: Floats) -> Floats:
    """The image's own value where a draw has no pixel of a group."""
    return np.where(np.isnan(values), values[0], values)


def _slope(x: Floats, y: Floats) -> float:
    good = np.isfinite(x) & np.isfinite(y)
    centered = x[good] - x[good].mean()
    power = float(centered @ centered)
    return float(centered @ y[good]) / power if power > 0 else 0.0


def fitted(groups: Groups) -> Line | None:
    """Fit gain, height and ground to every draw.

    Groups that clipping changed are left out, unless all are. None if fewer than two
    groups have an error, or all are of one brightness.
    """
    good = (groups.error > 0) & np.isfinite(groups.error)
    if not (good & ~groups.clipped).sum() >= 2:
        return None
    good &= ~groups.clipped
    x, y, error = groups.mean[:, good], groups.variance[:, good], groups.error[good]
    trust, misfit = _trust(x[0], y[0], error)
    weights = trust / error**2
    if weights @ (x[0] - np.average(x[0], weights=weights)) ** 2 <= 0:
        return None
    pivot = float(np.average(x[0], weights=weights))
    gain, height = _lines(x - pivot, y, weights)
    alone = Line(gain, pivot, height, np.full_like(gain, np.nan), misfit)
    good3 = good & np.isfinite(groups.third[0]) & (groups.third_error > 0)
    if not good3.any() or gain[0] <= 0:
        return alone
    x3 = groups.third_mean[:, good3] - pivot
    k, weights3 = groups.third[:, good3], groups.third_error[good3] ** -2
    start = gain, height
    gain, height, ground = _together(x - pivot, y, weights, x3, k, weights3, start)
    # A stronger test than that of the intervals: it is made for every image.
    most = ground[0] + _DOUBT * float(np.std(ground[1:]))
    if not _is_photons(_lines(x3, k, weights3)[0], gain) or most < 0:
        return alone._replace(is_photons=False)
    return Line(gain, pivot, height, ground, misfit)


def _trust(x: Floats, y: Floats, error: Floats) -> tuple[Floats, float]:
    """Weights that turn from groups far off the line, and how far off they all are."""
    trust, scale = np.ones_like(x), 1.0
    for _ in range(_ITERATIONS):
        weights = trust / error**2
        center = np.average(x, weights=weights)
        slope, height = _lines((x - center)[None], y[None], weights)
        off = abs(y - height - slope * (x - center)) / error
        degrees = max(len(x) - 2, 1)
        scale = max(1.0, 1.4826 * float(np.median(off)) * (len(x) / degrees) ** 0.5)
        trust = np.minimum(1.0, _HUBER * scale / np.maximum(off, 1e-12))
    return trust, scale


def _lines(x: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Slope and height at zero of weighted lines, (d, n) to (d,)."""
    x, y = np.nan_to_num(x), np.nan_to_num(y)
    total = weights.sum()
    mean_x, mean_y = x @ weights / total, y @ weights / total
    centered = x - mean_x[:, None]
    power = (centered * centered) @ weights
    slope = (centered * y) @ weights / np.maximum(power, 1e-300)
    return slope, mean_y - slope * mean_x


def _is_photons(slope: Floats, gain: Floats) -> bool:
    """Whether the third cumulants rise by about the square of the gain."""
    if not slope.any():
        return True
    ratio = slope / np.maximum(gain * gain, 1e-300)
    low, middle, high = np.quantile(ratio[1:], (0.16, 0.5, 0.84))
    least, most = _CAMERA_SKEWNESS
    return bool(
        middle + _DOUBT * (high - middle) > least
        and middle - _DOUBT * (middle - low) < most
    )


def _together(
    x: Floats,
    y: Floats,
    weights: Floats,
    x3: Floats,
    k: Floats,
    weights3: Floats,
    start: tuple[Floats, Floats],
) -> tuple[Floats, Floats, Floats]:
    """Gauss-Newton steps for gain, height and ground, all draws at a time."""
    x, y, x3, k = (np.nan_to_num(values) for values in (x, y, x3, k))
    gain, height = start
    least = 1e-3 * gain[0]
    gain = np.maximum(gain, least)
    light = k @ weights3 / weights3.sum() / gain
    ground = height + gain * (x3 @ weights3 / weights3.sum()) - light
    for _ in range(_STEPS):
        g, h, r = gain[:, None], height[:, None], ground[:, None]
        line3 = g * x3 + h
        ones = np.ones_like(x)
        rows = np.stack([x, ones, np.zeros_like(x)], axis=2)
        rows3 = np.stack(
            [line3 + g * x3 - r, g + 0 * x3, -g + 0 * x3],
            axis=2,
        )
        off, off3 = y - g * x - h, k - g * (line3 - r)
        matrix = np.einsum("dni,n,dnj->dij", rows, weights, rows)
        matrix += np.einsum("dni,n,dnj->dij", rows3, weights3, rows3)
        right = np.einsum("dni,n,dn->di", rows, weights, off)
        right += np.einsum("dni,n,dn->di", rows3, weights3, off3)
        step = _solved(matrix, right)
        gain = np.maximum(gain + step[:, 0], least)
        height, ground = height + step[:, 1], ground + step[:, 2]
    return gain, height, ground


def _solved(matrix: Floats, right: Floats) -> Floats:
    """Solve small systems scaled to a unit diagonal, so that none is singular."""
    scale = np.sqrt(np.maximum(np.diagonal(matrix, axis1=1, axis2=2), 1e-300))
    unit = matrix / scale[:, :, None] / scale[:, None, :] + 1e-9 * np.eye(3)
    solution = np.linalg.solve(unit, (right / scale)[..., None])[..., 0]
    return np.asarray(solution / scale)
