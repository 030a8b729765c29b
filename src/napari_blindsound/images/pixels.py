"""Which pixels can be used: real, finite intensities, at least one of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_blindsound.errors import DataError

if TYPE_CHECKING:
    from napari_blindsound.images.array import ArrayLike, Region
    from napari_blindsound.images.axes import Axes


def require_finite(
    block: npt.NDArray[Any], region: Region, axes: Axes, name: str
) -> None:
    """Refuse pixels that are not numbers, and say where the first one lies.

    Parameters
    ----------
    block : numpy.ndarray
        Pixels read from ``region``.
    region : tuple of slice
        Where in the image they come from.
    axes : Axes
        Of the image.
    name : str
        Of the image, for the message.

    Raises
    ------
    DataError
        If a pixel is NaN or infinite.
    """
    if block.dtype.kind != "f" or np.isfinite(block.sum(dtype=np.float64)):
        return
    bad = np.argwhere(~np.isfinite(block))
    if len(bad) == 0:
        return
    value = block[tuple(bad[0])]
    at = ", ".join(
        f"{axis.name}={part.start + int(i)}"
        for axis, part, i in zip(axes, region, bad[0], strict=True)
    )
    msg = (
        f"{name} holds {value} at {at}: replace what is not a finite number (the "
        "median of the neighbors will do) and try again"
    )
    raise DataError(msg)


def require_intensities(array: ArrayLike, name: str) -> None:
    """Refuse arrays that hold no pixels, or pixels that are no intensities."""
    dtype = np.dtype(array.dtype)
    if math.prod(array.shape) == 0:
        msg = f"{name} has shape {tuple(array.shape)}: it holds no pixels"
        raise DataError(msg)
    remedies = {
        "c": "denoise the magnitude, or real and imaginary part as two channels",
        "b": "this is a mask, in which there is no noise to remove",
        "O": "convert it to numbers first",
    }
    if dtype.kind not in "uif":
        remedy = remedies.get(dtype.kind, "give integer or floating point intensities")
        msg = f"the pixels of {name} are of type {dtype}: {remedy}"
        raise DataError(msg)
