"""The rows of a batch as a table: the columns of its report that people look at."""

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

from napari_blindsound.gui.themed import Colors
from napari_blindsound.wording import duration

if TYPE_CHECKING:
    from qtpy.QtCore import QObject
    from qtpy.QtGui import QKeyEvent, QPainter
    from qtpy.QtWidgets import QStyleOptionViewItem

    from napari_blindsound.gui.batch_session import BatchSession, Row

_DISPLAY = Qt.ItemDataRole.DisplayRole
_TIP = Qt.ItemDataRole.ToolTipRole
_FRACTION = Qt.ItemDataRole.UserRole
_NO_INDEX = QModelIndex()
_FILE, _STATE = range(2)
_COLUMNS = {
    "file": ("What is denoised; (12 frames) are the files of one stack", 118),
    "state": ("What is being done, and how far it is", 86),
    "noise": ("Photons at the bright pixels, and gain in counts a photon", 72),
    "quality": (
        "By how much the error is lower than the noise, estimated without a clean "
        "image (Stein's unbiased risk estimate) in the middle of the image",
        58,
    ),
    "PSNR": (
        "Peak signal-to-noise ratio of the result against the ground truth that lies "
        "beside the file (gt/cells.tif, cells_gt.tif, FMDD), in decibels",
        60,
    ),
    "SSIM": ("Structural similarity of the result to that ground truth", 52),
    "time": ("Spent on the file so far", 56),
    "message": ("Why a file failed and what to do, or what there is to know", 160),
}
_PSNR, _SSIM = list(_COLUMNS).index("PSNR"), list(_COLUMNS).index("SSIM")
_SHARE = 90  # of 255: the bar shows through what is written on it


class BatchModel(QAbstractTableModel):
    """The session's rows for a view; tells the view of a changed row, and of no other.

    Parameters
    ----------
    session : BatchSession
    parent : QObject, optional
    """

    def __init__(self, session: BatchSession, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.session = session
        session.events.rows_reset.connect(self._on_reset)
        session.events.row_changed.connect(self._on_changed)

    def rowCount(self, parent: QModelIndex = _NO_INDEX) -> int:
        """Number of images."""
        return 0 if parent.isValid() else len(self.session.rows)

    def columnCount(self, parent: QModelIndex = _NO_INDEX) -> int:
        """Number of columns."""
        return 0 if parent.isValid() else len(_COLUMNS)

    def headerData(
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = _DISPLAY,
    ) -> str | None:
        """Names of the columns."""
        if orientation is not Qt.Orientation.Horizontal:
            return None
        name = list(_COLUMNS)[section]
        if role == _DISPLAY:
            return name
        return _COLUMNS[name][0] if role == _TIP else None

    def data(self, index: QModelIndex, role: int = _DISPLAY) -> Any:  # noqa: ANN401 - Qt's
        """What a cell shows."""
        row = self.session.rows[index.row()]
        column = index.column()
        if role == _DISPLAY:
            return _texts(row)[column]
        if role == _TIP:
            return _tip(row, column)
        if role == _FRACTION and column == _STATE:
            return row.event.fraction if not row.event.is_final else None
        return None

    def _on_reset(self) -> None:
        self.beginResetModel()
        self.endResetModel()

    def _on_changed(self, number: int) -> None:
        last = len(_COLUMNS) - 1
        self.dataChanged.emit(self.index(number, 0), self.index(number, last))


class BatchTable(QTableView):
    """Shows the rows; the result of one opens on a double click or Return.

    Parameters
    ----------
    session : BatchSession

    Attributes
    ----------
    opened : Signal
        Number of the row whose result shall be opened.
    removed : Signal
        The selected rows shall be taken out.
    """

    opened = Signal(int)
    removed = Signal()

    def __init__(self, session: BatchSession) -> None:
        super().__init__()
        # Named, so that neither binding frees it: the view does not own its model.
        self._rows = BatchModel(session, self)
        self._bars = _StateBars(self)
        self.setModel(self._rows)
        self.setItemDelegate(self._bars)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setWordWrap(False)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setMinimumHeight(110)
        self.setToolTip(
            "Double click, or Return, opens the result of a file that is done"
        )
        self.setAccessibleName("files of the batch")
        self._lay_out()
        self.doubleClicked.connect(lambda index: self.opened.emit(index.row()))
        session.events.rows_reset.connect(self._show_truths)
        session.events.row_changed.connect(self._on_row)
        self._show_truths()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Return opens a result, Delete takes rows out."""
        key = event.key() if event is not None else None
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.opened.emit(self.currentIndex().row())
        elif key == Qt.Key.Key_Delete:
            self.removed.emit()
        else:
            super().keyPressEvent(event)

    def selected(self) -> list[int]:
        """Numbers of the selected rows."""
        chosen = self.selectionModel()
        return sorted(i.row() for i in chosen.selectedRows()) if chosen else []

    def _on_row(self, number: int) -> None:
        if self._rows.session.rows[number].event.truth is not None:
            self._show_truths()

    def _show_truths(self) -> None:
        """Columns of what is compared with ground truth, only where there is some."""
        is_known = any(row.event.truth for row in self._rows.session.rows)
        for column in (_PSNR, _SSIM):
            self.setColumnHidden(column, not is_known)

    def _lay_out(self) -> None:
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
        for column, (_, width) in enumerate(_COLUMNS.values()):
            self.setColumnWidth(column, width)


class _StateBars(QStyledItemDelegate):
    """Paints how far a row is as a bar behind its state; failed ones in red."""

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
        if option is None:
            return
        if index.column() == _FILE:
            option.textElideMode = Qt.TextElideMode.ElideLeft
        if index.column() == _STATE and index.data() == "failed":
            red = QColor(Colors.of(option.palette).alarm)
            option.palette.setColor(QPalette.ColorRole.Text, red)


def _texts(row: Row) -> tuple[str, ...]:
    """Texts of a row's cells."""
    event = row.event
    state: str = event.state
    if event.fraction and not event.is_final:
        state = f"{state} {event.fraction:.0%}"
    quality = f"{event.quality:+.1f} dB" if event.quality is not None else ""
    seconds = duration(event.seconds) if event.seconds else ""
    psnr = f"{event.truth.psnr:.2f} dB" if event.truth else ""
    ssim = f"{event.truth.ssim:.4f}" if event.truth else ""
    known = (event.noise, quality, psnr, ssim)
    return row.image.title, state, *known, seconds, event.message


def _tip(row: Row, column: int) -> str:
    if column == _FILE:
        return str(row.image.path)
    if column == _STATE and row.event.seconds_left is not None:
        return f"{duration(row.event.seconds_left)} left"
    if column == _STATE:
        return row.event.message
    truth = row.event.truth
    if column == _PSNR and truth is not None:
        return f"{truth.psnr_noisy:.2f} dB before, {truth.planes} planes compared"
    if column == _SSIM and truth is not None:
        return f"{truth.ssim_noisy:.4f} before, {truth.planes} planes compared"
    return _texts(row)[column]
