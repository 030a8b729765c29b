"""What a training tells those who watch it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Progress:
    """Sent at most ten times a second while training.

    Attributes
    ----------
    step : int
        Steps done, those before a resumed run included.
    fraction : float
        Part of the training done, from 0 to 1.
    seconds : float
        Time spent training, pauses not counted.
    seconds_left : float
        Estimate from the fraction done so far.
    steps_per_second : float
        Since the last event.
    terms : dict of str to float
        Terms of the loss, averaged over the steps since the last event.
    stage : str
        What is being trained, such as the channel's name; empty when there is one.
    loss : float
        The terms in one number that means the same throughout the training.
    """

    step: int
    fraction: float
    seconds: float
    seconds_left: float
    steps_per_second: float
    terms: dict[str, float]
    stage: str = ""
    loss: float = 0.0


@dataclass(frozen=True, slots=True)
class Finished:
    """Sent once, last."""

    reason: Literal["done", "stopped"]
    step: int
    seconds: float
    stage: str = ""


TrainEvent = Progress | Finished
