"""Always in view in the batch dock: what runs, Start and Stop, and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QApplication,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
)

if TYPE_CHECKING:
    from napari_blindsound.gui.batch_session import BatchSession

_WHOLE = 1000  # positions of the progress bar
_SHOWN = 2000  # letters of a command line that names a thousand files
_EMPTY = "drop the images to denoise"
_READY = "ready: press Start"
_NO_FOLDER = "choose a folder for the results"
_NO_MODEL = "choose the model file"


class BatchBar(QFrame):
    """Device, progress and time left; Start and Stop; the command line.

    Parameters
    ----------
    session : BatchSession
    """

    def __init__(self, session: BatchSession) -> None:
        super().__init__()
        self.session = session
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self._build()
        session.events.said.connect(self._on_said)
        session.events.failed.connect(self._on_failed)
        self._was_running = False
        self._line = ""
        self.refresh()

    def refresh(self) -> None:
        """Enable what can be done, and show the command line."""
        session = self.session
        self.start.setEnabled(session.can_start)
        self.stop.setEnabled(session.is_running)
        self._show_command(session.command_line())
        if session.is_running:
            self._was_running = True
        elif self._was_running:
            # How it ended stays to be read until something is changed.
            self._was_running = False
        else:
            self.say(self._idle())
        self._show_progress()

    def say(self, text: str) -> None:
        """Say what goes on, in a line."""
        self.status.setText(text)
        self.status.setToolTip(text)

    def _build(self) -> None:
        self.status = QLabel()
        self.status.setSizePolicy(
            QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred
        )
        self.progress = QProgressBar()
        self.progress.setRange(0, _WHOLE)
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(8)
        self.start, self.stop = QPushButton("Start"), QPushButton("■ Stop")
        self.start.setToolTip(
            "Denoise all that is not done yet, one file after the other (Ctrl+Return)"
        )
        self.stop.setToolTip("End within a second; Start goes on from there")
        self.start.clicked.connect(self.session.start)
        self.stop.clicked.connect(self._on_stop)
        self.command = QLineEdit()
        self.command.setReadOnly(True)
        self.command.setFrame(False)
        self.command.setAccessibleName("command line")
        self.copy = QPushButton("copy")
        self.copy.setToolTip("Copy the command line that does the same anywhere")
        self.copy.clicked.connect(self._on_copy)
        buttons, command = QHBoxLayout(), QHBoxLayout()
        buttons.addWidget(self.start)
        buttons.addWidget(self.stop)
        command.addWidget(self.command, 1)
        command.addWidget(self.copy)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(6, 4, 6, 4)
        whole.setSpacing(3)
        whole.addWidget(self.status)
        whole.addWidget(self.progress)
        whole.addLayout(buttons)
        whole.addLayout(command)

    def _idle(self) -> str:
        session = self.session
        if not session.rows:
            return _EMPTY
        if not session.choice.output:
            return _NO_FOLDER
        return _READY if session.choice.is_complete else _NO_MODEL

    def _show_command(self, text: str) -> None:
        if text != self._line:
            self._line = text
            shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
            self.command.setText(shown)
            self.command.setCursorPosition(0)
            self.command.setToolTip(shown)
        self.command.setEnabled(bool(text))
        self.copy.setEnabled(bool(text))

    def _show_progress(self) -> None:
        self.progress.setValue(round(self.session.fraction * _WHOLE))

    def _on_said(self, text: str) -> None:
        self.say(text or self._idle())
        self._show_progress()

    def _on_failed(self, failure: object) -> None:
        if failure is not None:
            self.say("see the message above")

    def _on_stop(self) -> None:
        self.stop.setEnabled(False)
        self.say("stopping…")
        self.session.stop()

    def _on_copy(self) -> None:
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self._line)
            self.say("copied the command line")
