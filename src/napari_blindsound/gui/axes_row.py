"""What each dimension of a layer means: one small combo box a dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QWidget

from napari_blindsound.gui.combo import Combo
from napari_blindsound.images.axes import AXIS_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST = len(AXIS_NAMES)
_NARROWEST = 40  # px
_MEANINGS = {
    "T": "time, or repeated frames",
    "C": "channel",
    "Z": "depth",
    "Y": "row",
    "X": "column",
}


class AxesRow(QWidget):
    """Letters of T, C, Z, Y, X above the sizes of the dimensions.

    A letter is never taken twice: the dimension that had it gets the other's. Nothing
    is guessed from sizes.

    Attributes
    ----------
    edited : Signal
        After the user has changed a letter.
    """

    edited = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._letters: list[str] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(4)
        self._grid.setVerticalSpacing(0)
        self.combos: list[Combo] = []
        self._sizes: list[QLabel] = []
        for number in range(MOST):
            self._add(number)

    @property
    def letters(self) -> str | None:
        """One letter a dimension; None while one is missing, or Y or X is."""
        if not self._letters or "" in self._letters:
            return None
        return "".join(self._letters) if {"Y", "X"} <= set(self._letters) else None

    def show_axes(self, shape: Sequence[int], letters: Sequence[str]) -> None:
        """Show the dimensions of another layer.

        Parameters
        ----------
        shape : sequence of int
            Five dimensions at most.
        letters : sequence of str
            One each, empty where it is not known.
        """
        self._letters = list(letters)
        for number, (combo, label) in enumerate(
            zip(self.combos, self._sizes, strict=True)
        ):
            is_used = number < len(shape)
            combo.setVisible(is_used)
            label.setVisible(is_used)
            if is_used:
                label.setText(str(shape[number]))
                self._offer(combo, "YX" if len(shape) == 2 else "".join(AXIS_NAMES))
        self._update()

    def _add(self, number: int) -> None:
        combo = Combo()
        # Five of them side by side, however narrow the dock.
        combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        combo.setMinimumWidth(_NARROWEST)
        combo.setAccessibleName(f"Axis {number + 1}")
        combo.setPlaceholderText("?")
        combo.activated.connect(lambda _, at=number: self._on_choice(at))
        label = QLabel()
        label.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        label.setToolTip("Size of this dimension, in pixels, planes or frames")
        self._grid.addWidget(combo, 0, number)
        self._grid.addWidget(label, 1, number)
        self._grid.setColumnStretch(number, 1)
        self.combos.append(combo)
        self._sizes.append(label)

    def _offer(self, combo: Combo, letters: str) -> None:
        combo.clear()
        for letter in letters:
            combo.addItem(letter)
            role = Qt.ItemDataRole.ToolTipRole
            combo.setItemData(combo.count() - 1, _MEANINGS[letter], role)

    def _on_choice(self, at: int) -> None:
        wanted, before = self.combos[at].currentText(), self._letters[at]
        if wanted == before:
            return
        if wanted in self._letters:
            self._letters[self._letters.index(wanted)] = before
        self._letters[at] = wanted
        self._update()
        self.edited.emit()

    def _update(self) -> None:
        for combo, letter in zip(self.combos, self._letters, strict=False):
            combo.setCurrentIndex(combo.findText(letter) if letter else -1)
            meaning = _MEANINGS.get(letter, "not known yet: choose a letter")
            combo.setToolTip(f"What this dimension is: {meaning}")
