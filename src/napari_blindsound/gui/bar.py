"""What the bars at the foot of the docks share: status, progress, command line."""

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
    from napari_blindsound.gui.compare_session import CompareSession

_WHOLE = 1000  # positions of the progress bar
_SHOWN = 2000  # letters of a command line that names a thousand files


class Bar(QFrame):
    """A line on what goes on, how far it is, buttons, and the command line.

    Subclasses add buttons to :attr:`buttons` and :attr:`line`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self._command = ""
        self.status = QLabel()
        self.status.setSizePolicy(
            QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred
        )
        self.progress = QProgressBar()
        self.progress.setRange(0, _WHOLE)
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(8)
        self.stop = QPushButton("■ Stop")
        self.command = QLineEdit()
        self.command.setReadOnly(True)
        self.command.setFrame(False)
        self.command.setAccessibleName("command line")
        self.copy = QPushButton("copy")
        self.copy.setToolTip("Copy the command line that does the same anywhere")
        self.copy.clicked.connect(self._on_copy)
        self.buttons, self.line = QHBoxLayout(), QHBoxLayout()
        self.line.addWidget(self.command, 1)
        self.line.addWidget(self.copy)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(6, 4, 6, 4)
        whole.setSpacing(3)
        whole.addWidget(self.status)
        whole.addWidget(self.progress)
        whole.addLayout(self.buttons)
        whole.addLayout(self.line)

    def say(self, text: str) -> None:
        """Say what goes on, in a line."""
        self.status.setText(text)
        self.status.setToolTip(text)

    def show_progress(self, fraction: float) -> None:
        """Show how far it is, from 0 to 1."""
        self.progress.setValue(round(fraction * _WHOLE))

    def show_command(self, text: str) -> None:
        """Show the command line that does the same; empty if there is none."""
        if text != self._command:
            self._command = text
            shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
            self.command.setText(shown)
            self.command.setCursorPosition(0)
            self.command.setToolTip(shown)
        self.command.setEnabled(bool(text))
        self.copy.setEnabled(bool(text))

    def _on_copy(self) -> None:
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self._command)
            self.say("copied the command line")


class RunBar(Bar):
    """The bar of a dock whose work is started and stopped as a whole.

    Parameters
    ----------
    session : BatchSession or CompareSession
    start_words, stop_words : str
        What the buttons do.
    """

    def __init__(
        self,
        session: BatchSession | CompareSession,
        start_words: str,
        stop_words: str,
    ) -> None:
        super().__init__()
        self._run = session
        self.start = QPushButton("Start")
        self.start.setToolTip(start_words)
        self.stop.setToolTip(stop_words)
        self.start.clicked.connect(session.start)
        self.stop.clicked.connect(self._on_stop)
        self.buttons.addWidget(self.start)
        self.buttons.addWidget(self.stop)
        session.events.said.connect(self._on_said)
        session.events.failed.connect(self._on_failed)

    def idle(self) -> str:
        """What to say before anything runs; for subclasses."""
        return ""

    def refresh(self) -> None:
        """Enable what can be done, and show the command line."""
        self.start.setEnabled(self._run.can_start)
        self.stop.setEnabled(self._run.is_running)
        self.show_command(self._run.command_line())

    def _on_said(self, text: str) -> None:
        self.say(text or self.idle())
        self.show_progress(self._run.fraction)

    def _on_failed(self, failure: object) -> None:
        if failure is not None:
            self.say("see the message above")

    def _on_stop(self) -> None:
        self.stop.setEnabled(False)
        self.say("stopping…")
        self._run.stop()
