"""Between napari's layers and our volumes: what a layer shows, and layers like it."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    # Said, or an image of three columns would be taken for a color picture.
    settings["rgb"] = False
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
    if layer.rgb:
        msg = (
            f"the layer {layer.name} is an RGB picture: split its colors (right-click "
            f"it, Split RGB) and denoise the channels"
        )
        raise ImageFormatError(msg)
    if len(axes) != layer.ndim or not {"Y", "X"} <= set(axes):
        msg = (
            f"the layer {layer.name} has {layer.ndim} dimensions, and the axes "
            f"{axes!r} do not fit: choose a letter for each, Y and X among them"
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


def shape_of(layer: Image) -> tuple[int, ...]:
    """Pixels along each axis of a layer, at full resolution, colors not counted."""
    data = layer.data[0] if layer.multiscale else layer.data
    return tuple(int(size) for size in data.shape[: layer.ndim])


def files_of(layer: Layer) -> tuple[str, ...]:
    """Paths that a layer was opened from, several for a stack of dropped frames.

    Empty for a layer made in memory.
    """
    ours = layer.metadata.get(KEY) or {}
    if ours.get("paths"):
        return tuple(str(path) for path in ours["paths"])
    path = file_of(layer)
    return () if path is None else (path,)


def number_of(layer: Layer) -> int | None:
    """Which image of its file a layer shows, None if the file has only one."""
    number = (layer.metadata.get(KEY) or {}).get("image")
    return int(number) if number is not None else None


def role_of(layer: Layer) -> str | None:
    """What a layer of ours is there for: "preview", "denoised"; None for others."""
    role = (layer.metadata.get(KEY) or {}).get("role")
    return None if role is None else str(role)


@dataclass(frozen=True)
class Reopened:
    """A layer's file, opened as the command line opens it.

    Parameters
    ----------
    volume : Volume
        All channels of the file.
    axes : str or None
        What has to be said of the axes for that; None where the file says it.
    """

    volume: Volume
    axes: str | None = None


def reopened(
    shown: Volume,
    paths: Sequence[str],
    channel: int | None = None,
    number: int | None = None,
) -> Reopened | None:
    """The file of a layer, opened lazily, if the layer still shows what is in it.

    Read from the file, a training is the same one that the command line makes. Touches
    no layer, so that a thread can wait for a slow disk.

    Parameters
    ----------
    shown : Volume
        What the layer shows, with the axes that it is meant to have.
    paths : sequence of str
        Its file, or the frames that it was stacked from.
    channel : int, optional
        The one that the layer shows, where it shows one of several.
    number : int, optional
        Which image of the file, where it holds several.

    Returns
    -------
    Reopened or None
        None where file and layer differ.
    """
    source = paths[0] if len(paths) == 1 else list(paths)
    try:
        found = _opened_as(source, shown.axes.names, channel, number)
        volume = found.volume
        part = volume if channel is None else volume.select(C=channel)
        same = part.axes.names == shown.axes.names and _same_pixels(shown, part)
    except (BlindsoundError, OSError):
        return None
    return found if same else None


def _opened_as(
    source: str | list[str], names: str, channel: int | None, number: int | None
) -> Reopened:
    """Open a file with the axes of a layer, which may show one of its channels."""
    try:
        volume = open_volume(source, image=number)
    except AxesError:
        return Reopened(open_volume(source, axes=names, image=number), names)
    if channel is not None:
        at = volume.axes.index("C")
        names = f"{names[:at]}C{names[at:]}"
    if names == volume.axes.names:
        return Reopened(volume)
    return Reopened(open_volume(source, axes=names, image=number), names)


def _same_pixels(shown: Volume, volume: Volume) -> bool:
    if (shown.shape, shown.dtype) != (volume.shape, volume.dtype):
        return False
    for end in (0, -1):
        region = tuple(
            _some(size, _SAMPLE) if name in "YX" else _some(size, 1, end)
            for name, size in zip(volume.axes.names, volume.shape, strict=True)
        )
        nans = volume.dtype.kind == "f"
        pixels = (shown.read(region), volume.read(region))
        if not np.array_equal(*pixels, equal_nan=nans):
            return False
    return True


def _some(size: int, count: int, end: int | None = None) -> slice:
    """A few positions: those in the middle, or the first or last one."""
    start = max(0, (size - count) // 2) if end is None else end % size
    return slice(start, min(start + count, size))
