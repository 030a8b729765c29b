"""Always in view in the dock of comparisons: what runs, Start, Stop, command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_blindsound.gui.bar import RunBar

if TYPE_CHECKING:
    from napari_blindsound.gui.compare_session import CompareSession


class CompareBar(RunBar):
    """Progress, Start and Stop; the command line.

    Parameters
    ----------
    session : CompareSession
    """

    def __init__(self, session: CompareSession) -> None:
        super().__init__(
            session,
            "Train what is ticked, one by one (Ctrl+Return)",
            "End; the rows that are done stay",
        )
        self.session = session
        self._has_run = False
        self.refresh()

    def refresh(self) -> None:
        """Enable what can be done, and show the command line."""
        super().refresh()
        self._has_run = self._has_run or self.session.is_running
        if not self._has_run:
            self.say(self.idle())

    def idle(self) -> str:
        """What is missing, or that all is ready."""
        session = self.session
        if not session.contestants:
            return "loading the methods…"
        if session.volume is None:
            return "choose an image to compare on"
        return "ready: press Start" if session.ticked else "tick what takes part"
