"""The first step: which image is denoised, what its axes are, what it is trained on."""

from __future__ import annotations

import weakref
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QVBoxLayout, QWidget

from napari_blindsound.errors import BlindsoundError, DataError
from napari_blindsound.gui.axes_row import AxesRow
from napari_blindsound.gui.channel_choice import ChannelChoice
from napari_blindsound.gui.data import Data
from napari_blindsound.gui.drop_zone import DropZone
from napari_blindsound.gui.finding import (
    Found,
    as_shown,
    dimensions,
    find,
    read_already,
)
from napari_blindsound.gui.layer_choice import LayerChoice
from napari_blindsound.gui.layers import channel_of, files_of, number_of
from napari_blindsound.gui.panel import Panel
from napari_blindsound.gui.ranges import RangeRow
from napari_blindsound.gui.region import RegionRow
from napari_blindsound.gui.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari.components import ViewerModel
    from napari.layers import Image, Layer

    from napari_blindsound.gui.failure import Step
    from napari_blindsound.gui.session import Session

_SETTLE_MS = 100  # several controls that are set at once count once


class _Due(IntEnum):
    """What has to be done again after a change; each includes those before it."""

    NOTHING = 0
    RANGES = 1
    CHANNEL = 2
    IMAGE = 3


class DataPanel(Panel):
    """Chooses the session's data.

    Parameters
    ----------
    session : Session
    viewer : ViewerModel

    Attributes
    ----------
    chosen : Signal
        The `Data` that the session was given, or None.
    model_dropped : Signal
        Path of a model file that was dropped or opened.
    """

    step: ClassVar[Step] = "data"
    title: ClassVar[str] = "Data"
    chosen = Signal(object)
    model_dropped = Signal(object)

    def __init__(self, session: Session, viewer: ViewerModel) -> None:
        super().__init__(session)
        self._followed: weakref.ref[Image] | None = None
        self._found: Found | None = None
        self._workers = Workers()
        self._due = _Due.NOTHING
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SETTLE_MS)
        self._timer.timeout.connect(self._settle)
        self.layers = LayerChoice(viewer)
        self.zone = DropZone(viewer, self.layers)
        self.axes_row, self.channels = AxesRow(), ChannelChoice()
        self.times, self.depths = RangeRow("T"), RangeRow("Z")
        self.region = RegionRow(viewer)
        self._note = QLabel()
        self._note.setWordWrap(True)
        self._controls = QWidget()
        self._form = QFormLayout()
        self._lay_out()
        self._connect()
        self._say("")
        self._show_axes(None)
        self.layers.preselect()

    @property
    def layer(self) -> Image | None:
        """The layer whose image was chosen, as long as it is there."""
        return self.layers.layer

    @property
    def axes(self) -> str:
        """What the layer's axes mean; empty while that is not known."""
        return self.axes_row.letters or ""

    def summary(self) -> str:
        """Name, axes and size of the image."""
        data = self.session.data
        if data is None:
            return ""
        sizes = "×".join(str(size) for size in data.image.shape)
        return f"{data.name}  {data.image.axes.names} {sizes}"

    def refresh(self) -> None:
        """Enable the controls, unless something runs."""
        is_idle = not self.session.is_busy
        self._controls.setEnabled(is_idle)
        if is_idle and self._due:
            self._timer.start()

    def use_layer(self, layer: Layer) -> None:
        """Choose a layer of the viewer."""
        if self.session.is_busy:
            self._say("Stop what runs first, then choose another layer.")
        elif not self.layers.choose(layer):
            msg = (
                f"the layer {layer.name} holds no image: choose one with the "
                f"intensities that a camera or detector has measured"
            )
            self.session.fail(DataError(msg), self.step)

    def open_paths(self, paths: Sequence[Path]) -> None:
        """Open what was dropped on the dock, as one image, in a thread."""
        if self.session.is_busy:
            self._say("Stop what runs first, then open the image again.")
        elif paths:
            self.zone.open_paths(paths)

    def focus_axes(self) -> None:
        """Put the keyboard where an axis is not known yet."""
        shown = [combo for combo in self.axes_row.combos if not combo.isHidden()]
        unknown = [combo for combo in shown if combo.currentIndex() < 0]
        if shown:
            (unknown or shown)[0].setFocus()

    def shut_down(self, seconds: float = 0.0) -> None:
        """End all work and follow the viewer no longer.

        Parameters
        ----------
        seconds : float
            How long to wait for each of the threads.
        """
        self._timer.stop()
        self.layers.disconnect_viewer()
        self.region.disconnect_viewer()
        self._follow(None)
        self.zone.stop(seconds)
        self._workers.close(seconds)

    def _lay_out(self) -> None:
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.setFieldGrowthPolicy(
            QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow
        )
        for label, widget in (
            ("axes", self.axes_row),
            ("channel", self.channels),
            ("times", self.times),
            ("depths", self.depths),
            ("region", self.region),
        ):
            self._form.addRow(label, widget)
        column = QVBoxLayout(self._controls)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.zone)
        column.addLayout(self._form)
        self.body.addWidget(self._controls)
        self.body.addWidget(self._note)

    def _connect(self) -> None:
        self.layers.picked.connect(self._on_picked)
        self.layers.lost.connect(self._on_lost)
        self.layers.inserted.connect(self._on_inserted)
        self.zone.opened.connect(self._on_opened)
        self.zone.model_dropped.connect(self.model_dropped)
        self.zone.said.connect(self._say)
        self.zone.failed.connect(lambda error: self.session.fail(error, self.step))
        self.axes_row.edited.connect(self._on_axes)
        self.channels.activated.connect(lambda: self._after(_Due.CHANNEL))
        for part in (self.times, self.depths, self.region):
            part.edited.connect(lambda: self._after(_Due.RANGES))
        self.remedied.connect(lambda _: self.focus_axes())

    def _on_picked(self, layer: Image | None) -> None:
        self._say("")
        self._follow(layer)
        self._show_axes(layer)
        self._after(_Due.IMAGE)

    def _on_lost(self, name: str) -> None:
        self._follow(None)
        if self.session.is_busy or self.session.training is not None:
            self._say(f"{name} was deleted; its image stays until you choose another.")
            self.chosen.emit(self.session.data)
            return
        self._on_picked(None)
        self._say(f"{name} was deleted: choose another layer, or open a file.")

    def _on_inserted(self) -> None:
        if self.layer is None and self.session.data is None:
            self.layers.preselect()

    def _on_opened(self, layer: Image) -> None:
        if self.session.is_busy:
            self._say(f"{layer.name} was opened: choose it when nothing runs any more.")
        else:
            self.layers.choose(layer)

    def _on_axes(self) -> None:
        self._show_found(None)
        self._after(_Due.IMAGE)

    def _follow(self, layer: Image | None) -> None:
        """Learn when the pixels or labels of the chosen layer are replaced."""
        before = None if self._followed is None else self._followed()
        if before is not None:
            before.events.data.disconnect(self._on_new_pixels)
            before.events.axis_labels.disconnect(self._on_new_labels)
        self._followed = None if layer is None else weakref.ref(layer)
        if layer is not None:
            layer.events.data.connect(self._on_new_pixels)
            layer.events.axis_labels.connect(self._on_new_labels)

    def _on_new_pixels(self, event: object = None) -> None:
        if self.layer is not None:
            self.zone.forget(self.layer)
        self._on_new_labels()

    def _on_new_labels(self, event: object = None) -> None:
        if self.session.training is None and not self.session.is_busy:
            self._on_picked(self.layer)

    def _after(self, due: _Due) -> None:
        """Do something soon, once for all changes until then."""
        self._due = max(self._due, due)
        self._timer.start()

    def _settle(self) -> None:
        if self.session.is_busy:
            return
        due, self._due = self._due, _Due.NOTHING
        if due is _Due.IMAGE:
            self._find()
        elif due is _Due.CHANNEL:
            self._tell()
        elif due is _Due.RANGES and self._found is not None:
            self.session.restrict(self._ranges())

    def _find(self) -> None:
        """Find the image behind the layer, in a thread where it is in a file."""
        layer = self.layer
        self._workers.drop("main")
        self._show_found(None)
        try:
            shown = None if layer is None else as_shown(layer, self.axes_row.letters)
        except BlindsoundError as error:
            self._tell()
            self.session.fail(error, self.step)
            return
        if layer is None or shown is None:
            self._tell()
            return
        found = read_already(layer, shown, self.zone.image_of(layer))
        if found is None:
            # Until it is known, nobody shall train on what was chosen before.
            self._tell()
            self._workers.run(
                "main",
                partial(
                    find, shown, files_of(layer), channel_of(layer), number_of(layer)
                ),
                self._on_found,
                on_failed=lambda error: self.session.fail(error, self.step),
                on_finished=lambda: None,
            )
        else:
            self._show_found(found)
            self._tell()

    def _on_found(self, found: Found) -> None:
        self._show_found(found)
        self._due = max(self._due, _Due.CHANNEL)
        self._settle()

    def _tell(self) -> None:
        """Give the session what is chosen now."""
        found = self._found
        data = None
        if found is not None:
            data = Data(
                image=found.image,
                shown=found.shown,
                shown_channel=found.channel,
                paths=found.paths,
                axes=found.axes,
                number=found.number,
                channel=self.channels.channel,
                joint=self.channels.joint,
                ranges=self._ranges(),
            )
        if data is not None or self.session.data is not None:
            self.session.choose(data)
            self.chosen.emit(data)

    def _ranges(self) -> dict[str, slice]:
        axes = "" if self._found is None else self._found.image.axes.names
        rows = {"T": self.times.part, "Z": self.depths.part}
        parts = {name: part for name, part in rows.items() if part and name in axes}
        return {**parts, **self.region.ranges()}

    def _show_axes(self, layer: Image | None) -> None:
        shape, letters = dimensions(layer)
        self.axes_row.show_axes(shape, letters)
        self._form.setRowVisible(self.axes_row, bool(shape))
        self._show_found(None)

    def _show_found(self, found: Found | None) -> None:
        """Show the controls that an image has."""
        self._found = found
        image = None if found is None else found.image
        self.channels.show_image(image, None if found is None else found.channel)
        self._form.setRowVisible(self.channels, self.channels.is_needed)
        for row, name in ((self.times, "T"), (self.depths, "Z")):
            size = 1
            if image is not None and name in image.axes:
                size = image.shape[image.axes.index(name)]
            row.show_all(size)
            self._form.setRowVisible(row, size > 1)
        layer = None if found is None else self.layer
        self.region.show_layer(layer, None if found is None else found.shown)
        self._form.setRowVisible(self.region, found is not None)

    def _say(self, text: str) -> None:
        self._note.setText(text)
        self._note.setVisible(bool(text))
