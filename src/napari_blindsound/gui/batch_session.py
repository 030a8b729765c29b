"""State of the batch dock, without widgets: the rows, what to do with them, how far.

Widgets call its methods and listen to its events; they keep nothing themselves. All
methods are called on the GUI thread and return at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from psygnal import Signal, SignalGroup

from napari_blindsound.batch.rows import RowEvent
from napari_blindsound.errors import DataError
from napari_blindsound.gui import batch_work, work
from napari_blindsound.gui.batch_choice import Choice
from napari_blindsound.gui.failure import explain
from napari_blindsound.gui.preferences import preferences
from napari_blindsound.gui.workers import Workers
from napari_blindsound.wording import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from napari_blindsound.batch import Found
    from napari_blindsound.gui.batch_work import Began, Looked
    from napari_blindsound.gui.preferences import Preferences
    from napari_blindsound.gui.work import Imported
    from napari_blindsound.gui.worker import Work
    from napari_blindsound.gui.workers import Place
    from napari_blindsound.images.layers import LayerData
    from napari_blindsound.methods.base import Method
    from napari_blindsound.recipe import Recipe

    _Source = tuple[Path, tuple[Path, ...]]

_MODEL = ".blindsound"
_WAITING = RowEvent(None, "waiting")


@dataclass
class Row:
    """An image of the batch, and the last that is known of it."""

    image: Found
    event: RowEvent = _WAITING


class BatchEvents(SignalGroup):
    """What widgets listen to; all are emitted on the GUI thread."""

    changed = Signal()
    rows_reset = Signal()
    row_changed = Signal(int)
    failed = Signal(object)
    said = Signal(str)
    opened = Signal(object)


class BatchSession:
    """State of one batch dock.

    Attributes
    ----------
    events : BatchEvents
        ``changed`` after the choice, the methods or whether it runs have;
        ``rows_reset`` when there are other rows, ``row_changed`` with the number of
        one; ``failed`` with a `Failure` of the whole run, or None when it is over;
        ``said`` with a word on what goes on; ``opened`` with the layers of a result.
    rows : list of Row
    choice : Choice
    methods : mapping of str to type of Method
        Empty until they have been imported, which takes seconds.
    shared : RowEvent or None
        How far the model for all is.
    device : str
        Where it computes; empty while not known.
    """

    def __init__(self, chosen: Preferences | None = None) -> None:
        self.events = BatchEvents()
        self.rows: list[Row] = []
        self.choice = Choice(device=(chosen or preferences()).device)
        self.methods: Mapping[str, type[Method]] = {}
        self.shared: RowEvent | None = None
        self.device = ""
        self._pending: list[Path] = []
        self._below: dict[Path | None, set[_Source]] = {}
        self._workers = Workers()

    @property
    def is_running(self) -> bool:
        """Whether a batch runs."""
        return "main" in self._workers

    @property
    def can_start(self) -> bool:
        """Whether all is chosen that a run needs."""
        return bool(self.rows) and self.choice.is_complete and not self.is_running

    @property
    def fraction(self) -> float:
        """Part of what is being done: the model for all, then the rows."""
        if self.shared is not None and not self.shared.is_final:
            return self.shared.fraction
        done = sum(
            1.0 if row.event.is_final else row.event.fraction / 2 for row in self.rows
        )
        return done / len(self.rows) if self.rows else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimate by the rows that were done; None while there is none."""
        took = [row.event.seconds for row in self.rows if row.event.state == "done"]
        if not took:
            return None
        waiting = sum(row.event.state == "waiting" for row in self.rows)
        now = [row.event.seconds_left or 0.0 for row in self.rows if _is_worked(row)]
        return waiting * sum(took) / len(took) + sum(now)

    def count(self, *states: str) -> int:
        """How many rows are in one of these states."""
        return sum(row.event.state in states for row in self.rows)

    def command_line(self) -> str:
        """The one line for a shell that does the same; empty while it cannot."""
        if not (self.rows and self.choice.is_complete):
            return ""
        return self.choice.command_line(self._named())

    def prepare(self) -> None:
        """Import what is large in a thread, so that no click has to wait for it."""
        self._run("import", work.importing, self._on_methods)

    def add(self, paths: Sequence[Path]) -> None:
        """Add the images in files and folders, those that are not there yet.

        A model file among them is the model to apply.
        """
        for path in paths:
            if path.suffix.lower() == _MODEL and not self.is_running:
                choice = replace(self.choice, model="file", model_file=str(path))
                self.choose(choice)
        images = [path for path in paths if path.suffix.lower() != _MODEL]
        if not images:
            return
        self._pending += images
        if not self.choice.output:
            folder = str(images[0].parent / "denoised")
            self.choose(replace(self.choice, output=folder))
        if "check" not in self._workers:
            self._find()

    def remove(self, numbers: Sequence[int]) -> None:
        """Take rows out."""
        if not self.is_running:
            gone = set(numbers)
            self._set_rows([r for i, r in enumerate(self.rows) if i not in gone])

    def clear(self) -> None:
        """Take all rows out."""
        if not self.is_running:
            self._below.clear()
            self._set_rows([])

    def split(self, numbers: Sequence[int]) -> None:
        """Take stacks of frames for an image each."""
        if self.is_running:
            return
        from napari_blindsound.batch.finding import apart

        rows: list[Row] = []
        for number, row in enumerate(self.rows):
            split = number in numbers and row.image.can_split
            rows += [Row(one) for one in apart(row.image)] if split else [row]
        self._set_rows(rows)

    def choose(self, choice: Choice) -> None:
        """Change what is done."""
        if choice != self.choice:
            self.choice = choice
            self.events.changed.emit()

    def use_recipe(self, recipe: Recipe) -> None:
        """Train as a recipe says, such as that of the other dock."""
        self.choose(self.choice.with_recipe(recipe))

    def start(self) -> None:
        """Do what is not done yet, one image after the other."""
        if not self.can_start:
            return
        self.shared = None
        self.events.failed.emit(None)
        for number in range(len(self.rows)):
            self._set(number, _WAITING)
        images = tuple(row.image for row in self.rows)
        task = partial(batch_work.running, images, self.choice, self.command_line())
        self._run("main", task, self._on_events)
        self.events.said.emit("getting ready…")
        self.events.changed.emit()

    def stop(self) -> None:
        """End the run within a second; the next one goes on from there."""
        self._workers.stop("main")

    def open_result(self, number: int) -> None:
        """Open the result of a row lazily, if it has one."""
        path = self.rows[number].event.path
        if path is not None:
            self.events.said.emit(f"opening {path.name}…")
            self._run("paint", partial(batch_work.opening, path), self._on_opened)

    def close(self, seconds: float = 0.0) -> None:
        """End all work, and wait for the threads so long."""
        self._workers.close(seconds)

    def _run(self, place: Place, task: Work, heard: Callable[[Any], None]) -> None:
        self._workers.run(
            place,
            task,
            heard,
            on_failed=self._fail,
            on_finished=partial(self._on_finished, place),
        )

    def _find(self) -> None:
        paths, self._pending = tuple(self._pending), []
        self.events.said.emit("looking for images…")
        self._run("check", partial(batch_work.finding, paths), self._on_found)

    def _on_methods(self, event: Imported) -> None:
        self.methods = event.methods
        self.events.changed.emit()

    def _on_found(self, event: Looked) -> None:
        known = {_source(row.image) for row in self.rows}
        new = [Row(one) for one in event.images if _source(one) not in known]
        for row in new:
            self._below.setdefault(row.image.root, set()).add(_source(row.image))
        self._set_rows([*self.rows, *new])
        if event.missing:
            self._fail(DataError("; ".join(event.missing)))
        else:
            self.events.failed.emit(None)

    def _on_events(self, told: Began | tuple[RowEvent, ...]) -> None:
        if isinstance(told, batch_work.Began):
            self.device = told.device
            return
        for event in told:
            if event.row is None:
                self.shared = event
            else:
                self._set(event.row, event)
        self.events.said.emit(self._progress(told[-1]))

    def _on_opened(self, layers: list[LayerData]) -> None:
        self.events.opened.emit(layers)
        self.events.said.emit("opened the result")

    def _on_finished(self, place: Place) -> None:
        if place == "main":
            self.events.said.emit(self._summary())
            self.events.changed.emit()
        elif place == "check":
            if self._pending:
                self._find()
            else:
                self.events.said.emit("")

    def _fail(self, error: BaseException) -> None:
        self.events.failed.emit(explain(error, "apply"))

    def _set_rows(self, rows: list[Row]) -> None:
        self.rows = rows
        self.events.rows_reset.emit()
        self.events.changed.emit()

    def _set(self, number: int, event: RowEvent) -> None:
        if event.state == "failed":
            message = explain(DataError(event.message), "apply").message
            event = replace(event, message=message)
        self.rows[number].event = event
        self.events.row_changed.emit(number)

    def _progress(self, event: RowEvent) -> str:
        """Where it computes, what, and for how long still."""
        if event.row is None:
            what, left = f"{event.state}: {event.message}", event.left
        else:
            seconds = self.seconds_left
            left = f"{duration(seconds)} left" if seconds else ""
            ended = sum(row.event.is_final for row in self.rows)
            what = f"{ended} of {len(self.rows)} done"
        words = [self.device, what, left]
        return " · ".join(word for word in words if word)

    def _summary(self) -> str:
        if self.shared is not None and self.shared.state == "stopped":
            return "stopped: Start goes on from here"
        words = [f"{self.count('done', 'skipped')} of {len(self.rows)} done"]
        if failed := self.count("failed"):
            words.append(f"{failed} failed")
        if self.count("stopped", "waiting"):
            words.append("Start goes on from here")
        return " · ".join(words)

    def _named(self) -> list[Path]:
        """Shortest list of paths that stands for the rows."""
        left: dict[Path | None, set[_Source]] = {}
        for row in self.rows:
            left.setdefault(row.image.root, set()).add(_source(row.image))
        paths = [
            root
            if (root := row.image.root) is not None
            and left[root] == self._below.get(root)
            else row.image.path
            for row in self.rows
        ]
        return list(dict.fromkeys(paths))


def _source(image: Found) -> _Source:
    return image.path, image.files[:1]


def _is_worked(row: Row) -> bool:
    return not (row.event.is_final or row.event.state == "waiting")
