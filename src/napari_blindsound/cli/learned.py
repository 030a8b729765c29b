"""The training of a command: shown, interrupted, and what it leaves behind kept."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, TypeGuard

from napari_blindsound.cli import places
from napari_blindsound.cli.interruption import stoppable
from napari_blindsound.cli.messages import table
from napari_blindsound.cli.progress import Meter
from napari_blindsound.errors import OutputError
from napari_blindsound.inference.denoiser import SUFFIX
from napari_blindsound.recipe import Training
from napari_blindsound.training.events import (
    MOST_DECIBELS,
    Finished,
    Judged,
    Progress,
)
from napari_blindsound.wording import decibels, duration, found, started

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_blindsound.cli.options import Console
    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.job import Job
    from napari_blindsound.training.events import Source, TrainEvent

CHECKPOINT_SECONDS = 60.0

_FROM: dict[Source, str] = {
    "repeats": "from repeats of the same scene",
    "stein": "from the noise (Stein's formula)",
    "blind error": "from pixels that were not seen",
}


@dataclass(frozen=True)
class Learned:
    """What a training left behind.

    Parameters
    ----------
    denoiser : Denoiser
    stopped : bool
        Whether somebody ended it.
    terms : dict of str to float
        Of the loss, at the end.
    words : str
        Why it ended and what was kept; empty where there was no choice.
    """

    denoiser: Denoiser
    stopped: bool
    terms: dict[str, float]
    words: str = ""

    @property
    def is_usable(self) -> bool:
        """Whether every network has been trained at all, or was to be used as it is."""
        origin = self.denoiser.provenance
        return origin["ended"] == "done" or all(origin["steps"])

    def save(self, path: Path) -> Path | None:
        """Write the model, if it is worth it."""
        return self.denoiser.save(path) if self.is_usable else None

    def settled(self, job: Job, save_recipe: Path | None) -> Job:
        """The job as it was done; write it to a file if there is one to repeat."""
        job = job.settled(self.denoiser)
        if save_recipe is not None and self.is_usable:
            job.save(save_recipe)
        return job

    def as_data(self) -> dict[str, Any]:
        """Plain data for programs."""
        origin = self.denoiser.provenance
        preprocessing = self.denoiser.preprocessing
        return {
            "ended": origin["ended"],
            "method": self.denoiser.method.name,
            "recipe": origin["recipe"],
            "images": [trained["source"] for trained in origin["trained_on"]],
            "steps": origin["steps"],
            "training_seconds": origin["seconds"],
            "device": origin["device"],
            "context": self.denoiser.context.name,
            "loss": self.terms,
            "start": origin.get("start", []),
            "started_from": origin.get("started_from", []),
            "judged": self._judged(),
            "noise": [noise.to_json() for noise in preprocessing.noise],
            "found": origin.get("found", []),
        }

    def _judged(self) -> dict[str, Any] | None:
        """What the networks found of themselves, None where they were not asked to."""
        origin = self.denoiser.provenance
        if "estimated_gain" not in origin:
            return None
        gains = origin["estimated_gain"]
        return {
            "words": self.words,
            "best_step": origin["kept_steps"],
            # JSON has no word for what is not known.
            "gain": [gain if _is_known(gain) else None for gain in gains],
            "source": origin["estimated_from"],
        }

    def _quality(self) -> str:
        """Estimated gain of what is kept, each network's; empty if not known."""
        gains = self.denoiser.provenance.get("estimated_gain", [])
        if not any(_is_known(gain) for gain in gains):
            return ""
        words = ", ".join(_in_decibels(gain) for gain in gains)
        source = self.denoiser.provenance["estimated_from"]
        return f"{words} by denoising, estimated {_FROM[source]}"

    def _neighbors(self) -> str:
        """Why the network sees neighboring planes, or none that were asked for."""
        origin = self.denoiser.provenance
        words: str = origin.get("context", "")
        if self.denoiser.context.planes:
            return words
        is_asked = origin["recipe"]["settings"].get("convolutions") == "3d"
        return f"{words}, so that convolutions are 2d, not 3d" if is_asked else ""

    def _start(self) -> str:
        """First weights and why; empty where nobody asked for any."""
        words = started(self.denoiser.provenance.get("start", []))
        return words.removeprefix("the training starts ")

    def as_lines(self, saved: Path | None) -> list[str]:
        """A few lines for people."""
        if not self.is_usable:
            return ["interrupted before every channel was trained: no model was saved"]
        origin = self.denoiser.provenance
        steps = " + ".join(str(count) for count in origin["steps"])
        title = f"{self.denoiser.method.title}, {origin['recipe']['preset']}"
        rows = {
            "training": f"{title}: {steps} steps in {duration(origin['seconds'])} on "
            f"{origin['device']}" + (", interrupted" if self.stopped else ""),
            "noise": "; ".join(
                f"gain {noise.gain:.3g}, offset {noise.offset:.4g}, read noise "
                f"{noise.read_variance**0.5:.3g} counts"
                for noise in self.denoiser.preprocessing.noise
            ),
            "found": found(origin),
            "start": self._start(),
            "neighbors": self._neighbors(),
            "ended": self.words.removeprefix("ended "),
            "quality": self._quality(),
            "model": str(saved or ""),
        }
        if saved and self.stopped:
            rows["apply it"] = f"blindsound denoise IMAGE -m {saved} -o RESULT.ome.zarr"
        return ["trained", *table(rows)]


def learn(
    job: Job,
    volumes: Sequence[Volume],
    console: Console,
    checkpoint: Path | None = None,
) -> Learned:
    """Train, with progress, until done or interrupted.

    Parameters
    ----------
    job : Job
        How to train, and what the model returns.
    volumes : sequence of Volume
        What to train on, with the same channels.
    console : Console
        How to show it.
    checkpoint : Path, optional
        File to continue from if it is there, and to write to.
    """
    if checkpoint is not None:
        places.check_file(checkpoint, "the checkpoint", overwrite=True, suffix=None)
    names = volumes[0].name if len(volumes) == 1 else f"{len(volumes)} images"
    console.say(f"measuring range and noise of {names}")
    training = Training(volumes, job.recipe)
    try:
        if checkpoint is not None and checkpoint.exists():
            training.restore(checkpoint)
            console.say(f"continuing from {checkpoint}")
        with stoppable("training") as stop:
            events = _kept(training, training.run(stop), checkpoint, console)
            terms, words = _shown(events, console)
        denoiser = job.estimated(training.result())
    finally:
        training.close()
    return Learned(denoiser, stop.is_set(), terms, words)


def _kept(
    training: Training,
    events: Iterator[TrainEvent],
    checkpoint: Path | None,
    console: Console,
) -> Iterator[TrainEvent]:
    """Pass events on, and write the checkpoint now and then and at the end."""
    due = time.monotonic() + CHECKPOINT_SECONDS
    for event in events:
        if checkpoint and (isinstance(event, Finished) or time.monotonic() > due):
            try:
                training.save(checkpoint)
            except OutputError as error:
                # A full disk may be emptied before training ends, so that goes on.
                console.say(f"blindsound: no checkpoint was written: {error}")
            due = time.monotonic() + CHECKPOINT_SECONDS
        yield event


def _shown(
    events: Iterator[TrainEvent], console: Console
) -> tuple[dict[str, float], str]:
    """Show a bar of the whole training; return the last terms, and why it ended."""
    terms: dict[str, float] = {}
    gains: dict[str, float] = {}
    last: Progress | None = None
    words = ""
    with Meter("training", quiet=console.quiet) as meter:
        for event in events:
            if isinstance(event, Progress):
                last, terms = event, event.terms or terms
            elif isinstance(event, Judged):
                gains[event.network] = event.gain
            else:
                words = event.words
            if last is not None:
                meter.show(last.fraction, _note(last, gains))
    return terms, words


def _note(event: Progress, gains: Mapping[str, float]) -> str:
    loss = f", loss {sum(event.terms.values()):.4g}" if event.terms else ""
    loss += f" ({event.network})" if event.network and loss else ""
    pace = f"{event.steps_per_second:.0f} steps/s"
    gain = gains.get(event.network)
    better = f", {_in_decibels(gain)}" if _is_known(gain) else ""
    left = duration(event.seconds_left)
    if event.may_end and math.isfinite(event.seconds_left):
        left = f"at most {left}"
    stage = f", {event.stage}" if event.stage else ""
    return f"{left} left{stage}, step {event.step}{better}, {pace}{loss}"


def _in_decibels(gain: float | None) -> str:
    return decibels(gain, MOST_DECIBELS) if _is_known(gain) else "?"


def _is_known(gain: float | None) -> TypeGuard[float]:
    return gain is not None and math.isfinite(gain)


def rescue(learned: Learned, console: Console, path: Path) -> Path | None:
    """Keep what was learned, although the command cannot be done to the end."""
    with suppress(OutputError):
        learned.save(path)
        console.say(f"the model was kept: {path.absolute()}")
        return path
    return None


def free_name(folder: Path, output: Path) -> Path:
    """A free name for a model in a folder, after the place of a result."""
    name = output.name.split(".")[0] or "model"
    names = (f"{name}-{n}" if n > 1 else name for n in count(1))
    paths = (folder / f"{name}{SUFFIX}" for name in names)
    folder.mkdir(parents=True, exist_ok=True)
    return next(path for path in paths if not path.exists())
