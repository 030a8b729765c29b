"""Several networks trained in turns, told of as one training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_blindsound.training.events import (
    Finished,
    Judged,
    Progress,
    Reason,
    TrainEvent,
)
from napari_blindsound.training.forecast import together

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

    from napari_blindsound.training.trainer import Trainer

_ORDER: tuple[Reason, ...] = ("converged", "done", "stopped")


def in_turns(
    trainers: Sequence[Trainer], stop: threading.Event
) -> Iterator[TrainEvent]:
    """Train all of them, so that all are equally far when stopped.

    Parameters
    ----------
    trainers : sequence of Trainer
        At least one.
    stop : threading.Event
        Ends all of them within a second.

    Yields
    ------
    TrainEvent
        With the steps and seconds of all networks; `Finished` once, last.
    """
    running = dict(enumerate(trainer.run(stop) for trainer in trainers))
    found: dict[int, Finished] = {}
    while running:
        for index, events in list(running.items()):
            event = next(events)
            if isinstance(event, Finished):
                found[index] = event
                del running[index]
            elif isinstance(event, Judged):
                yield replace(event, step=steps(trainers), seconds=seconds(trainers))
            else:
                yield _overall(event, trainers)
    ends = [found[index] for index in range(len(trainers))]
    yield ends[0] if len(ends) == 1 else _finished(ends, trainers)


def steps(trainers: Sequence[Trainer]) -> int:
    """Steps of all networks."""
    return sum(trainer.step for trainer in trainers)


def seconds(trainers: Sequence[Trainer]) -> float:
    """Seconds that all networks took."""
    return sum(trainer.seconds for trainer in trainers)


def _overall(event: Progress, trainers: Sequence[Trainer]) -> Progress:
    """The event of one network as one of the whole training."""
    left = together(trainers)
    return replace(
        event,
        step=steps(trainers),
        fraction=sum(trainer.done for trainer in trainers) / len(trainers),
        seconds=seconds(trainers),
        seconds_left=left.seconds,
        may_end=left.is_most,
    )


def _finished(ends: Sequence[Finished], trainers: Sequence[Trainer]) -> Finished:
    """The ends of all networks as one, for the reason farthest from a good end."""
    gains = [end.gain for end in ends if end.gain is not None]
    words = [f"{end.network}: {end.words}" for end in ends if end.words]
    return Finished(
        max((end.reason for end in ends), key=_ORDER.index),
        steps(trainers),
        seconds(trainers),
        gain=sum(gains) / len(gains) if gains else None,
        words="; ".join(words),
    )
