"""What is dropped on a dock, or chosen from the disk: one lazy image, or a model.

A thousand files become one stack and one layer. All is opened in a thread, the small
sample that decides the display range included.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_blindsound.errors import (
    AxesError,
    DataError,
    ImageFormatError,
    SeveralImagesError,
)
from napari_blindsound.images.fmdd import find_fmdd
from napari_blindsound.images.frames import SUFFIXES, find_frames, frame_kind
from napari_blindsound.images.layers import KEY, volume_to_layer, volume_to_layers
from napari_blindsound.images.ngff import is_zarr
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.sorting import natural_order

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

    from qtpy.QtCore import QMimeData

    from napari_blindsound.images.layers import LayerData
    from napari_blindsound.images.volume import Volume

MODEL = ".blindsound"
_ANY_AXES = ("ZYX", "TZYX", "TCZYX")  # to open an image that does not say its own
_TO_BATCH = "to denoise many images, drop them on the dock Batch denoise"


@dataclass(frozen=True)
class Opened:
    """An image that was dropped.

    Parameters
    ----------
    volume : Volume
        As the file says; with axes of no meaning if :attr:`axes` is None.
    paths : tuple of str
        What to open to get it: a file, a folder, or the frames of one stack.
    axes : str or None
        What the file says of its axes, None if nothing.
    layer_data : tuple of LayerData
        What shows it in a viewer, one layer a channel.
    number : int, optional
        Which image of the file, where it holds several.
    """

    volume: Volume
    paths: tuple[str, ...]
    axes: str | None
    layer_data: tuple[LayerData, ...]
    number: int | None = None


@dataclass(frozen=True)
class Option:
    """One of several images.

    Parameters
    ----------
    label : str
    path : Path
    number : int, optional
        Which image of the file.
    """

    label: str
    path: Path
    number: int | None = None


@dataclass(frozen=True)
class Several:
    """Several images, of which one has to be chosen.

    Parameters
    ----------
    options : tuple of Option
        The images of a file, or the folders below one.
    """

    options: tuple[Option, ...]


def paths_of(mime: QMimeData) -> list[Path]:
    """Files and folders that are dragged, in the order of their names."""
    local = [Path(url.toLocalFile()) for url in mime.urls() if url.isLocalFile()]
    return natural_order(local)


def model_of(paths: Sequence[Path]) -> Path | None:
    """The model file among what was dropped, None if there is none.

    Raises
    ------
    ImageFormatError
        If it came with other files.
    """
    models = [path for path in paths if path.suffix.lower() == MODEL]
    if models and len(paths) > 1:
        msg = f"{models[0].name} is a model: drop it alone, and the images after it"
        raise ImageFormatError(msg)
    return models[0] if models else None


def open_dropped(
    paths: Sequence[Path], number: int | None, stop: threading.Event
) -> Iterator[Opened | Several]:
    """Open what was dropped as one lazy image.

    Parameters
    ----------
    paths : sequence of Path
        An image, a folder of frames, an OME-Zarr, a folder of the FMDD data set, or
        the frames of one stack.
    number : int or None
        Which image of the file, where it holds several.
    stop : threading.Event
        Nothing is yielded after it was set.

    Yields
    ------
    Opened or Several
        One of them, once.

    Raises
    ------
    ImageNotFoundError
        If nothing is there.
    ImageFormatError
        If it is no gray image, or several images.
    DataError
        If frames differ, or the values are no intensities.
    """
    found: Opened | Several | None = _kinds(paths)
    if found is None:
        source = _source(paths)
        try:
            found = _open(source, number)
        except SeveralImagesError as error:
            labels = enumerate(error.labels)
            found = Several(tuple(Option(text, source[0], n) for n, text in labels))
    if not stop.is_set():
        yield found


def _open(source: list[Path], number: int | None) -> Opened:
    volume, axes = _opened(source, number)
    layer_data = volume_to_layers(volume) if axes else [_nameless(volume)]
    remembered = tuple(str(path) for path in source)
    for _, meta, _ in layer_data:
        ours = meta["metadata"][KEY]
        ours["paths"] = list(remembered)
        if number is not None:
            ours["image"] = number
    return Opened(volume, remembered, axes, tuple(layer_data), number)


def _kinds(paths: Sequence[Path]) -> Several | None:
    """Types of images below the root of the FMDD data set, each of its own noise."""
    root = paths[0]
    if len(paths) > 1 or not root.is_dir() or is_zarr(root) or find_frames(root):
        return None
    kinds = list(dict.fromkeys(view.type for view in find_fmdd(root)))
    options = tuple(Option(kind, root / kind) for kind in kinds)
    return Several(options) if len(options) > 1 else None


def _source(paths: Sequence[Path]) -> list[Path]:
    """What has to be opened: all the frames of a folder are that folder."""
    if len(paths) == 1:
        folder = paths[0]
        frames = find_frames(folder) if folder.is_dir() and not is_zarr(folder) else []
        if len(frames) == 1:
            return frames
        _require_frames(frames)
        return [folder]
    frames = list(paths)
    _require_frames(frames)
    folders = {path.parent for path in frames}
    return [folders.pop()] if _lists_exactly(folders, frames) else frames


def _lists_exactly(folders: set[Path], frames: list[Path]) -> bool:
    try:
        return len(folders) == 1 and find_frames(next(iter(folders))) == frames
    except ImageFormatError:
        return False


def _require_frames(paths: Sequence[Path]) -> None:
    """Refuse several images; whether all frames are alike is seen when opening."""
    others = [path for path in paths if path.suffix.lower() not in SUFFIXES]
    if others:
        msg = (
            f"{others[0].name} is no single frame: drop one image, or the PNG or TIFF "
            f"files of one stack; {_TO_BATCH}"
        )
        raise ImageFormatError(msg)
    if not paths or _is_frame(paths[0]):
        return
    msg = (
        f"{paths[0].name} is a stack of its own, and {len(paths) - 1} more came with "
        f"it: drop one of them; {_TO_BATCH}"
    )
    raise ImageFormatError(msg)


def _is_frame(path: Path) -> bool:
    """Whether a file is one plane; raises if it is no image at all."""
    try:
        frame_kind(path)
    except ImageFormatError:
        with suppress(AxesError):
            open_volume(path)
        return False
    return True


def _opened(source: list[Path], number: int | None) -> tuple[Volume, str | None]:
    """Image, and the axes that the file says it has."""
    what = source[0] if len(source) == 1 else source
    try:
        try:
            volume = open_volume(what, image=number)
        except AxesError as unknown:
            return _opened_anyhow(what, number, unknown), None
    except DataError as error:
        if len(source) == 1 and not source[0].is_dir():
            raise
        msg = f"{str(error).rstrip('.')}; {_TO_BATCH}"
        raise DataError(msg) from error
    return volume, volume.axes.names


def _opened_anyhow(
    what: Path | list[Path], number: int | None, unknown: AxesError
) -> Volume:
    for letters in _ANY_AXES:
        try:
            return open_volume(what, axes=letters, image=number)
        except AxesError:
            continue
    raise unknown


def _nameless(volume: Volume) -> LayerData:
    """Layer that leaves open what its axes mean."""
    data, meta, kind = volume_to_layer(volume)
    del meta["axis_labels"], meta["metadata"][KEY]["axes"]
    return data, meta, kind
