"""What is read of an image to learn from: windows of planes as networks see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_blindsound.errors import DataError
from napari_blindsound.images.context import (
    NO_CONTEXT,
    Context,
    center_first,
    read_around,
)

if TYPE_CHECKING:
    from napari_blindsound.images.volume import Region, Volume
    from napari_blindsound.training.preprocessing import Preprocessing

SMALLEST_PATCH = 16


def read_planes(
    volume: Volume,
    region: Region,
    preprocessing: Preprocessing,
    context: Context = NO_CONTEXT,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Planes of a region as the network sees them, with those around them.

    Returns
    -------
    normalized : ndarray
        (n + 2 planes, C, h, w), float32.
    valid : ndarray of bool, or None
        (n, C, h, w), false where a pixel must not teach; None if all may.

    Raises
    ------
    DataError
        If a pixel is not finite.
    """
    counts = read_around(volume, region, context, halo=1)
    normalized, valid = preprocessing.normalize_with_mask(counts)
    core = np.ascontiguousarray(normalized[..., 1:-1, 1:-1])
    if valid is None:
        return core, None
    own = valid[context.planes : len(valid) - context.planes, :, 1:-1, 1:-1]
    return core, np.ascontiguousarray(own)


def read_window(
    volume: Volume,
    region: Region,
    preprocessing: Preprocessing,
    context: Context = NO_CONTEXT,
) -> tuple[np.ndarray, np.ndarray | None]:
    """A window of one plane as the network sees it, with its neighbors.

    Returns
    -------
    normalized : ndarray
        (inputs, h, w), float32, the channels of the plane before its neighbors'.
    valid : ndarray of bool, or None
        (C, h, w), false where a pixel must not teach; None if all may.

    Raises
    ------
    DataError
        If a pixel is not finite.
    """
    planes, valid = read_planes(volume, region, preprocessing, context)
    return center_first(planes, context.planes), None if valid is None else valid[0]


def fitting_patch(volume: Volume, patch: int, stride: int) -> int:
    """Largest side of a crop, at most `patch`, that is a multiple of `stride` and fits.

    Raises
    ------
    DataError
        If not even the smallest one does.
    """
    height, width = (volume.shape[volume.axes.index(name)] for name in "YX")
    smallest = -(-SMALLEST_PATCH // stride) * stride
    side = min(patch, height, width) // stride * stride
    if side < smallest:
        msg = (
            f"{volume.name} is {width} x {height} pixels, but training takes crops of "
            f"{smallest} x {smallest} or more; train on a larger image and apply that "
            f"model to this one"
        )
        raise DataError(msg)
    return side
