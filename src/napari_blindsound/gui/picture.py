"""A small picture of a channel's noise, which a click or a key shows large.

pyqtgraph draws it; it is imported with the first picture, after Qt, whose binding it
then shares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_blindsound.gui.themed import Colors, Themed

if TYPE_CHECKING:
    from qtpy.QtGui import QKeyEvent, QMouseEvent

    from napari_blindsound.quality.preflight import Glance

SMALL = 110  # px


class Drawing(Protocol):
    """What pyqtgraph is asked for."""

    widget: QWidget

    def draw(self, glance: Glance) -> None:
        """Show another channel."""

    def recolor(self, colors: Colors) -> None:
        """Draw in other colors."""


class Picture(Themed):
    """Picture of one channel; a click, or Enter, shows it in a window.

    Parameters
    ----------
    is_large : bool
        Whether it is that window.
    """

    name: ClassVar[str]
    """For those who do not see it."""
    title: ClassVar[str]
    """Of the window."""
    words: ClassVar[str]
    """What is seen in it."""
    size_large: ClassVar[tuple[int, int]] = (640, 480)

    def __init__(self, *, is_large: bool = False) -> None:
        super().__init__()
        self._is_large = is_large
        self._glance: Glance | None = None
        self._plot: Drawing | None = None
        self._window: Picture | None = None
        self._place = QVBoxLayout(self)
        self._place.setContentsMargins(0, 0, 0, 0)
        self.setAccessibleName(self.name)
        if is_large:
            self.resize(*self.size_large)
            return
        self.setFixedHeight(SMALL)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip(f"{self.words}. Click to enlarge")

    def drawing(self, *, is_large: bool) -> Drawing:
        """Make what draws; for subclasses."""
        raise NotImplementedError

    def is_worth(self, glance: Glance) -> bool:
        """Whether there is anything to draw; for subclasses."""
        del glance
        return True

    def describe(self, glance: Glance) -> str:
        """Say what is drawn to those who do not see it; for subclasses."""
        raise NotImplementedError

    def show_glance(self, glance: Glance | None) -> None:
        """Draw what was found in another channel, or nothing."""
        self._glance = glance
        is_drawn = glance is not None and self.is_worth(glance)
        self.setVisible(is_drawn or self._is_large)
        if glance is None or not is_drawn:
            return
        if self._plot is None:
            self._plot = self.drawing(is_large=self._is_large)
            if not self._is_large:
                # The wheel scrolls the dock, and a click enlarges.
                through = Qt.WidgetAttribute.WA_TransparentForMouseEvents
                self._plot.widget.setAttribute(through)
            self._place.addWidget(self._plot.widget)
            self.recolor(self.colors or Colors.of(self.palette()))
        self._plot.draw(glance)
        self.setAccessibleDescription(self.describe(glance))
        if self._window is not None:
            self._window.show_glance(glance)

    def enlarge(self) -> None:
        """Show it in a window of its own, which nothing waits for."""
        if self._is_large or self._glance is None:
            return
        if self._window is None:
            self._window = type(self)(is_large=True)
            self._window.setParent(self, Qt.WindowType.Window)
            self._window.setWindowTitle(self.title)
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
            self._plot.recolor(colors)
