"""How long a training lasts, and what decides its end."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from napari_blindsound.training.events import Ending


class TrainConfig(BaseModel):
    """How long to train, where, and from which seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int | None = Field(
        None,
        ge=0,
        description="steps of training; without steps, seconds and ending, the preset "
        "says how long; 0 leaves a warm start as it is",
    )
    seconds: float | None = Field(
        None, gt=0, description="time to train; the first of steps and seconds ends it"
    )
    ending: Ending | None = Field(
        None,
        description="when to end, with which weights: last, after all steps or seconds "
        "with the last ones; best, likewise with the best ones; auto, with the best "
        "ones as soon as more steps bring nothing; by default last where steps or "
        "seconds are given, except in the preset best",
    )
    least_gain: float | None = Field(
        None,
        gt=0,
        description="decibels that twice the steps must bring for a training that "
        "ends by itself to go on; by default 0.05, and 0.01 in the preset best",
    )
    seed: int = Field(0, ge=0, description="seed of every random choice")
    device: str = Field("auto", description="auto, cpu, cuda (or cuda:1), mps")
    threads: int | None = Field(
        None,
        ge=1,
        description="processor threads of work on the CPU, part of what decides its "
        "bits; by default torch's own number",
    )
    compile: bool = Field(
        False,
        description="compile the network before training (torch.compile): a minute or "
        "more at the start, which only long trainings can earn back",
    )
