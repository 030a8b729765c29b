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

from napari_blindsound.images.context import NO_CONTEXT, Context, read_around
from napari_blindsound.noise.blind_filter import (
    Table,
    errors_of,
    grouped,
    shared_noise,
    table_of,
)

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
_SURE = 2.0  # standard errors
_LEAST_ERROR = 0.01  # of the noise's variance: less cannot be told
_LEAST_SIDE = 48  # px


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
        f"each plane is seen with {best.context.words}, which promises "
        f"{best.gain:.1f} dB more than seeing it alone"
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
    tables: list[list[Table]] = [[] for _ in noise]
    for volume, window in _windows(volumes, seed):
        planes = read_around(volume, window, widest).astype(np.float32)
        rows, columns = (window[volume.axes.index(name)] for name in "YX")
        for channel, model in enumerate(noise):
            repaired, _ = hot_pixels[channel].repair(planes[:, channel])
            at = rows.start, columns.start
            tables[channel].append(table_of(repaired, model, region, at))
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


def _combined(context: Context, tables: Sequence[Sequence[Table]]) -> _Found:
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
    tables: Sequence[Table], planes: int
) -> tuple[float, float, float, float]:
    """Gain, what is sure of it, shared noise, what is sure of that."""
    products = np.concatenate([t.products[: 2 * planes] for t in tables], axis=-1)
    shares = [shared_noise(pair) for pair in products]
    shared, error = max(shares, key=lambda pair: pair[0] - _SURE * pair[1])
    value, own, rough = (
        np.concatenate([getattr(t, name) for t in tables])
        for name in ("value", "own", "rough")
    )
    beside = np.concatenate([t.beside[:planes] for t in tables], axis=1)
    every = np.concatenate([own, *beside], axis=1)
    tile = np.concatenate([t.tile for t in tables])
    group = grouped(rough)
    alone, joint = (errors_of(value, part, group, tile) for part in (own, every))
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


def _mean_by(values: Floats, tile: NDArray[np.intp]) -> tuple[float, float]:
    """Mean, and its standard error from those of the parts."""
    _, number = np.unique(tile, return_inverse=True)
    counts = np.bincount(number)
    means = np.bincount(number, weights=values) / counts
    mean = float(values.mean())
    spread = float(np.sqrt((counts**2 * (means - mean) ** 2).sum())) / len(values)
    return mean, spread
