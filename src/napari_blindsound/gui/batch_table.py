"""The rows of a batch as a table: the columns of its report that people look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QModelIndex, Qt, Signal

from napari_blindsound.gui.row_table import (
    DISPLAY,
    FRACTION,
    TIP,
    Bars,
    RowModel,
    RowTable,
)
from napari_blindsound.wording import duration

if TYPE_CHECKING:
    from qtpy.QtCore import QObject
    from qtpy.QtGui import QKeyEvent
    from qtpy.QtWidgets import QStyleOptionViewItem

    from napari_blindsound.gui.batch_session import BatchSession, Row

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


class BatchModel(RowModel):
    """The images of a batch, and the last that is known of each.

    Parameters
    ----------
    session : BatchSession
    parent : QObject, optional
    """

    def __init__(self, session: BatchSession, parent: QObject | None = None) -> None:
        heads = [(name, words) for name, (words, _) in _COLUMNS.items()]
        super().__init__(session, heads, parent)
        self.session = session

    def data(self, index: QModelIndex, role: int = DISPLAY) -> Any:  # noqa: ANN401 - Qt's
        """What a cell shows."""
        row = self.session.rows[index.row()]
        column = index.column()
        if role == DISPLAY:
            return _texts(row)[column]
        if role == TIP:
            return _tip(row, column)
        if role == FRACTION and column == _STATE:
            return row.event.fraction if not row.event.is_final else None
        return None


class BatchTable(RowTable):
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
        self._rows = BatchModel(session)
        widths = [width for _, width in _COLUMNS.values()]
        super().__init__(self._rows, _StateBars(), widths, (_PSNR, _SSIM))
        self.setMinimumHeight(110)
        self.setToolTip(
            "Double click, or Return, opens the result of a file that is done"
        )
        self.setAccessibleName("files of the batch")
        self.doubleClicked.connect(lambda index: self.opened.emit(index.row()))
        session.events.rows_reset.connect(self.show_truths)
        session.events.row_changed.connect(self._on_row)
        self.show_truths()

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
            self.show_truths()

    def knows_truth(self) -> bool:
        """Whether there is ground truth beside an image."""
        return any(row.event.truth for row in self._rows.session.rows)


class _StateBars(Bars):
    """Failed rows in red; of long paths the end."""

    def initStyleOption(
        self, option: QStyleOptionViewItem | None, index: QModelIndex
    ) -> None:
        super().initStyleOption(option, index)
        if option is not None and index.column() == _FILE:
            option.textElideMode = Qt.TextElideMode.ElideLeft

    def is_alarming(self, index: QModelIndex) -> bool:
        return index.column() == _STATE and bool(index.data() == "failed")


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
    if column == _STATE:
        return row.event.left or row.event.message
    truth = row.event.truth
    if column == _PSNR and truth is not None:
        return f"{truth.psnr_noisy:.2f} dB before, {truth.planes} planes compared"
    if column == _SSIM and truth is not None:
        return f"{truth.ssim_noisy:.4f} before, {truth.planes} planes compared"
    return _texts(row)[column]
