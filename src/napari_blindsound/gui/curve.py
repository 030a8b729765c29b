"""The loss of a training as it falls, and the quality that is estimated meanwhile.

pyqtgraph draws it, without OpenGL; it is imported with the first curve, after Qt, whose
binding it then shares.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_blindsound.gui.themed import Colors, Themed

if TYPE_CHECKING:
    import numpy.typing as npt

_HEIGHT = 140  # px
_X_HEIGHT = 40  # px, of the axis with its label
_REDRAW_MS = 250
_SLOTS = 512  # more than there are pixels; memory for hours is that for minutes
_SMOOTHED_SHARE = 20  # the line is the mean over this part of the training
_FAINT = 90  # opacity of the points, of 255
_TICKS = 5  # most labels of the logarithmic axis, which pyqtgraph would let overlap
_TICK_DIGITS = (
    (1.0,),
    (1.0, 3.0),
    (1.0, 2.0, 5.0),
    tuple(n / 10 for n in range(10, 100)),
)


class Series:
    """Values by step, as many as there is room for, over the whole of a training.

    When all slots are full, each two become one that holds twice as many values.

    Parameters
    ----------
    slots : int
        Most points that are kept.
    """

    def __init__(self, slots: int = _SLOTS) -> None:
        self._slots = slots
        self._each = 1  # values of a full slot
        self._begun: list[tuple[float, float]] = []
        self._kept: list[tuple[float, float, float]] = []

    def __len__(self) -> int:
        return len(self._kept) + bool(self._begun)

    def add(self, step: float, value: float) -> None:
        """Take one more, of a later step."""
        self._begun.append((step, value))
        if len(self._begun) < self._each:
            return
        self._kept.append(self._slot())
        self._begun.clear()
        if len(self._kept) >= self._slots:
            pairs = zip(self._kept[::2], self._kept[1::2], strict=True)
            self._kept = [(b[0], b[1], (a[2] + b[2]) / 2) for a, b in pairs]
            self._each *= 2

    def points(self) -> npt.NDArray[np.float64]:
        """(3, n): the last step of each slot, the value there, the mean of the slot."""
        rows = [*self._kept, self._slot()] if self._begun else self._kept
        return np.array(rows, np.float64).reshape(-1, 3).T

    def _slot(self) -> tuple[float, float, float]:
        mean = sum(value for _, value in self._begun) / len(self._begun)
        return (*self._begun[-1], mean)


class LossCurve(Themed):
    """Plot of the loss over the steps, and of a quality in decibels where it is known.

    Points are single values, the line their running mean. The axis of the loss is
    logarithmic as long as all values are positive.

    Attributes
    ----------
    is_log : bool
        Whether it still is.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._plot = _Plot()
        self.is_log = True
        self._loss, self._quality = Series(), Series()
        self._best: tuple[float, float] | None = None
        self.setFixedHeight(_HEIGHT)
        self.setAccessibleName("loss by step")
        self.setToolTip(
            "Loss over the steps of the training: single steps and their running mean. "
            "On the right, where it is known: estimated decibels gained, with a ring "
            "at the best weights where the training looks for them"
        )
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(self._plot.widget)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REDRAW_MS)
        self._timer.timeout.connect(self._redraw)
        self._drawn = 0.0
        self.follow_theme()

    def add(self, step: int, loss: float, quality: float | None = None) -> None:
        """Take the loss of a step, and the quality in dB if it was estimated there.

        What is not finite is left out.
        """
        if math.isfinite(loss):
            self.is_log = self.is_log and loss > 0
            self._loss.add(step, loss)
            self._want_redraw()
        if quality is not None:
            self.add_quality(step, quality)

    def add_quality(self, step: int, decibels: float) -> None:
        """Take an estimate of the quality after a step."""
        if math.isfinite(decibels):
            self._quality.add(step, decibels)
            self._want_redraw()

    def mark_best(self, step: int, decibels: float) -> None:
        """Mark the step of the best weights, in place of one marked before."""
        if math.isfinite(decibels):
            self._best = (step, decibels)
            self._want_redraw()

    def clear(self) -> None:
        """Forget all: another training begins."""
        self.is_log = True
        self._loss, self._quality = Series(), Series()
        self._best = None
        self._timer.stop()
        self._redraw()

    def showEvent(self, event: Any) -> None:  # noqa: ANN401 - None or QShowEvent
        """Draw what came in while nobody saw it."""
        super().showEvent(event)
        self._redraw()

    def _want_redraw(self) -> None:
        if self._timer.isActive() or not self.isVisible():
            return
        if time.monotonic() - self._drawn >= _REDRAW_MS / 1000:
            # At once: what else changes with this event is then painted with it.
            self._redraw()
        else:
            self._timer.start()

    def _redraw(self) -> None:
        self._drawn = time.monotonic()
        self._plot.draw(
            self._loss.points(),
            self._quality.points(),
            self._best,
            log=self.is_log,
        )

    def recolor(self, colors: Colors) -> None:
        """Draw in other colors."""
        self._plot.recolor(
            QColor(colors.ground),
            QColor(colors.text),
            QColor(colors.line),
            QColor(colors.second),
        )


class _Plot:
    """What pyqtgraph is asked for: two axes of y over one of x."""

    def __init__(self) -> None:
        import pyqtgraph

        self._pg = pyqtgraph
        self.widget = pyqtgraph.PlotWidget(background=None)
        # For looking only: the wheel scrolls the dock, the tooltip is the curve's.
        self.widget.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.item = self.widget.getPlotItem()
        self.item.hideButtons()
        self.item.setMenuEnabled(False)
        self.points = self.item.plot(pen=None, symbol="s", symbolSize=2, symbolPen=None)
        self.line = self.item.plot(antialias=True)
        self.second = pyqtgraph.ViewBox(enableMouse=False, enableMenu=False)
        self.item.scene().addItem(self.second)
        self.item.getAxis("right").linkToView(self.second)
        self.second.setXLink(self.item)
        self.quality = pyqtgraph.PlotDataItem(antialias=True)
        self.second.addItem(self.quality)
        self.best = pyqtgraph.PlotDataItem(
            pen=None, symbol="o", symbolSize=9, symbolBrush=None
        )
        self.second.addItem(self.best)
        self.item.vb.sigResized.connect(self._follow)
        self.item.getAxis("bottom").setHeight(_X_HEIGHT)
        for name in ("left", "bottom", "right"):
            self.item.getAxis(name).enableAutoSIPrefix(enable=False)

    def draw(
        self,
        loss: npt.NDArray[np.float64],
        quality: npt.NDArray[np.float64],
        best: tuple[float, float] | None,
        *,
        log: bool,
    ) -> None:
        """Show other values.

        Parameters
        ----------
        loss, quality : ndarray
            (3, n), see :meth:`Series.points`.
        best : tuple of float, or None
            Step and quality to mark.
        log : bool
            Whether the axis of the loss is logarithmic.
        """
        self.item.setLogMode(x=False, y=log)
        self.item.getAxis("right").setLogMode(y=False)
        ticks: list[list[tuple[float, str]]] | None = None if loss.size else []
        if log and loss.size:
            ticks = [_log_ticks(loss[1].min(), loss[1].max())]
        self.item.getAxis("left").setTicks(ticks)
        self.points.setData(loss[0], loss[1])
        self.line.setData(loss[0], _smoothed(loss[2], log=log))
        self.quality.setData(quality[0], _smoothed(quality[2], log=False))
        self.best.setData(*([value] for value in best) if best else ([], []))
        self.item.showAxis("right", show=quality.shape[1] > 0)

    def recolor(
        self, ground: QColor, text: QColor, line: QColor, quality: QColor
    ) -> None:
        """Draw in other colors."""
        faint = QColor(text)
        faint.setAlpha(_FAINT)
        self.widget.setBackground(ground)
        self.points.setSymbolBrush(faint)
        self.line.setPen(self._pg.mkPen(line, width=2))
        self.quality.setPen(self._pg.mkPen(quality, width=2))
        self.best.setSymbolPen(self._pg.mkPen(quality, width=2))
        labels = {
            "left": ("loss", line),
            "right": ("dB", quality),
            "bottom": ("steps", text),
        }
        for name, (label, color) in labels.items():
            axis = self.item.getAxis(name)
            axis.setPen(faint)
            axis.setTextPen(text)
            # Not through the plot, which would show the axis.
            axis.setLabel(label, color=color.name())

    def _follow(self) -> None:
        self.second.setGeometry(self.item.vb.sceneBoundingRect())


def _smoothed(values: npt.NDArray[np.float64], *, log: bool) -> npt.NDArray[np.float64]:
    """Mean over the neighbors on both sides, as many as there are."""
    count = len(values)
    if not count:
        return values
    side = count // (2 * _SMOOTHED_SHARE)
    level = np.log(values) if log else values
    sums = np.concatenate([[0.0], np.cumsum(level)])
    at = np.arange(count)
    low, high = np.maximum(at - side, 0), np.minimum(at + side + 1, count)
    mean: npt.NDArray[np.float64] = (sums[high] - sums[low]) / (high - low)
    return np.exp(mean) if log else mean


def _log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Places and labels between two positive values, as round as the range allows."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in _TICK_DIGITS:
        values = [d * 10.0**decade for decade in decades for d in digits]
        values = [value for value in values if low <= value <= high]
        if len(values) > 2:
            break
    every = math.ceil(len(values) / _TICKS) or 1
    return [(math.log10(value), f"{value:.3g}") for value in values[::every]]
