"""Colors of the theme for what is drawn by hand: plots follow napari, dark or light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from qtpy.QtCore import QEvent
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QWidget

_DARK = 128  # lightness below which a background is dark


@dataclass(frozen=True)
class Colors:
    """Colors that can be told apart on the background of a palette, as ``#rrggbb``."""

    ground: str
    text: str
    line: str
    second: str
    alarm: str

    @classmethod
    def of(cls, palette: QPalette) -> Self:
        """Choose them for a palette."""
        ground = palette.color(QPalette.ColorRole.Window)
        text = palette.color(QPalette.ColorRole.WindowText).name()
        if ground.lightness() < _DARK:
            return cls(ground.name(), text, "#79b8ff", "#ffab70", "#ff7b72")
        return cls(ground.name(), text, "#0550ae", "#a04100", "#b3261e")


class Themed(QWidget):
    """A widget that is told the colors of the theme, first when it is shown.

    Attributes
    ----------
    colors : Colors or None
        Those it was told last.
    """

    colors: Colors | None = None

    def recolor(self, colors: Colors) -> None:
        """Draw in other colors; for subclasses."""

    def follow_theme(self) -> None:
        """Take the palette's colors, if they are others than before."""
        colors = Colors.of(self.palette())
        # Setting colors is a change of style that would be told here again.
        if colors != self.colors:
            self.colors = colors
            self.recolor(colors)

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow the palette, as when napari's theme is changed."""
        super().changeEvent(event)
        if event is not None and event.type() in (
            QEvent.Type.PaletteChange,
            QEvent.Type.StyleChange,
        ):
            self.follow_theme()

    def showEvent(self, event: Any) -> None:  # noqa: ANN401 - None or QShowEvent
        """Take the colors of where it is shown."""
        super().showEvent(event)
        self.follow_theme()
