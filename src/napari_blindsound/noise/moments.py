"""Samples of the noise's variance and skewness, one a pixel, each with its brightness.

What is said of a pixel's noise never decides whether the pixel counts, or to which
group it belongs: brightness and flatness are judged by the pixels three to five away.
Otherwise pixels that are bright by chance would also seem noisy by chance.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.ndimage import convolve1d, maximum_filter, uniform_filter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindsound.noise.calibration import NoiseModel

    Floats = NDArray[np.float32]

MARGIN = 5
"""Pixels from the border of an image to the first sample."""
SMALLEST_SIDE = 2 * MARGIN + 6
_TILE = 512
_REACH = 4
_BLOCKS, _SMALLEST_BLOCK, _LARGEST_BLOCK = 1500, 8, 64
# Flat enough: spread of eight means of 3 x 3 pixels, in standard deviations of a pixel,
# where noise alone gives 0.95.
_FLAT, _FLATTEST = 3.0, 1.1
_OUTLIER_SIGMAS, _OUTLIER_PHOTONS = 6.0, 4.0
_MOST_OUTLIERS = 1e-3
_BOX, _QUADRATIC = np.full(5, 0.2), np.array([-3.0, 12.0, 17.0, 12.0, -3.0]) / 35


def _smooth_weights() -> NDArray[np.float64]:
    """Weights that fit a plane of second order to 5 x 5 pixels, at their center."""
    mixed = np.outer(_QUADRATIC, _BOX)
    return np.asarray(mixed + mixed.T - np.outer(_BOX, _BOX))


_RESIDUAL = np.eye(25)[12].reshape(5, 5) - _smooth_weights()
_SQUARES, _CUBES = float((_RESIDUAL**2).sum()), float((_RESIDUAL**3).sum())


class Samples(NamedTuple):
    """One row a pixel, all of shape (n,).

    Attributes
    ----------
    level
        Brightness by other pixels than those of the sample, counts.
    mean
        Brightness of the pixels of the sample, counts.
    variance, third
        Unbiased samples of the second and third cumulant of the noise at ``mean``;
        ``third`` is NaN where there is none.
    block
        Which part of the image, from 0 up.
    dark, bright
        Part of the pixel's counts at the lowest and the highest of the camera.
    """

    level: Floats
    mean: Floats
    variance: Floats
    third: Floats
    block: NDArray[np.intp]
    dark: Floats
    bright: Floats


class Around(NamedTuple):
    """Surroundings of the pixels that are ``MARGIN`` or more inside a plane."""

    level: Floats
    spread: Floats


def bounded(
    stacks: Sequence[NDArray[Any]], pixels: int, seed: int
) -> list[NDArray[Any]]:
    """All pixels, cut into tiles, or an even choice of tiles if there are too many.

    Parameters
    ----------
    stacks
        Arrays ``(..., h, w)``.
    pixels
        The most that are returned, but one tile at least.
    seed
        Of the choice.

    Returns
    -------
    list of numpy.ndarray
        Views of 16 x 16 to 512 x 512 pixels; smaller arrays are left out.
    """
    tiles = [
        tile
        for stack in stacks
        for rows in _parts(stack.shape[-2])
        for columns in _parts(stack.shape[-1])
        if (tile := stack[..., rows, columns]).size
    ]
    share = pixels / max(1, sum(tile.size for tile in tiles))
    if share >= 1:
        return tiles
    count = max(1, int(share * len(tiles)))
    edges = np.linspace(0, len(tiles), count + 1)
    chosen = np.random.default_rng(seed).uniform(edges[:-1], edges[1:]).astype(int)
    return [tiles[index] for index in chosen]


def _parts(size: int) -> list[slice]:
    if size < SMALLEST_SIDE:
        return []
    edges = np.linspace(0, size, -(-size // _TILE) + 1).astype(int)
    return [slice(a, b) for a, b in pairwise(edges)]


def block_side(tiles: Sequence[NDArray[Any]]) -> int:
    """Side of the blocks that are drawn again, pixels, so that there are some 1500."""
    pixels = sum(int(np.prod(tile.shape[-2:])) for tile in tiles)
    side = round(math.sqrt(pixels / _BLOCKS))
    return min(max(side, _SMALLEST_BLOCK), _LARGEST_BLOCK)


def block_numbers(shape: tuple[int, int], side: int, first: int) -> NDArray[np.intp]:
    """Number of the block of each pixel inside the margin, from ``first`` up."""
    rows, columns = (np.arange(size - 2 * MARGIN) // side for size in shape)
    return np.asarray(first + rows[:, None] * (columns[-1] + 1) + columns[None])


def around(image: Floats) -> Around:
    """Mean and spread of eight squares of 3 x 3 pixels about each pixel.

    They lie 3 to 5 pixels away, so that they share no pixel with the 5 x 5 about it.
    """
    squares = uniform_filter(image, 3)
    height, width = image.shape
    starts = (MARGIN - _REACH, MARGIN, MARGIN + _REACH)
    views = [
        squares[y : y + height - 2 * MARGIN, x : x + width - 2 * MARGIN]
        for y in starts
        for x in starts
        if (y, x) != (MARGIN, MARGIN)
    ]
    total, least, most = views[0].copy(), views[0].copy(), views[0].copy()
    for view in views[1:]:
        total += view
        np.minimum(least, view, out=least)
        np.maximum(most, view, out=most)
    return Around(total / 8, most - least)


def laplacian(image: Floats) -> Floats:
    """Response of unit noise gain, two pixels smaller in height and width."""
    across = image[..., :, :-2] - 2 * image[..., :, 1:-1] + image[..., :, 2:]
    down = across[..., :-2, :] - 2 * across[..., 1:-1, :] + across[..., 2:, :]
    return np.asarray(down / 6)


def samples_of_planes(
    tiles: Sequence[NDArray[Any]],
    rough: NoiseModel,
    ends: tuple[float, float],
    response_gain: float,
) -> Samples:
    """Variance from the Laplacian, third cumulant from what a parabola leaves.

    That residual ``e`` has the third cumulant ``E[e^3] - 3 E[e] V_e``, of which the
    second part is taken off with the rough line; what structure is left in it changes
    the third power most, so that only the flattest places count.

    Parameters
    ----------
    tiles
        Planes of counts, at least 16 x 16 pixels.
    rough
        A first estimate of the noise.
    ends
        Lowest and highest count of the camera.
    response_gain
        Variance of the Laplacian's response over that of the noise.
    """
    side, first, parts = block_side(tiles), 0, []
    for tile in tiles:
        part = _of_tile(tile, rough, ends, response_gain, side, first)
        first += int(np.prod([-(-(n - 2 * MARGIN) // side) for n in tile.shape]))
        parts.append(part)
    return Samples(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _of_tile(
    tile: NDArray[Any],
    rough: NoiseModel,
    ends: tuple[float, float],
    response_gain: float,
    side: int,
    first: int,
) -> Samples:
    image = tile.astype(np.float32)
    # 32-bit sums lose the noise on a pedestal, so the mean level is taken off first.
    base = np.float32(image.mean(dtype=np.float64))
    image -= base
    ring = around(image)
    variance = np.asarray(rough.variance(ring.level + base))
    sigma = np.sqrt(variance)
    edge = np.array([1.0, 4.0, 1.0], dtype=np.float32) / 6
    mean = _inside(_separable(image, edge, edge))
    response = laplacian(image)[MARGIN - 1 : 1 - MARGIN, MARGIN - 1 : 1 - MARGIN]
    residual = residual_of(image)
    limit = _OUTLIER_SIGMAS * sigma + _OUTLIER_PHOTONS * rough.gain
    kept = without_outliers(residual, limit)
    third = residual * (residual * residual - 3 * _SQUARES * variance)
    third /= _CUBES
    third[ring.spread > _FLATTEST * sigma] = np.nan
    flat = ring.spread <= _FLAT * sigma
    if flat.mean() > 0.05:
        kept &= flat
    counts = _inside(tile)
    return Samples(
        ring.level[kept] + base,
        mean[kept] + base,
        (response * response)[kept] / np.float32(response_gain),
        np.asarray(third[kept], dtype=np.float32),
        block_numbers((tile.shape[0], tile.shape[1]), side, first)[kept],
        (counts <= ends[0])[kept].astype(np.float32),
        (counts >= ends[1])[kept].astype(np.float32),
    )


def residual_of(image: Floats) -> Floats:
    """What a parabola through 5 x 5 pixels leaves of a plane, without the margin."""
    return np.asarray(_inside(image - _smoothed(image)))


def _inside(image: NDArray[Any]) -> NDArray[Any]:
    return image[..., MARGIN:-MARGIN, MARGIN:-MARGIN]


def _separable(
    image: Floats, rows: NDArray[np.floating], columns: NDArray[np.floating]
) -> Floats:
    return np.asarray(convolve1d(convolve1d(image, rows, axis=0), columns, axis=1))


def _smoothed(image: Floats) -> Floats:
    """Value at the center of the parabola fitted to the 5 x 5 pixels around."""
    box = uniform_filter(image, (5, 1))
    extra = convolve1d(image, _QUADRATIC, axis=0) - box
    return np.asarray(
        convolve1d(box, _QUADRATIC, axis=1) + uniform_filter(extra, (1, 5))
    )


def without_outliers(
    residual: Floats, limit: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """What is left when single hot pixels and their surroundings are gone.

    Where more than 1 pixel in 1000 stands out it is signal, or rare photons.

    Parameters
    ----------
    residual
        (h, w), by how much a pixel differs from its surroundings.
    limit
        The most that noise explains, same shape.
    """
    size = abs(residual)
    outliers = size > limit
    if not outliers.any():
        return np.ones_like(outliers)
    # A hot pixel shows in the residuals of its neighbors, too, but less.
    alone = outliers & (size == maximum_filter(size, 5))
    if alone.mean() > _MOST_OUTLIERS:
        return np.ones_like(outliers)
    return np.asarray(~maximum_filter(alone, 2 * MARGIN + 1))
