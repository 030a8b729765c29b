"""A field for numbers of any size: 0.0001 is as easily read and changed as 20."""

from __future__ import annotations

import re
from decimal import Decimal

from qtpy.QtGui import QValidator
from qtpy.QtWidgets import QDoubleSpinBox, QWidget

_BEGUN = re.compile(r"[+-]?\d*\.?\d*(e[+-]?\d*)?", re.IGNORECASE)
_DIGITS = 12  # that are shown
_STEPPED_DIGITS = 3  # that the arrows change the last of
_DECIMALS = 15  # nothing smaller than 1e-15 is told from 0
_LARGEST = 1e15
_FIRST = 0.001  # what the arrows make of 0


class Number(QDoubleSpinBox):
    """Spin box whose arrows change the last digit of a number, whatever its size.

    Takes numbers as they are written in Python, such as 1e-4.

    Parameters
    ----------
    low, high : float
        The least and the largest value.
    """

    def __init__(self, low: float, high: float, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setDecimals(_DECIMALS)
        self.setRange(max(low, -_LARGEST), min(high, _LARGEST))

    def textFromValue(self, v: float) -> str:
        """Write as short as possible."""
        mantissa, e, exponent = f"{v:.{_DIGITS}g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if e else mantissa

    def valueFromText(self, text: str | None) -> float:
        """Read; what is no number yet changes nothing."""
        try:
            return float(_plain(text))
        except ValueError:
            return self.value()

    def validate(
        self,
        input: str | None,
        pos: int,
    ) -> tuple[QValidator.State, str, int]:
        """Whether a text is a number within the bounds, or the beginning of one."""
        text = input or ""
        try:
            is_done = self.minimum() <= float(_plain(text)) <= self.maximum()
        except ValueError:
            is_done = False
        if is_done:
            return QValidator.State.Acceptable, text, pos
        begun = _BEGUN.fullmatch(_plain(text)) is not None
        state = QValidator.State.Intermediate if begun else QValidator.State.Invalid
        return state, text, pos

    def fixup(self, input: str | None) -> str:
        """Make the nearest number of one out of bounds."""
        number = self.valueFromText(input)
        return self.textFromValue(min(max(number, self.minimum()), self.maximum()))

    def stepBy(self, steps: int) -> None:
        """Change the last digit, as often as asked."""
        for _ in range(abs(steps)):
            self.setValue(_next(self.value(), is_up=steps > 0))
        self.selectAll()


def _plain(text: str | None) -> str:
    return (text or "").strip().replace(",", ".")


def _next(value: float, *, is_up: bool) -> float:
    """0.003 becomes 0.004 or 0.002, 0.01 becomes 0.02 or 0.009, 20 becomes 30 or 10."""
    number = Decimal(f"{value:.{_STEPPED_DIGITS}g}").normalize()
    if not number:
        return _FIRST if is_up else -_FIRST
    unit = Decimal(1).scaleb(int(number.as_tuple().exponent))
    is_smaller = is_up == (value < 0)
    if is_smaller and abs(number) == unit:
        unit /= 10
    return float(number + unit if is_up else number - unit)
