"""Whether the planes next to a plane tell of it what its own pixels do not.

A pixel is predicted by a linear filter from the pixels around it, which are chosen such
that they do not share its noise, and then from those of neighboring planes as well, in
parts of the image that did not teach the filter. What the prediction gains is what a
network can gain: noise cannot be predicted. Unless planes share it, as averages over
frames and interpolated stacks do, which is looked for first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

from napari_blindsound.images.context import NO_CONTEXT, Context, read_around

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_blindsound.images.volume import Region, Volume
    from napari_blindsound.noise.calibration import NoiseModel
    from napari_blindsound.noise.hot_pixels import HotPixels

    Floats = NDArray[np.floating[Any]]

MOST = 2
"""Neighbors on each side that are chosen by itself."""
LEAST_GAIN = 0.3
"""Decibels less error that neighbors must surely promise."""
MOST_SHARED = 0.05
"""Part of its noise that a plane may share with the next."""

_WINDOWS, _SIDE = 24, 128
_STEP = 2  # px between pixels that are predicted
_MARGIN = 9  # px, of the widest mean
_WIDE = (9, 17)  # px, sides of means beyond the pixels nearby
_TILE = 32  # px, of parts that teach and judge in turns
_GROUPS = 4  # of pixels, by how rough the image around them is
_RIDGE = 1e-3  # of the mean power of the features
_SURE = 2.0  # standard errors
_FLAT, _LEVELS, _BLOCK = 0.25, 4, 16
_LEAST_ERROR = 0.01  # of the noise's variance: less cannot be told
_LEAST_SIDE = 48  # px
_SECOND = np.array([1.0, -2.0, 1.0])


@dataclass(frozen=True)
class Choice:
    """Neighbors that pay, and why.

    Parameters
    ----------
    context : Context
        The planes to see beside each; none where that does not pay.
    words : str
        What was found, in a sentence without a full stop.
    gain : float
        Decibels by which the error of a prediction falls; 0 where none was chosen.
    is_told : bool
        Whether somebody should hear of it who did not ask.
    """

    context: Context
    words: str
    gain: float = 0.0
    is_told: bool = False


class _Found(NamedTuple):
    """What some neighbors on each side along an axis tell."""

    context: Context
    gain: float  # dB
    least: float  # dB, as good as surely
    shared: float  # part of the noise
    surely_shared: float


def choose_context(
    volumes: Sequence[Volume],
    noise: Sequence[NoiseModel],
    hot_pixels: Sequence[HotPixels],
    *,
    region: tuple[int, int] = (0, 0),
    seed: int = 0,
) -> Choice:
    """Choose the neighboring planes that are worth their cost, from a small sample.

    Parameters
    ----------
    volumes : sequence of Volume
        With the same channels.
    noise, hot_pixels : sequence
        One of each a channel.
    region : tuple of int
        Rows and columns on each side of a pixel that share its noise.
    seed : int
        Of the choice of windows.

    Returns
    -------
    Choice
        None, where planes share noise, where there are none to see, or where they do
        not surely lower the error by :data:`LEAST_GAIN`.

    Raises
    ------
    DataError
        If a pixel that is read is not finite.
    """
    found = [
        one
        for axis in ("Z", "T")
        for one in _along(axis, volumes, noise, hot_pixels, region, seed)
    ]
    if not found:
        return Choice(NO_CONTEXT, "there are no neighboring planes")
    free = [one for one in found if one.surely_shared <= MOST_SHARED]
    if not free:
        worst = max(found, key=lambda one: one.shared)
        words = (
            f"neighboring planes along {worst.context.axis} seem to share "
            f"{100 * min(worst.shared, 1):.0f} % of their noise, as averaged or "
            f"interpolated ones do: each is seen alone"
        )
        return Choice(NO_CONTEXT, words, is_told=True)
    best = max(free, key=lambda one: one.gain)
    if best.least < LEAST_GAIN:
        words = (
            f"neighboring planes along {best.context.axis} tell little that a plane "
            f"does not tell itself ({best.gain:.1f} dB): each is seen alone"
        )
        return Choice(NO_CONTEXT, words)
    fewer = [o for o in free if o.context.axis == best.context.axis]
    near = [o for o in fewer if o.least >= LEAST_GAIN and best.gain - o.gain < 0.5]
    best = min([*near, best], key=lambda one: one.context.planes)
    words = (
        f"{best.context.words} tell {best.gain:.1f} dB more than a plane does itself: "
        f"they are seen beside it"
    )
    return Choice(best.context, words, best.gain, is_told=True)


def _along(
    axis: Literal["Z", "T"],
    volumes: Sequence[Volume],
    noise: Sequence[NoiseModel],
    hot_pixels: Sequence[HotPixels],
    region: tuple[int, int],
    seed: int,
) -> list[_Found]:
    """What one and more neighbors along an axis tell, as many as all images have."""
    sizes = [dict(zip(v.axes.names, v.shape, strict=True)) for v in volumes]
    most = min(MOST, *(size.get(axis, 1) - 1 for size in sizes))
    side = min(min(size["Y"], size["X"]) for size in sizes)
    if most < 1 or side < _LEAST_SIDE:
        return []
    widest = Context(axis, most)
    tables: list[list[_Table]] = [[] for _ in noise]
    for volume, window in _windows(volumes, seed):
        planes = read_around(volume, window, widest).astype(np.float32)
        rows, columns = (window[volume.axes.index(name)] for name in "YX")
        for channel, model in enumerate(noise):
            repaired, _ = hot_pixels[channel].repair(planes[:, channel])
            at = rows.start, columns.start
            tables[channel].append(_table(repaired, model, region, at))
    return [_combined(Context(axis, count), tables) for count in range(1, most + 1)]


def _windows(volumes: Sequence[Volume], seed: int) -> Iterator[tuple[Volume, Region]]:
    """Windows of single planes at random."""
    random = np.random.default_rng(seed)
    for number in range(_WINDOWS):
        volume = volumes[number % len(volumes)]
        parts = list(volume.plane(int(random.integers(volume.n_planes))))
        for name in "YX":
            at = volume.axes.index(name)
            side = min(_SIDE, volume.shape[at])
            start = int(random.integers(volume.shape[at] - side + 1))
            parts[at] = slice(start, start + side)
        yield volume, tuple(parts)


class _Table(NamedTuple):
    """Pixels of a window that are predicted.

    ``own`` (n, p) are features of the pixel's plane, ``beside`` those of its neighbors,
    (planes, n, q), the nearest two together first. ``tile`` (n,) are numbers of the
    parts, of which the odd ones teach while the even ones judge; ``products`` (pairs,
    4, m) are of blocks in pairs of planes: product and power of the Laplacians,
    roughness and brightness of the image.
    """

    value: Floats
    own: Floats
    beside: Floats
    rough: Floats
    tile: NDArray[np.intp]
    variance: float
    products: Floats


def _table(
    planes: Floats, noise: NoiseModel, region: tuple[int, int], at: tuple[int, int]
) -> _Table:
    """Features of a window (2 k + 1, h, w); `at` is its first row and column."""
    most = len(planes) // 2
    center = planes[most]
    level = float(center.mean())
    planes = planes - np.float32(level)
    inside = np.s_[_MARGIN:-_MARGIN:_STEP, _MARGIN:-_MARGIN:_STEP]
    own, rough = _own(planes[most], region)
    pairs = [(planes[most - i], planes[most + i]) for i in range(1, most + 1)]
    beside = [[f[inside].ravel() for f in _near(*pair)] for pair in pairs]
    y, x = (
        (np.arange(size) + first)[_MARGIN:-_MARGIN:_STEP] // _TILE
        for size, first in zip(center.shape, at, strict=True)
    )
    tile = 2 * ((y[:, None] + 1) // 2 * 4096 + x // 2) + (y[:, None] + x) % 2
    wide = uniform_filter(center, _WIDE[0])[inside]
    return _Table(
        planes[most][inside].ravel(),
        np.stack([feature[inside].ravel() for feature in own], axis=1),
        np.stack([np.stack(features, axis=1) for features in beside]),
        rough[inside].ravel(),
        tile.ravel(),
        float(np.maximum(noise.variance(wide), 0).mean()),
        np.stack([_products(planes[most], one) for pair in pairs for one in pair]),
    )


def _own(plane: Floats, region: tuple[int, int]) -> tuple[list[Floats], Floats]:
    """What is known of a pixel without its own noise; and how rough it is around it.

    Pixels on opposite sides weigh the same, as they do on average.
    """
    down, right = (extent + 2 for extent in region)
    steps = [
        (dy, dx)
        for dy in range(-down, down + 1)
        for dx in range(-right, right + 1)
        if abs(dy) > region[0] or abs(dx) > region[1]
    ]
    near = {step: np.roll(plane, step, axis=(0, 1)) for step in steps}
    ring = [
        near[dy, dx]
        for dy, dx in steps
        if abs(dy) <= region[0] + 1 and abs(dx) <= region[1] + 1
    ]
    hidden = (2 * region[0] + 1) * (2 * region[1] + 1)
    spot = uniform_filter(plane, [2 * extent + 1 for extent in region]) * hidden
    wide = [
        (uniform_filter(plane, side) * side**2 - spot) / max(1, side**2 - hidden)
        for side in _WIDE
    ]
    pairs = [near[dy, dx] + near[-dy, -dx] for dy, dx in steps if (dy, dx) > (0, 0)]
    return [*pairs, *wide], np.var(ring, axis=0)


def _near(before: Floats, after: Floats) -> list[Floats]:
    """What neighbors have at the same place; what moves is on opposite sides."""
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    pixels = [
        np.roll(before, (dy, dx), axis=(0, 1)) + np.roll(after, (-dy, -dx), axis=(0, 1))
        for dy, dx in steps
    ]
    both = before + after
    return [*pixels, uniform_filter(both, 5), uniform_filter(both, 9)]


def _products(first: Floats, second: Floats) -> Floats:
    """Of blocks: product and power of the Laplacians, roughness, brightness."""
    one, two = _laplacian(first), _laplacian(second)
    smooth = gaussian_filter(first + second, 2.0)[1:-1, 1:-1]
    return np.stack(
        [
            _blocks(one * two),
            _blocks(one**2 + two**2) / 2,
            _blocks(smooth**2) - _blocks(smooth) ** 2,
            _blocks(smooth),
        ]
    )


def _laplacian(plane: Floats) -> Floats:
    rows = plane[:-2] - 2 * plane[1:-1] + plane[2:]
    return np.asarray((rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]) / 6)


def _blocks(image: Floats) -> Floats:
    """Means over blocks, (m,)."""
    rows, columns = (size // _BLOCK for size in image.shape)
    cut = image[: rows * _BLOCK, : columns * _BLOCK].astype(np.float64)
    parts = cut.reshape(rows, _BLOCK, columns, _BLOCK)
    return np.asarray(parts.mean(axis=(1, 3)).ravel())


def _combined(context: Context, tables: Sequence[Sequence[_Table]]) -> _Found:
    """Of all channels: their mean gain, and the most noise that one shares."""
    parts = [_of_channel(channel, context.planes) for channel in tables]
    gains, leasts, shares, sure = np.array(parts).T
    return _Found(
        context,
        float(gains.mean()),
        float(leasts.mean()),
        float(shares.max()),
        float(sure.max()),
    )


def _of_channel(
    tables: Sequence[_Table], planes: int
) -> tuple[float, float, float, float]:
    """Gain, what is sure of it, shared noise, what is sure of that."""
    products = np.concatenate([t.products[: 2 * planes] for t in tables], axis=-1)
    shares = [_shared(pair) for pair in products]
    shared, error = max(shares, key=lambda pair: pair[0] - _SURE * pair[1])
    value, own, rough = (
        np.concatenate([getattr(t, name) for t in tables])
        for name in ("value", "own", "rough")
    )
    beside = np.concatenate([t.beside[:planes] for t in tables], axis=1)
    every = np.concatenate([own, *beside], axis=1)
    tile = np.concatenate([t.tile for t in tables])
    group = np.searchsorted(
        np.quantile(rough, np.linspace(0, 1, _GROUPS + 1)[1:-1]), rough
    )
    alone, joint = (_errors(value, part, group, tile) for part in (own, every))
    variance = float(np.mean([t.variance for t in tables]))
    less, spread = _mean_by(alone - joint, tile)
    # What the planes' common noise alone would tell.
    known = max(shared, 0.0)
    less -= 2 * planes * known**2 / (1 + (2 * planes - 1) * known) * variance
    error_alone = max(float(alone.mean()) - variance, _LEAST_ERROR * variance)
    return (
        _decibels(error_alone, less, variance),
        _decibels(error_alone, less - _SURE * spread, variance),
        shared,
        shared - _SURE * error,
    )


def _decibels(alone: float, less: float, variance: float) -> float:
    left = max(alone - less, _LEAST_ERROR * variance, 0.05 * alone)
    return 10 * math.log10(alone / left) if alone > 0 and left > 0 else 0.0


def _errors(
    value: Floats, features: Floats, group: NDArray[np.intp], tile: NDArray[np.intp]
) -> Floats:
    """Squared errors of predictions by filters that other parts have taught."""
    errors = np.zeros(len(value))
    for half in (0, 1):
        for number in range(_GROUPS):
            judges = (tile % 2 == half) & (group == number)
            teaches = (tile % 2 != half) & (group == number)
            if not judges.any():
                continue
            weights, mean = _fitted(value[teaches], features[teaches])
            errors[judges] = (value[judges] - features[judges] @ weights - mean) ** 2
    return errors


def _fitted(value: Floats, features: Floats) -> tuple[Floats, float]:
    """Ridge regression: weights, and what is to be added."""
    if len(value) <= features.shape[1]:
        return np.zeros(features.shape[1]), float(value.mean()) if len(value) else 0.0
    middle, level = features.mean(axis=0), float(value.mean())
    centered = (features - middle).astype(np.float64)
    square = centered.T @ centered
    ridge = _RIDGE * np.trace(square) / len(square)
    weights = np.linalg.solve(
        square + (ridge + 1e-12) * np.eye(len(square)), centered.T @ (value - level)
    )
    return weights, level - float(middle @ weights)


def _mean_by(values: Floats, tile: NDArray[np.intp]) -> tuple[float, float]:
    """Mean, and its standard error from those of the parts."""
    _, number = np.unique(tile, return_inverse=True)
    counts = np.bincount(number)
    means = np.bincount(number, weights=values) / counts
    mean = float(values.mean())
    spread = float(np.sqrt((counts**2 * (means - mean) ** 2).sum())) / len(values)
    return mean, spread


def _shared(blocks: Floats) -> tuple[float, float]:
    """Part of the noise that two planes share, and its standard error.

    A Laplacian leaves noise, and little of the image where that is flat: in the
    flattest blocks of each brightness.
    """
    product, power, rough, bright = blocks
    chosen = [
        part[np.argsort(rough[part])[: max(1, int(_FLAT * len(part)))]]
        for part in np.array_split(np.argsort(bright), _LEVELS)
        if len(part)
    ]
    flat = np.concatenate(chosen)
    total = max(float(power[flat].sum()), 1e-12)
    ratio = float(product[flat].sum()) / total
    rest = product[flat] - ratio * power[flat]
    return ratio, float(np.sqrt((rest**2).sum())) / total
