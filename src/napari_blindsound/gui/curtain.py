"""The line between noisy and denoised, caught and dragged with the mouse in the canvas.

The line itself is drawn by the preview, along its left edge: what is dragged is where
the preview begins. Drags that start elsewhere pan the view, as ever.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_blindsound.gui.view import pixel_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    from napari.layers import Image
    from napari.utils.events import Event
    from napari.viewer import Viewer

    from napari_blindsound.gui.preview_layer import PreviewLayer

    _Position = Sequence[float] | npt.NDArray[np.float64]

_REACH = 6.0  # canvas pixels around the line within which it is caught
_CURSOR = "pointing"  # napari has no arrows to both sides


class Curtain:
    """Moves the curtain of a preview when its line is dragged.

    Only while the preview has a curtain (`PreviewLayer.set_curtain`), and while the
    active layer leaves the mouse to the camera.

    Parameters
    ----------
    viewer : Viewer
        The preview's.
    preview : PreviewLayer
        Whose line is dragged.

    Attributes
    ----------
    moved : psygnal.Signal
        Where the line was dragged to, in X pixels of the source.
    """

    moved = Signal(float)

    def __init__(self, viewer: Viewer, preview: PreviewLayer) -> None:
        self._viewer = viewer
        self._preview = preview
        self._is_over = False
        viewer.mouse_drag_callbacks.append(self._drag)
        viewer.mouse_move_callbacks.append(self._hover)

    def remove(self) -> None:
        """Leave the mouse alone from now on."""
        self._point(is_over=False)
        for callbacks, ours in (
            (self._viewer.mouse_drag_callbacks, self._drag),
            (self._viewer.mouse_move_callbacks, self._hover),
        ):
            if ours in callbacks:
                callbacks.remove(ours)

    def is_near(self, position: Sequence[float]) -> bool:
        """Whether a place is close enough to the line to catch it.

        Parameters
        ----------
        position : sequence of float
            In the viewer's world coordinates.
        """
        source, edge = self._preview.source, self._preview.edge
        if source is None or edge is None or self._viewer.dims.ndisplay != 2:
            return False
        place = self._pixel(source, position)
        distance = place[self._preview.x_axis] - edge
        # How fast X changes across the canvas: the layer may be turned or sheared.
        slope = self._slope(source, position)
        reach = _REACH / self._viewer.scene.camera.zoom
        return self._is_beside(place) and abs(distance) <= reach * slope

    def _drag(self, _viewer: Viewer, event: Event) -> Iterator[None]:
        source, edge = self._preview.source, self._preview.edge
        if event.button != 1 or event.modifiers or not self._catches(event.position):
            return
        if source is None or edge is None:
            return
        # Caught beside the line, it does not jump under the mouse.
        held = edge - self._x(source, event.position)
        camera = self._viewer.scene.camera
        pans, camera.mouse_pan = camera.mouse_pan, False
        event.handled = True
        try:
            yield
            while event.type == "mouse_move" and self._preview.source is not None:
                self._move(source, self._x(source, event.position) + held)
                yield
        finally:
            camera.mouse_pan = pans

    def _move(self, source: Image, x: float) -> None:
        pixels = source.data[0] if source.multiscale else source.data
        within = float(np.clip(x, -0.5, pixels.shape[self._preview.x_axis] - 0.5))
        self._preview.set_curtain(within)
        self.moved.emit(within)

    def _hover(self, _viewer: Viewer, event: Event) -> None:
        self._point(is_over=self._catches(event.position))

    def _point(self, *, is_over: bool) -> None:
        """Say with the cursor whether the line can be caught."""
        if is_over == self._is_over:
            return
        self._is_over = is_over
        active = self._viewer.layers.selection.active
        usual = active.cursor if active is not None else "standard"
        self._viewer.cursor.style = _CURSOR if is_over else usual

    def _catches(self, position: Sequence[float]) -> bool:
        active = self._viewer.layers.selection.active
        if active is not None and str(active.mode) != "pan_zoom":
            return False
        return self._preview.visible and self.is_near(position)

    def _is_beside(self, place: npt.NDArray[np.float64]) -> bool:
        """Whether a place lies between the ends of the line."""
        look = self._preview.look
        if look is None:
            return False
        low, high = np.array([(part.start, part.stop) for part in look.region]).T - 0.5
        inside = (low <= place) & (place <= high)
        inside[self._preview.x_axis] = True
        return bool(inside.all())

    def _x(self, source: Image, position: _Position) -> float:
        return float(self._pixel(source, position)[self._preview.x_axis])

    def _slope(self, source: Image, position: Sequence[float]) -> float:
        """X pixels that are crossed in a step of 1 in the world, straight across."""
        here, slopes = np.array(position, dtype=float), []
        for axis in self._viewer.dims.displayed:
            step = np.arange(len(here)) == axis
            slopes.append(self._x(source, here + step) - self._x(source, here))
        return math.hypot(*slopes)

    def _pixel(self, source: Image, position: _Position) -> npt.NDArray[np.float64]:
        return pixel_at(self._viewer, source, position)
