"""Layers that show how uncertain another layer is, and go when that goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from napari_blindsound.gui.layers import channel_of

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_blindsound.inference.denoiser import Denoiser

COLORS = {"colormap": "magma", "gamma": 1.0}
"""How deviations are shown."""

_BRIGHTEST = 0.5  # of the noise's deviation at the highest count that is shown


class Deviations(QObject):
    """Removes the deviations of results that the user removed.

    Parameters
    ----------
    viewer : Viewer
        Whose layers they are.
    parent : QObject
        Ends with it.
    """

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._pairs: list[tuple[Image, Image]] = []
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._drop)

    def add(self, result: Image, deviation: Image) -> None:
        """Let a deviation go where its result goes."""
        self._pairs.append((result, deviation))

    def look(self) -> None:
        """Some layers were removed; napari may still be removing others."""
        if any(result not in self._viewer.layers for result, _ in self._pairs):
            self._timer.start(0)

    def close(self) -> None:
        """Let all layers be."""
        self._timer.stop()
        self._pairs = []

    def _drop(self) -> None:
        layers, kept = self._viewer.layers, []
        for result, deviation in self._pairs:
            if result in layers:
                kept.append((result, deviation))
            elif deviation in layers:
                layers.remove(deviation)
        self._pairs = kept


def expected_limits(model: Denoiser, result: Image) -> tuple[float, float]:
    """Range to show deviations in before any is known: from zero to half the noise."""
    number = channel_of(result) or 0
    models = model.preprocessing.noise
    noise = models[number if number < len(models) else 0]
    brightest = float(noise.variance(float(result.contrast_limits[1]))) ** 0.5
    return 0.0, max(_BRIGHTEST * brightest, 1e-6)
