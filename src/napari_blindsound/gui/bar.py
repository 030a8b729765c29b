"""What the bars at the foot of the docks share: status, progress, command line."""

from __future__ import annotations

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
