"""A layer that denoises what is looked at: noisy at once, denoised a little later.

napari's slicing only ever reads what is there; a thread denoises, and the layer is
drawn again when there is more to see, as often as drawing is cheap.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QCoreApplication, QObject, QTimer, Signal

from napari_blindsound.gui.view import looked_at, pixel_at
from napari_blindsound.images.layers import KEY, place, sampled_range
from napari_blindsound.inference.progressive import MEMORY, Progressive

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.tiling import TileOperator

    _Request = tuple[tuple[int, ...], tuple[slice, slice], tuple[float, float], int]

PATIENCE_SECONDS = 0.03  # that reading noisy pixels may keep the viewer waiting
CALM_MS = 30  # without a change of the view, before it is asked for
GLANCE_MS = 500  # between looks at what no event tells, such as the canvas's size
REFRESH_SECONDS = 0.2  # between two drawings, at least,
REFRESH_COSTS = 5  # and this many times what the last one took
CENTER_STEP = 64  # px that the view must move for another order of the tiles
_PER_AXIS = ("scale", "translate", "units", "axis_labels", "rotate", "shear", "affine")


class LazyLayer(QObject):
    """Adds a layer to a viewer and denoises what of it is looked at.

    The layer keeps this object, in its metadata, and this object the model, until the
    layer is removed. With axes turned so that another plane than Y and X is shown, and
    in 3-D, the layer shows what there is, and nothing is denoised.

    Parameters
    ----------
    viewer : Viewer
        To which the layer is added.
    denoiser : TileOperator
        The model.
    volume : Volume
        The noisy image; the layer has its axes, in its order.
    settings : mapping
        Keywords of ``add_image``, such as
        :func:`napari_blindsound.gui.layers.like` gives. Where they are those of a layer
        with other axes, the image's own scale, position and units are taken.
    memory : int
        Bytes of denoised tiles to keep.
    parent : QObject, optional
        With its end, the model is freed as well.

    Attributes
    ----------
    layer : Image
        With ``metadata["napari_blindsound"]``: ``denoised``, the result as dask arrays,
        one a level; ``model``, where the model comes from; its ``revision``; ``lazy``,
        this object.
    is_closed : bool
        Whether it has stopped.
    progressive : Progressive
        What computes.
    pending_changed : Signal
        How many tiles of the view are not denoised yet.
    failed : Signal
        The exception, when something could not be read or denoised. The user has been
        told; moving in the viewer tries again.
    closed : Signal
        When the layer was removed, or :meth:`close` was called.

    Raises
    ------
    ModelMismatchError
        If the image has another number of channels than the model.
    """

    pending_changed = Signal(int)
    failed = Signal(object)
    closed = Signal()
    _news = Signal()
    _trouble = Signal(object)

    def __init__(
        self,
        viewer: Viewer,
        denoiser: TileOperator,
        volume: Volume,
        settings: Mapping[str, Any],
        *,
        memory: int = MEMORY,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.progressive = Progressive(
            denoiser,
            volume,
            memory=memory,
            patience=PATIENCE_SECONDS,
            on_ready=self._tell_news,
            on_error=self._tell_trouble,
        )
        self._viewer = viewer
        self._axes = volume.axes.names
        self._pending = 0
        self._asked: _Request | None = None
        self._told = ""
        self.is_closed = False
        self._started = self._next_refresh = 0.0
        self._make_timers()
        # Methods of an object of this thread: queued, since another thread tells.
        self._news.connect(self._on_news)
        self._trouble.connect(self._on_trouble)
        facts = {
            "role": "denoised",
            "denoised": self.progressive.denoised,
            "model": dict(getattr(denoiser, "provenance", {})),
            "revision": denoiser.revision,
            "lazy": self,
        }
        self.layer = self._add(volume, settings, facts)
        self._watch()
        self._look_soon()

    @property
    def pending(self) -> int:
        """Tiles of the view that are not denoised yet."""
        return self.progressive.pending

    def close(self) -> None:
        """Stop, and free the model. The layer, if it is still there, turns noisy."""
        if self.is_closed:
            return
        self.is_closed = True
        for timer in (self._calm, self._glance, self._refresh_timer, self._cost_timer):
            timer.stop()
        for event, react in self._events():
            event.disconnect(react)
        self.progressive.close()
        facts = self.layer.metadata.get(KEY, {})
        for name in ("denoised", "lazy"):
            facts.pop(name, None)
        self._show_pending(0)
        self.closed.emit()

    def _make_timers(self) -> None:
        self._calm = self._timer(CALM_MS, self._look)
        self._refresh_timer = self._timer(0, self._refresh)
        self._cost_timer = self._timer(0, self._note_cost)
        self._glance = self._timer(GLANCE_MS, self._look)
        self._glance.setSingleShot(False)

    def _timer(self, milliseconds: int, react: Any) -> QTimer:  # noqa: ANN401 - a slot
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(milliseconds)
        timer.timeout.connect(react)
        return timer

    def _add(
        self, volume: Volume, settings: Mapping[str, Any], facts: dict[str, Any]
    ) -> Image:
        levels = self.progressive.levels
        arguments = dict(settings)
        if len(arguments.get("scale", ())) != volume.ndim:
            for name in _PER_AXIS:
                arguments.pop(name, None)
            arguments |= place(volume.axes)
        arguments.setdefault("name", f"{volume.name} denoised")
        if arguments.get("contrast_limits") is None:
            arguments["contrast_limits"] = sampled_range(volume)
        arguments |= {
            "multiscale": len(levels) > 1,
            "rgb": False,
            # napari's cache keeps what dask computed by name; here it changes.
            "cache": False,
            "metadata": {**(arguments.get("metadata") or {}), KEY: facts},
        }
        data = levels if len(levels) > 1 else levels[0]
        return self._viewer.add_image(data, **arguments)

    def _watch(self) -> None:
        for event, react in self._events():
            event.connect(react)
        self._glance.start()
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.close)
        parent = self.parent()
        if parent is not None:
            parent.destroyed.connect(self.progressive.close)

    def _events(self) -> list[tuple[Any, Any]]:
        dims, camera = self._viewer.dims.events, self._viewer.scene.camera.events
        views = (dims.point, dims.order, dims.ndisplay, camera.center, camera.zoom)
        return [
            (self._viewer.layers.events.removed, self._on_removed),
            *((event, self._look_soon) for event in views),
            (self.layer.events.visible, self._look_soon),
        ]

    def _on_removed(self, event: object = None) -> None:
        if self.layer not in self._viewer.layers:
            self.close()

    def _look_soon(self, event: object = None) -> None:
        if not self.is_closed:
            self._calm.start()

    def _look(self) -> None:
        """Ask for what is on screen, if that is something else than before."""
        request = self._request()
        if request == self._asked:
            return
        self._asked = request
        if request is None:
            self.progressive.rest()
        else:
            plane, region, center, level = request
            self.progressive.want(plane, region, center, level=level)
        self._show_pending(self.pending)

    def _request(self) -> _Request | None:
        if not self.layer.visible:
            return None
        look = looked_at(self._viewer, self.layer, self._axes)
        if look is None:
            return None
        spans = dict(zip(self._axes, look.region, strict=True))
        plane = tuple(spans[name].start for name in self._axes if name in "TZ")
        level = self.layer.data_level if self.layer.multiscale else 0
        return plane, (spans["Y"], spans["X"]), self._center(), int(level)

    def _center(self) -> tuple[float, float]:
        """Middle of the canvas in the layer's rows and columns, roughly."""
        dims = self._viewer.dims
        point = np.array(dims.point, dtype=float)
        point[list(dims.displayed)] = self._viewer.scene.camera.center[-2:]
        at = (
            np.round(pixel_at(self._viewer, self.layer, point) / CENTER_STEP)
            * CENTER_STEP
        )
        return float(at[self._axes.index("Y")]), float(at[self._axes.index("X")])

    def _tell_news(self) -> None:
        self._tell(self._news)

    def _tell_trouble(self, error: Exception) -> None:
        self._tell(self._trouble, error)

    def _tell(self, signal: Any, *content: Exception) -> None:  # noqa: ANN401 - a signal
        """In any thread: say something on the GUI thread."""
        try:
            signal.emit(*content)
        except RuntimeError:
            # Qt's half of this object is gone, and the viewer with it.
            self.progressive.close()

    def _on_news(self) -> None:
        if self.is_closed:
            return
        self._show_pending(self.pending)
        if not self._refresh_timer.isActive():
            wait = max(0.0, self._next_refresh - time.monotonic())
            self._refresh_timer.start(int(1000 * wait))

    def _refresh(self) -> None:
        self._started = time.monotonic()
        self.layer.refresh(thumbnail=not self.pending, highlight=False, extent=False)
        # Drawing comes after slicing; this timer after drawing.
        self._cost_timer.start()

    def _note_cost(self) -> None:
        now = time.monotonic()
        pause = max(REFRESH_SECONDS, REFRESH_COSTS * (now - self._started))
        self._next_refresh = now + pause

    def _show_pending(self, count: int) -> None:
        if count == self._pending:
            return
        self._pending = count
        tiles = "tile" if count == 1 else "tiles"
        self.layer.help = f"denoising: {count} {tiles} left" if count else ""
        self.pending_changed.emit(count)

    def _on_trouble(self, error: Exception) -> None:
        from napari.utils.notifications import show_warning

        if self.is_closed:
            return
        self._show_pending(self.pending)
        if str(error) != self._told:
            self._told = str(error)
            show_warning(f"{self.layer.name}: {error}")
        self.failed.emit(error)


def add_lazy_layer(
    viewer: Viewer,
    denoiser: TileOperator,
    volume: Volume,
    like: Image | None = None,
    name: str | None = None,
) -> Image:
    """Show an image denoised where it is looked at.

    Parameters
    ----------
    viewer : Viewer
        To which a layer is added.
    denoiser : TileOperator
        The model.
    volume : Volume
        The noisy image.
    like : Image, optional
        The layer that shows it, for color and display range.
    name : str, optional
        Of the layer.

    Returns
    -------
    Image
        The layer. Its ``metadata["napari_blindsound"]`` holds the result as dask
        arrays, ``denoised``, and the `LazyLayer`, ``lazy``.

    Raises
    ------
    ModelMismatchError
        If the image has another number of channels than the model.
    """
    from napari_blindsound.gui import layers

    title = name or f"{volume.name} denoised"
    settings = {"name": title} if like is None else layers.like(like, name=title)
    return LazyLayer(viewer, denoiser, volume, settings).layer
