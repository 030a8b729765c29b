"""A rectangle drawn in the viewer: training reads nothing outside of it."""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from napari_blindsound.gui.layers import shape_of
from napari_blindsound.images.layers import KEY

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Shapes

NAME = "training region"
SMALLEST = 64
"""Pixels a side; a smaller rectangle is taken as one of this size."""

_EDGE = 200  # of the image's side, width of the line
_COLOR = "#ffb000"


class RegionRow(QWidget):
    """Draws a rectangle, says what it holds, and takes it away again.

    What is drawn counts: the last rectangle of the layer, as long as the layer is
    there, for whichever image is chosen.

    Parameters
    ----------
    viewer : ViewerModel

    Attributes
    ----------
    edited : Signal
        After the rectangle was drawn, moved or deleted.
    """

    edited = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self._shapes: weakref.ref[Shapes] | None = None
        self.label = QLabel("the whole image")
        self.draw = QPushButton("Draw rectangle")
        self.draw.setToolTip(
            "Draw a rectangle in the viewer: only what lies in it is trained on, all "
            "is denoised"
        )
        self.draw.clicked.connect(self._on_draw)
        self.whole = QPushButton("Whole")
        self.whole.setToolTip("Delete the rectangle: train on the whole image again")
        self.whole.clicked.connect(self.clear)
        self._image: weakref.ref[Image] | None = None
        self._axes = ""
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.label, 1)
        row.addWidget(self.draw)
        row.addWidget(self.whole)
        viewer.layers.events.removed.connect(self._on_removed)
        self._tell({})

    def show_layer(self, layer: Image | None, axes: str | None) -> None:
        """Mean another image."""
        self._image = None if layer is None else weakref.ref(layer)
        self._axes = axes or ""
        self.setEnabled(layer is not None and axes is not None)
        self._tell(self.ranges())

    def ranges(self) -> dict[str, slice]:
        """Rows and columns inside the rectangle, by Y and X; empty for all."""
        shapes, image = self._layers()
        if shapes is None or image is None or not self._axes or not len(shapes.data):
            return {}
        corners = _in_image(image, shapes, np.asarray(shapes.data[-1]))
        shape = shape_of(image)
        found = {}
        for name in "YX":
            axis = self._axes.index(name)
            ends = (float(corners[:, axis].min()), float(corners[:, axis].max()))
            part = _part(*ends, int(shape[axis]))
            if part is None:
                return {}
            found[name] = part
        if all(
            part == slice(0, shape[self._axes.index(n)]) for n, part in found.items()
        ):
            return {}
        return found

    def clear(self) -> None:
        """Delete the rectangle and its layer."""
        shapes, _ = self._layers()
        if shapes is not None:
            self._viewer.layers.remove(shapes)

    def disconnect_viewer(self) -> None:
        """Follow the viewer no longer."""
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        shapes, _ = self._layers()
        if shapes is not None:
            shapes.events.data.disconnect(self._on_data)

    def _layers(self) -> tuple[Shapes | None, Image | None]:
        shapes = None if self._shapes is None else self._shapes()
        return shapes, None if self._image is None else self._image()

    def _on_draw(self) -> None:
        shapes, image = self._layers()
        if image is None:
            return
        if shapes is None:
            # Not what add_shapes returns: that may be a wrapper that dies at once.
            self._viewer.add_shapes(**_settings(image, self._axes))
            shapes = list(self._viewer.layers)[-1]
            self._shapes = weakref.ref(shapes)
            shapes.events.data.connect(self._on_data)
        self._viewer.layers.selection.active = shapes
        shapes.mode = "add_rectangle"
        self.label.setText("drag in the viewer")

    def _on_data(self, event: object = None) -> None:
        self._tell(self.ranges())
        self.edited.emit()

    def _on_removed(self, event: object = None) -> None:
        shapes, _ = self._layers()
        if self._shapes is None or shapes in list(self._viewer.layers):
            return
        if shapes is not None:
            shapes.events.data.disconnect(self._on_data)
        self._shapes = None
        self._tell({})
        self.edited.emit()

    def _tell(self, found: dict[str, slice]) -> None:
        self.whole.setVisible(self._shapes is not None)
        if not found:
            self.label.setText("the whole image")
            return
        height, width = (part.stop - part.start for part in found.values())
        self.label.setText(f"{width} × {height} px")


def _settings(image: Image, axes: str) -> dict[str, Any]:
    """Keywords of ``add_shapes`` for a layer whose pixels are those of an image.

    Where Y and X come last it has these two dimensions only, so that the rectangle is
    seen in all planes.
    """
    dims = list(range(image.ndim))
    if set(axes[-2:]) == {"Y", "X"}:
        dims = dims[-2:]
    count = len(dims)
    origin = np.asarray(image.data_to_world(np.zeros(image.ndim)))
    affine = np.eye(count + 1)
    for column, dim in enumerate(dims):
        unit = np.zeros(image.ndim)
        unit[dim] = 1
        step = np.asarray(image.data_to_world(unit)) - origin
        affine[:count, column] = step[dims]
    affine[:count, count] = origin[dims]
    shape = shape_of(image)
    side = max(shape[axes.index(name)] for name in "YX")
    return {
        "name": NAME,
        "ndim": count,
        "affine": affine,
        "units": [image.units[dim] for dim in dims],
        "axis_labels": [axes[dim].lower() for dim in dims],
        "edge_color": _COLOR,
        "face_color": "transparent",
        "edge_width": max(1.0, side / _EDGE),
        "metadata": {KEY: {"role": "region"}},
    }


def _in_image(image: Image, shapes: Shapes, corners: np.ndarray) -> np.ndarray:
    """Corners of a shape in the pixels of an image, one row each."""
    found = []
    for corner in corners:
        world = np.asarray(shapes.data_to_world(corner))
        point = np.asarray(image.data_to_world(np.zeros(image.ndim)), dtype=float)
        count = min(len(world), image.ndim)
        point[-count:] = world[-count:]
        found.append(image.world_to_data(point))
    return np.asarray(found)


def _part(low: float, high: float, size: int) -> slice | None:
    """Pixels whose middle lies between two positions, `SMALLEST` of them at least."""
    if high < 0 or low > size - 1:
        return None
    first, last = max(0, math.ceil(low)), min(size - 1, math.floor(high))
    lacking = min(SMALLEST, size) - (last + 1 - first)
    if lacking > 0:
        first = min(max(0, first - lacking // 2), size - min(SMALLEST, size))
        last = first + min(SMALLEST, size) - 1
    return slice(first, last + 1)
