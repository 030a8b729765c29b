"""Where images are dropped, or chosen from the disk, and become layers."""

from __future__ import annotations

import weakref
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_blindsound.errors import BlindsoundError
from napari_blindsound.gui.combo import Combo
from napari_blindsound.gui.dropping import (
    Opened,
    Option,
    Several,
    model_of,
    open_dropped,
)
from napari_blindsound.gui.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Image

_KINDS = (
    "Images and models (*.tif *.tiff *.tf2 *.tf8 *.btf *.png *.npy *.czi *.nd2 *.lif "
    "*.blindsound);;All files (*)"
)


class DropZone(QFrame):
    """Opens one image at a time, in a thread, and shows it in the viewer.

    Parameters
    ----------
    viewer : ViewerModel
    content : QWidget
        What else the frame holds, above the buttons.

    Attributes
    ----------
    opened : Signal
        First layer of an image that was opened.
    model_dropped : Signal
        Path of a model file.
    failed : Signal
        The exception, if it could not be opened.
    said : Signal
        What goes on; empty when it is over.
    """

    opened = Signal(object)
    model_dropped = Signal(object)
    failed = Signal(object)
    said = Signal(str)

    def __init__(self, viewer: ViewerModel, content: QWidget) -> None:
        super().__init__()
        self._viewer = viewer
        self._workers = Workers()
        self._folder = ""
        self._options: tuple[Option, ...] = ()
        self._images: weakref.WeakKeyDictionary[Image, Opened]
        self._images = weakref.WeakKeyDictionary()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.several = Combo()
        self.several.setPlaceholderText("several images: choose one")
        self.several.setToolTip("There are several images: choose the one to open")
        self.several.activated.connect(self._on_several)
        self.several.hide()
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 6)
        column.addWidget(content)
        column.addLayout(self._buttons())
        column.addWidget(self.several)

    def open_paths(self, paths: Sequence[Path], number: int | None = None) -> None:
        """Open files or a folder as one image; a later call takes the place of this.

        Parameters
        ----------
        paths : sequence of Path
            At least one.
        number : int, optional
            Which image of a file that holds several.
        """
        self.several.hide()
        self.stop()
        try:
            model = model_of(paths)
        except BlindsoundError as error:
            self.failed.emit(error)
            return
        if model is not None:
            self.model_dropped.emit(model)
            return
        name = paths[0].name if len(paths) == 1 else f"{len(paths)} files"
        self.said.emit(f"opening {name}…")
        self._workers.run(
            "main",
            partial(open_dropped, tuple(paths), number),
            self._on_event,
            on_failed=self._on_failed,
            on_finished=lambda: None,
        )

    def image_of(self, layer: Image) -> Opened | None:
        """What was opened to make a layer, None if that was not here."""
        return self._images.get(layer)

    def forget(self, layer: Image) -> None:
        """A layer shows something else now."""
        self._images.pop(layer, None)

    def stop(self, seconds: float = 0.0) -> None:
        """Open it no longer; wait for the thread so long."""
        self._workers.close(seconds)

    def _buttons(self) -> QHBoxLayout:
        files, folder = QPushButton("Open files…"), QPushButton("Open folder…")
        files.setToolTip(
            "An image, all frames of one stack, or a model: read as it is needed"
        )
        files.clicked.connect(self._choose_files)
        folder.setToolTip("An OME-Zarr, or a folder of frames: read as it is needed")
        folder.clicked.connect(self._choose_folder)
        row = QHBoxLayout()
        row.addWidget(files)
        row.addWidget(folder)
        row.addWidget(QLabel("or drop here"), 1)
        return row

    def _choose_files(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(
            self, "Open files", self._folder, _KINDS
        )
        self._open_chosen(names)

    def _choose_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Open folder", self._folder)
        self._open_chosen([name] if name else [])

    def _open_chosen(self, names: Sequence[str]) -> None:
        if names:
            self._folder = str(Path(names[0]).parent)
            self.open_paths([Path(name) for name in names])

    def _on_several(self, index: int) -> None:
        option = self._options[index]
        self.open_paths([option.path], option.number)

    def _on_event(self, event: Opened | Several) -> None:
        self.said.emit("")
        if isinstance(event, Several):
            self._offer(event)
        else:
            self._show(event)

    def _on_failed(self, error: BaseException) -> None:
        self.said.emit("")
        self.failed.emit(error)

    def _offer(self, event: Several) -> None:
        self.several.clear()
        self._options = event.options
        self.several.addItems([option.label for option in event.options])
        self.several.setCurrentIndex(-1)
        self.several.show()
        self.several.setFocus()

    def _show(self, opened: Opened) -> None:
        layers = []
        try:
            for pixels, meta, _ in opened.layer_data:
                is_pyramid = isinstance(pixels, list)
                self._viewer.add_image(pixels, multiscale=is_pyramid, **meta)
                # Not what add_image returns: that may be a wrapper that dies at once.
                layers.append(list(self._viewer.layers)[-1])
        except (BlindsoundError, OSError) as error:
            self.failed.emit(error)
            return
        for layer in layers:
            self._images[layer] = opened
        self.opened.emit(layers[0])
