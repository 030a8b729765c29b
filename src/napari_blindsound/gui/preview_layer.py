"""The layer that shows what the current weights make of what is looked at.

It lies on its source, pixel on pixel, and follows what the user does to it. Neither the
first preview nor any later one moves the camera, the sliders or the selection.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_blindsound.gui.layers import like, position
from napari_blindsound.images.layers import KEY

if TYPE_CHECKING:
    import numpy.typing as npt
    from napari.utils.events import Event
    from napari.viewer import Viewer

    from napari_blindsound.gui.live import Preview
    from napari_blindsound.gui.view import Look

_COPIED = ("colormap", "gamma", "interpolation2d", "units", "axis_labels")
_PLACED = ("scale", "translate", "rotate", "shear", "affine")
_CONTRAST = ("contrast_limits", "contrast_limits_range")
_LINE = "#ffb000"  # seen on gray as well as on green or magenta
_LINE_THICKNESS = 2.0  # canvas pixels


class PreviewLayer:
    """Shows previews of a layer directly above it.

    Parameters
    ----------
    viewer : Viewer
        The layer's.
    source : Image
        The noisy layer. Once it is deleted, the preview goes too.
    axes : str
        What its last axes mean, a letter each.

    Attributes
    ----------
    removed : psygnal.Signal
        The user has deleted the preview; none is added until `visible` is set again.
    """

    removed = Signal()

    def __init__(self, viewer: Viewer, source: Image, axes: str = "YX") -> None:
        self._viewer = viewer
        # The one in the list, not the proxy of it that a plugin may have been given.
        self._source: Image | None = next(
            layer for layer in viewer.layers if layer == source
        )
        self._x_axis = axes.index("X") - len(axes)
        self._layer: Image | None = None
        self._preview: Preview | None = None
        self._blend = Blend()
        self._weight = 0.0
        self._curtain: float | None = None
        self._first: int | None = None
        self._visible = True
        self._is_matching = False
        viewer.layers.events.removed.connect(self._on_layer_removed)
        for name in (*_COPIED, *_PLACED, *_CONTRAST, "name"):
            getattr(self._source.events, name).connect(self._on_source_changed)

    @property
    def layer(self) -> Image | None:
        """The layer, None while there is none."""
        return self._layer

    @property
    def source(self) -> Image | None:
        """The layer that is previewed, None once it is deleted."""
        return self._source

    @property
    def look(self) -> Look | None:
        """Which part the last preview shows."""
        return self._preview.look if self._preview else None

    @property
    def visible(self) -> bool:
        """Whether the preview is shown as soon as there is one."""
        return bool(self._layer.visible) if self._layer is not None else self._visible

    @visible.setter
    def visible(self, visible: bool) -> None:
        self._visible = visible
        if self._layer is not None:
            self._layer.visible = visible
        else:
            self._draw()

    @property
    def x_axis(self) -> int:
        """Which axis of the layer is X, counted from the last one."""
        return self._x_axis

    @property
    def edge(self) -> float | None:
        """Where the line between noisy and denoised is, in X pixels of the source.

        Between two pixels, and always within the preview, so that it can be seen and
        caught; None without a curtain or a preview.
        """
        if self._layer is None or self._curtain is None or self._first is None:
            return None
        return self._first - 0.5

    def show(self, preview: Preview) -> None:
        """Show this preview instead of the last one.

        Parameters
        ----------
        preview : Preview
            Its arrays must not be written to afterwards.
        """
        self._preview = preview
        self._blend = Blend(*preview.estimates)
        self._draw()

    def set_blend(self, weight: float) -> None:
        """Blend the two estimates, if the preview has two.

        Parameters
        ----------
        weight : float
            Of the second one, 0 to 1.
        """
        if weight == self._weight:
            return
        self._weight = weight
        if self._preview is not None and len(self._preview.estimates) > 1:
            self._draw()

    def set_curtain(self, x: float | None) -> None:
        """Show the preview right of a line only.

        Parameters
        ----------
        x : float or None
            Along the X axis of the source, in its pixels at full resolution; None shows
            all of the preview.
        """
        if x == self._curtain:
            return
        before = self._first
        self._curtain = x
        if self._preview is not None and self._first_column() != before:
            self._draw()
        self._draw_line()

    def remove(self) -> None:
        """Take the layer out of the viewer, until the next preview is shown."""
        layer, self._layer, self._preview = self._layer, None, None
        self._blend, self._first = Blend(), None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def _draw(self) -> None:
        if self._preview is None or self._source is None:
            return
        self._first = first = self._first_column()
        offset = list(self._preview.look.offset)
        cut = [slice(None)] * len(offset)
        cut[self._x_axis] = slice(first - offset[self._x_axis], None)
        offset[self._x_axis] = first
        pixels = self._blend(self._weight)[tuple(cut)]
        if self._layer is not None:
            _replace(self._layer, pixels, position(self._source, offset))
        elif self._visible:
            self._add(pixels, offset)
        self._draw_line()

    def _first_column(self) -> int:
        """The first pixel along X that is shown."""
        if self._preview is None:
            return 0
        part = self._preview.look.region[self._x_axis]
        if self._curtain is None:
            return int(part.start)
        # The nearest border between pixels; the last column stays, with its line.
        return int(min(max(math.ceil(self._curtain), part.start), part.stop - 1))

    def _add(self, pixels: npt.NDArray[np.float32], offset: list[int]) -> None:
        source, layers = self._source, self._viewer.layers
        if source is None:
            return
        layer = Image(
            pixels,
            **{
                **like(source, name=_name(source), offset=offset),
                # Whatever the source does: under the preview, noise must not shine
                # through, nor be added to it.
                "blending": "translucent_no_depth",
                "rgb": False,
                "multiscale": False,
                "metadata": {KEY: {"role": "preview"}},
            },
        )
        layer.contrast_limits_range = source.contrast_limits_range
        layer.bounding_box.points = False
        layer.bounding_box.line_color = _LINE
        layer.bounding_box.line_thickness = _LINE_THICKNESS
        for name in _CONTRAST:
            getattr(layer.events, name).connect(self._on_contrast_changed)
        self._layer = layer
        selected = set(layers.selection)
        layers.insert(layers.index(source) + 1, layer)
        layers.selection = selected

    def _draw_line(self) -> None:
        if self._layer is not None:
            self._layer.bounding_box.visible = self._curtain is not None

    def _on_source_changed(self, event: Event) -> None:
        source, layer, name = self._source, self._layer, event.type
        if source is None or layer is None:
            return
        if name == "name":
            layer.name = _name(source)
        elif name in _CONTRAST:
            self._match_contrast(source, layer)
        else:
            if name != "translate":
                setattr(layer, name, getattr(source, name))
            if name in _PLACED:
                self._draw()

    def _on_contrast_changed(self) -> None:
        if self._source is not None and self._layer is not None:
            self._match_contrast(self._layer, self._source)

    def _match_contrast(self, giver: Image, taker: Image) -> None:
        # Setting the range may move the limits, which must not come back.
        if self._is_matching:
            return
        self._is_matching = True
        try:
            for name in reversed(_CONTRAST):
                if getattr(taker, name) != getattr(giver, name):
                    setattr(taker, name, getattr(giver, name))
        finally:
            self._is_matching = False

    def _on_layer_removed(self, event: Event) -> None:
        if self._layer is not None and event.value == self._layer:
            self._layer = self._first = None
            self._visible = False
            self.removed.emit()
        elif self._source is not None and event.value == self._source:
            for name in (*_COPIED, *_PLACED, *_CONTRAST, "name"):
                getattr(self._source.events, name).disconnect(self._on_source_changed)
            self._source = None
            # Not now: napari may be in the middle of a list of layers to delete.
            QTimer.singleShot(0, self.remove)


class Blend:
    """Every estimate that lies between two ends.

    Parameters
    ----------
    *estimates : ndarray
        None, one, or the two ends.
    """

    def __init__(self, *estimates: npt.NDArray[np.float32]) -> None:
        self._estimates = estimates
        self._difference: npt.NDArray[np.float32] | None = None

    def __call__(self, weight: float) -> npt.NDArray[np.float32]:
        """``(1 - weight) * first + weight * second``, of what there is.

        Parameters
        ----------
        weight : float
            Of the second end, 0 to 1.

        Returns
        -------
        ndarray
            An end itself, or a new array: napari reads the last one in its own time.
        """
        first, *others = self._estimates
        if not others or weight <= 0:
            return first
        if weight >= 1:
            return others[0]
        if self._difference is None:
            self._difference = others[0] - first
        blended = self._difference * np.float32(weight)
        blended += first
        return blended


def _replace(
    layer: Image, pixels: npt.NDArray[np.float32], place: npt.ArrayLike
) -> None:
    # Told of the place alone, napari would draw the old pixels there, and the new ones
    # at the old place would reach out of the image and move the sliders.
    with layer.events.translate.blocker():
        layer.translate = place
    layer.data = pixels


def _name(source: Image) -> str:
    return f"{source.name} · preview"
