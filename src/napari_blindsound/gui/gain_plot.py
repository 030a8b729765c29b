"""How the noise grows with the light: variance against mean, and the line used."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor

from napari_blindsound.gui.picture import Drawing, Picture
from napari_blindsound.quality import facts

if TYPE_CHECKING:
    from napari_blindsound.gui.themed import Colors
    from napari_blindsound.quality.preflight import Glance

_FAINT = 150  # opacity of axes, of 255
_STEPS = 50  # of the line, which has a bend


class GainPlot(Picture):
    """Calibration curve of one channel, with error bars."""

    name: ClassVar[str] = "noise by light"
    title: ClassVar[str] = "Noise: variance against mean"
    words: ClassVar[str] = (
        "Variance of the noise against the mean, in counts: groups of pixels with "
        "their standard errors, and the line that the gain is the slope of"
    )

    def drawing(self, *, is_large: bool) -> Drawing:
        """Make what draws."""
        del is_large
        return _Plot()

    def is_worth(self, glance: Glance) -> bool:
        """Whether there are points to draw a line through."""
        return len(glance.calibration.points) > 1

    def describe(self, glance: Glance) -> str:
        """Say what the line is."""
        calibration = glance.calibration
        source = facts.SOURCES[calibration.source]
        return (
            f"{len(calibration.points)} groups of pixels, from {source}; gain "
            f"{facts.interval(calibration.gain)}"
        )


class _Plot:
    """What pyqtgraph is asked for."""

    def __init__(self) -> None:
        import pyqtgraph

        self._pg = pyqtgraph
        self.widget = pyqtgraph.PlotWidget(background=None)
        self.widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.item = self.widget.getPlotItem()
        self.item.hideButtons()
        self.item.setMenuEnabled(False)
        self.errors = pyqtgraph.ErrorBarItem(beam=0)
        self.item.addItem(self.errors)
        self.points = self.item.plot(pen=None, symbol="o", symbolPen=None, symbolSize=5)
        self.line = self.item.plot(antialias=True)
        for name in ("left", "bottom"):
            axis = self.item.getAxis(name)
            axis.enableAutoSIPrefix(enable=False)
        self.item.getAxis("bottom").setHeight(40)

    def draw(self, glance: Glance) -> None:
        """Show other points."""
        x, y, error = np.array(glance.calibration.points, dtype=float).T
        error = np.where(np.isfinite(error), error, 0.0)
        means = np.linspace(x[0], x[-1], _STEPS)
        self.errors.setData(x=x, y=y, height=2 * error)
        self.points.setData(x, y)
        self.line.setData(means, glance.noise.variance(means))

    def recolor(self, colors: Colors) -> None:
        """Draw in other colors."""
        faint = QColor(colors.text)
        faint.setAlpha(_FAINT)
        self.widget.setBackground(QColor(colors.ground))
        self.errors.setData(pen=self._pg.mkPen(faint, width=1))
        self.points.setSymbolBrush(faint)
        self.line.setPen(self._pg.mkPen(QColor(colors.line), width=2))
        for name, label in (("left", "variance"), ("bottom", "mean, counts")):
            axis = self.item.getAxis(name)
            axis.setPen(faint)
            axis.setTextPen(QColor(colors.text))
            axis.setLabel(label, color=colors.text)
