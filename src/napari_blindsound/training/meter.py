"""What is told of a training's steps, ten times a second at most."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from napari_blindsound.training.events import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from napari_blindsound.methods.base import Method
    from napari_blindsound.training.trainer import Trainer

EVENT_SECONDS = 0.1


class Meter:
    """Averages what happens between two events, so that events stay rare.

    Parameters
    ----------
    trainer : Trainer
        Whose steps are told of.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._terms: list[dict[str, Tensor]] = []
        self._since = time.perf_counter()
        self._rate = 0.0

    def add(self, terms: dict[str, Tensor]) -> None:
        """Note the terms of a step; none if it was stopped."""
        if not terms:
            return
        if self._terms and self._terms[0].keys() != terms.keys():
            self._terms.clear()  # another stage of the training
        self._terms.append(terms)

    def restart(self) -> None:
        """Leave out the time that the consumer of the last event took."""
        self._since = time.perf_counter()

    @property
    def is_due(self) -> bool:
        """Whether the next event may be sent."""
        return time.perf_counter() - self._since >= EVENT_SECONDS

    def read(self) -> Progress:
        """Event for the steps since the last one; the only wait for the device."""
        trainer, now = self._trainer, time.perf_counter()
        if self._terms:
            self._rate = len(self._terms) / max(now - self._since, 1e-9)
        means = {
            name: torch.stack([terms[name] for terms in self._terms]).mean().item()
            for name in (self._terms[0] if self._terms else ())
        }
        self._terms, self._since = [], now
        left = trainer.forecast.left(trainer)
        return Progress(
            step=trainer.step,
            fraction=trainer.done,
            seconds=trainer.seconds,
            seconds_left=left.seconds,
            steps_per_second=self._rate,
            terms=means,
            network=trainer.network,
            loss=trainer.method.curve(means, trainer.progress),
            stage=_in_words(trainer.method, trainer.progress),
            may_end=left.is_most,
        )


def _in_words(method: Method, progress: float) -> str:
    """Which stage of a training this is; empty where there is only one."""
    stages = method.stages
    if len(stages) == 1:
        return ""
    number, _ = method.stage_at(progress)
    return f"stage {number + 1} of {len(stages)}: {stages[number].name}"
