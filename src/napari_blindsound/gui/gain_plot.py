"""How the noise grows with the light: variance against mean, and the line through it.

pyqtgraph draws it; it is imported with the first picture, after Qt, whose binding it
then shares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QVBoxLayout

from napari_blindsound.gui.themed import Colors, Themed

if TYPE_CHECKING:
    from qtpy.QtGui import QKeyEvent, QMouseEvent

    from napari_blindsound.quality.preflight import Glance

_SMALL = 110  # px
_LARGE = (640, 480)  # px
_FAINT = 150  # opacity of axes, of 255
_STEPS = 50  # of the line, which has a bend


class GainPlot(Themed):
    """Picture of one channel's noise; a click, or Enter, shows it in a window.

    Parameters
    ----------
    is_large : bool
        Whether it is that window.
    """

    def __init__(self, *, is_large: bool = False) -> None:
        super().__init__()
        self._is_large = is_large
        self._glance: Glance | None = None
        self._plot: _Plot | None = None
        self._window: GainPlot | None = None
        self._place = QVBoxLayout(self)
        self._place.setContentsMargins(0, 0, 0, 0)
        self.setAccessibleName("noise by light")
        if is_large:
            self.resize(*_LARGE)
            return
        self.setFixedHeight(_SMALL)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip(
            "Variance of the noise against the mean, in counts: groups of pixels, and "
            "the line that the gain and the read noise are taken from. Click to enlarge"
        )

    def show_glance(self, glance: Glance | None) -> None:
        """Draw what was found in another channel, or nothing."""
        self._glance = glance
        is_drawn = glance is not None and len(glance.points) > 1
        self.setVisible(is_drawn or self._is_large)
        if glance is None or not is_drawn:
            return
        if self._plot is None:
            self._plot = _Plot(is_large=self._is_large)
            self._place.addWidget(self._plot.widget)
            self.recolor(self.colors or Colors.of(self.palette()))
        self._plot.draw(glance)
        if self._window is not None:
            self._window.show_glance(glance)

    def enlarge(self) -> None:
        """Show it in a window of its own, which nothing waits for."""
        if self._is_large or self._glance is None:
            return
        if self._window is None:
            self._window = GainPlot(is_large=True)
            self._window.setParent(self, Qt.WindowType.Window)
            self._window.setWindowTitle("Noise: variance against mean")
        self._window.show_glance(self._glance)
        self._window.show()
        self._window.raise_()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Enlarge."""
        self.enlarge()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Enlarge by Enter or the space bar, close by Escape."""
        key = None if event is None else event.key()
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.enlarge()
        elif key == Qt.Key.Key_Escape and self._is_large:
            self.close()
        else:
            super().keyPressEvent(event)

    def recolor(self, colors: Colors) -> None:
        """Draw in other colors."""
        if self._plot is not None:
            self._plot.recolor(QColor(colors.text), QColor(colors.line))


class _Plot:
    """What pyqtgraph is asked for."""

    def __init__(self, *, is_large: bool) -> None:
        import pyqtgraph

        self._pg = pyqtgraph
        self.widget = pyqtgraph.PlotWidget(background=None)
        self.widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.widget.viewport().setAutoFillBackground(False)
        if not is_large:
            # The wheel scrolls the dock, and a click enlarges.
            self.widget.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.item = self.widget.getPlotItem()
        self.item.hideButtons()
        self.item.setMenuEnabled(False)
        self.points = self.item.plot(pen=None, symbol="o", symbolPen=None, symbolSize=5)
        self.line = self.item.plot(antialias=True)
        for name in ("left", "bottom"):
            axis = self.item.getAxis(name)
            axis.enableAutoSIPrefix(enable=False)
        self.item.getAxis("bottom").setHeight(40)

    def draw(self, glance: Glance) -> None:
        """Show other points."""
        points = np.asarray(glance.points)
        means = np.linspace(points[0, 0], points[-1, 0], _STEPS)
        self.points.setData(points[:, 0], points[:, 1])
        self.line.setData(means, glance.noise.variance(means))

    def recolor(self, text: QColor, line: QColor) -> None:
        """Draw in other colors."""
        faint = QColor(text)
        faint.setAlpha(_FAINT)
        self.points.setSymbolBrush(faint)
        self.line.setPen(self._pg.mkPen(line, width=2))
        for name, label in (("left", "variance"), ("bottom", "mean, counts")):
            axis = self.item.getAxis(name)
            axis.setPen(faint)
            axis.setTextPen(text)
            axis.setLabel(label, color=text.name())
