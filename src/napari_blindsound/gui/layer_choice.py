"""Which of the viewer's images is meant: a combo box that follows its layers."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from napari.layers import Image
from qtpy.QtCore import Signal

from napari_blindsound.gui.combo import Combo
from napari_blindsound.gui.layers import role_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

OURS = ("preview", "denoised", "deviation")
"""Roles of layers that we made of others, which are not offered."""


class LayerChoice(Combo):
    """The viewer's image layers, the topmost first.

    Keeps no layer alive.

    Parameters
    ----------
    viewer : ViewerModel

    Attributes
    ----------
    picked : Signal
        The layer that was chosen, by the user or by :meth:`choose`.
    lost : Signal
        Name of the chosen layer, which was deleted; none is chosen then.
    inserted : Signal
        There is another layer.
    """

    picked = Signal(object)
    lost = Signal(str)
    inserted = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self._shown: list[weakref.ref[Image]] = []
        self._chosen: weakref.ref[Image] | None = None
        self.setPlaceholderText("choose an image layer")
        self.setToolTip("The image to denoise: any image layer of the viewer")
        self.setAccessibleName("Image layer")
        self.currentIndexChanged.connect(self._on_index)
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._on_layers)
        viewer.layers.events.reordered.connect(self._on_layers)
        self._fill()

    @property
    def layer(self) -> Image | None:
        """The one chosen, if it is still there."""
        return None if self._chosen is None else self._chosen()

    def choose(self, layer: Layer) -> bool:
        """Choose a layer of the viewer, and say whether it is an image there."""
        for index, reference in enumerate(self._shown):
            if _is(reference(), layer):
                self.setCurrentIndex(index)
                return True
        return False

    def preselect(self) -> None:
        """Choose what the viewer has selected, or the only image there is."""
        active = self._viewer.layers.selection.active
        if active is not None and self.choose(active):
            return
        if len(self._shown) == 1:
            self.setCurrentIndex(0)

    def disconnect_viewer(self) -> None:
        """Follow the viewer no longer."""
        events = self._viewer.layers.events
        events.inserted.disconnect(self._on_inserted)
        events.removed.disconnect(self._on_layers)
        events.reordered.disconnect(self._on_layers)
        for reference in self._shown:
            self._unfollow(reference())

    def _on_layers(self, event: object = None) -> None:
        chosen = self.layer
        present = list(self._viewer.layers)
        is_lost = self._chosen is not None and not any(
            _is(chosen, layer) for layer in present
        )
        name = self.currentText()
        if is_lost:
            self._chosen = None
        self._fill()
        if is_lost:
            self.lost.emit(name)

    def _on_inserted(self, event: object = None) -> None:
        self._fill()
        self.inserted.emit()

    def _fill(self) -> None:
        """List the layers anew, the choice unchanged."""
        for reference in self._shown:
            self._unfollow(reference())
        images = [layer for layer in self._viewer.layers if _is_offered(layer)][::-1]
        chosen = self.layer
        index = -1
        self._shown = [weakref.ref(layer) for layer in images]
        is_blocked = self.blockSignals(True)  # noqa: FBT003 - Qt's
        self.clear()
        for number, layer in enumerate(images):
            self.addItem(layer.name)
            layer.events.name.connect(self._on_name)
            if _is(chosen, layer):
                index = number
        self.setCurrentIndex(index)
        self.blockSignals(is_blocked)

    def _unfollow(self, layer: Image | None) -> None:
        if layer is not None:
            layer.events.name.disconnect(self._on_name)

    def _on_name(self, event: object = None) -> None:
        for index, reference in enumerate(self._shown):
            layer = reference()
            if layer is not None:
                self.setItemText(index, layer.name)

    def _on_index(self, index: int) -> None:
        reference = self._shown[index] if index >= 0 else None
        layer = None if reference is None else reference()
        if layer is not self.layer:
            self._chosen = reference
            self.picked.emit(layer)


def _is_offered(layer: Layer) -> bool:
    return isinstance(layer, Image) and role_of(layer) not in OURS


def _is(one: Layer | None, other: Layer | None) -> bool:
    """Whether both are the same layer; napari hands some of them out in a wrapper."""
    return one is not None and one == other
