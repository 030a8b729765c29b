"""Keeps the preview on what somebody looks at, however the viewer is moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from napari_blindsound.gui.curtain import Curtain
from napari_blindsound.gui.live import Preview, Request
from napari_blindsound.gui.preview_layer import PreviewLayer
from napari_blindsound.gui.view import looked_at, pixel_at

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.utils.events import Event
    from napari.viewer import Viewer

    from napari_blindsound.gui.session import Session
    from napari_blindsound.gui.view_controls import ViewControls

_REST_MS = 60  # the viewer has come to rest for so long


class Looking(QObject):
    """Asks for previews of what is visible, and shows them.

    Parameters
    ----------
    viewer : Viewer
    session : Session
    panel : ViewControls
        Says how a preview is wanted.
    """

    def __init__(self, viewer: Viewer, session: Session, panel: ViewControls) -> None:
        super().__init__(panel)
        self._viewer, self._session, self._panel = viewer, session, panel
        self._source: Image | None = None
        self._axes = ""
        self.preview: PreviewLayer | None = None
        self._curtain: Curtain | None = None
        self._last: Preview | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REST_MS)
        self._timer.timeout.connect(self.ask)
        for moved in (
            viewer.dims.events.point,
            viewer.dims.events.order,
            viewer.dims.events.ndisplay,
            viewer.scene.camera.events.center,
            viewer.scene.camera.events.zoom,
        ):
            moved.connect(self._on_moved)
        viewer.mouse_move_callbacks.append(self._on_mouse)
        session.events.previewed.connect(self._on_previewed)
        session.events.changed.connect(self._on_changed)
        panel.looked.connect(self._on_moved)
        panel.blended.connect(self._on_blended)
        panel.curtained.connect(self._on_curtained)

    def watch(self, source: Image | None, axes: str) -> None:
        """Look at another layer."""
        if source is not self._source:
            self.clear()
        self._source, self._axes = source, axes
        self._on_moved()

    def ask(self) -> None:
        """Want what is visible now."""
        source = self._source
        if source is None or source not in self._viewer.layers:
            self.clear()
            return
        if not self._panel.wants_preview:
            self.clear()
            return
        look = looked_at(self._viewer, source, self._axes)
        if look is not None:
            self._session.look(Request(look, ends=self._panel.wants_ends))

    def clear(self) -> None:
        """Take the preview away."""
        self._timer.stop()
        self._session.look(None)
        self._take_down()

    def _take_down(self) -> None:
        curtain, self._curtain = self._curtain, None
        preview, self.preview = self.preview, None
        self._last = None
        self._panel.compare.clear()
        if curtain is not None:
            curtain.remove()
        if preview is not None:
            preview.remove()

    def close(self) -> None:
        """Let go of the viewer."""
        for moved in (
            self._viewer.dims.events.point,
            self._viewer.dims.events.order,
            self._viewer.dims.events.ndisplay,
            self._viewer.scene.camera.events.center,
            self._viewer.scene.camera.events.zoom,
        ):
            moved.disconnect(self._on_moved)
        if self._on_mouse in self._viewer.mouse_move_callbacks:
            self._viewer.mouse_move_callbacks.remove(self._on_mouse)
        self.clear()

    def _on_mouse(self, _viewer: Viewer, event: Event) -> None:
        """Draw the profile of the row under the mouse."""
        if self._source is not None and self._panel.compare.isVisible():
            place = pixel_at(self._viewer, self._source, event.position)
            self._panel.compare.set_row(round(place[self._axes.index("Y")]))

    def _on_moved(self) -> None:
        # Corners of the visible part are known after the next drawing.
        if not self._timer.isActive():
            self._timer.start()

    def _on_changed(self) -> None:
        session = self._session
        if self.preview is None:
            return
        is_forgotten = session.training is None and session.denoiser is None
        if is_forgotten and not session.is_busy:
            self._take_down()

    def _on_previewed(self, preview: Preview) -> None:
        if self._source is None or not self._panel.wants_preview:
            return
        if self._source not in self._viewer.layers:
            return
        if len(preview.look.region) != self._source.ndim:
            # Of the layer before: what is looked at changed while it was computed.
            return
        if self.preview is None:
            self.preview = PreviewLayer(self._viewer, self._source, self._axes)
            self.preview.removed.connect(self._on_removed)
            self._curtain = Curtain(self._viewer, self.preview)
            self._curtain.moved.connect(self._on_dragged)
        self._last = preview
        self.preview.set_blend(self._panel.blend_weight)
        self.preview.show(preview)
        self._on_curtained(self._panel.curtain_at)
        self._panel.compare.show_preview(preview, self._panel.blend_weight)

    def _on_removed(self) -> None:
        """The user took the preview layer away: no more of them."""
        self._take_down()
        self._panel.preview.setChecked(False)

    def _on_blended(self, weight: float) -> None:
        if self.preview is not None:
            self.preview.set_blend(weight)
        if self._last is not None:
            self._panel.compare.show_preview(self._last, weight)

    def _on_curtained(self, fraction: float | None) -> None:
        if self.preview is None or self._last is None:
            return
        if fraction is None:
            self.preview.set_curtain(None)
            return
        across = self._last.look.region[self._axes.index("X")]
        x = across.start + fraction * (across.stop - across.start)
        self.preview.set_curtain(x)

    def _on_dragged(self, x: float) -> None:
        if self.preview is None or self._last is None:
            return
        across = self._last.look.region[self._axes.index("X")]
        fraction = (x - across.start) / (across.stop - across.start)
        self._panel.show_curtain(min(1.0, max(0.0, fraction)))
