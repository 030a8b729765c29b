"""A few windows of an image that stand for the whole, however large it is."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_blindsound.images.volume import Region, Volume

_COUNT = 4
_SIDES = (64, 384)  # px


def regions(volume: Volume, *, pixels: int, seed: int) -> list[Region]:
    """Windows spread evenly over the planes, at random places within them.

    Parameters
    ----------
    volume : Volume
        The image.
    pixels : int
        The most values, all channels counted.
    seed : int
        Of the places.

    Returns
    -------
    list of tuple of slice
        All channels of one plane each: four windows of up to 384 x 384 pixels, or the
        whole image where it is one plane of no more.
    """
    rng = np.random.default_rng(seed)
    limit = math.isqrt(pixels // (_COUNT * volume.n_channels))
    limit = min(max(limit, _SIDES[0]), _SIDES[1])
    y, x = volume.axes.index("Y"), volume.axes.index("X")
    height, width = volume.shape[y], volume.shape[x]
    tall, wide = min(height, limit), min(width, limit)
    grid = (volume.n_planes, -(-height // tall), -(-width // wide))
    cells = math.prod(grid)
    edges = np.linspace(0, cells, min(_COUNT, cells) + 1).astype(np.int64)
    found = []
    for first, end in itertools.pairwise(edges):
        plane, row, column = map(int, np.unravel_index(rng.integers(first, end), grid))
        region = list(volume.plane(plane))
        top, left = min(row * tall, height - tall), min(column * wide, width - wide)
        region[y], region[x] = slice(top, top + tall), slice(left, left + wide)
        found.append(tuple(region))
    return found
