"""Arrays that already exist in Python: numpy, dask, zarr, xarray, HDF5 data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from napari_blindsound.errors import ImageFormatError
from napari_blindsound.images.axes import Axes, Axis, settle_axes
from napari_blindsound.images.ngff import named_axes, open_zarr_array
from napari_blindsound.images.units import unit_word
from napari_blindsound.images.volume import Volume

if TYPE_CHECKING:
    from napari_blindsound.images.array import ArrayLike

_UNEVEN = 1e-3  # steps between coordinates that differ by more are no pixel size


def open_array(array: ArrayLike, *, axes: str | None = None) -> Volume:
    """Volume around an array, which is not copied.

    Parameters
    ----------
    array : ArrayLike
        Anything with a shape, a numpy dtype and slicing. xarray and zarr may name the
        axes; two dimensions without names are Y and X.
    axes : str, optional
        What the axes mean, needed for three dimensions and more without names.

    Raises
    ------
    AxesError
        If the meaning of the axes is not known, or ``axes`` does not fit.
    DataError
        If the values are no intensities, or there are none.
    ImageFormatError
        If this is no array.
    """
    _require_array(array)
    if isinstance(array, zarr.Array):
        return open_zarr_array(array, axes=axes, name="array", source=None)
    if hasattr(array, "dims") and hasattr(array, "variable"):
        return _open_xarray(array, axes)
    settled = settle_axes(axes, None, tuple(array.shape), "the array")
    return Volume((array,), settled, "array")


def _require_array(array: object) -> None:
    try:
        np.dtype(array.dtype)  # type: ignore[attr-defined]  # this is the question
        is_array = hasattr(array, "shape") and hasattr(array, "__getitem__")
    except (AttributeError, TypeError):
        is_array = False
    if not is_array:
        msg = (
            f"an image cannot be made of {type(array).__name__!r}: give a path, a list "
            "of paths, or an array (numpy, dask, zarr, xarray)"
        )
        raise ImageFormatError(msg)


def _open_xarray(array: Any, axes: str | None) -> Volume:  # noqa: ANN401 - untyped
    """Volume of a DataArray, with the pixel sizes of its coordinates."""
    name = str(array.name or "array")
    known = named_axes(tuple(str(dim) for dim in array.dims))
    if known is not None:
        pairs = zip(known, array.dims, strict=True)
        known = Axes(tuple(_placed(axis, array.coords.get(dim)) for axis, dim in pairs))
    settled = settle_axes(axes, known, tuple(array.shape), name)
    # The variable, unlike the DataArray, is sliced without its coordinates.
    pixels = array.data if array.chunks is not None else array.variable
    return Volume((pixels,), settled, name)


def _placed(axis: Axis, positions: Any) -> Axis:  # noqa: ANN401 - an xarray coordinate
    """Axis with the spacing, start and unit of its coordinate, if it is even."""
    if positions is None or positions.size < 2 or positions.dtype.kind not in "iuf":
        return axis
    values = np.asarray(positions, np.float64)
    steps = np.diff(values)
    step = float(steps.mean())
    if not step > 0 or np.ptp(steps) > _UNEVEN * step:
        return axis
    unit = positions.attrs.get("units", positions.attrs.get("unit"))
    word = unit_word(unit) if isinstance(unit, str) else None
    return Axis(axis.name, step, word, float(values[0]))
