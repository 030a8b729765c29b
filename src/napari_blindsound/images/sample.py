"""A small, even sample of an image of any size, for everything that is fitted once.

Intensity range, camera noise and hot pixels are all measured on the same kind of
sample: blocks that follow the chunks of the file, spread over the whole stack.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_blindsound.images.pixels import require_finite

if TYPE_CHECKING:
    from napari_blindsound.images.volume import Region, Volume

_LARGEST_SIDE = 512  # px; a stack gives some 38 such blocks by default
_SMALLEST_SIDE = 32  # px
_FEWEST_BLOCKS = 16  # blocks shrink until so many fit the number of pixels


def sample_planes(
    volume: Volume, *, pixels: int = 10_000_000, seed: int = 0
) -> list[npt.NDArray[Any]]:
    """Blocks of the image: all of it where it is small, otherwise a random few.

    The blocks are stratified: the list of all blocks of the stack, plane after plane,
    is cut into equal runs, and one block is drawn from each. So all times and depths
    are seen, no block twice, and the same seed gives the same blocks.

    Parameters
    ----------
    volume : Volume
        The image.
    pixels : int
        The most values returned, all channels counted, but one block at least.
    seed : int
        Of the draw.

    Returns
    -------
    list of numpy.ndarray
        Of shape (C, h, w) in the source's dtype, C being 1 without a channel axis.

    Raises
    ------
    DataError
        If a pixel read is not finite.
    """
    if math.prod(volume.shape) <= pixels:
        regions = list(volume.planes())
    else:
        regions = _random_regions(volume, pixels, np.random.default_rng(seed))
    return [_read_block(volume, region) for region in regions]


def sample_frames(
    volume: Volume, *, pixels: int = 2_000_000, frames: int = 4, seed: int = 0
) -> list[npt.NDArray[Any]]:
    """Blocks of the same place at consecutive times, stratified as `sample_planes`.

    The times are cut into runs of as many frames, of which none is used twice.

    Parameters
    ----------
    volume : Volume
        The image.
    pixels : int
        The most values returned, all channels and frames counted, but one block at
        least.
    frames : int
        Times in a block, at least 2; fewer where the image has fewer.
    seed : int
        Of the draw.

    Returns
    -------
    list of numpy.ndarray
        Of shape (C, t, h, w) in the source's dtype; none without two times.

    Raises
    ------
    DataError
        If a pixel read is not finite.
    """
    times = volume.shape[volume.axes.index("T")] if "T" in volume.axes else 1
    if times < 2:
        return []
    depth = min(frames, times)
    if math.prod(volume.shape) <= pixels:
        stacks = range(volume.n_planes // times * (times // depth))
        regions = [_stack(volume, number, depth) for number in stacks]
    else:
        rng = np.random.default_rng(seed)
        regions = _random_regions(volume, pixels, rng, depth)
    return [np.moveaxis(_read_planes(volume, region), 0, 1) for region in regions]


def _read_block(volume: Volume, region: Region) -> npt.NDArray[Any]:
    plane: npt.NDArray[Any] = _read_planes(volume, region)[0]
    return plane


def _read_planes(volume: Volume, region: Region) -> npt.NDArray[Any]:
    block = volume.read(region)
    require_finite(block, region, volume.axes, volume.name)
    return volume.axes.as_planes(block)


def _stack(volume: Volume, number: int, depth: int) -> Region:
    """Region of a run of ``depth`` times, at one position along Z, planes whole."""
    pairs = list(zip(volume.axes, volume.shape, strict=True))
    sizes = [n // depth if a.name == "T" else n for a, n in pairs if a.name in "TZ"]
    places = iter(np.unravel_index(number, sizes) if sizes else ())
    region = []
    for axis, size in pairs:
        length = {"T": depth, "Z": 1}.get(axis.name, size)
        start = int(next(places)) * length if axis.name in "TZ" else 0
        region.append(slice(start, start + length))
    return tuple(region)


def _random_regions(
    volume: Volume, pixels: int, rng: np.random.Generator, depth: int = 1
) -> list[Region]:
    """Blocks of ``depth`` times; with 1, of single planes."""
    y, x = volume.axes.index("Y"), volume.axes.index("X")
    height, width = volume.shape[y], volume.shape[x]
    values = volume.n_channels * depth  # a pixel of a block
    times = volume.shape[volume.axes.index("T")] if "T" in volume.axes else 1
    stacks = volume.n_planes // times * (times // depth)
    limit = math.isqrt(pixels // (_FEWEST_BLOCKS * values))
    limit = min(max(limit, _SMALLEST_SIDE), _LARGEST_SIDE)
    sides = (
        _side(volume.chunks[y], height, limit),
        _side(volume.chunks[x], width, limit),
    )
    grid = (math.ceil(height / sides[0]), math.ceil(width / sides[1]))
    cells = stacks * grid[0] * grid[1]
    count = max(1, min(cells, pixels // (values * sides[0] * sides[1])))
    regions = []
    for edge, end in zip(*_runs(cells, count), strict=True):
        stack, row, column = np.unravel_index(rng.integers(edge, end), (stacks, *grid))
        region = list(_stack(volume, int(stack), depth))
        region[y] = _span(int(row), sides[0], height)
        region[x] = _span(int(column), sides[1], width)
        regions.append(tuple(region))
    return regions


def _runs(cells: int, count: int) -> tuple[list[int], list[int]]:
    """Cut 0..cells into ``count`` runs of near-equal length: starts and stops."""
    edges = [cells * i // count for i in range(count + 1)]
    return edges[:-1], edges[1:]


def _side(chunk: int, size: int, limit: int) -> int:
    """Length of a block along an axis: small chunks joined, large ones cut evenly."""
    if chunk <= limit:
        side = limit // chunk * chunk
    else:
        side = math.ceil(chunk / math.ceil(chunk / limit))
    return min(side, size)


def _span(cell: int, side: int, size: int) -> slice:
    """Span of a cell, the last one shifted back so that none is a sliver."""
    start = min(cell * side, size - side)
    return slice(start, start + side)
