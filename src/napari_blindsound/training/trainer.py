"""The training loop: a generator of events that can be stopped, saved and continued."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from napari_blindsound.errors import ModelError
from napari_blindsound.networks.device import pick_device
from napari_blindsound.networks.memory import keep_freed_memory
from napari_blindsound.training.checkpoint import prefixed, under
from napari_blindsound.training.config import TrainConfig
from napari_blindsound.training.descent import Descent
from napari_blindsound.training.events import (
    Finished,
    Judged,
    Reason,
    TrainEvent,
)
from napari_blindsound.training.forecast import Forecast
from napari_blindsound.training.gradient import Gradient
from napari_blindsound.training.meter import Meter
from napari_blindsound.training.schedules import SCHEDULES, care
from napari_blindsound.training.stopping import LEAST_GAIN, Stopping
from napari_blindsound.training.threads import Slowdown, Threads, fixed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from napari_blindsound.methods.base import Method
    from napari_blindsound.training.judge import Judge
    from napari_blindsound.training.sampling import PatchSampler

__all__ = ["TrainConfig", "Trainer"]


class Trainer:
    """Trains a method on patches.

    Parameters
    ----------
    method : Method
        Trained in place.
    patches : PatchSampler
        Where crops come from; on the same device.
    config : TrainConfig
    network : str
        What is being trained, passed on in the events.
    stop_after : int, optional
        Step at which to end as if stopped; the schedule is that of the whole training.
    one_thread_after : int, optional
        Step from which only one thread of the processor is used.
    may_fall_back : bool
        Go on with one thread where several have become slow, and keep the step in
        :attr:`one_thread_after`.
    judge : Judge, optional
        Needed where the config asks for the best weights: estimates how good they are.

    Attributes
    ----------
    one_thread_after : int or None
        Step from which one thread was used; None if there was none.
    forecast : Forecast
        Of the time that is left.
    has_stages : bool
        Whether the method learns in several.
    """

    def __init__(
        self,
        method: Method,
        patches: PatchSampler,
        config: TrainConfig,
        *,
        network: str = "",
        stop_after: int | None = None,
        one_thread_after: int | None = None,
        may_fall_back: bool = False,
        judge: Judge | None = None,
    ) -> None:
        self.config, self.network = config, network
        self._stop_after = stop_after
        self.one_thread_after = one_thread_after
        self._may_fall_back = may_fall_back
        keep_freed_memory()
        self.device = pick_device(config.device)
        self.method = method.to(self.device)
        self.method.random.manual_seed(config.seed)
        self.descent = Descent(self.method)
        # After the average's copy, which stays plain.
        self._gradient = Gradient(self.method, self.device, compiled=config.compile)
        self.patches = patches
        self.step = 0
        self.seconds = 0.0
        # What was drawn for a step that was stopped, and the sampler's state before.
        self._drawn: tuple[Tensor, Tensor | None] | None = None
        self._before_draw: dict[str, Any] = {}
        self._steps = config.steps
        if config.steps is None and config.seconds is None:
            self._steps = method.config.steps
        self.stopping = (
            None
            if judge is None
            else Stopping(
                judge,
                config.ending or "last",
                step_pixels=step_pixels(method),
                schedule=method.config.schedule,
                stages=len(method.stages),
                warm=self.is_warm,
                least_gain=config.least_gain or LEAST_GAIN,
            )
        )
        self.has_stages = len(method.stages) > 1
        self.forecast = Forecast()

    @property
    def averaged(self) -> Method:
        """Running average of the weights, at any time the best there is.

        What previews, stopped and finished trainings use. Read it between two events.
        """
        return self.descent.averaged

    @property
    def result(self) -> Method:
        """The weights to keep: averaged ones, the last or earlier and better ones."""
        return self.stopping.chosen(self.averaged) if self.stopping else self.averaged

    @property
    def used(self) -> float:
        """Part of the budget used, steps or time, whichever is further."""
        by_steps = self.step / self._steps if self._steps else 0.0
        by_time = self.seconds / self.config.seconds if self.config.seconds else 0.0
        return min(1.0, max(by_steps, by_time))

    @property
    def budget_steps(self) -> int | None:
        """Steps of the whole training; None where only its time is known."""
        return self._steps

    @property
    def last_step(self) -> int | None:
        """Step at which it ends at the latest; None where nobody knows."""
        known = [s for s in (self._steps, self._stop_after) if s is not None]
        return min(known, default=None)

    @property
    def progress(self) -> float:
        """What the learning rate and the loss depend on, from 0 to 1."""
        end = self.stopping.open_end if self.stopping else None
        return end.progress(self.step, self.used) if end else self.used

    @property
    def fraction(self) -> float:
        """Part of the training done; it may be done before the budget is used."""
        if self._steps == 0:
            return 1.0
        end = self.stopping.open_end if self.stopping else None
        return end.done(self.step, self.used) if end else self.used

    @property
    def done(self) -> float:
        """Part of the work done: there is less where it is to be stopped early."""
        if self._stop_after is None:
            return self.fraction
        part = self.step / self._stop_after if self._stop_after else 1.0
        return min(1.0, max(self.fraction, part))

    @property
    def is_warm(self) -> bool:
        """Whether it started from weights that denoise already."""
        return bool(self.method.started_from)

    @property
    def _care(self) -> float:
        """Part of the learning rate, where there is something that would be lost."""
        if not self.method.is_delicate:
            return 1.0
        steps = self.step / self.used if self.used else self._steps or 0
        if self.stopping and self.stopping.open_end:
            steps = self.step
        return care(steps)

    @property
    def _is_alone(self) -> bool:
        after = self.one_thread_after
        return after is not None and self.step >= after

    def run(self, stop: threading.Event | None = None) -> Iterator[TrainEvent]:
        """Train until done or told to stop.

        Parameters
        ----------
        stop : threading.Event, optional
            Set it from anywhere; training ends within a second, and the averaged
            weights are good. Run again, it goes on as if it had not been stopped.

        Yields
        ------
        TrainEvent
            `Progress` at most ten times a second, `Judged` now and then where the best
            weights are asked for, and `Finished` last.
        """
        stop = stop or threading.Event()
        meter = Meter(self)
        by_clock = self._steps is None and self.config.threads is None
        threads = Threads(
            adapt=by_clock and self.device.type == "cpu", count=self.config.threads
        )
        slowdown = Slowdown()
        if self.done < 1:
            self.forecast.rehearse(self)
        self.forecast.note(self)
        if self.is_warm and not self.step:
            # What it starts from is worth a look.
            yield meter.read()
        while self.done < 1 and not stop.is_set():
            started = time.perf_counter()
            with fixed(1) if self._is_alone else threads.used():
                judged = self._look(stop)
                between = time.perf_counter()
                terms = self._advance(stop)
            spent = time.perf_counter() - between
            self.seconds += time.perf_counter() - started
            self.forecast.note(self)
            threads.note(spent)
            if self._may_fall_back and not self._is_alone and slowdown.note(spent):
                self.one_thread_after = self.step
            meter.add(terms)
            if judged:
                yield judged
            if meter.is_due:
                yield meter.read()
                meter.restart()
        with fixed(1) if self._is_alone else threads.used():
            last = self._look_last()
        yield meter.read()
        if last:
            yield last
        yield self._finished()

    def skip_to(self, progress: float) -> None:
        """Go to a part of a training by steps, without what comes before it."""
        assert self._steps is not None
        self.step = round(progress * self._steps)

    def _look_last(self) -> Judged | None:
        """Judge the weights at the end; one that was not left is judged again later."""
        if self.stopping and self.fraction < 1:
            self.stopping.forget(self.step)
            return None
        return self._look(threading.Event(), at_once=True)

    def _finished(self) -> Finished:
        """Why it is over, and what is kept."""
        reason: Reason = "done" if self.fraction >= 1 else "stopped"
        if self.stopping is None:
            return Finished(reason, self.step, self.seconds, self.network)
        if reason == "done" and self.stopping.has_settled:
            reason = "converged"
        kept = self.stopping.kept
        return Finished(
            reason,
            self.step,
            self.seconds,
            self.network,
            best_step=self.stopping.kept_step(self.step),
            gain=kept.gain if kept else None,
            words=self.stopping.words(reason, self.step),
        )

    def _look(self, stop: threading.Event, *, at_once: bool = False) -> Judged | None:
        """Judge the averaged weights, if that is due."""
        stopping = self.stopping
        if stopping is None:
            return None
        stopping.keep_within(self.step, self.used)
        if not (at_once or stopping.is_due(self.step)):
            return None
        found = stopping.look(self.averaged, self.step, self.used, stop)
        if found is None:
            return None
        return Judged(
            step=self.step,
            seconds=self.seconds,
            gain=found.gain,
            error=found.error,
            identity=found.identity,
            is_best=found is stopping.best,
            source=stopping.source,
            network=self.network,
        )

    def _advance(self, stop: threading.Event) -> dict[str, Tensor]:
        """One optimizer step; nothing is changed if stopped in the middle."""
        progress = self.progress
        stage, within = self.method.stage_at(progress)
        self.descent.enter(stage)
        self.descent.prepare(
            SCHEDULES[self.method.config.schedule](within) * self._care
        )
        noisy, weight = self._draw()
        total = self._gradient.find(noisy, weight, progress, stop)
        if not total:
            return {}
        self.descent.step(self.step)
        self.step += 1
        self._drawn = None
        return total

    def _draw(self) -> tuple[Tensor, Tensor | None]:
        """Crops for this step: those of a step that was stopped are taken again."""
        if self._drawn is None:
            self._before_draw = self.patches.state()
            self._drawn = self.patches.draw()
        return self._drawn

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the rest of the training depends on: tensors and plain data."""
        tensors, moved = self.descent.state()
        tensors["random"] = self.method.random.get_state()
        numbers = {
            "training": self._identity(),
            "step": self.step,
            "seconds": self.seconds,
            **moved,
            "one_thread_after": self.one_thread_after,
            "patches": self._before_draw if self._drawn else self.patches.state(),
        }
        if self.stopping:
            found, numbers["stopping"] = self.stopping.state()
            tensors |= prefixed("stopping", found)
        return tensors, numbers

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Continue from :meth:`state`, identically.

        Raises
        ------
        ModelError
            If the state is that of another method, other settings or another seed.
        """
        if numbers.get("training") != self._identity():
            msg = (
                f"the checkpoint is of another training: it holds "
                f"{numbers.get('training')}, this is {self._identity()}; use the same "
                f"method, settings and seed, or start anew"
            )
            raise ModelError(msg)
        self.descent.restore(tensors, numbers)
        self.method.random.set_state(tensors["random"])
        self.step, self.seconds = numbers["step"], numbers["seconds"]
        self.one_thread_after = numbers.get("one_thread_after")
        self.patches.restore(numbers["patches"])
        self._drawn = None
        if self.stopping:
            found = under("stopping", tensors)
            self.stopping.restore(found, numbers["stopping"], self.averaged)

    def _identity(self) -> dict[str, Any]:
        # Without judgements, checkpoints are those from before there were any.
        ending: dict[str, Any] = {}
        if self.stopping:
            ending["ending"] = self.config.ending
            if self.config.least_gain:
                ending["least_gain"] = self.config.least_gain
        start = {"started_from": self.method.started_from} if self.is_warm else {}
        return {
            **ending,
            **start,
            "method": self.method.name,
            "config": self.method.config.facts(),
            "channels": self.method.channels,
            "seed": self.config.seed,
            # Named so in checkpoints from before methods had stages.
            "stage": self.network,
        }


def step_pixels(method: Method) -> int:
    """Pixels that go through the network in one step, there and back."""
    config = method.config
    masked = getattr(config, "phases", 1)
    return config.batch * config.patch**2 * method.channels * (3 * masked + 1)
