"""Between napari's layers and our volumes: what a layer shows, and layers like it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindsound.errors import AxesError, BlindsoundError, ImageFormatError
from napari_blindsound.images.axes import axis_letter
from napari_blindsound.images.layers import KEY, layers_to_volume
from napari_blindsound.images.open import open_volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image, Layer

    from napari_blindsound.images.volume import Volume

_LIKE = (
    "affine",
    "axis_labels",
    "blending",
    "colormap",
    "contrast_limits",
    "gamma",
    "interpolation2d",
    "interpolation3d",
    "projection_mode",
    "rendering",
    "rotate",
    "scale",
    "shear",
    "translate",
    "units",
)
_SAMPLE = 64  # px a side of the pixels by which a layer is held against its file


def like(
    layer: Image, *, name: str, offset: Sequence[float] | None = None
) -> dict[str, Any]:
    """Keywords of ``add_image`` for a layer that lies where another one does.

    Every layer of ours is made with these: one layer in other units, and napari drops
    the units of all.

    Parameters
    ----------
    layer : Image
        The source.
    name : str
        Of the new layer.
    offset : sequence of float, optional
        Where the new layer's first pixel lies in the source, in its pixels.
    """
    state = layer.as_layer_data_tuple()[1]
    settings = {key: state[key] for key in _LIKE if key in state}
    # napari does not give the colormap back as it takes it.
    settings["colormap"] = layer.colormap
    if offset is not None:
        settings["translate"] = position(layer, offset)
    return {**settings, "name": name}


def position(layer: Image, offset: Sequence[float]) -> Any:  # noqa: ANN401 - array
    """The ``translate`` of a layer whose first pixel lies at `offset` in another."""
    from napari.utils.transforms import Affine

    # scale, rotate and shear act on the offset; affine comes on top of translate.
    turned = Affine(scale=layer.scale, rotate=layer.rotate, shear=layer.shear)
    return np.asarray(layer.translate) + turned.linear_matrix @ np.asarray(offset)


def axes_of(layer: Layer) -> str | None:
    """Axes that a layer names, one letter of T, C, Z, Y, X each; None if it does not.

    napari numbers the axes of layers that say nothing: those are not guessed, but for
    the two of a plane.
    """
    letters = [axis_letter(str(label)) or "" for label in layer.axis_labels]
    if all(letters) and len(set(letters)) == layer.ndim:
        return "".join(letters)
    return "YX" if layer.ndim == 2 else None


def volume_of(layer: Image, axes: str) -> Volume:
    """Image that a layer shows, with all levels of its pyramid, still unread.

    Parameters
    ----------
    layer : Image
        Of numpy, dask, zarr or xarray arrays.
    axes : str
        What its axes mean, one letter a dimension.

    Raises
    ------
    ImageFormatError
        If the layer is an RGB picture.
    AxesError
        If the axes do not fit.
    DataError
        If the values are no intensities.
    """
    from dataclasses import replace

    if layer.rgb:
        msg = (
            f"{layer.name} is an RGB picture: split its colors (right-click it, Split "
            f"RGB) and denoise the channels"
        )
        raise ImageFormatError(msg)
    if len(axes) != layer.ndim or not {"Y", "X"} <= set(axes):
        msg = (
            f"{layer.name} has {layer.ndim} dimensions and the axes {axes!r} do not "
            f"fit: choose a different letter for each, Y and X among them"
        )
        raise AxesError(msg)
    levels = tuple(layer.data) if layer.multiscale else (layer.data,)
    meta = {
        "name": layer.name,
        "axis_labels": tuple(axes.lower()),
        "scale": layer.scale,
        "units": [str(unit) for unit in layer.units],
        "translate": layer.translate,
    }
    volume = layers_to_volume([(levels[0], meta, "image")])
    return replace(volume, levels=(volume.levels[0], *levels[1:]))


def file_of(layer: Layer) -> str | None:
    """Path of the file that a layer was opened from, None if it was made in memory."""
    ours = layer.metadata.get(KEY) or {}
    if ours.get("source"):
        return str(ours["source"])
    path = layer.source.path
    return str(path) if path else None


def channel_of(layer: Layer) -> int | None:
    """Which channel of its file a layer shows, None if the file has no channels."""
    number = (layer.metadata.get(KEY) or {}).get("channel")
    return int(number) if number is not None else None


def reopened(layer: Image, path: str, axes: str) -> Volume | None:
    """The file of a layer, opened lazily, if the layer still shows what is in it.

    Read from the file, a training is the same one that the command line makes.

    Parameters
    ----------
    layer : Image
        With or without a channel axis.
    path : str
        Its file.
    axes : str
        What the layer's axes mean.

    Returns
    -------
    Volume or None
        All channels of the file; None where file and layer differ.
    """
    number = channel_of(layer)
    try:
        try:
            volume = open_volume(path)
        except AxesError:
            volume = open_volume(path, axes=axes)
        shown = volume if number is None else volume.select(C=number)
        same = shown.axes.names == axes and _same_pixels(layer, shown)
    except (BlindsoundError, OSError):
        return None
    return volume if same else None


def _same_pixels(layer: Image, volume: Volume) -> bool:
    data = layer.data[0] if layer.multiscale else layer.data
    if tuple(data.shape) != volume.shape or data.dtype != volume.dtype:
        return False
    for end in (0, -1):
        region = tuple(
            _some(size, _SAMPLE) if name in "YX" else _some(size, 1, end)
            for name, size in zip(volume.axes.names, volume.shape, strict=True)
        )
        if not np.array_equal(np.asarray(data[region]), volume.read(region)):
            return False
    return True


def _some(size: int, count: int, end: int | None = None) -> slice:
    """A few positions: those in the middle, or the first or last one."""
    start = max(0, (size - count) // 2) if end is None else end % size
    return slice(start, min(start + count, size))
