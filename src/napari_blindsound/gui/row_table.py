"""What the docks' tables share: a session's rows, how they look, bars in a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QRect, Qt
from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QTableView,
)

from napari_blindsound.gui.themed import Colors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtCore import QObject
    from qtpy.QtGui import QPainter
    from qtpy.QtWidgets import QStyleOptionViewItem

    from napari_blindsound.gui.batch_session import BatchSession
    from napari_blindsound.gui.compare_session import CompareSession

DISPLAY = Qt.ItemDataRole.DisplayRole
TIP = Qt.ItemDataRole.ToolTipRole
FRACTION = Qt.ItemDataRole.UserRole
"""Role of how far a cell's row is, which is drawn as a bar."""
NO_INDEX = QModelIndex()
_SHARE = 90  # of 255: the bar shows through what is written on it


class RowModel(QAbstractTableModel):
    """A session's rows for a view; tells the view of a changed row, and of no other.

    Parameters
    ----------
    session : BatchSession or CompareSession
    columns : sequence of tuple of str
        Name and explanation of each.
    parent : QObject, optional
    """

    def __init__(
        self,
        session: BatchSession | CompareSession,
        columns: Sequence[tuple[str, str]],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._shown, self._columns = session, columns
        session.events.rows_reset.connect(self._on_reset)
        session.events.row_changed.connect(self._on_changed)

    def rowCount(self, parent: QModelIndex = NO_INDEX) -> int:
        """Number of rows."""
        return 0 if parent.isValid() else len(self._shown.rows)

    def columnCount(self, parent: QModelIndex = NO_INDEX) -> int:
        """Number of columns."""
        return 0 if parent.isValid() else len(self._columns)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = DISPLAY
    ) -> str | None:
        """Names of the columns."""
        if orientation is not Qt.Orientation.Horizontal:
            return None
        name, words = self._columns[section]
        if role == DISPLAY:
            return name
        return words if role == TIP else None

    def _on_reset(self) -> None:
        self.beginResetModel()
        self.endResetModel()

    def _on_changed(self, number: int) -> None:
        last = len(self._columns) - 1
        self.dataChanged.emit(self.index(number, 0), self.index(number, last))


class RowTable(QTableView):
    """Shows rows, all of one height, in columns of given widths.

    Parameters
    ----------
    rows : RowModel
    bars : Bars
        Which paints them.
    widths : sequence of int
        In pixels; the last column takes what is left.
    of_truth : sequence of int
        Columns that are shown only where :meth:`knows_truth`.
    """

    def __init__(
        self,
        rows: RowModel,
        bars: Bars,
        widths: Sequence[int],
        of_truth: Sequence[int],
    ) -> None:
        super().__init__()
        # Named, so that neither binding frees it: the view does not own its model.
        self._model, self._bars, self._of_truth = rows, bars, of_truth
        rows.setParent(self)
        bars.setParent(self)
        self.setModel(rows)
        self.setItemDelegate(bars)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setWordWrap(False)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self._lay_out(widths)

    def knows_truth(self) -> bool:
        """Whether a row was compared with a truth; for subclasses."""
        return False

    def show_truths(self) -> None:
        """Columns of what is compared with a truth, only where there is one."""
        is_known = self.knows_truth()
        for column in self._of_truth:
            self.setColumnHidden(column, not is_known)

    def _lay_out(self, widths: Sequence[int]) -> None:
        side, top = self.verticalHeader(), self.horizontalHeader()
        assert side is not None
        assert top is not None
        side.hide()
        # All rows alike: a thousand need not be measured.
        side.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        side.setDefaultSectionSize(self.fontMetrics().height() + 6)
        top.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft)
        top.setHighlightSections(False)
        top.setMinimumSectionSize(24)
        top.setStretchLastSection(True)
        for column, width in enumerate(widths):
            self.setColumnWidth(column, width)


class Bars(QStyledItemDelegate):
    """Paints how far a row is as a bar behind the cell that has a `FRACTION`."""

    def paint(
        self,
        painter: QPainter | None,
        option: QStyleOptionViewItem,
        index: QModelIndex,
    ) -> None:
        """The bar, then the text."""
        fraction = index.data(FRACTION)
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
        """What went wrong in red."""
        super().initStyleOption(option, index)
        if option is not None and self.is_alarming(index):
            red = QColor(Colors.of(option.palette).alarm)
            option.palette.setColor(QPalette.ColorRole.Text, red)

    def is_alarming(self, index: QModelIndex) -> bool:
        """Whether a cell says that something went wrong; for subclasses."""
        del index
        return False
