"""State of the dock of comparisons, without widgets: who takes part, and how it went.

Widgets call its methods and listen to its events; they keep nothing themselves. All
methods are called on the GUI thread and return at once.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from psygnal import Signal, SignalGroup

from napari_blindsound.comparison import CompareConfig, Row
from napari_blindsound.comparison.config import DEFAULT_SECONDS
from napari_blindsound.comparison.tables import (
    as_csv,
    as_markdown,
    caption,
    progress_of,
)
from napari_blindsound.gui import compare_work
from napari_blindsound.gui.failure import explain
from napari_blindsound.gui.finding import Found, find
from napari_blindsound.gui.preferences import preferences
from napari_blindsound.gui.workers import Workers
from napari_blindsound.wording import option, shell_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_blindsound.comparison.run import Comparison, Result, Told
    from napari_blindsound.gui.compare_work import Contestant
    from napari_blindsound.gui.preferences import Preferences
    from napari_blindsound.gui.worker import Work
    from napari_blindsound.gui.workers import Place
    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.denoiser import Denoiser

Unit = Literal["seconds", "steps"]


class CompareEvents(SignalGroup):
    """What widgets listen to; all are emitted on the GUI thread."""

    changed = Signal()
    rows_reset = Signal()
    row_changed = Signal(int)
    began = Signal()
    made = Signal(int)
    failed = Signal(object)
    said = Signal(str)


class CompareSession:
    """State of one dock.

    Attributes
    ----------
    events : CompareEvents
        ``changed`` after the choice or whether it runs has; ``rows_reset`` when there
        are other rows, ``row_changed`` with the number of one; ``began`` when a
        comparison starts, ``made`` with the number of a row that has a result;
        ``failed`` with a `Failure`, or None when it is over; ``said`` with a word on
        what goes on.
    contestants : sequence of Contestant
        Empty until they have been imported, which takes seconds.
    rows : list of Row
        One a contestant.
    ticked : set of int
        Numbers of those that take part.
    found : Found or None
        The image.
    truth : Volume or None
    unit : {"seconds", "steps"}
    amount : float
        Of the training of each method.
    comparison : Comparison or None
        The last one.
    """

    def __init__(self, chosen: Preferences | None = None) -> None:
        self.events = CompareEvents()
        self.contestants: Sequence[Contestant] = ()
        self.rows: list[Row] = []
        self.ticked: set[int] = set()
        self.found: Found | None = None
        self.truth: Volume | None = None
        self.unit: Unit = "seconds"
        self.amount = DEFAULT_SECONDS
        self.comparison: Comparison | None = None
        self._device = (chosen or preferences()).device
        self._numbers: list[int] = []
        self._results: dict[int, Result] = {}
        self._workers = Workers()

    @property
    def is_running(self) -> bool:
        """Whether a comparison runs."""
        return "main" in self._workers

    @property
    def can_start(self) -> bool:
        """Whether all is chosen that a comparison needs."""
        return self.volume is not None and bool(self.ticked) and not self.is_running

    @property
    def volume(self) -> Volume | None:
        """The image that is compared on: what its layer shows."""
        found = self.found
        if found is None or found.channel is None or "C" not in found.image.axes:
            return None if found is None else found.image
        return found.image.select(C=found.channel)

    @property
    def fraction(self) -> float:
        """Part of the comparison that is done."""
        rows = [self.rows[number] for number in self._numbers]
        done = sum(1.0 if row.is_final else 0.9 * row.fraction for row in rows)
        return done / len(rows) if rows else 0.0

    @property
    def shown_rows(self) -> list[Row]:
        """Rows of the last comparison, those that took part."""
        return [self.rows[number] for number in self._numbers]

    def result(self, number: int) -> Result | None:
        """What a row made; None if there is nothing."""
        return self._results.get(number)

    def model(self, number: int) -> Denoiser | None:
        """The trained model of a row; None if there is none."""
        found = self._results.get(number)
        return None if found is None else found.denoiser

    def config(self) -> CompareConfig:
        """What is chosen."""
        chosen = [self.contestants[number] for number in sorted(self.ticked)]
        return CompareConfig(
            methods=tuple(one.name for one in chosen if not one.is_reference),
            references=tuple(one.name for one in chosen if one.is_reference),
            seconds=self.amount if self.unit == "seconds" else DEFAULT_SECONDS,
            steps=int(self.amount) if self.unit == "steps" else None,
            device=self._device,
        )

    def command_line(self) -> str:
        """The one line for a shell that does the same; empty while there is none."""
        found = self.found
        if found is None or len(found.paths) != 1 or not self.ticked:
            return ""
        config = self.config()
        words = ["blindsound", "compare", found.paths[0]]
        words += option("axes", found.axes) + option("image", found.number)
        words += option("channel", found.channel)
        for name in ("methods", "references"):
            words += option(name, ",".join(getattr(config, name)) or "none")
        if config.steps is None:
            words += option("budget", config.seconds)
        else:
            words += option("steps", config.steps)
        words += option("device", None if self._device == "auto" else self._device)
        return shell_line([*words, "-o", "COMPARISON"])

    def prepare(self) -> None:
        """Import what is large in a thread, so that no click has to wait for it."""
        self._run("import", compare_work.offering, self._on_offer)

    def choose(
        self,
        shown: Volume | None,
        paths: tuple[str, ...] = (),
        channel: int | None = None,
        number: int | None = None,
    ) -> None:
        """Compare on what a layer shows; its file is looked for in a thread."""
        self._workers.drop("check")
        self.found = None
        self.events.failed.emit(None)
        if shown is not None and paths:
            task = partial(find, shown, paths, channel, number)
            self._run("check", task, self._on_found)
        elif shown is not None:
            self.found = Found(shown, shown.axes.names)
        self.events.changed.emit()

    def set_truth(self, truth: Volume | None) -> None:
        """Hold results against a clean image, or against none."""
        self.truth = truth
        self.events.changed.emit()

    def set_budget(self, amount: float, unit: Unit) -> None:
        """Say how long each method is trained."""
        if (amount, unit) != (self.amount, self.unit):
            self.amount, self.unit = amount, unit
            self.events.changed.emit()

    def tick(self, number: int, *, is_ticked: bool) -> None:
        """Let one take part, or not."""
        if self.is_running or not self.contestants[number].is_installed:
            return
        self.ticked = self.ticked | {number} if is_ticked else self.ticked - {number}
        self.events.row_changed.emit(number)
        self.events.changed.emit()

    def start(self) -> None:
        """Train all that are ticked, one after the other."""
        volume = self.volume
        if not self.can_start or volume is None:
            return
        self.comparison = None
        self._results.clear()
        self._numbers = sorted(self.ticked)
        self.rows = [_waiting(one) for one in self.contestants]
        self.events.failed.emit(None)
        task = partial(compare_work.comparing, volume, self.truth, self.config())
        self._run("main", task, self._on_event)
        self.events.rows_reset.emit()
        self.events.began.emit()
        self.events.said.emit("getting ready…")
        self.events.changed.emit()

    def stop(self) -> None:
        """End it; the rows that are done stay."""
        self._workers.stop("main")

    def table(self, kind: Literal["Markdown", "CSV"]) -> str:
        """The table of the last comparison, with its caption where that has a place."""
        rows = self.shown_rows
        if kind == "CSV":
            return as_csv(rows)
        done = self.comparison
        return as_markdown(rows, "" if done is None else caption(done.facts(), rows))

    def save(self, folder: Path) -> None:
        """Write tables, pictures and models to a folder."""
        if self.comparison is not None:
            self.events.said.emit(f"writing {folder.name}…")
            task = partial(compare_work.reporting, self.comparison, folder)
            self._run("paint", task, self._on_report)

    def fail(self, error: BaseException) -> None:
        """Tell what went wrong."""
        self.events.failed.emit(explain(error, "train"))

    def close(self, seconds: float = 0.0) -> None:
        """End all work and free the models; wait for the threads so long."""
        self._workers.close(seconds)
        self._results.clear()
        self.comparison = self.found = self.truth = None

    def _run(self, place: Place, task: Work, heard: Callable[[Any], None]) -> None:
        self._workers.run(
            place,
            task,
            heard,
            on_failed=self.fail,
            on_finished=partial(self._on_finished, place),
        )

    def _on_offer(self, offer: tuple[Contestant, ...]) -> None:
        self.contestants = offer
        self.rows = [_waiting(one) for one in offer]
        self.ticked = {n for n, one in enumerate(offer) if one.is_installed}
        self.events.rows_reset.emit()
        self.events.changed.emit()

    def _on_found(self, found: Found) -> None:
        self.found = found
        self.events.changed.emit()

    def _on_event(self, event: compare_work.Began | Told) -> None:
        if isinstance(event, compare_work.Began):
            self.comparison = event.comparison
            return
        number = self._numbers[event.number]
        self.rows[number] = event.row
        if event.result is not None:
            self._results[number] = event.result
        self.events.row_changed.emit(number)
        if event.result is not None:
            self.events.made.emit(number)
        self.events.said.emit(progress_of(event.row))

    def _on_report(self, path: Path) -> None:
        self.events.said.emit(f"saved as {path.parent.name}/{path.name}")

    def _on_finished(self, place: Place) -> None:
        if place == "main":
            self.events.said.emit(self._summary())
            self.events.changed.emit()

    def _summary(self) -> str:
        states = [row.state for row in self.shown_rows]
        words = [f"{states.count('done')} of {len(states)} done"]
        words += [
            f"{states.count(state)} {state}"
            for state in ("failed", "skipped", "stopped")
            if state in states
        ]
        return " · ".join(words)


def _waiting(one: Contestant) -> Row:
    return Row(one.name, one.title, is_reference=one.is_reference)
