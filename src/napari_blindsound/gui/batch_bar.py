"""Always in view in the batch dock: what runs, Start and Stop, and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_blindsound.gui.bar import RunBar

if TYPE_CHECKING:
    from napari_blindsound.gui.batch_session import BatchSession

_EMPTY = "drop the images to denoise"
_READY = "ready: press Start"
_NO_FOLDER = "choose a folder for the results"
_NO_MODEL = "choose the model file"


class BatchBar(RunBar):
    """Device, progress and time left; Start and Stop; the command line.

    Parameters
    ----------
    session : BatchSession
    """

    def __init__(self, session: BatchSession) -> None:
        super().__init__(
            session,
            "Denoise all that is not done yet, one file after the other (Ctrl+Return)",
            "End within a second; Start goes on from there",
        )
        self.session = session
        self._was_running = False
        self.refresh()

    def refresh(self) -> None:
        """Enable what can be done, and show the command line."""
        super().refresh()
        if self.session.is_running:
            self._was_running = True
        elif self._was_running:
            # How it ended stays to be read until something is changed.
            self._was_running = False
        else:
            self.say(self.idle())
        self.show_progress(self.session.fraction)

    def idle(self) -> str:
        """What is missing, or that all is ready."""
        session = self.session
        if not session.rows:
            return _EMPTY
        if not session.choice.output:
            return _NO_FOLDER
        return _READY if session.choice.is_complete else _NO_MODEL
