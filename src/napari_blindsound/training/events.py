"""What a training tells those who watch it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reason = Literal["done", "stopped", "converged"]

Ending = Literal["last", "best", "auto"]
"""What ends a training, and with which weights: its budget and the last ones; the same
and the best ones; or no more gain, at the latest the budget, and the best ones."""

Source = Literal["repeats", "stein", "blind error"]
"""What an estimated error rests on: frames of the same scene; the variance of the noise
and Stein's formula; predictions of pixels that the network did not see, less their
noise."""

MOST_DECIBELS = 13.0
"""More gain is not told apart: the rest is less than the noise is uncertain by."""


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
        Estimate from the steps done so far, with what comes after the last one.
    steps_per_second : float
        Since the last event.
    terms : dict of str to float
        Terms of the loss, averaged over the steps since the last event.
    network : str
        What is being trained, such as the channel's name; empty when there is one.
    loss : float
        The terms in one number that means the same throughout the stage.
    stage : str
        The part of the training, as ``stage 2 of 3: likelihood``; empty where there is
        only one.
    may_end : bool
        Whether it may end sooner, so that `seconds_left` is the most that it can take.
    """

    step: int
    fraction: float
    seconds: float
    seconds_left: float
    steps_per_second: float
    terms: dict[str, float]
    network: str = ""
    loss: float = 0.0
    stage: str = ""
    may_end: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """Sent each time that a training judges itself, where it was asked to.

    Attributes
    ----------
    step : int
        Steps done.
    seconds : float
        Time spent training, pauses not counted.
    gain : float
        Decibels by which denoising lowers the error of the image; NaN where nothing is
        known of its noise.
    error : float
        The squared error in the network's units; where nothing is known of the noise,
        that of predicting a pixel from its neighbors.
    identity : float
        Near 1 where denoising works, near 0 where the network has become the identity.
    is_best : bool
        Whether no earlier weights were better.
    source : {"repeats", "stein", "blind error"}
        What the estimate rests on.
    network : str
        What is being trained, as in `Progress`.
    """

    step: int
    seconds: float
    gain: float
    error: float
    identity: float
    is_best: bool
    source: Source
    network: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """Sent once, last.

    Attributes
    ----------
    reason : {"done", "stopped", "converged"}
        The budget was used up, somebody ended it, or training brought no more gain.
    step : int
        Steps done.
    seconds : float
        Time spent training.
    network : str
        What was trained.
    best_step : int or None
        Number of steps after which the weights were those kept, where the training
        judged itself.
    gain : float or None
        Estimated gain of these weights, as in `Judged`.
    words : str
        Why it ended and what was kept, for people; empty where there was no choice.
    """

    reason: Reason
    step: int
    seconds: float
    network: str = ""
    best_step: int | None = None
    gain: float | None = None
    words: str = ""


TrainEvent = Progress | Judged | Finished
