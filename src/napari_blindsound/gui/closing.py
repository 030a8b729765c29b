"""A dock that ends its work, in whichever of napari's ways it is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from qtpy.QtCore import QCoreApplication, QEvent, QObject, QTimer
from qtpy.QtWidgets import QWidget

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QShowEvent

QUIT_SECONDS = 3.0
"""How long the program waits for threads when it ends."""


class _Ending:
    """Ends the work of a dock when Qt destroys the widget.

    That may be in the middle of Python's collection of garbage, which then must not
    have taken this apart: it is kept here until it has been called.
    """

    _kept: ClassVar[set[_Ending]] = set()

    def __init__(self, close_work: Callable[[float], None]) -> None:
        self._close_work = close_work
        self._kept.add(self)

    def __call__(self) -> None:
        self._kept.discard(self)
        self._close_work(0)


class ClosingDock(QWidget):
    """Takes what is dropped, and ends when its dock, window or program does.

    Parameters
    ----------
    close_work : callable
        Ends all threads; takes the seconds to wait for them. It must not hold the
        widget, which is gone when Qt's destruction of it is told.
    """

    def __init__(self, close_work: Callable[[float], None]) -> None:
        super().__init__()
        self.setAcceptDrops(True)
        self._close_work = close_work
        self.destroyed.connect(_Ending(close_work))
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._end_if_closed)
        app = QCoreApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(self._on_quit)

    def end(self) -> None:
        """End all work and let go of the viewer; may be called more than once."""
        self._close_work(0)

    def take(self, event: QDropEvent) -> None:
        """Take what was dropped; for subclasses."""

    def event(self, event: QEvent | None) -> bool:
        """End all work when napari takes this out of its dock."""
        done = bool(super().event(event))
        # Qt sends events before the rest of the constructor has run.
        changed = event is not None and event.type() == QEvent.Type.ParentChange
        if changed and hasattr(self, "_soon") and self.parentWidget() is None:
            self._soon.start(0)
        return done

    def showEvent(self, event: QShowEvent | None) -> None:
        """Find out when the window that this is in gets closed."""
        window = self.window()
        if window is not None:
            window.installEventFilter(self)
        super().showEvent(event)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """End all work when the window closes."""
        if event is not None and event.type() == QEvent.Type.Close:
            self._soon.start(0)
        return bool(super().eventFilter(watched, event))

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """End all work when the dock closes."""
        self.end()
        super().closeEvent(event)

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Take files and folders."""
        data = event.mimeData() if event is not None else None
        if event is not None and data is not None and data.hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Take what was dropped."""
        if event is not None:
            self.take(event)
            event.acceptProposedAction()

    def _end_if_closed(self) -> None:
        window = self.window()
        if window is None or not window.isVisible():
            self.end()

    def _on_quit(self) -> None:
        self._close_work(QUIT_SECONDS)
