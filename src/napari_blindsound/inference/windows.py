"""Planes that bring their own neighbors along, and what surrounds a plane, denoised.

What is simulated has neighbors of its own, which no image holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_blindsound.errors import ModelMismatchError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.reading import context_of
from napari_blindsound.inference.tiling import Tiler, denoise_region

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_blindsound.images.volume import Region
    from napari_blindsound.inference.tiling import TileOperator


def denoise_windows(
    operator: TileOperator, windows: NDArray[Any]
) -> NDArray[np.float32]:
    """Denoise planes of which each brings its own neighbors along.

    Parameters
    ----------
    operator : TileOperator
        The denoiser.
    windows : ndarray
        Counts, (N, depth, C, h, w); depth is 1 for an operator without a context.

    Returns
    -------
    ndarray
        The planes in the middle, (N, C, h, w).

    Raises
    ------
    ModelMismatchError
        If there are other numbers of planes or channels.
    DataError
        If a pixel is NaN or infinite.
    """
    context, (depth, channels) = context_of(operator), windows.shape[1:3]
    if (depth, channels) != (context.depth, operator.n_channels):
        msg = (
            f"windows of {depth} planes and {channels} channels do not fit a model of "
            f"{operator.n_channels} channel(s) and {context.words}; give (N, "
            f"{context.depth}, {operator.n_channels}, Y, X)"
        )
        raise ModelMismatchError(msg)
    names = f"{'T' if context.axis == 'Z' else 'Z'}{context.axis}CYX"
    volume = Volume((windows,), Axes.parse(names), "windows")
    middle, tiler = slice(context.planes, context.planes + 1), Tiler(operator)
    sides = tuple(slice(0, size) for size in windows.shape[2:])
    region = (slice(0, len(windows)), middle, *sides)
    return denoise_region(operator, volume, region, tiler=tiler)[:, 0]


def nudged(windows: NDArray[np.float32], change: NDArray[Any]) -> NDArray[np.float32]:
    """Windows whose planes in the middle are changed, and their neighbors are not.

    Parameters
    ----------
    windows : ndarray
        (N, depth, C, h, w).
    change : ndarray
        (N, C, h, w), added.
    """
    changed = windows.copy()
    changed[:, windows.shape[1] // 2] += change
    return changed


def denoised_around(
    operator: TileOperator, volume: Volume, region: Region
) -> NDArray[np.float32]:
    """Denoise a region of one plane, and its neighbors as they are seen beside it.

    Returns
    -------
    ndarray
        Counts, (depth, C, h, w), in the order of the axis.
    """
    context, axes = context_of(operator), volume.axes
    grown = context.grown(volume, region)
    block = denoise_region(operator, volume, grown)
    if context.planes:
        at = axes.index(context.axis)
        block = block.take(context.places(volume, region) - grown[at].start, axis=at)
    return axes.as_planes(block)
