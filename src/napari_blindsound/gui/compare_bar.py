"""Always in view in the dock of comparisons: what runs, Start, Stop, command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QPushButton

from napari_blindsound.gui.bar import Bar

if TYPE_CHECKING:
    from napari_blindsound.gui.compare_session import CompareSession


class CompareBar(Bar):
    """Progress, Start and Stop; the command line.

    Parameters
    ----------
    session : CompareSession
    """

    def __init__(self, session: CompareSession) -> None:
        super().__init__()
        self.session = session
        self.start = QPushButton("Start")
        self.start.setToolTip("Train what is ticked, one by one (Ctrl+Return)")
        self.stop.setToolTip("End; the rows that are done stay")
        self.start.clicked.connect(session.start)
        self.stop.clicked.connect(self._on_stop)
        self.buttons.addWidget(self.start)
        self.buttons.addWidget(self.stop)
        session.events.said.connect(self._on_said)
        session.events.failed.connect(self._on_failed)
        self._has_run = False
        self.refresh()

    def refresh(self) -> None:
        """Enable what can be done, and show the command line."""
        session = self.session
        self.start.setEnabled(session.can_start)
        self.stop.setEnabled(session.is_running)
        self.show_command(session.command_line())
        self._has_run = self._has_run or session.is_running
        if not self._has_run:
            self.say(self._idle())

    def _idle(self) -> str:
        session = self.session
        if not session.contestants:
            return "loading the methods…"
        if session.volume is None:
            return "choose an image to compare on"
        return "ready: press Start" if session.ticked else "tick what takes part"

    def _on_said(self, text: str) -> None:
        self.say(text)
        self.show_progress(self.session.fraction)

    def _on_failed(self, failure: object) -> None:
        if failure is not None:
            self.say("see the message above")

    def _on_stop(self) -> None:
        self.stop.setEnabled(False)
        self.say("stopping…")
        self.session.stop()
