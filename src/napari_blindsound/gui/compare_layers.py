"""The results of a comparison as layers, side by side under one camera.

napari's grid shows each layer in a view of its own; all follow one camera and the same
sliders. While it is on, layers that are not compared are hidden, and come back after.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from napari_blindsound.gui.layers import like
from napari_blindsound.gui.lazy_layer import LazyLayer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.layers import Image, Layer
    from napari.viewer import Viewer

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.tiling import TileOperator

_IN_ORDER = 1  # stride of the grid: the lowest layer is the first


class CompareLayers(QObject):
    """Makes the layers of a comparison, and arranges them.

    Parameters
    ----------
    viewer : Viewer
    parent : QObject
        Ends with it.
    memory : int
        Bytes of denoised tiles that each layer keeps.

    Attributes
    ----------
    failed : Signal
        The exception, when something could not be denoised.
    """

    failed = Signal(object)

    def __init__(self, viewer: Viewer, parent: QObject, memory: int) -> None:
        super().__init__(parent)
        self._viewer, self._memory = viewer, memory
        self._source: weakref.ref[Image] | None = None
        self._truth: weakref.ref[Image] | None = None
        self._made: dict[int, weakref.ref[Layer]] = {}
        self._lazy: list[LazyLayer] = []
        self._hidden: list[weakref.ref[Layer]] = []
        self._stride = viewer.canvas.grid.stride
        self.is_grid = False
        self._framed: tuple[float, ...] | None = None
        self._frame_soon = QTimer(self)
        self._frame_soon.setSingleShot(True)
        self._frame_soon.timeout.connect(self._frame)

    def begin(self, source: Image, truth: Image | None) -> None:
        """Compare on another layer, or anew: earlier results go."""
        present = list(self._ours())
        for layer in present:
            self._viewer.layers.remove(layer)
        self._made.clear()
        self._lazy.clear()
        self._source = weakref.ref(source)
        self._truth = None if truth is None else weakref.ref(truth)
        self._arrange()

    def add(
        self, number: int, title: str, operator: TileOperator, volume: Volume
    ) -> Layer | None:
        """Show a result, denoised where somebody looks; None if the source is gone."""
        source = None if self._source is None else self._source()
        if source is None or source not in self._viewer.layers:
            return None
        made = LazyLayer(
            self._viewer,
            operator,
            volume,
            like(source, name=f"{title} · {source.name}"),
            memory=self._memory,
            parent=self.parent(),
        )
        made.failed.connect(self.failed)
        self._lazy.append(made)
        self._made[number] = weakref.ref(made.layer)
        self._arrange()
        return made.layer

    def keep_source(self, number: int) -> None:
        """The source itself is the result of a row."""
        if self._source is not None:
            self._made[number] = self._source

    def show(self, number: int) -> None:
        """Bring a result into view."""
        layer = self.layer(number)
        if layer is None:
            return
        self._viewer.layers.selection.active = layer
        if not self.is_grid:
            for other in self._ours():
                other.visible = other == layer
        layer.visible = True

    def layer(self, number: int) -> Layer | None:
        """The layer of a row, if it is there."""
        reference = self._made.get(number)
        layer = None if reference is None else reference()
        return layer if layer is not None and layer in self._viewer.layers else None

    def set_grid(self, *, is_on: bool) -> None:
        """Show all side by side, or on top of one another as before."""
        if is_on == self.is_grid:
            return
        self.is_grid = is_on
        grid = self._viewer.canvas.grid
        if is_on:
            self._stride = grid.stride
            grid.stride = _IN_ORDER
            self._arrange()
            grid.enabled = True
            self._framed = None
        else:
            grid.enabled = False
            grid.stride = self._stride
            self._restore()
        self._want_frame()

    def close(self) -> None:
        """Put the viewer back; the layers stay."""
        self.set_grid(is_on=False)
        self._frame_soon.stop()
        self._lazy.clear()

    @property
    def _view(self) -> tuple[float, ...]:
        """Where the camera is."""
        camera = self._viewer.scene.camera
        return float(camera.zoom), *(float(at) for at in camera.center)

    def _want_frame(self) -> None:
        """Fit the image into its views, unless the user has moved in it since."""
        if self._framed is None or self._framed == self._view:
            self._frame_soon.start(0)

    def _frame(self) -> None:
        source = None if self._source is None else self._source()
        if source is not None and source in self._viewer.layers:
            self._viewer.fit_to_view(layers=[source])
            self._framed = self._view

    def _arrange(self) -> None:
        """Hide what is not compared, and write names on what is."""
        if not self.is_grid:
            return
        compared = list(self._compared())
        for layer in self._viewer.layers:
            is_compared = any(layer == one for one in compared)
            if layer.visible and not is_compared:
                self._hidden.append(weakref.ref(layer))
            # napari arranges all anew for what is set, changed or not.
            if layer.visible != is_compared:
                layer.visible = is_compared
            if layer.name_overlay.visible != is_compared:
                layer.name_overlay.visible = is_compared
        self._want_frame()

    def _restore(self) -> None:
        for reference in self._hidden:
            layer = reference()
            if layer is not None:
                layer.visible = True
        self._hidden.clear()
        for layer in self._compared():
            layer.name_overlay.visible = False

    def _compared(self) -> Iterator[Layer]:
        for reference in (self._source, self._truth):
            layer = None if reference is None else reference()
            if layer is not None and layer in self._viewer.layers:
                yield layer
        yield from self._ours()

    def _ours(self) -> Iterator[Layer]:
        """Results that are there, the source not among them."""
        source = None if self._source is None else self._source()
        for number in self._made:
            layer = self.layer(number)
            if layer is not None and layer != source:
                yield layer
