"""Images as napari hands them around: a `Volume` to layer-data tuples, and back.

A layer-data tuple is (pixels, or a list of them one a level; what ``add_image`` takes;
``"image"``). napari is not needed for it, nor imported.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_blindsound.errors import AxesError, ImageFormatError
from napari_blindsound.images.array import chunk_shape, is_dask, read_region
from napari_blindsound.images.axes import Axes, Axis, axis_letter
from napari_blindsound.images.units import unit_word
from napari_blindsound.images.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from napari_blindsound.images.array import ArrayLike

LayerData = tuple[Any, dict[str, Any], str]
KEY = "napari_blindsound"
"""Where a layer's metadata say what it shows."""

_BLOCK_SIDE = 1024  # px; a viewer asks for blocks one by one: none shall be small
_WINDOW = (0.001, 0.999)  # quantiles between which a channel is displayed
_SAMPLE_SIDE = 512  # px of the middle plane that they are measured on
_COLORS = {
    "cyan": "00FFFF",
    "magenta": "FF00FF",
    "yellow": "FFFF00",
    "red": "FF0000",
    "green": "00FF00",
    "blue": "0000FF",
}


def volume_to_layers(volume: Volume) -> list[LayerData]:
    """Layers that show a volume, one a channel.

    Parameters
    ----------
    volume : Volume
        Of which no pixel is read but a small sample, for the display range.

    Returns
    -------
    list of LayerData
        With scale, position, units, lower-case axis labels, color and display range;
        pixels that are not in memory as dask arrays.
    """
    if "C" not in volume.axes:
        return [_layer(volume, volume.name)]
    names = volume.channel_names or [f"channel {i}" for i in range(volume.n_channels)]
    layers = [
        _layer(volume.select(C=number), f"{volume.name} {name}")
        for number, name in enumerate(names)
    ]
    for number, (_, meta, _) in enumerate(layers):
        meta["metadata"][KEY]["channel"] = number
    if len(layers) > 1:
        _tell_apart([meta for _, meta, _ in layers])
    return layers


def volume_to_layer(volume: Volume) -> LayerData:
    """One layer that shows a volume, its channels on a slider.

    For a volume of which nobody knows which of its axes the channels are.

    Parameters
    ----------
    volume : Volume
        As for :func:`volume_to_layers`.
    """
    return _layer(volume, volume.name)


def layers_to_volume(layers: Sequence[LayerData]) -> Volume:
    """Volume of what layers show: one image, or several that become its channels.

    Parameters
    ----------
    layers : sequence of LayerData
        Of one shape, position and scale.

    Returns
    -------
    Volume
        Of the finest level.

    Raises
    ------
    AxesError
        If a layer does not name its axes, or the layers do not fit together.
    ImageFormatError
        If a layer is an RGB picture.
    DataError
        If the values are no intensities.
    """
    images = [_image(data, meta) for data, meta, _ in layers]
    omero = {"channels": [_display(meta) for _, meta, _ in layers]}
    if len(images) == 1:
        return images[0] if "C" in images[0].axes else replace(images[0], omero=omero)
    first = images[0]
    for other in images:
        _require_alike(first, other)
    levels = [image.levels[0] for image in images]
    pixels = da.stack(levels)  # type: ignore[no-untyped-call] # dask: not typed
    axes = Axes((Axis("C"), *first.axes))
    name, channels = _shared_name([image.name for image in images])
    return Volume((pixels,), axes, name, channels, omero=omero)


def _tell_apart(metas: Sequence[dict[str, Any]]) -> None:
    """Give channels that lie over one another colors, unless they have their own."""
    if len({meta.get("colormap") for meta in metas}) == 1:
        for meta, color in zip(metas, cycle(_COLORS), strict=False):
            meta["colormap"] = color
    for meta in metas:
        meta["blending"] = "additive"


def _layer(volume: Volume, name: str) -> LayerData:
    """One layer of a volume without channels."""
    settings: Sequence[Any] = (volume.omero or {}).get("channels") or ()
    setting = settings[0] if len(settings) == 1 else {}
    window = setting.get("window") or {}
    meta: dict[str, Any] = {
        **place(volume.axes),
        "name": name,
        "contrast_limits": _range(window.get("start"), window.get("end"))
        or sampled_range(volume),
        "visible": bool(setting.get("active", True)),
        "metadata": {KEY: {"source": volume.source, "axes": volume.axes.to_json()}},
    }
    if setting.get("color"):
        meta["colormap"] = f"#{str(setting['color']).lstrip('#')[:6]}"
    levels = [_lazy(level, volume.axes) for level in volume.levels]
    return levels[0] if len(levels) == 1 else levels, meta, "image"


def _lazy(level: ArrayLike, axes: Axes) -> Any:  # noqa: ANN401 - dask is not typed
    """View of a level for a viewer, in blocks of useful size unless in memory."""
    if isinstance(level, np.ndarray) or is_dask(level):
        return level
    return da.from_array(  # type: ignore[no-untyped-call] # dask: not typed
        level,
        chunks=_blocks(level, axes),
        # A name of its own: a viewer caches by name, also when the file has changed.
        name=False,
        fancy=False,
        meta=np.empty((0,) * len(axes), level.dtype),
    )


def _blocks(level: ArrayLike, axes: Axes) -> tuple[int, ...]:
    """Shape of the blocks: stored chunks, put together in Y and X."""
    shape = tuple(int(size) for size in level.shape)
    stored = chunk_shape(level)
    if stored == shape:
        pairs = zip(axes.names, shape, strict=True)
        stored = tuple(size if name in "YX" else 1 for name, size in pairs)
    return tuple(
        min(chunk * max(1, _BLOCK_SIDE // chunk) if name in "YX" else chunk, size)
        for name, chunk, size in zip(axes.names, stored, shape, strict=True)
    )


def place(axes: Axes) -> dict[str, Any]:
    """Keywords of ``add_image`` that say where an image lies, and along what axes."""
    return {
        "scale": tuple(axis.scale for axis in axes),
        "translate": tuple(axis.translate for axis in axes),
        "units": tuple(axis.unit or "pixel" for axis in axes),
        "axis_labels": tuple(axes.names.lower()),
    }


def sampled_range(volume: Volume) -> tuple[float, float]:
    """Display range by the middle of the middle plane of the coarsest level."""
    level = volume.levels[-1]
    region = []
    for axis, size in zip(volume.axes, level.shape, strict=True):
        side = min(int(size), _SAMPLE_SIDE if axis.name in "YX" else 1)
        start = (int(size) - side) // 2
        region.append(slice(start, start + side))
    pixels = read_region(level, tuple(region))
    finite = pixels[np.isfinite(pixels)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = (float(value) for value in np.quantile(finite, _WINDOW))
    return _range(low, high) or (low, low + 1)


def _range(low: object, high: object) -> tuple[float, float] | None:
    """Both as numbers, None where they are none or no range."""
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return None
    return (float(low), float(high)) if low < high else None


def _image(data: Any, meta: Mapping[str, Any]) -> Volume:  # noqa: ANN401 - any array
    """Volume of one layer, from its finest level."""
    name = str(meta.get("name") or "image")
    if meta.get("rgb"):
        msg = (
            f"the layer {name} is an RGB picture: split its colors into one layer a "
            "channel, and save those"
        )
        raise ImageFormatError(msg)
    is_pyramid = meta.get("multiscale") or isinstance(data, list | tuple)
    level = data[0] if is_pyramid else data
    if hasattr(level, "to_dask"):
        # A layer that is being denoised shows noisy pixels, too; these are not.
        level = level.to_dask()
    return Volume((level,), _axes(meta, level.ndim, name), name)


def _axes(meta: Mapping[str, Any], ndim: int, name: str) -> Axes:
    """Axes that a layer names, with its scale, units and position."""
    labels = [str(label) for label in meta.get("axis_labels") or ()]
    letters = [axis_letter(label) or "" for label in labels]
    if not all(letters) or len(letters) != ndim:
        letters = ["Y", "X"] if ndim == 2 else []
    if not letters:
        msg = (
            f"the layer {name} has {ndim} dimensions and does not say what they mean: "
            f"set its axis_labels, such as {tuple('tczyx'[-ndim:])}"
        )
        raise AxesError(msg)
    columns = zip(
        Axes.parse("".join(letters)),
        _numbers(meta.get("scale"), ndim, 1.0),
        meta.get("units") or [""] * ndim,
        _numbers(meta.get("translate"), ndim, 0.0),
        strict=True,
    )
    return Axes(
        tuple(
            replace(axis, scale=abs(size), unit=unit_word(str(unit)), translate=start)
            for axis, size, unit, start in columns
        )
    )


def _numbers(values: npt.ArrayLike | None, count: int, default: float) -> list[float]:
    """Values as plain numbers, the default where there are none."""
    if values is None:
        return [default] * count
    return [float(value) for value in np.asarray(values)]


def _require_alike(first: Volume, other: Volume) -> None:
    """Refuse layers that are not channels of one image."""
    alike = (other.shape, other.axes) == (first.shape, first.axes)
    if alike and "C" not in first.axes:
        return
    msg = (
        f"the layers {first.name} ({first.axes.names}, shape {first.shape}) and "
        f"{other.name} ({other.axes.names}, shape {other.shape}) are not channels of "
        "one image: select layers of one shape, scale and position, without channels"
    )
    raise AxesError(msg)


def _display(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Display settings of a layer as OME-Zarr stores them."""
    setting: dict[str, Any] = {"active": bool(meta.get("visible", True))}
    limits = meta.get("contrast_limits")
    if limits is not None:
        setting["window"] = {"start": float(limits[0]), "end": float(limits[1])}
    color = _color(meta.get("colormap"))
    return {**setting, "color": color} if color else setting


def _color(colormap: object) -> str | None:
    """Color of a colormap at its bright end as RRGGBB, None where it is not known."""
    if isinstance(colormap, str):
        return colormap[1:7] if colormap.startswith("#") else _COLORS.get(colormap)
    colors: Any = colormap.get("colors") if isinstance(colormap, dict) else None
    if colors is None or len(colors) == 0:
        return None
    return "".join(f"{round(255 * float(part)):02X}" for part in colors[-1][:3])


def _shared_name(names: list[str]) -> tuple[str, tuple[str, ...]]:
    """Name of an image and of its channels, from those of its layers."""
    shared = []
    for words in zip(*(name.split(" ") for name in names), strict=False):
        if len(set(words)) > 1:
            break
        shared.append(words[0])
    start = " ".join(shared)
    rest = tuple(name[len(start) :].strip() for name in names)
    return (start, rest) if start and all(rest) else (names[0], tuple(names))
