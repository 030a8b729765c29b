"""What is known of each method on the bench: a row that fills up while it works."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_blindsound.training.events import Source

State = Literal[
    "waiting",
    "training",
    "denoising",
    "judging",
    "done",
    "failed",
    "skipped",
    "stopped",
]

FINAL: tuple[State, ...] = ("done", "failed", "skipped", "stopped")
"""States after which a row does not change any more."""


@dataclass(frozen=True)
class Row:
    """A method or a classical reference, and the last that is known of it.

    Parameters
    ----------
    name, title : str
        What it is asked for by, and shown as.
    is_reference : bool
        Whether it is classical: nothing is learned.
    preset : str
        Settings of the method; empty for a reference.
    state : State
    fraction : float
        Of the training, from 0 to 1.
    seconds_left : float or None
        Of the training.
    stage : str
        Part of the training, as ``stage 2 of 3: likelihood``; empty where there is one.
    message : str
        Why it failed or was left out, in a sentence.
    steps : tuple of int
        Of the training, one number a network.
    train_seconds : float or None
        Preparation and training, wall time.
    pace : float or None
        Seconds to denoise a million pixels, each channel counted.
    gain : float or None
        Decibels by which the error is lower than the noise, estimated; None where
        that cannot be known.
    gain_low, gain_high : float or None
        Bounds of `gain` that hold nineteen times out of twenty.
    source : str
        What the estimate rests on; empty without one.
    psnr, ssim : float or None
        Against the truth, where one was given.
    has_deviation : bool
        Whether the model knows the uncertainty of its result.
    coverage : float or None
        Share of the true pixels within one such deviation, where a truth was given.
    found : mapping of str to float
        Numbers that the training found of the noise, in counts.
    memory : int or None
        Most bytes on a graphics card; None on a processor.
    """

    name: str
    title: str
    is_reference: bool = False
    preset: str = ""
    state: State = "waiting"
    fraction: float = 0.0
    seconds_left: float | None = None
    stage: str = ""
    message: str = ""
    steps: tuple[int, ...] = ()
    train_seconds: float | None = None
    pace: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    source: Source | Literal[""] = ""
    psnr: float | None = None
    ssim: float | None = None
    has_deviation: bool = False
    coverage: float | None = None
    found: Mapping[str, float] = field(default_factory=dict)
    memory: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether it does not change any more."""
        return self.state in FINAL

    def as_data(self) -> dict[str, Any]:
        """Plain data for programs; what is not known, or not finite, is None."""
        data = {name: _plain(value) for name, value in vars(self).items()}
        for name in ("fraction", "seconds_left", "stage"):
            del data[name]
        return data


def known(value: float | None) -> float | None:
    """The number, or None where it is none that can be told."""
    return None if value is None or not math.isfinite(value) else float(value)


def _plain(value: object) -> object:
    if isinstance(value, float):
        return known(value)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value
