"""Zarr arrays and OME-Zarr images: versions 2 and 3 of zarr, 0.1 to 0.5 of OME-Zarr.

The metadata are read with a light hand: what is wanted here are names, sizes and units
of the axes, and a file that breaks the standard elsewhere still opens.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import zarr

from napari_blindsound.errors import (
    BlindsoundError,
    ImageFormatError,
    ImageNotFoundError,
)
from napari_blindsound.images.axes import Axes, Axis, axis_letter, settle_axes
from napari_blindsound.images.choice import choose
from napari_blindsound.images.remote import filesystem, is_url, store_errors
from napari_blindsound.images.sorting import natural_key
from napari_blindsound.images.units import unit_word
from napari_blindsound.images.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

_MARKERS = ("zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")
_BROKEN = (ValueError, KeyError, TypeError, AttributeError, IndexError)
_SHOWN = 6
_Attributes = Mapping[str, Any]


@dataclass(frozen=True)
class _Request:
    """What the caller asked for, carried down the tree of groups."""

    path: str
    axes: str | None
    image: int | None


def is_zarr(path: Path) -> bool:
    """Whether a folder is a zarr array or group, by its name or the files in it."""
    return path.suffix == ".zarr" or any((path / name).exists() for name in _MARKERS)


def open_zarr(
    path: str, *, axes: str | None = None, image: int | None = None
) -> Volume:
    """Open a zarr array, an OME-Zarr image, or a group that holds one of them.

    Parameters
    ----------
    path : str
        Absolute path of a folder, or a URL that fsspec understands.
    axes : str, optional
        What the axes mean, where the metadata do not say or are wrong.
    image : int, optional
        Which image, where the group holds several.

    Raises
    ------
    ImageNotFoundError
        If there is no array.
    ImageFormatError
        If the metadata cannot be read, or the group holds several images.
    AxesError
        If the meaning of the axes is not known, or ``axes`` does not fit.
    MissingExtraError
        If the package for such stores is not installed.
    """
    if is_url(path):
        filesystem(path)
        with store_errors(path):
            return _open(path, axes, image)
    return _open(path, axes, image)


def _open(path: str, axes: str | None, image: int | None) -> Volume:
    try:
        return _open_node(zarr.open(path, mode="r"), _Request(path, axes, image))
    except (BlindsoundError, PermissionError):
        raise
    except (FileNotFoundError, zarr.errors.NodeNotFoundError) as error:
        msg = f"{path} holds no zarr array or group: check the path"
        raise ImageNotFoundError(msg) from error
    except _BROKEN as error:
        msg = (
            f"the metadata of {path} cannot be read ({type(error).__name__}: {error}): "
            "copy it again from its origin, with its hidden files"
        )
        raise ImageFormatError(msg) from error


def open_zarr_array(
    array: zarr.Array[Any], *, axes: str | None, name: str, source: str | None
) -> Volume:
    """Volume of one zarr array, whose axes are named by its dimensions if at all."""
    words = getattr(array.metadata, "dimension_names", None)
    words = words or array.attrs.get("_ARRAY_DIMENSIONS")
    settled = settle_axes(axes, named_axes(words), array.shape, name)
    return Volume((array,), settled, name, source=source)


def named_axes(words: object) -> Axes | None:
    """Axes of dimension names, None where one of them is none of the five."""
    if not isinstance(words, Sequence) or not all(isinstance(w, str) for w in words):
        return None
    letters = [axis_letter(word) for word in words]
    distinct = {letter for letter in letters if letter}
    if len(distinct) < len(letters) or not {"Y", "X"} <= distinct:
        return None
    return Axes(tuple(Axis(letter) for letter in letters if letter))


def _open_node(node: zarr.Array[Any] | zarr.Group, request: _Request) -> Volume:
    """Open an array, an image, or the image that a group of them stands for."""
    name = request.path.rstrip("/").rsplit("/", 1)[-1]
    if isinstance(node, zarr.Array):
        return open_zarr_array(node, axes=request.axes, name=name, source=request.path)
    attributes = _ome(node)
    if "multiscales" in attributes:
        return _open_image(node, attributes, request, name)
    if "plate" in attributes:
        wells = [well["path"] for well in attributes["plate"]["wells"]]
        shown = ", ".join(wells[:_SHOWN]) + (", ..." if len(wells) > _SHOWN else "")
        msg = (
            f"{request.path} is a plate of {len(wells)} wells: give one well, such as "
            f"{request.path}/{wells[0]} (it has {shown})"
        )
        raise ImageFormatError(msg)
    paths = _images(node, attributes)
    if not paths:
        msg = f"{request.path} is a zarr group without an image: give one that has one"
        raise ImageNotFoundError(msg)
    chosen = paths[choose(paths, request.image, request.path)]
    below = _Request(f"{request.path}/{chosen}", request.axes, None)
    return _open_node(node[chosen], below)


def _ome(group: zarr.Group) -> _Attributes:
    """OME metadata: under "ome" since 0.5, among the attributes before."""
    attributes = group.attrs.asdict()
    ome = attributes.get("ome")
    return ome if isinstance(ome, Mapping) else attributes


def _images(group: zarr.Group, attributes: _Attributes) -> list[str]:
    """Paths of the images in a well, or of all arrays and images in a plain group."""
    if "well" in attributes:
        return [image["path"] for image in attributes["well"]["images"]]
    with warnings.catch_warnings():
        # Other files in the folder (.DS_Store, notes) are nobody's concern.
        warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
        members = group.members()
    found = [
        path
        for path, node in members
        if isinstance(node, zarr.Array) or "multiscales" in _ome(node)
    ]
    return sorted(found, key=natural_key)


def _open_image(
    group: zarr.Group, attributes: _Attributes, request: _Request, name: str
) -> Volume:
    """All levels of the first multiscale image of a group, the finest first."""
    multiscale = attributes["multiscales"][0]
    datasets = multiscale["datasets"]
    levels = tuple(_level(group, dataset["path"], request) for dataset in datasets)
    shape = levels[0].shape
    known = _image_axes(multiscale, datasets[0], len(shape))
    settled = settle_axes(request.axes, known, shape, request.path)
    omero = attributes.get("omero")
    omero = omero if isinstance(omero, Mapping) else None
    n_channels = shape[settled.index("C")] if "C" in settled else 1
    names = _channel_names(omero)
    return Volume(
        levels,
        settled,
        name,
        channel_names=names if len(names) == n_channels else (),
        source=request.path,
        omero=omero,
    )


def _level(group: zarr.Group, path: str, request: _Request) -> zarr.Array[Any]:
    array = group.get(path)
    if isinstance(array, zarr.Array):
        return array
    msg = (
        f"{request.path} lists the resolution {path!r}, which is not there: copy it "
        "again from its origin"
    )
    raise ImageFormatError(msg)


def _image_axes(
    multiscale: _Attributes, dataset: _Attributes, ndim: int
) -> Axes | None:
    """Axes of an image with the scale, unit and position of its finest level.

    The transformations of the level come first, then those of the whole image.
    """
    entries = multiscale.get("axes") or [*"tczyx"][:ndim]
    entries = [e if isinstance(e, Mapping) else {"name": e} for e in entries]
    letters = [_letter(entry) for entry in entries]
    if None in letters or named_axes(letters) is None or len(letters) != ndim:
        return None
    scale, shift = [1.0] * ndim, [0.0] * ndim
    for holder in (dataset, multiscale):
        for step in holder.get("coordinateTransformations") or ():
            factors = step.get("scale") or [1.0] * ndim
            offsets = step.get("translation") or [0.0] * ndim
            scale = [s * f for s, f in zip(scale, factors, strict=True)]
            shift = [s * f + o for s, f, o in zip(shift, factors, offsets, strict=True)]
    return Axes(
        tuple(
            Axis(
                str(letter), size if size > 0 else 1.0, unit_word(entry.get("unit")), at
            )
            for letter, entry, size, at in zip(
                letters, entries, scale, shift, strict=True
            )
        )
    )


def _letter(entry: _Attributes) -> str | None:
    """Letter of an axis by its name, or by its type where the name is free."""
    return axis_letter(str(entry.get("name"))) or {"time": "T", "channel": "C"}.get(
        str(entry.get("type"))
    )


def _channel_names(omero: _Attributes | None) -> tuple[str, ...]:
    """Labels of the channels, or nothing where one has none."""
    channels = (omero or {}).get("channels") or ()
    names = tuple(str(c.get("label") or "") for c in channels if isinstance(c, Mapping))
    return names if all(names) else ()
