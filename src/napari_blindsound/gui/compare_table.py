"""Who takes part in a comparison, and what came of it: a table that fills up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QRect, Qt, Signal
from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QTableView,
)

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
from napari_blindsound.gui.themed import Colors

if TYPE_CHECKING:
    from qtpy.QtCore import QObject
    from qtpy.QtGui import QKeyEvent, QPainter
    from qtpy.QtWidgets import QStyleOptionViewItem

    from napari_blindsound.comparison import Row
    from napari_blindsound.gui.compare_session import CompareSession

_DISPLAY = Qt.ItemDataRole.DisplayRole
_CHECK = Qt.ItemDataRole.CheckStateRole
_TIP = Qt.ItemDataRole.ToolTipRole
_ALIGN = Qt.ItemDataRole.TextAlignmentRole
_FRACTION = Qt.ItemDataRole.UserRole
_NO_INDEX = QModelIndex()
_COLUMNS = (METHOD, GAIN, PSNR, SSIM, TRAINING, PACE, UNCERTAINTY, REMARK)
_WIDTHS = (134, 56, 58, 50, 66, 56, 74, 150)
_METHOD, _REMARK = 0, len(_COLUMNS) - 1
_OF_TRUTH = (_COLUMNS.index(PSNR), _COLUMNS.index(SSIM))
_SHARE = 90  # of 255: the bar shows through what is written on it


class CompareModel(QAbstractTableModel):
    """The session's rows for a view; tells the view of a changed row, and of no other.

    Parameters
    ----------
    session : CompareSession
    parent : QObject, optional
    """

    def __init__(self, session: CompareSession, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.session = session
        session.events.rows_reset.connect(self._on_reset)
        session.events.row_changed.connect(self._on_changed)

    def rowCount(self, parent: QModelIndex = _NO_INDEX) -> int:
        """Number of those that can take part."""
        return 0 if parent.isValid() else len(self.session.rows)

    def columnCount(self, parent: QModelIndex = _NO_INDEX) -> int:
        """Number of columns."""
        return 0 if parent.isValid() else len(_COLUMNS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = _DISPLAY
    ) -> str | None:
        """Names of the columns."""
        if orientation is not Qt.Orientation.Horizontal:
            return None
        column = _COLUMNS[section]
        if role == _DISPLAY:
            return column.title
        return column.words if role == _TIP else None

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Whether a row can be ticked."""
        found = super().flags(index)
        session = self.session
        if not index.isValid() or index.column() != _METHOD:
            return found
        if not session.contestants[index.row()].is_installed:
            return found & ~Qt.ItemFlag.ItemIsEnabled
        return found | Qt.ItemFlag.ItemIsUserCheckable

    def data(self, index: QModelIndex, role: int = _DISPLAY) -> Any:  # noqa: ANN401 - Qt's
        """What a cell shows."""
        number, column = index.row(), index.column()
        row = self.session.rows[number]
        if role == _DISPLAY:
            return _text(row, column)
        if role == _CHECK and column == _METHOD:
            is_ticked = number in self.session.ticked
            return Qt.CheckState.Checked if is_ticked else Qt.CheckState.Unchecked
        if role == _TIP:
            return self._tip(number, column)
        if role == _FRACTION and column == _METHOD:
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

    def _on_reset(self) -> None:
        self.beginResetModel()
        self.endResetModel()

    def _on_changed(self, number: int) -> None:
        self.dataChanged.emit(self.index(number, 0), self.index(number, _REMARK))


class CompareTable(QTableView):
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
        super().__init__()
        # Named, so that neither binding frees it: the view does not own its model.
        self._rows = CompareModel(session, self)
        self._bars = _Bars(self)
        self.setModel(self._rows)
        self.setItemDelegate(self._bars)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setWordWrap(False)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setMinimumHeight(160)
        self.setToolTip("Tick what takes part; a click on a row shows its result")
        self.setAccessibleName("methods to compare, and their results")
        self._lay_out()
        session.events.row_changed.connect(self._show_truth)
        session.events.rows_reset.connect(self._show_truth)
        chosen = self.selectionModel()
        assert chosen is not None
        chosen.selectionChanged.connect(self._on_selection)
        self._show_truth()

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

    def _show_truth(self) -> None:
        """Columns of what is compared with a truth, only where there is one."""
        is_known = any(row.psnr is not None for row in self._rows.session.rows)
        for column in _OF_TRUTH:
            self.setColumnHidden(column, not is_known)

    def _lay_out(self) -> None:
        side, top = self.verticalHeader(), self.horizontalHeader()
        assert side is not None
        assert top is not None
        side.hide()
        side.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        side.setDefaultSectionSize(self.fontMetrics().height() + 6)
        top.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft)
        top.setHighlightSections(False)
        top.setMinimumSectionSize(24)
        top.setStretchLastSection(True)
        for column, width in enumerate(_WIDTHS):
            self.setColumnWidth(column, width)


class _Bars(QStyledItemDelegate):
    """Paints how far a training is as a bar behind its name; failures in red."""

    def paint(
        self,
        painter: QPainter | None,
        option: QStyleOptionViewItem,
        index: QModelIndex,
    ) -> None:
        fraction = index.data(_FRACTION)
        if fraction and painter is not None:
            area: QRect = option.rect.adjusted(1, 2, -1, -2)
            color = QColor(option.palette.color(QPalette.ColorRole.Highlight))
            color.setAlpha(_SHARE)
            area.setWidth(round(area.width() * min(1.0, fraction)))
            painter.fillRect(area, color)
        super().paint(painter, option, index)

    def initStyleOption(
        self, option: QStyleOptionViewItem | None, index: QModelIndex
    ) -> None:
        super().initStyleOption(option, index)
        is_remark = index.column() == _REMARK
        if option is not None and is_remark and str(index.data()).startswith("failed"):
            red = QColor(Colors.of(option.palette).alarm)
            option.palette.setColor(QPalette.ColorRole.Text, red)


def _text(row: Row, column: int) -> str:
    if column != _REMARK or row.is_final:
        return _COLUMNS[column].text(row)
    if row.state == "waiting":
        return ""
    return f"{row.state} {row.fraction:.0%}" if row.fraction else f"{row.state}…"
