"""Always in view in the batch dock: what runs, Start and Stop, and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QPushButton

from napari_blindsound.gui.bar import Bar

if TYPE_CHECKING:
    from napari_blindsound.gui.batch_session import BatchSession

_EMPTY = "drop the images to denoise"
_READY = "ready: press Start"
_NO_FOLDER = "choose a folder for the results"
_NO_MODEL = "choose the model file"


class BatchBar(Bar):
    """Device, progress and time left; Start and Stop; the command line.

    Parameters
    ----------
    session : BatchSession
    """

    def __init__(self, session: BatchSession) -> None:
        super().__init__()
        self.session = session
        self._build()
        session.events.said.connect(self._on_said)
        session.events.failed.connect(self._on_failed)
        self._was_running = False
        self.refresh()

    def refresh(self) -> None:
        """Enable what can be done, and show the command line."""
        session = self.session
        self.start.setEnabled(session.can_start)
        self.stop.setEnabled(session.is_running)
        self.show_command(session.command_line())
        if session.is_running:
            self._was_running = True
        elif self._was_running:
            # How it ended stays to be read until something is changed.
            self._was_running = False
        else:
            self.say(self._idle())
        self.show_progress(self.session.fraction)

    def _build(self) -> None:
        self.start = QPushButton("Start")
        self.start.setToolTip(
            "Denoise all that is not done yet, one file after the other (Ctrl+Return)"
        )
        self.stop.setToolTip("End within a second; Start goes on from there")
        self.start.clicked.connect(self.session.start)
        self.stop.clicked.connect(self._on_stop)
        self.buttons.addWidget(self.start)
        self.buttons.addWidget(self.stop)

    def _idle(self) -> str:
        session = self.session
        if not session.rows:
            return _EMPTY
        if not session.choice.output:
            return _NO_FOLDER
        return _READY if session.choice.is_complete else _NO_MODEL

    def _on_said(self, text: str) -> None:
        self.say(text or self._idle())
        self.show_progress(self.session.fraction)

    def _on_failed(self, failure: object) -> None:
        if failure is not None:
            self.say("see the message above")

    def _on_stop(self) -> None:
        self.stop.setEnabled(False)
        self.say("stopping…")
        self.session.stop()
