"""How long a training will still take, as its own steps tell.

The rate is that of the last half of the steps or of the time, the shorter: neither the
preparation nor the first steps, which are slow, count for long, and a computer that
others make slow is followed. Where time is what was given, it is known; where a
training ends by itself, what is known is the longest that it can take.
"""

from __future__ import annotations

import math
import threading
import time
from copy import deepcopy
from typing import TYPE_CHECKING, NamedTuple

import torch

from napari_blindsound.training.gradient import Gradient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_blindsound.methods.base import Method
    from napari_blindsound.training.trainer import Trainer

_KEPT = 256  # moments that are remembered
_HALF = 0.5
_FEW = 8
"""Steps of a later stage that tell less of it than the stages before."""
_SLOW = 0.5  # s, a step that takes longer is not rehearsed twice


class Left(NamedTuple):
    """What is left of a training.

    Parameters
    ----------
    seconds : float
        Infinite while nothing is known.
    is_most : bool
        Whether it may end sooner, by itself.
    """

    seconds: float
    is_most: bool = False


class Tempo:
    """Seconds that a step takes, in each stage of a training.

    Parameters
    ----------
    costs : sequence of float
        Of a step in each stage, in any unit: what is known before one was done. All
        alike where there are none.
    """

    def __init__(self, costs: Sequence[float] = ()) -> None:
        self.costs = list(costs)
        self._known: dict[int, float] = {}
        self._stage = -1
        self._moments: list[tuple[int, float]] = []

    def note(self, step: int, seconds: float, stage: int = 0) -> None:
        """Remember when a step of a stage began.

        Parameters
        ----------
        step : int
            Steps done.
        seconds : float
            Of training so far.
        stage : int
            From 0.
        """
        if stage != self._stage:
            self._measure()
            self._stage, self._moments = stage, []
        self._moments.append((step, seconds))
        if len(self._moments) > _KEPT:
            self._moments = self._moments[::2]

    def of_stage(self, stage: int) -> float:
        """Seconds a step; infinite while no step has been timed."""
        self._measure()
        if stage in self._known or not self._known:
            return self._known.get(stage, math.inf)
        latest = max(self._known)
        share = self.costs[stage] / self.costs[latest] if self.costs else 1.0
        return self._known[latest] * share

    def _measure(self) -> None:
        """Look at the last half of the steps, or of the time, in this stage."""
        is_first = not self._known
        if len(self._moments) <= (1 if is_first else _FEW):
            return
        (first, begun), (last, now) = self._moments[0], self._moments[-1]
        middle, since = first + _HALF * (last - first), begun + _HALF * (now - begun)
        for step, seconds in self._moments[:-1]:
            if step <= middle or seconds <= since:
                first, begun = step, seconds
        if last > first:
            self._known[self._stage] = (now - begun) / (last - first)


class Forecast:
    """Says what is left of a training.

    It is told of the trainer each time and keeps none: a trainer that is let go of is
    gone at once, and with it the image.

    Attributes
    ----------
    afterwards : float
        Work that comes after the last step, in steps of the last stage.
    """

    def __init__(self) -> None:
        self.afterwards, self._tempo = 0.0, Tempo()

    def rehearse(self, trainer: Trainer) -> None:
        """Time a step of each stage, where there are several and no clock ends them."""
        by_steps = trainer.config.seconds is None
        if trainer.has_stages and by_steps and not self._tempo.costs:
            self._tempo.costs = stage_costs(trainer.method, trainer.device)

    def note(self, trainer: Trainer) -> None:
        """Remember when the step that is next began."""
        stage = 0
        if trainer.has_stages:
            stage, _ = trainer.method.stage_at(trainer.progress)
        self._tempo.note(trainer.step, trainer.seconds, stage)

    def left(self, trainer: Trainer) -> Left:
        """What is left, with what comes after the last step."""
        end = trainer.stopping.open_end if trainer.stopping else None
        bounds = [math.inf]
        if trainer.config.seconds is not None:
            bounds.append(trainer.config.seconds - trainer.seconds)
        if trainer.last_step is not None:
            bounds.append(self._until(trainer, trainer.last_step))
        if end and end.cools_from:
            bounds.append(self._until(trainer, end.last_step))
        if trainer.done >= 1:
            bounds.append(0.0)
        seconds = max(0.0, min(bounds))
        if self.afterwards:
            # What is then applied is what the last stage has taught.
            last = self._tempo.of_stage(len(trainer.method.stages) - 1)
            seconds += self.afterwards * last if math.isfinite(last) else 0.0
        return Left(seconds, end is not None and not end.cools_from)

    def _until(self, trainer: Trainer, last: float) -> float:
        """Seconds from the present step to another."""
        begun = seconds = 0.0
        whole = trainer.budget_steps or math.inf
        for number, stage in enumerate(trainer.method.stages):
            until = stage.end * whole if stage.end < 1 else math.inf
            steps = min(last, until) - max(trainer.step, begun)
            if steps > 0:
                seconds += steps * self._tempo.of_stage(number)
            begun = until
        return seconds


def together(trainers: Sequence[Trainer]) -> Left:
    """What is left of several trainings that take turns.

    One that has not begun takes as long as the others on average.
    """
    lefts = [trainer.forecast.left(trainer) for trainer in trainers]
    known = [left.seconds for left in lefts if math.isfinite(left.seconds)]
    if not known:
        return Left(math.inf, any(left.is_most for left in lefts))
    seconds = sum(known) * len(lefts) / len(known)
    return Left(seconds, any(left.is_most for left in lefts))


def stage_costs(method: Method, device: torch.device) -> list[float]:
    """Seconds of a step in the middle of each stage; the method is left as it is.

    Parameters
    ----------
    method : Method
        Whose copy does the steps, on noise.
    device : torch.device
        Where it is.
    """
    twin, config = deepcopy(method), method.config
    side = max(1, config.patch // method.stride) * method.stride
    random = torch.Generator().manual_seed(0)
    shape = config.batch, method.inputs, side, side
    noisy = torch.rand(shape, generator=random).to(device)
    costs, begun = [], 0.0
    for stage in method.stages:
        middle, begun = (begun + stage.end) / 2, stage.end
        spent = _seconds_of_step(twin, noisy, middle)
        if spent < _SLOW:
            spent = _seconds_of_step(twin, noisy, middle)
        costs.append(spent)
    return costs


def _seconds_of_step(method: Method, noisy: Tensor, progress: float) -> float:
    started = time.perf_counter()
    gradient = Gradient(method, noisy.device)
    for term in gradient.find(noisy, None, progress, threading.Event()).values():
        term.item()  # waits for the device
    method.zero_grad()
    return time.perf_counter() - started
