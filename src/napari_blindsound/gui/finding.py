"""From a layer to the image behind it: its file, if there is one and it is the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_blindsound.errors import AxesError
from napari_blindsound.gui.axes_row import MOST
from napari_blindsound.gui.layers import (
    axes_of,
    channel_of,
    files_of,
    reopened,
    shape_of,
    volume_of,
)
from napari_blindsound.images.axes import AXIS_NAMES, axis_letter

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from napari.layers import Image

    from napari_blindsound.gui.dropping import Opened
    from napari_blindsound.images.volume import Volume


@dataclass(frozen=True)
class Found:
    """The image behind a layer.

    Parameters
    ----------
    image : Volume
        All channels of the file, or what the layer shows.
    shown : str
        Axes of the layer.
    channel : int, optional
        The one of the image that the layer shows.
    paths : tuple of str
        What was opened; empty for an image in memory.
    axes : str, optional
        What has to be said of the axes to open it.
    number : int, optional
        Which image of the file it is, where there are several.
    """

    image: Volume
    shown: str
    channel: int | None = None
    paths: tuple[str, ...] = ()
    axes: str | None = None
    number: int | None = None


def letters_of(layer: Image) -> list[str]:
    """Letters that a layer's labels say, empty where they say nothing.

    Only of the last two dimensions it is known without labels what they are: napari
    draws them as rows and columns.
    """
    whole = axes_of(layer)
    if whole is not None:
        return list(whole)
    letters = [axis_letter(str(label)) or "" for label in layer.axis_labels]
    letters = [name if letters.count(name) == 1 else "" for name in letters]
    if not {"Y", "X"} & set(letters) and letters[-2:] == ["", ""]:
        letters[-2:] = ["Y", "X"]
    return letters


def dimensions(layer: Image | None) -> tuple[tuple[int, ...], list[str]]:
    """Sizes and letters of a layer's dimensions; none if there are too many."""
    if layer is None or layer.ndim > MOST:
        return (), []
    return shape_of(layer), letters_of(layer)


def as_shown(layer: Image, axes: str | None) -> Volume:
    """What a layer shows, with axes that the user chose.

    Raises
    ------
    AxesError
        If they are not complete, or there are too many.
    ImageFormatError
        If the layer is an RGB picture.
    DataError
        If the values are no intensities.
    """
    if layer.ndim > MOST:
        msg = (
            f"the layer {layer.name} has {layer.ndim} dimensions, but no more than "
            f"{MOST} are known ({', '.join(AXIS_NAMES)}): make a layer of a part of it"
        )
        raise AxesError(msg)
    if axes is None and not layer.rgb:
        msg = (
            f"the layer {layer.name} does not say what all of its {layer.ndim} "
            f"dimensions are: choose a letter for each, Y and X among them"
        )
        raise AxesError(msg)
    return volume_of(layer, axes or "")


def find(
    shown: Volume,
    paths: tuple[str, ...],
    channel: int | None,
    number: int | None,
    stop: threading.Event,
) -> Iterator[Found]:
    """Look for the file behind a layer; a work for a thread.

    Parameters
    ----------
    shown : Volume
        What the layer shows.
    paths : tuple of str
        Where it may come from.
    channel : int or None
        The one that it shows.
    number : int or None
        Which image of the file.
    stop : threading.Event
        Nothing is yielded after it was set.

    Yields
    ------
    Found
        Once.
    """
    same = reopened(shown, paths, channel, number)
    if stop.is_set():
        return
    names = shown.axes.names
    if same is None:
        yield Found(shown, names)
    else:
        yield Found(same.volume, names, channel, paths, same.axes, number)


def read_already(layer: Image, shown: Volume, opened: Opened | None) -> Found | None:
    """The image behind a layer, if no file has to be looked at to know it.

    Parameters
    ----------
    layer : Image
        The one chosen.
    shown : Volume
        What it shows.
    opened : Opened or None
        What was opened in the dock to make the layer.

    Returns
    -------
    Found or None
        None if the layer comes from a file that has to be opened first.
    """
    names, channel, paths = shown.axes.names, channel_of(layer), files_of(layer)
    if not paths:
        return Found(shown, names)
    if opened is None or opened.axes is None:
        return None
    said = opened.axes if channel is None else opened.axes.replace("C", "")
    if said != names:
        return None
    return Found(opened.volume, names, channel, paths, number=opened.number)
