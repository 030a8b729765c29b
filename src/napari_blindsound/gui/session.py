"""State of one dock, without widgets: what was chosen, learned and made of it.

Widgets call its methods and listen to its events; they keep nothing themselves. All
methods are called on the GUI thread and return at once.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from psygnal import Signal, SignalGroup

from napari_blindsound.errors import ModelError
from napari_blindsound.gui import live, work
from napari_blindsound.gui.failure import Failure, explain
from napari_blindsound.gui.live import Controls, Prepared, Preview, Request, Trained
from napari_blindsound.gui.plan import Plan
from napari_blindsound.gui.preferences import Preferences, preferences
from napari_blindsound.gui.work import Checked
from napari_blindsound.gui.workers import Workers
from napari_blindsound.training.events import Finished

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from napari_blindsound.gui.data import Data
    from napari_blindsound.gui.failure import Step
    from napari_blindsound.gui.worker import Work
    from napari_blindsound.gui.workers import Place
    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.inference.events import WriteEvent
    from napari_blindsound.job import Job
    from napari_blindsound.methods.base import Method
    from napari_blindsound.pace import Pace
    from napari_blindsound.recipe import Recipe, Training


class State(StrEnum):
    """How far the user has come."""

    EMPTY = "empty"
    DATA = "data"
    READY = "ready"
    TRAINING = "training"
    PAUSED = "paused"
    TRAINED = "trained"
    APPLYING = "applying"
    DONE = "done"


class Events(SignalGroup):
    """What widgets listen to; all are emitted on the GUI thread."""

    changed = Signal()
    progressed = Signal(object)
    previewed = Signal(object)
    written = Signal(object)
    applied = Signal(object)
    failed = Signal(object)
    said = Signal(str)


class Session:
    """One dock's state.

    Attributes
    ----------
    events : Events
        ``changed`` after anything below has; ``progressed`` with each event of a
        training, ``previewed`` with a `Preview`, ``written`` with a `WriteEvent`,
        ``applied`` with the path of a complete result, ``failed`` with a `Failure` or
        None when it is over, ``said`` with a word on what goes on.
    state : State
    data : Data or None
    checked : Checked or None
    plan : Plan
    recipe : Recipe or None
        Of the training that runs or ran.
    pace : Pace or None
    denoiser : Denoiser or None
    model_path : Path or None
        Where the model was saved to or loaded from.
    blend : float or None
        Weight of the second of the method's two ends; None for its best estimate.
    learned : Denoiser or None
        The model before any adjustment.
    adjustment : mapping of str to object
        Settings of the model that were changed after its training, by name.
    failure : Failure or None
    finished : Finished or None
        How the training ended, once it has.
    methods : mapping of str to type of Method
        By name; empty until they have been imported, which takes seconds.
    devices : sequence of str
        Of this computer; known with the methods.
    """

    def __init__(self, chosen: Preferences | None = None) -> None:
        self.preferences = chosen or preferences()
        self.events = Events()
        self.state = State.EMPTY
        self.data: Data | None = None
        self.checked: Checked | None = None
        self.plan = Plan(device=self.preferences.device)
        self.recipe: Recipe | None = None
        self.pace: Pace | None = None
        self.denoiser: Denoiser | None = None
        self.model_path: Path | None = None
        self.blend: float | None = None
        self.adjustment: Mapping[str, object] = {}
        self.learned: Denoiser | None = None
        self._must_paint = False
        self.failure: Failure | None = None
        self.training: Training | None = None
        self.finished: Finished | None = None
        self.device_name = ""
        self._learned_from: Data | None = None
        self._earlier: tuple[Recipe | None, Data | None] = None, None
        self.methods: Mapping[str, type[Method]] = {}
        self.devices: Sequence[str] = ()
        self.controls = Controls(self.preferences.preview_seconds)
        self._is_written = False
        self._workers = Workers()

    @property
    def is_busy(self) -> bool:
        """Whether something runs that Stop ends."""
        return self.is_training or self.state is State.APPLYING

    @property
    def is_training(self) -> bool:
        """Whether a training runs or waits."""
        return self.state in (State.TRAINING, State.PAUSED)

    @property
    def is_learned_here(self) -> bool:
        """Whether the model was trained on the data, by the recipe."""
        return self.recipe is not None and self._learned_from is self.data

    @property
    def can_go_on(self) -> bool:
        """Whether a training was stopped before its end."""
        training = self.training
        return training is not None and training.reason == "stopped"

    @property
    def is_trained_out(self) -> bool:
        """Whether a training came to its end, be it early."""
        return self.finished is not None and self.finished.reason != "stopped"

    def choose(self, data: Data | None) -> None:
        """Take other data; the model learned so far stays, and can be applied to it."""
        self._refuse_while_busy()
        self._clear_failure()
        self.data, self.checked, self.pace = data, None, None
        self._workers.drop("check")
        self._workers.drop("paint")
        self._untrained()
        if data is not None:
            self.check()

    def prepare(self) -> None:
        """Import what is large while the user looks around."""
        self.run("import", work.importing, self._on_imported, "train")

    def restrict(self, ranges: Mapping[str, slice]) -> None:
        """Train on a part; the model learned so far stays."""
        self._refuse_while_busy()
        if self.data is not None and ranges != self.data.ranges:
            self.data = replace(self.data, ranges=dict(ranges))
            self._untrained()
            self.check()
            self.events.changed.emit()

    def set_plan(self, plan: Plan) -> None:
        """Choose how to train next time."""
        if plan == self.plan:
            return
        old = self.plan
        as_long = replace(plan, unit=old.unit, amount=old.amount, ending=old.ending)
        self.plan = plan
        if as_long != old:
            self.pace = None
        self.events.changed.emit()

    def check(self) -> None:
        """Look at the data, and measure the speed."""
        if self.data is not None:
            self.checked = None
            task = partial(work.checking, self.data, self.plan)
            self.run("check", task, self._on_checked, "check")

    def start(self) -> None:
        """Train from the beginning."""
        self._refuse_while_busy()
        if self.data is None:
            return
        self._clear_failure()
        self._untrained()
        self._workers.drop("check")
        task = partial(work.training, self.data, self.plan, self.pace, self.controls)
        self._to(State.TRAINING)
        self.events.said.emit("reading patches…")
        self.run("main", task, self._on_trained, "train")

    def pause(self) -> None:
        """Let the training wait."""
        if self.state is State.TRAINING:
            self.controls.pause.set()
            self._to(State.PAUSED)

    def go_on(self) -> None:
        """Continue a training that was paused or stopped."""
        self.controls.pause.clear()
        if self.state is State.PAUSED:
            self._to(State.TRAINING)
        elif self.can_go_on and self.data is not None and self.training is not None:
            self.finished = None
            self._to(State.TRAINING)
            task = partial(live.watched, self.data, self.training, self.controls)
            self.run("main", task, self._on_trained, "train")

    def stop(self) -> None:
        """End what runs within a second; what was learned or written stays."""
        self._workers.stop("main")

    def reset(self) -> None:
        """Forget what was learned."""
        self._refuse_while_busy()
        self._workers.drop("paint")
        self.denoiser = self.learned = self.model_path = self.blend = None
        self.adjustment = {}
        self._clear_failure()
        self._untrained()

    def _untrained(self) -> None:
        if self.training is not None:
            self.training.close()
        self.training = self.finished = None
        self.controls.pause.clear()
        if self.denoiser is not None:
            self._to(State.TRAINED)
            return
        self.recipe = self._learned_from = None
        if self.data is None:
            self._to(State.EMPTY)
        else:
            self._to(State.DATA if self.checked is None else State.READY)

    def look(self, request: Request | None) -> None:
        """Want what is looked at denoised; None ends it."""
        self.controls.ask(request)
        self._paint()

    def set_blend(self, weight: float | None) -> None:
        """Mix the method's two ends in all that is made from now on."""
        self.blend = weight
        self.events.changed.emit()

    def adjust(self, changes: Mapping[str, object]) -> None:
        """Change settings of the model that no weight depends on; none is as learned.

        What is looked at is denoised anew, and so is all that is made from now on.
        """
        if self.learned is None or self.is_busy:
            return
        try:
            self.denoiser = self.learned.adjusted(changes)
        except ModelError as error:
            self.fail(error, "train")
            return
        self.forgive("train")
        self.adjustment = dict(changes)
        self.events.changed.emit()
        self._must_paint = True
        self._paint()

    def model(self) -> Denoiser | None:
        """The model as it is applied: with the blend chosen."""
        if self.denoiser is None or self.blend is None:
            return self.denoiser
        return self.denoiser.with_output(blend=self.blend)

    def save_model(self, path: Path) -> None:
        """Write the model; a failure is told, and nothing lost."""
        model = self.model()
        if model is None:
            return
        try:
            self.model_path = model.save(path)
        except Exception as error:  # noqa: BLE001 - whatever it is, the user must know
            self._fail(explain(error, "apply"))
        else:
            self.events.said.emit(f"model saved as {path.name}")
            self.events.changed.emit()

    def load_model(self, path: Path) -> None:
        """Take a model from a file instead of training one."""
        self._refuse_while_busy()
        self._clear_failure()
        task = partial(work.loading, path, self.plan.device)
        self.run("main", task, partial(self._on_loaded, path), "apply")

    def take_model(self, model: Denoiser) -> None:
        """Take a model that was trained elsewhere, such as in a comparison."""
        self._refuse_while_busy()
        self._clear_failure()
        self._on_loaded(None, model)

    def write(
        self,
        job: Job,
        targets: Sequence[tuple[Volume, Path]],
        *,
        resume: bool = True,
        scheduler: str | None = None,
    ) -> None:
        """Denoise images to disk, as a job says, or let a scheduler's workers do it."""
        self._refuse_while_busy()
        model = self.model()
        if model is None:
            return
        self._clear_failure()
        self._is_written = False
        self._to(State.APPLYING)
        task = partial(work.writing, job, model, tuple(targets), resume, scheduler)
        self.run("main", task, self._on_written, "apply")

    def run(
        self,
        place: Place,
        task: Work,
        on_event: Callable[[Any], None],
        step: Step,
    ) -> None:
        """Work in a thread; what it tells counts only while it is the last one.

        Parameters
        ----------
        place : Place
            What it is for; what was at work there ends.
        task : callable
            As for a `Worker`.
        on_event : callable
            Told what it yields, on the GUI thread.
        step : Step
            Where a failure is told.
        """
        self._workers.run(
            place,
            task,
            on_event,
            on_failed=partial(self._on_failed, place=place, step=step),
            on_finished=partial(self._on_finished, place),
        )

    def is_at_work(self, place: Place) -> bool:
        """Whether something runs there."""
        return place in self._workers

    def drop(self, place: Place) -> None:
        """End what runs there, and hear nothing more of it."""
        self._workers.drop(place)

    def fail(self, error: BaseException, step: Step) -> None:
        """Tell what went wrong in a widget."""
        self._fail(explain(error, step))

    def forgive(self, step: Step) -> None:
        """What was wrong in a widget has been put right."""
        if self.failure is not None and self.failure.step == step:
            self._clear_failure()

    def close(self, seconds: float = 0.0) -> None:
        """End all work and free the model.

        Parameters
        ----------
        seconds : float
            How long to wait for the threads.
        """
        self.controls.ask(None)
        self.controls.pause.clear()
        self._workers.close(seconds)
        if self.training is not None:
            self.training.close()
        self.training = self.denoiser = self.learned = None
        self.data = self.checked = None
        self.state = State.EMPTY

    def _on_imported(self, event: work.Imported) -> None:
        self.methods, self.devices = event.methods, event.devices
        self.events.changed.emit()

    def _on_checked(self, event: Checked | Pace) -> None:
        if isinstance(event, Checked):
            self.checked = event
            if self.state is State.DATA:
                self._to(State.READY)
            else:
                self.events.changed.emit()
        else:
            self.pace = event
            self.events.changed.emit()

    def _on_trained(self, event: object) -> None:
        if isinstance(event, Prepared):
            self.training, self.pace = event.training, event.pace
            self.device_name = event.device
            # An earlier model, and what is known of it, stays until there is a new one.
            self._earlier = self.recipe, self._learned_from
            self.recipe, self._learned_from = event.recipe, self.data
            self.events.changed.emit()
        elif isinstance(event, Preview):
            self.events.previewed.emit(event)
        elif isinstance(event, Trained):
            self._learned(event.denoiser)
        else:
            if isinstance(event, Finished):
                self.finished = event
            self.events.progressed.emit(event)

    def _learned(self, denoiser: Denoiser) -> None:
        training = self.training
        origin = denoiser.provenance
        if origin["ended"] != "done" and not all(origin["steps"]):
            self.recipe, self._learned_from = self._earlier
            self._untrained()
            self.events.said.emit("stopped before anything was learned")
            return
        self._take(denoiser)
        if training is not None and self.is_trained_out:
            training.close()
        self.controls.pause.clear()
        self._to(State.TRAINED)
        self._paint()

    def _take(self, denoiser: Denoiser) -> None:
        self.denoiser = self.learned = denoiser
        self.adjustment = {}

    def _on_loaded(self, path: Path | None, model: Denoiser) -> None:
        self.reset()
        self._take(model)
        self.model_path = path
        self._to(State.TRAINED)
        self._paint()

    def _on_written(self, event: WriteEvent) -> None:
        self.events.written.emit(event)
        self._is_written = event.path is not None
        if event.path is not None:
            self.events.applied.emit(event.path)

    def _on_failed(self, error: BaseException, place: Place, step: Step) -> None:
        self._fail(explain(error, step))
        if place != "main":
            return
        self._is_written = False
        if self.is_training:
            # What was learned until then is good.
            if self.training is not None:
                self._learned(self.training.denoiser())
            else:
                self._untrained()

    def _on_finished(self, place: Place) -> None:
        if place == "main" and self.state is State.APPLYING:
            self._to(State.DONE if self._is_written else State.TRAINED)
        elif place == "main" and self.is_busy:
            self._untrained()
        if place == "paint" and (self.controls.is_new or self._must_paint):
            self._paint()
        if place == "trust":
            self.events.changed.emit()

    def _paint(self) -> None:
        """Denoise what is looked at, unless a training does."""
        if self.is_training or self.data is None or self.denoiser is None:
            return
        if self.controls.request is None or "paint" in self._workers:
            return
        self._must_paint = False
        task = partial(work.painting, self.data, self.denoiser, self.controls)
        self.run("paint", task, self.events.previewed.emit, "train")

    def _fail(self, failure: Failure) -> None:
        self.failure = failure
        self.events.failed.emit(failure)

    def _clear_failure(self) -> None:
        if self.failure is not None:
            self.failure = None
            self.events.failed.emit(None)

    def _refuse_while_busy(self) -> None:
        if self.is_busy:
            msg = f"stop first: the dock is {self.state}"
            raise RuntimeError(msg)

    def _to(self, state: State) -> None:
        self.state = state
        self.events.changed.emit()
