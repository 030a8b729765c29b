"""The power spectrum of the noise, where the image itself does not show.

An image is cut into tiles of 24 x 24 pixels. What the image adds to a tile's spectrum
lies at low frequencies, the lower the blurrier, so two things keep it out: tiles are
ranked by their power at the lowest frequencies and only the flattest are used, and only
frequencies above the one where flat and textured tiles begin to differ. The
autocorrelation is fitted to what is left. The ranking and the fit use frequencies of
their own, or chance would choose what is then measured.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import rfft2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]

REACH = 3  # px; lags to which the autocorrelation is known
TILE = 24  # px
_FAR = 7  # px; lags along the axes that are fitted, so that those to 3 are right
_MOST_TILES = 2000
_STRIDE, _FINE_STRIDE, _FEW_TILES = 12, 6, 400
# In cycles a tile: tiles are ranked by frequencies up to the first, fitted from the
# second on, or from where texture ends, but at the latest after the third.
_RANKED, _FITTED, _LAST_START = 2.3, 3.0, 5
# The flattest quarter of the tiles is used; of few, up to half.
_FLAT, _MOST_FLAT, _ENOUGH = 0.25, 0.5, 25
_FEWEST_FLAT = 8
_BINS, _NOISE_QUANTILE = 12, 0.25
# Textured tiles may have so much more power than flat ones, beside chance.
_TEXTURE = 0.2
# Powers below this part of the mean are rounding, not noise.
_FLOOR = 0.1
_TRUST_FLOOR = 0.02
_ITERATIONS = 6
# Neighboring frequencies of windowed tiles vary together.
_FREEDOM = 0.25
_QUANTILE, _QUANTILE_SIGMAS = 0.9, 1.6448536
_PAGE_SIGMAS, _PIXEL_SIGMAS = 8.0, 4.0
# A tile with more pixels at the lowest or highest count shows no noise.
_MOST_CLIPPED = 0.8
# Spread of the correlations expected at lags 1, 2, 3, further along an axis, and of
# whole rows or columns: what the fitted frequencies leave open stays near zero.
_EXPECTED = (0.5, 0.3, 0.2, 0.3, 0.4)


class Source(NamedTuple):
    """An image ``(h, w)`` to measure, and one of the same shape to say how bright."""

    image: NDArray[Any]
    brightness: NDArray[Any]


class Spectra(NamedTuple):
    """Mean spectra of the flattest and the most textured tiles, in units of the noise.

    Parameters
    ----------
    flat, textured
        Power at the frequencies of `_grid`.
    tiles
        Number of independent flat tiles.
    start
        Cycles a tile from which on the image does not show.
    texture
        How many times more power textured tiles have at low frequencies; 1 for none.
    """

    flat: Floats
    textured: Floats
    tiles: float
    start: float
    texture: float


class _Grid(NamedTuple):
    """What is the same for all tiles: frequencies, window, trend, and what lags do."""

    window: Singles
    trend: Singles
    half: NDArray[np.bool_]
    radius: Floats
    lags: tuple[tuple[int, int], ...]
    design: Floats
    expected: Floats


@cache
def _grid() -> _Grid:
    line = np.sin(np.pi * (np.arange(TILE) + 0.5) / TILE) ** 2
    window = np.outer(line, line)
    overlap = np.correlate(line, line, "full")[TILE - 1 :] / (line @ line)
    k = np.fft.fftfreq(TILE, 1 / TILE)
    ky, kx = np.meshgrid(k, np.arange(TILE // 2 + 1.0), indexing="ij")
    half = (ky > 0) | ((kx > 0) & (kx < TILE // 2))  # each frequency once
    ky, kx = ky[half], kx[half]
    near = range(-REACH, REACH + 1)
    lags = [(0, dx) for dx in range(REACH + 1)]
    lags += [(dy, dx) for dy in range(1, REACH + 1) for dx in near]
    far = range(REACH + 1, _FAR + 1)
    lags += [(0, d) for d in far] + [(d, 0) for d in far]
    beyond = range(_FAR + 1, TILE)

    def wave(dy: int, dx: int) -> Floats:
        seen = overlap[abs(dy)] * overlap[abs(dx)] * (2 if dy or dx else 1)
        return np.asarray(seen * np.cos(2 * np.pi * (ky * dy + kx * dx) / TILE))

    columns = [wave(dy, dx) for dy, dx in lags]
    columns.append(sum((wave(0, d) for d in beyond), np.zeros_like(kx)))
    columns.append(sum((wave(d, 0) for d in beyond), np.zeros_like(kx)))
    position = (np.arange(TILE) - (TILE - 1) / 2) / TILE
    powers = [(i, j) for i in range(3) for j in range(3 - i)]
    trend = [np.outer(position**i, position**j).ravel() for i, j in powers]
    return _Grid(
        (window / np.sqrt(np.sum(window * window))).astype(np.float32),
        np.linalg.qr(np.stack(trend, axis=1))[0].astype(np.float32),
        half,
        np.hypot(ky, kx),
        tuple(lags),
        np.stack(columns, axis=1),
        np.array([_expected(*lag) for lag in lags] + [_EXPECTED[-1]] * 2),
    )


def _expected(dy: int, dx: int) -> float:
    lag = max(abs(dy), abs(dx))
    if lag == 0:
        return 10.0
    spread = _EXPECTED[min(lag, REACH + 1) - 1]
    return max(spread, _EXPECTED[REACH]) if dy == 0 or dx == 0 else spread


def spectra(sources: Sequence[Source], seed: int = 0) -> Spectra | None:
    """Spectra of flat and of textured tiles of images of one channel.

    Parameters
    ----------
    sources
        Images of any sizes. At most 2000 tiles are drawn from them.
    seed
        Of the draw.

    Returns
    -------
    Spectra or None
        None if fewer than 8 tiles are flat and neither empty nor saturated.
    """
    grid = _grid()
    levels, tiles, worth = _cut(sources, np.random.default_rng(seed))
    if not len(tiles):
        return None
    power = _power(tiles, grid)
    total = power[:, grid.radius > _FITTED].mean(axis=1)
    alive = total > 0
    levels, power, total = levels[alive], power[alive], total[alive]
    count = int(min(max(_FLAT * len(total), _ENOUGH / worth), _MOST_FLAT * len(total)))
    if count < _FEWEST_FLAT:
        return None
    noise = _noise_power(levels, total)
    low = power[:, grid.radius <= _RANKED].mean(axis=1)
    order = np.argsort(low / noise, kind="stable")
    power /= np.maximum(noise, total)[:, None]
    flat, textured = power[order[:count]].mean(0), power[order[-count:]].mean(0)
    start, texture = _start(flat, textured, count * worth, grid)
    return Spectra(flat, textured, count * worth, start, texture)


def fit_autocorrelation(found: Spectra) -> tuple[Floats, Floats]:
    """Fit the noise's autocorrelation to the spectrum of the flat tiles.

    A spectrum is the sum of one cosine a lag, weighed by the autocovariance. Lags to 3
    pixels, to 7 along the axes, and all further ones of a row or of a column are fitted
    by least squares, each frequency weighed by the square of the fitted power (Whittle,
    J. R. Stat. Soc. B 15, 125, 1953).

    Parameters
    ----------
    found
        The spectra.

    Returns
    -------
    correlation, error : numpy.ndarray
        (7, 7): 1 and 0 in the center, and the standard error by chance alone.
    """
    grid = _grid()
    used = grid.radius > found.start
    design, power = grid.design[used], found.flat[used]
    variance = float(power.mean())
    fitted = np.full_like(power, variance)
    for _ in range(_ITERATIONS):
        floor = _TRUST_FLOOR * max(variance, 1e-12)
        weights = _FREEDOM * found.tiles / np.maximum(fitted, floor) ** 2
        normal = (design.T * weights) @ design
        normal += np.diag(1 / (grid.expected * max(variance, 1e-12)) ** 2)
        covariance = np.linalg.inv(normal)
        lags = covariance @ (design.T @ (weights * power))
        fitted, variance = design @ lags, float(lags[0])
    if variance <= 0.0:
        variance = float(power.mean())
    return _map(lags / variance), _map(np.sqrt(np.diag(covariance)) / variance, 0.0)


def _map(values: Floats, center: float = 1.0) -> Floats:
    """Symmetric square of the lags to 3 pixels."""
    square = np.zeros((2 * REACH + 1, 2 * REACH + 1))
    for (dy, dx), value in zip(_grid().lags, values, strict=False):
        if max(abs(dy), abs(dx)) <= REACH:
            square[REACH + dy, REACH + dx] = square[REACH - dy, REACH - dx] = value
    square[REACH, REACH] = center
    return square


def _cut(
    sources: Sequence[Source], rng: np.random.Generator
) -> tuple[Floats, Singles, float]:
    """Brightness and pixels of tiles that show noise, and what one tile is worth."""
    large = [source for source in sources if min(source.image.shape) >= TILE]
    stride = _STRIDE
    if sum(len(_corners(source, stride)) for source in large) < _FEW_TILES:
        stride = _FINE_STRIDE
    corners = [_corners(source, stride) for source in large]
    owner = np.repeat(np.arange(len(large)), [len(part) for part in corners])
    chosen = np.arange(len(owner))
    if len(chosen) > _MOST_TILES:
        chosen = np.sort(rng.choice(chosen, _MOST_TILES, replace=False))
    tiles, levels = [np.empty((0, TILE * TILE))], [np.empty(0)]
    starts = np.cumsum([0, *(len(part) for part in corners)])
    for index, source in enumerate(large):
        mine = chosen[owner[chosen] == index] - starts[index]
        if len(mine):
            pixels, level = _tiles(source, corners[index][mine])
            tiles.append(pixels)
            levels.append(level)
    worth = min(1.0, (stride / _STRIDE) ** 2)
    exact = np.concatenate(tiles)
    exact /= max(float(np.abs(exact).max(initial=0.0)), np.finfo(np.float64).tiny)
    return np.concatenate(levels), exact.astype(np.float32), worth


def _corners(source: Source, stride: int) -> NDArray[np.intp]:
    """First row and column of the tiles of a grid, (n, 2)."""
    height, width = source.image.shape
    rows = np.arange(0, height - TILE + 1, stride)
    columns = np.arange(0, width - TILE + 1, stride)
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def _tiles(source: Source, corners: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Pixels (n, 576) about their median, and brightness, of tiles not clipped."""
    at = (corners[:, 0], corners[:, 1])
    pixels = _windows(source.image)[at].reshape(len(corners), -1)
    clipped = np.zeros(len(pixels))
    for extreme in (source.image.min(), source.image.max()):
        clipped = np.maximum(clipped, np.mean(pixels == extreme, axis=1))
    shown = clipped <= _MOST_CLIPPED
    bright = _windows(source.brightness)[at][shown]
    level = bright.mean(axis=(1, 2), dtype=np.float64)
    # Only without a pedestal does single precision keep the noise, so here is double.
    exact = pixels[shown].astype(np.float64)
    return exact - np.median(exact, axis=1, keepdims=True), level


def _windows(image: NDArray[Any]) -> NDArray[Any]:
    return sliding_window_view(image, (TILE, TILE))


def _power(tiles: Singles, grid: _Grid) -> Floats:
    """Spectrum of every tile without its trend; outliers are cut to 4 sigmas."""
    tiles = _clip(tiles, _PAGE_SIGMAS)
    tiles -= (tiles @ grid.trend) @ grid.trend.T
    windowed = _clip(tiles, _PIXEL_SIGMAS).reshape(-1, TILE, TILE) * grid.window
    waves = rfft2(windowed)[:, grid.half]
    return np.asarray(waves.real**2 + waves.imag**2, dtype=np.float64)


def _clip(tiles: Singles, sigmas: float) -> Singles:
    """Cut, by the standard deviation where most pixels are the same."""
    size = np.quantile(np.abs(tiles), _QUANTILE, axis=1, keepdims=True)
    scale = size / _QUANTILE_SIGMAS
    scale = np.where(scale > 0, scale, tiles.std(axis=1, keepdims=True))
    limit = (sigmas * scale).astype(np.float32)
    return np.clip(tiles, -limit, limit)


def _noise_power(levels: Floats, total: Floats) -> Floats:
    """Power of the noise of every tile, from the flat ones that are as bright.

    It grows with the brightness, so that a bright group in which no tile is flat takes
    the power of the next brighter one if that is lower.
    """
    groups = np.array_split(np.argsort(levels, kind="stable"), _BINS)
    groups = [group for group in groups if len(group)]
    x = np.array([levels[group].mean() for group in groups])
    y = np.array([np.quantile(total[group], _NOISE_QUANTILE) for group in groups])
    y = np.minimum.accumulate(y[::-1])[::-1]
    return np.asarray(np.interp(levels, x, y))


def _start(
    flat: Floats, textured: Floats, tiles: float, grid: _Grid
) -> tuple[float, float]:
    """Where textured tiles have the flat ones' spectrum from, and how much they differ.

    Compared are means over rings one cycle wide, each with a floor added.
    """
    ring = np.floor(grid.radius + 0.5).astype(int)
    rings = range(3, TILE // 2 + 1)
    count = np.array([np.sum(ring == i) for i in rings])
    fitted = grid.radius > _FITTED
    sums = []
    for power in (flat, textured):
        floor = _FLOOR * power[fitted].mean()
        high = power[grid.radius > 0.4 * TILE].mean() + floor
        sums.append(np.array([power[ring == i].mean() + floor for i in rings]) / high)
    excess = sums[1] / sums[0] - 1
    chance = 2 * np.sqrt(2 / (_FREEDOM * tiles * count))
    textures = [
        i
        for i, more, least in zip(rings, excess, chance, strict=True)
        if more > _TEXTURE + least and i <= _LAST_START
    ]
    start = max(textures) + 0.5 if textures else _FITTED
    return start, 1 + float(excess[:REACH].mean())
