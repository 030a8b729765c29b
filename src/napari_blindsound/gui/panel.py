"""What the four steps of the dock have in common."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, ClassVar

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_blindsound.gui.themed import Colors

if TYPE_CHECKING:
    from napari_blindsound.gui.failure import Failure, Step
    from napari_blindsound.gui.session import Session


class Panel(QWidget):
    """One step: a view of the session.

    Subclasses fill :attr:`body`, and bring it up to date in :meth:`refresh`.

    Parameters
    ----------
    session : Session

    Attributes
    ----------
    remedied : Signal
        The remedy that the user asked for, a `Remedy`.
    body : QVBoxLayout
        Where the controls go.
    """

    step: ClassVar[Step]
    title: ClassVar[str]
    remedied = Signal(str)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.body = QVBoxLayout()
        self.body.setContentsMargins(0, 0, 0, 0)
        self._complaint = Complaint()
        self._complaint.remedied.connect(self.remedied)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(4, 2, 4, 6)
        whole.addLayout(self.body)
        whole.addWidget(self._complaint)

    def summary(self) -> str:
        """One line for when the step is folded."""
        return ""

    def refresh(self) -> None:
        """Bring the controls up to date with the session."""

    def complain(self, failure: Failure | None) -> None:
        """Show a failure of this step, or that it is over."""
        mine = failure is not None and failure.step == self.step
        self._complaint.show_failure(failure if mine else None)


class Complaint(QWidget):
    """A failure in red, with a button that does something about it."""

    remedied = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.label = QLabel()
        self.label.setWordWrap(True)
        self.label.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.button = QPushButton()
        self.button.clicked.connect(self._on_clicked)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.label, 1)
        row.addWidget(self.button, 0, Qt.AlignmentFlag.AlignTop)
        self.hide()

    def show_failure(self, failure: Failure | None) -> None:
        """Show it, or nothing."""
        self.setVisible(failure is not None)
        if failure is None:
            return
        # napari's style sheet outdoes the palette, but not what the text itself says.
        color = Colors.of(self.palette()).alarm
        self.label.setText(
            f'<span style="color:{color}">{escape(failure.message)}</span>'
        )
        self.button.setText(failure.remedy or "")
        self.button.setVisible(failure.remedy is not None)

    def _on_clicked(self) -> None:
        self.remedied.emit(self.button.text())
