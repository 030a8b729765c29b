"""Planes cut into small squares, and the squares sorted by how bright they are.

What is measured by intensity is measured on squares: the pixels of a denoised image
that came out darkest are those whose own noise was low, so that noisy minus denoised is
below zero there even where nothing is wrong. Over 64 pixels that is evened out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BLOCK = 8
"""Side of a square, px."""

_GROUPS = 16


def windows(planes: Sequence[NDArray[Any]], side: int) -> Floats:
    """All whole squares of planes (h, w), as (n, side * side)."""
    return np.concatenate([_of_plane(plane, side) for plane in planes])


def by_level(squares: Floats) -> list[NDArray[np.intp]]:
    """Numbers of the squares, darkest first, in up to 16 groups of the same size."""
    order = np.argsort(squares.mean(axis=1), kind="stable")
    return np.array_split(order, max(1, min(_GROUPS, len(order))))


def _of_plane(plane: NDArray[Any], side: int) -> Floats:
    rows, columns = (size // side for size in plane.shape)
    cut = plane[: rows * side, : columns * side].astype(np.float64)
    blocks = cut.reshape(rows, side, columns, side).swapaxes(1, 2)
    return blocks.reshape(rows * columns, side * side)
