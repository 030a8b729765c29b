"""A part of a dock that folds away behind its heading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

if TYPE_CHECKING:
    from qtpy.QtGui import QResizeEvent


class Fold(QWidget):
    """A heading that opens and closes what lies below it.

    Parameters
    ----------
    title : str
    content : QWidget
    is_open : bool

    Attributes
    ----------
    opened : Signal
        The content, each time it is opened.
    """

    opened = Signal(QWidget)

    def __init__(self, title: str, content: QWidget, *, is_open: bool = False) -> None:
        super().__init__()
        self.content = content
        self._button = QToolButton()
        self._button.setText(title)
        self._button.setAutoRaise(True)
        self._button.setCheckable(True)
        self._button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._button.setToolTip(f"Show or hide: {title}")
        self._button.toggled.connect(self._show)
        self._summary = QLabel()
        self._summary.setAlignment(
            Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        )
        # However long, it must not widen the dock.
        self._summary.setMinimumWidth(0)
        head = QHBoxLayout()
        head.setContentsMargins(0, 0, 0, 0)
        head.addWidget(self._button)
        head.addWidget(self._summary, 1)
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(1)
        whole.addLayout(head)
        whole.addWidget(content)
        whole.addWidget(line)
        self._full = ""
        self._button.setChecked(is_open)
        self._show(is_open)

    @property
    def is_open(self) -> bool:
        """Whether the content is shown."""
        return self._button.isChecked()

    def set_open(self, is_open: bool) -> None:  # noqa: FBT001 - as Qt's setters
        """Open or close it."""
        self._button.setChecked(is_open)

    def set_summary(self, text: str) -> None:
        """Say in a line what is inside, beside the heading."""
        self._full = text
        self._summary.setToolTip(text)
        self._elide()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Shorten the summary to the new width."""
        self._elide()
        super().resizeEvent(event)

    def _show(self, is_open: bool) -> None:  # noqa: FBT001 - Qt's signal
        arrow = Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow
        self._button.setArrowType(arrow)
        self.content.setVisible(is_open)
        if is_open:
            self.opened.emit(self.content)

    def _elide(self) -> None:
        room = max(40, self.width() - self._button.sizeHint().width() - 12)
        metrics = self._summary.fontMetrics()
        self._summary.setText(
            metrics.elidedText(self._full, Qt.TextElideMode.ElideMiddle, room)
        )
