"""A combo box that a turn of the wheel over the dock does not change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox

if TYPE_CHECKING:
    from qtpy.QtGui import QWheelEvent


class Combo(QComboBox):
    """Takes the wheel only while it has the keyboard, and any width it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Let whatever the dock lies in scroll."""
        if self.hasFocus():
            super().wheelEvent(event)
        elif event is not None:
            event.ignore()
