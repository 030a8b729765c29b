"""Which times and depths are trained on: from and to, by numbers or by a slider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, Qt, QTimer, Signal
from qtpy.QtWidgets import QHBoxLayout, QSpinBox, QWidget
from superqt import QRangeSlider

if TYPE_CHECKING:
    from qtpy.QtGui import QWheelEvent

_MARGIN = 24  # px, around the digits
_UNITS = {"T": "frame", "Z": "slice"}


class RangeRow(QWidget):
    """First and last position along an axis, counted from 0 as on napari's sliders.

    Parameters
    ----------
    name : str
        Letter of the axis.

    Attributes
    ----------
    edited : Signal
        After the user has changed it.
    """

    edited = Signal()

    def __init__(self, name: str) -> None:
        super().__init__()
        self._size = 1
        unit = _UNITS.get(name, "position")
        self.first, self.last = _Number(), _Number()
        self.slider = _Slider(Qt.Orientation.Horizontal)
        self.slider.setMinimumWidth(40)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.first)
        row.addWidget(self.slider, 1)
        row.addWidget(self.last)
        for box, end in ((self.first, "First"), (self.last, "Last")):
            box.setToolTip(f"{end} {unit} to train on; all are denoised")
            box.setAccessibleName(f"{end} {unit}")
            box.setKeyboardTracking(False)
            box.valueChanged.connect(self._on_number)
        self.slider.setToolTip(f"Which {unit}s to train on; all are denoised")
        self.slider.valueChanged.connect(self._on_slider)

    @property
    def part(self) -> slice | None:
        """Positions to train on, None for all."""
        first, last = self.first.value(), self.last.value()
        if (first, last) == (0, self._size - 1):
            return None
        return slice(first, last + 1)

    def show_all(self, size: int) -> None:
        """Take all positions of an axis of another size."""
        self._size = size
        for box in (self.first, self.last):
            box.make_room(size - 1)
        self._show(0, size - 1)

    def _show(self, first: int, last: int) -> None:
        parts = (self.first, self.last, self.slider)
        blocked = [part.blockSignals(True) for part in parts]  # noqa: FBT003 - Qt's
        self.slider.setRange(0, max(1, self._size - 1))
        self.slider.setValue((first, last))
        self.first.setRange(0, last)
        self.last.setRange(first, self._size - 1)
        self.first.setValue(first)
        self.last.setValue(last)
        for part, was in zip(parts, blocked, strict=True):
            part.blockSignals(was)

    def _on_number(self) -> None:
        self._show(self.first.value(), self.last.value())
        self.edited.emit()

    def _on_slider(self, ends: tuple[float, float]) -> None:
        first, last = (min(max(0, round(end)), self._size - 1) for end in ends)
        self._show(first, last)
        self.edited.emit()


class _Number(QSpinBox):
    """Leaves the wheel to the dock while it has not the keyboard."""

    def __init__(self) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
        self.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._narrow)
        self._digits = 1

    def make_room(self, largest: int) -> None:
        """Be as wide as the largest number needs."""
        self._digits = max(3, len(str(largest)))
        self._narrow()

    def changeEvent(self, event: QEvent | None) -> None:
        """Leave room for the slider in any theme: napari's make wide boxes."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.StyleChange:
            # A theme sets the width after this.
            self._timer.start(0)

    def _narrow(self) -> None:
        width = self.fontMetrics().horizontalAdvance("0" * self._digits)
        self.setFixedWidth(width + _MARGIN)

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        elif event is not None:
            event.ignore()


class _Slider(QRangeSlider):
    """Leaves the wheel to the dock."""

    def __init__(self, orientation: Qt.Orientation) -> None:
        super().__init__(orientation)  # type: ignore[no-untyped-call] # superqt's

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        if event is not None:
            event.ignore()
