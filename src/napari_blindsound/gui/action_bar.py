"""Always in view: what runs and for how long, and the buttons that begin and end it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QPushButton

from napari_blindsound.gui.bar import Bar
from napari_blindsound.gui.session import State
from napari_blindsound.training.events import Progress
from napari_blindsound.wording import duration

if TYPE_CHECKING:
    from napari_blindsound.gui.session import Session
    from napari_blindsound.inference.events import WriteEvent


class ActionBar(Bar):
    """Device, speed and time left; Start, Pause, Stop, Reset; the command line.

    Attributes
    ----------
    recipe_wanted : Signal
        The recipe file shall be saved to this path.
    """

    recipe_wanted = Signal(Path)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._build_buttons()
        session.events.progressed.connect(self._on_progress)
        session.events.written.connect(self._on_written)
        session.events.said.connect(self.say)
        self.refresh()

    def refresh(self) -> None:
        """Enable what can be done in the session's state."""
        session, state = self.session, self.session.state
        is_stopped = session.can_go_on and not session.is_busy
        enabled = {
            self.start: session.data is not None and not session.is_busy,
            self.pause: state in (State.TRAINING, State.PAUSED) or is_stopped,
            self.stop: session.is_busy,
            self.reset: not session.is_busy
            and (session.denoiser is not None or session.training is not None),
        }
        for button, is_enabled in enabled.items():
            button.setEnabled(is_enabled)
        is_waiting = state is State.PAUSED or is_stopped
        self.pause.setText("Continue" if is_waiting else "Pause")
        self.start.setText("Train anew" if session.can_go_on else "Start")
        if not session.is_busy:
            self._rest(state)
        elif state is State.PAUSED:
            self.say("paused")

    def show_command(self, text: str) -> None:
        """Show the command line that does the same; empty if there is none."""
        super().show_command(text)
        self.recipe.setEnabled(bool(text))

    def _build_buttons(self) -> None:
        self.start = QPushButton("Start")
        self.start.setToolTip("Train on the image, from the beginning (Ctrl+Return)")
        self.pause = QPushButton("Pause")
        self.pause.setToolTip("Let the training wait, or go on with it")
        self.stop.setToolTip("End within a second; what was learned or written is kept")
        self.reset = QPushButton("Reset")
        self.reset.setToolTip("Forget the model that was learned")
        self.start.clicked.connect(self.session.start)
        self.pause.clicked.connect(self._on_pause)
        self.stop.clicked.connect(self._on_stop)
        self.reset.clicked.connect(self.session.reset)
        for button in (self.start, self.pause, self.stop, self.reset):
            self.buttons.addWidget(button)
        self.recipe = QPushButton("recipe…")
        self.recipe.setToolTip(
            "Save a recipe file; 'blindsound repeat FILE' does the same run again"
        )
        self.recipe.clicked.connect(self._on_recipe)
        self.line.addWidget(self.recipe)

    def _rest(self, state: State) -> None:
        words = {
            State.EMPTY: "drop an image here, or open one in napari",
            State.DATA: "looking at the image…",
            State.READY: "ready: press Start",
            State.TRAINED: "trained: apply it in step 4",
            State.DONE: "done: the result is the newest layer",
        }
        self.show_progress(state in (State.TRAINED, State.DONE))
        if self.session.can_go_on:
            self.say("stopped: continue, or apply what was learned")
        elif state is State.TRAINED and self._is_converged:
            self.say("no longer improves: apply it in step 4")
        elif state in words:
            self.say(words[state])

    @property
    def _is_converged(self) -> bool:
        finished = self.session.finished
        return finished is not None and finished.reason == "converged"

    def _on_progress(self, event: object) -> None:
        if not isinstance(event, Progress) or self.session.state is not State.TRAINING:
            return
        self.show_progress(event.fraction)
        device = self.session.device_name
        left = "…"
        if math.isfinite(event.seconds_left):
            most = "at most " if event.may_end else ""
            left = f"{most}{duration(event.seconds_left)} left"
        parts = (event.stage, device, f"{event.steps_per_second:.0f} steps/s", left)
        self.say(" · ".join(part for part in parts if part))

    def _on_written(self, event: WriteEvent) -> None:
        done = event.done / max(event.total, 1)
        self.show_progress(done)
        words = f"{100 * done:.0f} % · {event.message}"
        if event.seconds_left is not None:
            words += f" · {duration(event.seconds_left)} left"
        self.say(words)

    def _on_pause(self) -> None:
        if self.session.state is State.TRAINING:
            self.session.pause()
        else:
            self.session.go_on()

    def _on_stop(self) -> None:
        self.stop.setEnabled(False)
        self.say("stopping…")
        self.session.stop()

    def _on_recipe(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "Save the recipe", "recipe.toml", "Recipe (*.toml)"
        )
        if path:
            self.recipe_wanted.emit(Path(path))
