"""Pixels predicted without their own noise: what a blind network could do, in brief.

Linear filters that other parts of the image have taught, for pixels sorted by how rough
the image is around them; and how much of its noise a plane shares with another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindsound.noise.calibration import NoiseModel

    Floats = NDArray[np.floating[Any]]
    Whole = NDArray[np.intp]

_STEP = 2  # px between pixels that are predicted
_MARGIN = 9  # px, of the widest mean
_WIDE = (9, 17)  # px, sides of means beyond the pixels nearby
_TILE = 32  # px, of parts that teach and judge in turns
_GROUPS = 4  # of pixels, by how rough the image around them is
_RIDGE = 1e-3  # of the mean power of the features
_FLAT, _LEVELS, _BLOCK = 0.25, 4, 16


class Table(NamedTuple):
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
    tile: Whole
    variance: float
    products: Floats


def table_of(
    planes: Floats, noise: NoiseModel, region: tuple[int, int], at: tuple[int, int]
) -> Table:
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
    return Table(
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


def grouped(rough: Floats) -> Whole:
    """Number of each pixel's group, by how rough the image is around it."""
    edges = np.quantile(rough, np.linspace(0, 1, _GROUPS + 1)[1:-1])
    return np.searchsorted(edges, rough)


def errors_of(value: Floats, features: Floats, group: Whole, tile: Whole) -> Floats:
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


def shared_noise(blocks: Floats) -> tuple[float, float]:
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
