"""Who takes part in a comparison, and what came of it: a table that fills up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView

from napari_blindsound.comparison.tables import (
    GAIN,
    METHOD,
    PACE,
    PSNR,
    REMARK,
    SSIM,
    TRAINING,
    UNCERTAINTY,
)
from napari_blindsound.gui.row_table import (
    DISPLAY,
    FRACTION,
    TIP,
    Bars,
    RowModel,
    RowTable,
)

if TYPE_CHECKING:
    from qtpy.QtCore import QObject
    from qtpy.QtGui import QKeyEvent

    from napari_blindsound.comparison import Row
    from napari_blindsound.gui.compare_session import CompareSession

_CHECK = Qt.ItemDataRole.CheckStateRole
_ALIGN = Qt.ItemDataRole.TextAlignmentRole
_COLUMNS = (METHOD, GAIN, PSNR, SSIM, TRAINING, PACE, UNCERTAINTY, REMARK)
_WIDTHS = (134, 56, 58, 50, 66, 56, 74, 150)
_METHOD, _REMARK = 0, len(_COLUMNS) - 1
_OF_TRUTH = (_COLUMNS.index(PSNR), _COLUMNS.index(SSIM))


class CompareModel(RowModel):
    """Those that can take part, with a tick, and their results.

    Parameters
    ----------
    session : CompareSession
    parent : QObject, optional
    """

    def __init__(self, session: CompareSession, parent: QObject | None = None) -> None:
        heads = [(column.title, column.words) for column in _COLUMNS]
        super().__init__(session, heads, parent)
        self.session = session

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Whether a row can be ticked."""
        found = super().flags(index)
        session = self.session
        if not index.isValid() or index.column() != _METHOD:
            return found
        if not session.contestants[index.row()].is_installed:
            return found & ~Qt.ItemFlag.ItemIsEnabled
        return found | Qt.ItemFlag.ItemIsUserCheckable

    def data(self, index: QModelIndex, role: int = DISPLAY) -> Any:  # noqa: ANN401 - Qt's
        """What a cell shows."""
        number, column = index.row(), index.column()
        row = self.session.rows[number]
        if role == DISPLAY:
            return _text(row, column)
        if role == _CHECK and column == _METHOD:
            is_ticked = number in self.session.ticked
            return Qt.CheckState.Checked if is_ticked else Qt.CheckState.Unchecked
        if role == TIP:
            return self._tip(number, column)
        if role == FRACTION and column == _METHOD:
            return row.fraction if row.state == "training" else None
        if role == _ALIGN and _COLUMNS[column].is_number:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None

    def setData(self, index: QModelIndex, value: Any, role: int = _CHECK) -> bool:  # noqa: ANN401
        """Tick a row, or take the tick off."""
        if role != _CHECK or index.column() != _METHOD or self.session.is_running:
            return False
        is_ticked = Qt.CheckState(value) == Qt.CheckState.Checked
        self.session.tick(index.row(), is_ticked=is_ticked)
        return True

    def _tip(self, number: int, column: int) -> str:
        row = self.session.rows[number]
        if column == _METHOD:
            return self.session.contestants[number].words
        if _COLUMNS[column] is GAIN and row.gain_low is not None:
            return f"{row.gain_low:+.1f} to {row.gain_high:+.1f} dB, from {row.source}"
        return _text(row, column)


class CompareTable(RowTable):
    """Ticks and results; a click on a row shows its result.

    Parameters
    ----------
    session : CompareSession

    Attributes
    ----------
    shown : Signal
        Number of the row whose result shall be shown.
    """

    shown = Signal(int)

    def __init__(self, session: CompareSession) -> None:
        self._rows = CompareModel(session)
        super().__init__(self._rows, _Bars(), _WIDTHS, _OF_TRUTH)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setMinimumHeight(160)
        self.setToolTip("Tick what takes part; a click on a row shows its result")
        self.setAccessibleName("methods to compare, and their results")
        session.events.row_changed.connect(self.show_truths)
        session.events.rows_reset.connect(self.show_truths)
        chosen = self.selectionModel()
        assert chosen is not None
        chosen.selectionChanged.connect(self._on_selection)
        self.show_truths()

    @property
    def selected(self) -> int | None:
        """Number of the selected row."""
        chosen = self.selectionModel()
        rows = chosen.selectedRows() if chosen is not None else []
        return rows[0].row() if rows else None

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Space ticks a row, from whichever of its cells."""
        index = self.currentIndex()
        if event is not None and event.key() == Qt.Key.Key_Space and index.isValid():
            is_ticked = index.row() in self._rows.session.ticked
            self._rows.session.tick(index.row(), is_ticked=not is_ticked)
        else:
            super().keyPressEvent(event)

    def _on_selection(self) -> None:
        number = self.selected
        if number is not None:
            self.shown.emit(number)

    def knows_truth(self) -> bool:
        """Whether there is a truth to compare with."""
        return any(row.psnr is not None for row in self._rows.session.rows)


class _Bars(Bars):
    def is_alarming(self, index: QModelIndex) -> bool:
        return index.column() == _REMARK and str(index.data()).startswith("failed")


def _text(row: Row, column: int) -> str:
    if column != _REMARK or row.is_final:
        return _COLUMNS[column].text(row)
    if row.state == "waiting":
        return ""
    return f"{row.state} {row.fraction:.0%}" if row.fraction else f"{row.state}…"
