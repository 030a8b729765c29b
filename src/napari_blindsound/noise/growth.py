"""How noise grows with the light, measured in the images, and what models make of it.

The variance of the noise at each level of light is found from noisy crops alone, as
the calibration does: by the response of a Laplacian, whose 90 % quantile edges cannot
reach. Here the levels have fixed places, so that what many crops tell can be added up
while a network learns. Any noise model's parameters follow from the sums later on.

The search of Noise2Score, by the total variation of what each parameter gives, prefers
results that are too smooth, and is not used: this is independent of any result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.optimize import nnls

from napari_blindsound.noise.rayleigh import MEAN, VARIANCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_blindsound.noise.models import Kind

    Floats = NDArray[np.float64]

LEVELS = 50
"""Levels of light, from -0.3 to 1.7 of the range that images are normalized to."""
SUMS = 3
"""Numbers kept of each level: pixels, and sums of their light and variance."""
FEWEST = 60
"""Pixels of a level that are worth a look."""
WIDE = 2
"""Pixels between the weights of a Laplacian that a filter lets more through to."""
LAGS = ((0, 1), (1, 1), (0, 2), (1, 2), (2, 2))
"""Rows and columns between two pixels whose noise is compared."""

_LOW, _HIGH = -0.3, 1.7
_WINDOW = 5
_QUANTILE, _QUANTILE_SIGMAS = 0.9, 1.6448536
_ROUNDS = 20
_OUTLIER = 2.0
_LEAST_SPREAD = 0.05
_TINY = 1e-12
_MOST_MISFIT = 0.3  # of one level
_APART = ("gamma", "poisson")  # Rayleigh's parameter is told too large by structure
_WORSE = 1.15  # misfit of a zero at zero counts, in parts of the least, that is borne
_GRID = 32
_LEAST_CENTER = 0.3  # response of a filter, so that it has an inverse


@dataclass(frozen=True)
class Growth:
    """Variance of the noise against light, in any one unit.

    Parameters
    ----------
    pixels, light, variance : ndarray
        (n,): of levels that were seen, darkest first.
    shared : ndarray
        (len(LAGS),): correlation of the Laplacian's response.
    """

    pixels: Floats
    light: Floats
    variance: Floats
    shared: Floats

    @classmethod
    def of(cls, sums: Floats, shared: Floats, scale: float, offset: float) -> Growth:
        """From sums of :func:`look`: `scale` times what is normalized, + `offset`."""
        seen = sums[0] > 0
        pixels, light, variance = sums[:, seen]
        return cls(
            pixels,
            scale * light / np.maximum(pixels, 1) + offset,
            scale**2 * variance / np.maximum(pixels, 1),
            shared,
        )


def look(planes: NDArray[np.float32], step: int = 1) -> tuple[Floats, Floats]:
    """Sums for each level of light, and correlations of neighbors.

    Parameters
    ----------
    planes : ndarray
        (n, h, w), normalized, of one channel.
    step : int
        Pixels from one weight of the Laplacian to the next.

    Returns
    -------
    sums : ndarray
        (SUMS, LEVELS).
    shared : ndarray
        (len(LAGS),), from the signs of the responses, which few bright edges can not
        change much.
    """
    inner = planes.astype(np.float64)
    first, middle, last = (
        slice(0, -2 * step),
        slice(step, -step),
        slice(2 * step, None),
    )
    across = inner[:, first] - 2 * inner[:, middle] + inner[:, last]
    response = (across[..., first] - 2 * across[..., middle] + across[..., last]) / 6
    local, level = (part[:, middle, middle] for part in levels(inner))
    sums = np.zeros((SUMS, LEVELS))
    for index in np.unique(level):
        here = level == index
        count = int(here.sum())
        if count >= FEWEST:
            spread = np.quantile(np.abs(response[here]), _QUANTILE) / _QUANTILE_SIGMAS
            sums[:, index] = count, local[here].sum(), count * spread**2
    sign = np.sign(response)
    return sums, np.array([_agreement(sign, lag) for lag in LAGS])


def levels(planes: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Light around each pixel of planes, (n, h, w), and its level."""
    local = uniform_filter(planes, (0, _WINDOW, _WINDOW))
    place = (local - _LOW) / (_HIGH - _LOW) * LEVELS
    return local, np.clip(place.astype(np.int64), 0, LEVELS - 1)


def of_line(gain: float, dark: float, read_variance: float) -> Floats:
    """Sums as of :func:`look`, of a calibrated camera, where nothing was looked at."""
    light = np.linspace(max(dark, 0.0), 1.0, LEVELS)
    variance = gain * np.maximum(light - dark, 0) + read_variance + _TINY
    return np.stack([np.ones(LEVELS), light, variance])


def estimated(
    kind: Kind, growth: Growth, known: Mapping[str, float], wide: Growth | None = None
) -> dict[str, float]:
    """Parameters of a model that explain the noise seen.

    Parameters
    ----------
    kind : Kind
        The model; not the camera, which has a calibration of its own.
    growth : Growth
        In the unit that parameters are wanted in, with zero where there is no light.
    known : mapping of str to float
        Parameters that are given, such as those of the filter.
    wide : Growth, optional
        Of a Laplacian with `WIDE` pixels between its weights. Where one noise went
        through a filter and another did not, they are told apart by the two.

    Returns
    -------
    dict of str to float
        By names of :class:`~napari_blindsound.noise.models.Parameters`; empty where
        nothing was seen.
    """
    if not len(growth.light):
        return {}
    found: dict[str, float] = {}
    variance = growth.variance
    if kind.is_correlated:
        # Gaussian noise that is not filtered hides the filter: the paper's, then.
        usual = {"edge": 0.1, "corner": 0.05}
        found = usual if kind.is_mixed else filter_of(growth.shared)
        weights = {**found, **known}
        variance = variance / passed(weights["edge"], weights["corner"])
    light = np.maximum(growth.light, _TINY)
    if kind.first == "linear-deviation":
        slope, dark = _fit([light, 0 * light + 1], np.sqrt(variance), growth.pixels)
        return {**found, "a": slope, "b": max(dark, 1e-3 * math.sqrt(variance.max()))}
    basis = {"poisson": light, "gamma": light**2, "rayleigh": light**2}
    if kind.is_mixed and kind.is_correlated and wide and kind.first in _APART:
        passes = [passed(weights["edge"], weights["corner"], s) for s in (1, WIDE)]
        return {**found, **_apart(kind.first, [growth, wide], passes)}
    columns = [basis[kind.first]] if kind.first in basis else []
    if kind.is_mixed or not columns:
        columns.append(0 * light + 1)
    *slopes, constant = (*_fit(columns, variance, growth.pixels), 0.0)[:2]
    if kind.first not in basis:
        return {**found, "sigma": math.sqrt(slopes[0])}
    if kind.is_mixed:
        least = 1e-3 * float(variance.max())
        # Gaussian noise was added after the filter, not before it.
        after = passed(weights["edge"], weights["corner"]) if kind.is_correlated else 1
        found["sigma"] = math.sqrt(max(constant, least) * after)
    return {**found, **_parameter(kind.first, max(slopes[0], _TINY))}


def _apart(
    first: str, seen: Sequence[Growth], passes: Sequence[float]
) -> dict[str, float]:
    """Noise that a filter let so much of through, and that which it did not meet."""
    power = 1 if first == "poisson" else 2
    filtered = [
        part * np.maximum(growth.light, _TINY) ** power
        for growth, part in zip(seen, passes, strict=True)
    ]
    column = np.concatenate(filtered)
    variance = np.concatenate([growth.variance for growth in seen])
    pixels = np.concatenate([growth.pixels for growth in seen])
    slope, constant = _fit([column, np.ones_like(column)], variance, pixels)
    least = 1e-3 * float(variance.max())
    numbers = _parameter(first, max(slope, _TINY))
    return {**numbers, "sigma": math.sqrt(max(constant, least))}


def dark_level(kind: Kind, growth: Growth) -> float | None:
    """Where noise that grows with the light would end, if it is all there is.

    At zero, unless the noise says otherwise: where no place of the image is dark, many
    a level explains it about as well. None where it cannot be told: other noise goes on
    in the dark.
    """
    found = _free_dark_level(kind, growth)
    if found is None or growth.light[0] <= 0:
        return found
    least, at_zero = (_misfit(kind, growth, dark) for dark in (found, 0.0))
    return 0.0 if at_zero <= _WORSE * least else found


def _misfit(kind: Kind, growth: Growth, dark: float) -> float:
    """Relative error of the variance, where there is no light at a level."""
    light = np.maximum(growth.light - dark, 0.0)
    columns = [light if kind.first == "poisson" else light**2]
    if kind.is_mixed:
        columns.append(np.ones_like(light))
    weights = _fit(columns, growth.variance, growth.pixels)
    line = np.stack(columns, axis=1) @ np.array(weights)
    floor = max(0.1 * float(np.average(growth.variance, weights=growth.pixels)), _TINY)
    relative = np.abs(growth.variance - line) / np.maximum(line, floor)
    square = np.minimum(relative, _MOST_MISFIT) ** 2
    return float(np.sqrt(np.average(square, weights=growth.pixels)))


def _free_dark_level(kind: Kind, growth: Growth) -> float | None:
    if kind.first not in ("gamma", "poisson", "rayleigh") or len(growth.light) < 3:
        return None
    light, variance, one = growth.light, growth.variance, np.ones(len(growth.light))
    if kind.is_mixed:
        if kind.first == "poisson":
            return None
        # Variance is c (x - dark)^2 + sigma^2, of which the middle term is told apart.
        slope, twice, _ = _fit([light**2, -light, one], variance, growth.pixels)
        return None if slope <= _TINY else float(min(twice / slope / 2, light[0]))
    y = variance if kind.first == "poisson" else np.sqrt(variance)
    slope, above, below = _fit([light, one, -one], y, growth.pixels)
    return None if slope <= _TINY else float(min((below - above) / slope, light[0]))


def passed(edge: float, corner: float, step: int = 1) -> float:
    """Variance of white noise that a 3 x 3 filter and the Laplacian leave."""
    power = np.abs(_laplacian(step) * _filter(np.array(edge), np.array(corner))) ** 2
    return float(power.mean())


def filter_of(shared: Floats) -> dict[str, float]:
    """Filter of white noise that correlates neighbors as they are found to be."""
    edges, corners, table = _table()
    best = int(np.argmin(((table - shared) ** 2).sum(-1)))
    return {"edge": float(edges[best]), "corner": float(corners[best])}


def _parameter(first: str, slope: float) -> dict[str, float]:
    """From the slope of variance against light, or its square."""
    if first == "poisson":
        return {"lam": 1 / slope}
    if first == "gamma":
        return {"alpha": max(1 / slope, 1.01)}
    # Light is seen brighter than it is by the mean of the noise.
    root = math.sqrt(slope)
    return {"spread": root / max(math.sqrt(VARIANCE) - MEAN * root, 0.05)}


def _fit(columns: list[Floats], y: Floats, pixels: Floats) -> list[float]:
    """Weights of columns, none below zero, by relative errors; outliers weigh less."""
    matrix = np.stack(columns, axis=1)
    floor = max(0.1 * float(np.average(y, weights=pixels)), _TINY)
    fitted, trust = np.maximum(y, floor), np.ones_like(y)
    found = np.zeros(len(columns))
    for _ in range(_ROUNDS):
        weight = np.sqrt(pixels / pixels.sum() * trust) / fitted
        # Columns of one size, as light squared and one may differ by ten decades.
        size = np.linalg.norm(matrix * weight[:, None], axis=0) + _TINY
        found = nnls(matrix * weight[:, None] / size, y * weight)[0] / size
        line = matrix @ found
        fitted = np.maximum(line, floor)
        relative = np.abs(y - line) / fitted
        spread = max(1.4826 * float(np.median(relative)), _LEAST_SPREAD)
        trust = np.minimum(1.0, _OUTLIER * spread / np.maximum(relative, _TINY))
    return [float(value) for value in found]


def _agreement(sign: Floats, lag: tuple[int, int]) -> float:
    """Correlation from signs, mean over the directions of a lag."""
    pairs = []
    for rows, columns in {lag, lag[::-1]}:
        first = sign[:, : sign.shape[1] - rows, : sign.shape[2] - columns]
        second = sign[:, rows:, columns:]
        pairs.append(float((first * second).mean()))
    return math.sin(math.pi / 2 * float(np.mean(pairs)))


@lru_cache(maxsize=2)
def _laplacian(step: int = 1) -> Floats:
    line = np.zeros(2 * step + 1)
    line[::step] = 1.0, -2.0, 1.0
    return np.asarray(np.fft.fft2(np.outer(line, line) / 6, (_GRID, _GRID)))


def _filter(edge: Floats, corner: Floats) -> Floats:
    """Response of filters (...) at the frequencies of a grid, (..., grid, grid)."""
    wave = np.cos(2 * np.pi * np.fft.fftfreq(_GRID))
    beside = 2 * wave[:, None] + 2 * wave[None]
    across = 4 * wave[:, None] * wave[None]
    edge, corner = edge[..., None, None], corner[..., None, None]
    return np.asarray(1 - 4 * (edge + corner) + edge * beside + corner * across)


@lru_cache(maxsize=1)
def _table() -> tuple[Floats, Floats, Floats]:
    """Filters that have an inverse, and how they correlate the responses."""
    edge, corner = (
        part.ravel()
        for part in np.meshgrid(np.linspace(0, 0.12, 25), np.linspace(0, 0.1, 21))
    )
    response = _filter(edge, corner)
    usable = response.min((-2, -1)) > _LEAST_CENTER / 3
    edge, corner, response = edge[usable], corner[usable], response[usable]
    power = np.abs(_laplacian() * response) ** 2
    lags = np.fft.ifft2(power).real
    beside = np.stack([(lags[:, r, c] + lags[:, c, r]) / 2 for r, c in LAGS], axis=-1)
    return edge, corner, beside / lags[:, 0, 0, None]
