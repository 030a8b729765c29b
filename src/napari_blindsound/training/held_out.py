"""Which pixels never teach, so that they can judge what the others have taught.

One pixel of every cell, at a place that depends on the cell's own and on nothing else:
tiles, blocks and crops agree on it, and so do the frames of a stack. Noise at such a
pixel is unknown to the network even where the same scene was recorded again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CELL = 5
"""Side of a cell: 4 % of the pixels are held out."""


def held_out(rows: slice, columns: slice) -> NDArray[np.bool_]:
    """Held-out pixels of a window of a plane.

    Parameters
    ----------
    rows, columns : slice
        Of the plane, from 0 up.

    Returns
    -------
    ndarray of bool
        (rows, columns), true at one pixel of each 5 x 5 cell.
    """
    y = np.arange(rows.start, rows.stop, dtype=np.uint64)[:, None]
    x = np.arange(columns.start, columns.stop, dtype=np.uint64)[None]
    cell = np.uint64(CELL)
    place = (y % cell) * cell + x % cell
    return np.asarray(place == _mixed(y // cell, x // cell) % np.uint64(CELL**2))


def _mixed(row: NDArray[np.uint64], column: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Number without a pattern for each cell: the finalizer of MurmurHash3."""
    mixed = row * np.uint64(0x9E3779B97F4A7C15) + column * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return np.asarray(mixed ^ (mixed >> np.uint64(33)))
