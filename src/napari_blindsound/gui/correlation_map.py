"""How much of its noise a pixel shares with its neighbors, as a small picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor

from napari_blindsound.gui.picture import SMALL, Drawing, Picture
from napari_blindsound.noise.spectrum import REACH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindsound.gui.themed import Colors
    from napari_blindsound.quality.preflight import Glance

_SIDE = 2 * REACH + 1
_STRONG = 0.5  # where colors end
_FULL = 0.25  # from where on a color is more like its end than like the background
_SHADES = 64  # of each color


class CorrelationMap(Picture):
    """Square of 7 x 7 pixels around one, in colors: as the background where none.

    Parameters
    ----------
    is_large : bool
        Whether it is the window, which has the numbers, too.
    """

    name: ClassVar[str] = "noise of neighbors"
    title: ClassVar[str] = "Noise: correlation with neighbors"
    words: ClassVar[str] = (
        "How much of its noise the pixel in the middle shares with pixels up to 3 "
        "rows and columns away"
    )
    size_large: ClassVar[tuple[int, int]] = (480, 480)

    def __init__(self, *, is_large: bool = False) -> None:
        super().__init__(is_large=is_large)
        if not is_large:
            self.setFixedWidth(SMALL)

    def drawing(self, *, is_large: bool) -> Drawing:
        """Make what draws."""
        return _Map(has_numbers=is_large)

    def describe(self, glance: Glance) -> str:
        """Say how neighbors correlate."""
        return glance.correlation.words

    def show_glance(self, glance: Glance | None) -> None:
        """Draw what was found in another channel, and tell its numbers."""
        super().show_glance(glance)
        if glance is not None:
            self.setToolTip(_table(self.words, glance.correlation.map))


def _table(words: str, square: NDArray[np.float64]) -> str:
    """Numbers of the map below the words, as HTML."""
    rows = "".join(
        "<tr>" + "".join(f"<td align=right>{_number(v)}&nbsp;</td>" for v in line)
        + "</tr>"
        for line in square
    )  # fmt: skip
    return f"<p>{words}. Click to enlarge</p><table>{rows}</table>"


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")


class _Map:
    """What pyqtgraph is asked for."""

    def __init__(self, *, has_numbers: bool) -> None:
        import pyqtgraph

        self._colors: Colors | None = None
        self.widget = pyqtgraph.GraphicsLayoutWidget()
        self.widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.widget.ci.setContentsMargins(2, 2, 2, 2)
        self.box = self.widget.addViewBox(
            lockAspect=True, invertY=True, enableMouse=False, enableMenu=False
        )
        self.image = pyqtgraph.ImageItem(axisOrder="row-major")
        self.box.addItem(self.image)
        self.box.setRange(xRange=(0, _SIDE), yRange=(0, _SIDE), padding=0.01)
        self.frame = pyqtgraph.PlotCurveItem(
            [0, _SIDE, _SIDE, 0, 0], [0, 0, _SIDE, _SIDE, 0]
        )
        self.box.addItem(self.frame)
        self.numbers = [
            pyqtgraph.TextItem(anchor=(0.5, 0.5))
            for _ in range(_SIDE**2 if has_numbers else 0)
        ]
        for (row, column), text in zip(
            np.ndindex(_SIDE, _SIDE), self.numbers, strict=False
        ):
            text.setPos(column + 0.5, row + 0.5)
            self.box.addItem(text)

    def draw(self, glance: Glance) -> None:
        """Show another map."""
        square = np.asarray(glance.correlation.map, dtype=np.float32)
        self.image.setImage(square, levels=(-_STRONG, _STRONG))
        for text, value in zip(self.numbers, square.ravel(), strict=False):
            text.setText(_number(float(value)))
        self._color_numbers()

    def recolor(self, colors: Colors) -> None:
        """Draw in other colors."""
        ground, more, less = (
            np.array(QColor(name).getRgb()[:3], dtype=float)
            for name in (colors.ground, colors.line, colors.second)
        )
        shade = np.linspace(0, 1, _SHADES)[:, None]
        table = np.concatenate(
            [less + shade * (ground - less), ground + shade * (more - ground)]
        )
        self.image.setLookupTable(np.rint(table).astype(np.uint8))
        self.frame.setPen(QColor(colors.text), width=1)
        self.widget.setBackground(QColor(colors.ground))
        self._colors = colors
        self._color_numbers()

    def _color_numbers(self) -> None:
        """Write on full colors in that of the background."""
        if self._colors is None or self.image.image is None:
            return
        values = self.image.image.ravel()
        for text, value in zip(self.numbers, values, strict=False):
            is_full = abs(value) > _FULL
            text.setColor(QColor(self._colors.ground if is_full else self._colors.text))
