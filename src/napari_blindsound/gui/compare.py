"""What denoising does to a preview: a line profile, and what was taken away.

Noise has no structure. What was taken away is shown as the mean over blocks of pixels,
in which structure would be seen sooner than in single pixels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QRectF, Qt, QTimer
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_blindsound.gui.preview_layer import Blend
from napari_blindsound.gui.themed import Colors, Themed

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_blindsound.gui.live import Preview

_HEIGHT = 116  # px, of the drawings
_LEFT, _BOTTOM = 44, 18  # px, of the axes with their numbers
_REDRAW_MS = 250
_SIDE = 110  # most blocks along a side of what was taken away
_RANGE = 3.0  # times what is usual, from gray to black and to white
_FAINT = 100  # opacity of the noisy line, of 255


class Compare(Themed):
    """Profile of noisy and denoised along a row, and their difference as a tile."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._preview: Preview | None = None
        self._blend, self._weight = Blend(), 0.0
        self._row: int | None = None
        self._is_stale = False
        self._profile, self._tile = _Profile(), _Tile()
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.setAccessibleName("line profile and what was taken away")
        self.setToolTip(
            "Left: counts along one row of the preview, noisy (faint) and denoised "
            "(strong). Right: noisy minus denoised over the whole preview; gray is 0, "
            "and the line marks the row"
        )
        drawings = QHBoxLayout()
        drawings.setSpacing(4)
        drawings.addWidget(self._profile.widget, 1)
        drawings.addWidget(self._tile.widget)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(2)
        whole.addLayout(drawings)
        whole.addWidget(self.words)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REDRAW_MS)
        self._timer.timeout.connect(self._redraw)
        self.clear()

    def show_preview(self, preview: Preview, blend: float = 0.0) -> None:
        """Compare another preview.

        Parameters
        ----------
        preview : Preview
            The last one.
        blend : float
            Weight of the second of two estimates, 0 to 1.
        """
        if preview is not self._preview:
            self._preview, self._blend = preview, Blend(*preview.estimates)
        self._weight = blend
        self._want_redraw()

    def set_row(self, row: int | None) -> None:
        """Choose the row of the profile.

        Parameters
        ----------
        row : int or None
            Y pixel of the layer at full resolution. The middle of the preview is taken
            for None, and for a row outside of the preview.
        """
        if row != self._row:
            self._row = row
            self._want_redraw()

    def clear(self) -> None:
        """Forget the preview."""
        self._preview, self._blend = None, Blend()
        self._profile.widget.hide()
        self._tile.widget.hide()
        self.words.setText("Compares noisy and denoised once there is a preview.")

    def showEvent(self, event: Any) -> None:  # noqa: ANN401 - None or QShowEvent
        """Draw what came in while nobody saw it."""
        super().showEvent(event)
        self._redraw()

    def _want_redraw(self) -> None:
        self._is_stale = True
        if not self._timer.isActive():
            self._redraw()

    def _redraw(self) -> None:
        preview = self._preview
        if preview is None or not self._is_stale or not self.isVisible():
            return
        self._is_stale = False
        self._timer.start()
        y, x = _plane(preview.look.shape)
        rows, columns = preview.look.region[y], preview.look.region[x]
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        noisy = preview.noisy.reshape(shape)
        denoised = self._blend(self._weight).reshape(shape)
        here = (rows.stop - rows.start) // 2
        if self._row is not None and rows.start <= self._row < rows.stop:
            here = self._row - rows.start
        self._profile.draw(
            np.arange(columns.start, columns.stop), noisy[here], denoised[here]
        )
        taken = noisy - denoised
        self._tile.draw(_blocks(taken), shape, here)
        self._profile.widget.show()
        self._tile.widget.show()
        self.words.setText(_in_words(taken, rows.start + here))

    def recolor(self, colors: Colors) -> None:
        """Draw in other colors."""
        ground, line = QColor(colors.ground), QColor(colors.line)
        self._profile.recolor(ground, QColor(colors.text), line)
        self._tile.recolor(ground, line)


class _Profile:
    """Counts along a row."""

    def __init__(self) -> None:
        import pyqtgraph

        self._pg = pyqtgraph
        self.widget = pyqtgraph.PlotWidget(background=None)
        _only_to_look_at(self.widget)
        self._item = self.widget.getPlotItem()
        self._item.hideButtons()
        self._item.setMenuEnabled(False)
        self._item.getAxis("left").setWidth(_LEFT)
        self._item.getAxis("bottom").setHeight(_BOTTOM)
        self._noisy = self._item.plot()
        self._denoised = self._item.plot(antialias=True)

    def draw(
        self,
        columns: npt.NDArray[Any],
        noisy: npt.NDArray[Any],
        denoised: npt.NDArray[Any],
    ) -> None:
        """Show another row, (n,) each."""
        self._noisy.setData(columns, noisy)
        self._denoised.setData(columns, denoised)

    def recolor(self, ground: QColor, text: QColor, line: QColor) -> None:
        """Draw in other colors."""
        faint = QColor(text)
        faint.setAlpha(_FAINT)
        self.widget.setBackground(ground)
        self._noisy.setPen(self._pg.mkPen(faint))
        self._denoised.setPen(self._pg.mkPen(line, width=2))
        for name in ("left", "bottom"):
            axis = self._item.getAxis(name)
            axis.enableAutoSIPrefix(enable=False)
            axis.setPen(faint)
            axis.setTextPen(text)


class _Tile:
    """What was taken away, in gray, with the row of the profile."""

    def __init__(self) -> None:
        import pyqtgraph

        self._pg = pyqtgraph
        self.widget = pyqtgraph.GraphicsView(background=None)
        _only_to_look_at(self.widget)
        self.widget.setFixedWidth(_HEIGHT)
        self._box = pyqtgraph.ViewBox(
            lockAspect=True, enableMouse=False, enableMenu=False, invertY=True
        )
        self._box.setDefaultPadding(0)
        self._image = pyqtgraph.ImageItem(axisOrder="row-major")
        self._line = pyqtgraph.PlotDataItem()
        self._box.addItem(self._image)
        self._box.addItem(self._line)
        self.widget.setCentralItem(self._box)

    def draw(self, taken: npt.NDArray[Any], shape: tuple[int, int], row: int) -> None:
        """Show blocks that cover so many pixels, and mark a row of them."""
        # About 0, not about the mean: a bias is seen as well.
        most = _RANGE * math.sqrt(float(np.square(taken).mean())) or 1.0
        self._image.setImage(taken, levels=(-most, most))
        self._image.setRect(QRectF(0, 0, shape[1], shape[0]))
        self._line.setData([0, shape[1]], [row + 0.5, row + 0.5])

    def recolor(self, ground: QColor, line: QColor) -> None:
        """Draw in other colors."""
        self.widget.setBackground(ground)
        self._line.setPen(self._pg.mkPen(line))


def _only_to_look_at(widget: Any) -> None:  # noqa: ANN401 - pyqtgraph has no types
    # The wheel scrolls the dock, and the tooltip is that of the whole.
    widget.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
    widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    widget.setFixedHeight(_HEIGHT)
    # What is below must not jump when the first preview comes.
    policy = widget.sizePolicy()
    policy.setRetainSizeWhenHidden(True)
    widget.setSizePolicy(policy)


def _plane(shape: tuple[int, ...]) -> tuple[int, int]:
    """Which two axes are no sliders, of which only one position is looked at."""
    wide = [axis for axis, size in enumerate(shape) if size > 1]
    axes = wide if len(wide) == 2 else range(len(shape))[-2:]
    return axes[0], axes[1]


def _blocks(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means over blocks, as many as are seen."""
    each = math.ceil(max(pixels.shape) / _SIDE)
    height, width = (min(each, size) for size in pixels.shape)
    rows, columns = pixels.shape[0] // height, pixels.shape[1] // width
    whole = np.nan_to_num(pixels[: rows * height, : columns * width])
    means: npt.NDArray[np.float32] = whole.reshape(rows, height, columns, width).mean(
        axis=(1, 3)
    )
    return means


def _in_words(taken: npt.NDArray[np.float32], row: int) -> str:
    finite = taken[np.isfinite(taken)]
    if not finite.size:
        return "Nothing can be compared: these pixels are no numbers."
    mean, deviation = float(finite.mean(dtype=float)), float(finite.std(dtype=float))
    size = math.floor(math.log10(deviation)) if deviation > 0 else 0
    # The mean to a tenth of the last digit of the deviation; + 0.0 takes a sign off 0.
    digits = max(0, 2 - size), max(0, 1 - size)
    return (
        f"Row {row}. What was taken away: mean "
        f"{round(mean, digits[0]) + 0.0:.{digits[0]}f}, "
        f"s.d. {deviation:.{digits[1]}f} counts: no structure should be seen here"
    )
