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
    """

    volume: Volume
    paths: tuple[str, ...]
    axes: str | None
    layer_data: tuple[LayerData, ...]


@dataclass(frozen=True)
class Several:
    """A folder of several images, whose noise differs: one has to be chosen.

    Parameters
    ----------
    paths : tuple of Path
        What can be opened.
    """

    paths: tuple[Path, ...]


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
    paths: Sequence[Path], stop: threading.Event
) -> Iterator[Opened | Several]:
    """Open what was dropped as one lazy image.

    Parameters
    ----------
    paths : sequence of Path
        An image, a folder of frames, an OME-Zarr, a folder of the FMDD data set, or
        the frames of one stack.
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
    several = _several(paths)
    if several is not None:
        yield several
        return
    source = _source(paths)
    volume, axes = _opened(source)
    layer_data = volume_to_layers(volume) if axes else [_nameless(volume)]
    remembered = tuple(str(path) for path in source)
    for _, meta, _ in layer_data:
        meta["metadata"][KEY]["paths"] = list(remembered)
    if not stop.is_set():
        yield Opened(volume, remembered, axes, tuple(layer_data))


def _several(paths: Sequence[Path]) -> Several | None:
    """Types of images below the root of the FMDD data set, each of its own noise."""
    root = paths[0]
    if len(paths) > 1 or not root.is_dir() or is_zarr(root) or find_frames(root):
        return None
    kinds = list(dict.fromkeys(view.type for view in find_fmdd(root)))
    return Several(tuple(root / kind for kind in kinds)) if len(kinds) > 1 else None


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


def _opened(source: list[Path]) -> tuple[Volume, str | None]:
    """Image, and the axes that the file says it has."""
    what = source[0] if len(source) == 1 else source
    try:
        try:
            volume = open_volume(what)
        except AxesError as unknown:
            return _opened_anyhow(what, unknown), None
    except DataError as error:
        if len(source) == 1 and not source[0].is_dir():
            raise
        msg = f"{str(error).rstrip('.')}; {_TO_BATCH}"
        raise DataError(msg) from error
    return volume, volume.axes.names


def _opened_anyhow(what: Path | list[Path], unknown: AxesError) -> Volume:
    for letters in _ANY_AXES:
        try:
            return open_volume(what, axes=letters)
        except AxesError:
            continue
    raise unknown


def _nameless(volume: Volume) -> LayerData:
    """Layer that leaves open what its axes mean."""
    data, meta, kind = volume_to_layer(volume)
    del meta["axis_labels"], meta["metadata"][KEY]["axes"]
    return data, meta, kind
