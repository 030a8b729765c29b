"""``blindsound train`` and ``blindsound run``: what is learned is never lost.

Everything that can be known to fail is checked before training. Ctrl-C ends training
with the model learned so far, which is then saved.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from napari_blindsound.cli import places
from napari_blindsound.cli.applying import INTERRUPTED, apply, as_data, as_lines
from napari_blindsound.cli.images import opened, same_channels
from napari_blindsound.cli.interruption import stoppable
from napari_blindsound.cli.messages import table
from napari_blindsound.cli.options import (
    CONSOLE,
    IMAGE,
    MODEL_FILE,
    OUTPUT,
    OVERWRITE,
    RESULT,
    Console,
    ImageOptions,
    ResultOptions,
)
from napari_blindsound.cli.progress import Meter
from napari_blindsound.cli.settings import TailoredOptions
from napari_blindsound.errors import BlindsoundError, OutputError
from napari_blindsound.inference.denoiser import SUFFIX
from napari_blindsound.recipe import Training
from napari_blindsound.training.events import Finished, Progress
from napari_blindsound.wording import duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.recipe import Recipe
    from napari_blindsound.training.events import TrainEvent

CHECKPOINT_SECONDS = 60.0
TRAINING = TailoredOptions()


def train(
    images: list[str],
    /,
    *,
    output: Annotated[Path, OUTPUT],
    overwrite: Annotated[bool, OVERWRITE] = False,
    image: ImageOptions = IMAGE,
    training: TailoredOptions = TRAINING,
    console: Console = CONSOLE,
) -> int:
    """Train a model on one noisy image or several.

    No clean images are needed. The images should come from one microscope with one
    setting; a single noisy frame is enough, more frames make the result better. Ctrl-C
    ends training early and saves what was learned.

    Parameters
    ----------
    images
        Image files or folders; a folder of the FMDD data set is one, too.
    output
        Model file to write; let its name end in .blindsound.
    overwrite
        Replace an existing model file, once the new one is complete.
    image, training, console
        Options.
    """
    recipe, volumes = training.recipe(), opened(images, image)
    same_channels(volumes)
    places.check_file(output, "the model", overwrite=overwrite)
    learned = learn(volumes, recipe, console, training.estimate, training.checkpoint)
    try:
        saved = learned.save(output)
    except OutputError:
        _rescue(learned, console, _free(Path(tempfile.gettempdir()), output))
        raise
    data = {"command": "train", **learned.as_data(), "model": _path(saved)}
    console.report(learned.as_lines(saved), data)
    return INTERRUPTED if learned.stopped else 0


def run(
    images: list[str],
    /,
    *,
    output: Annotated[Path, OUTPUT],
    model: Annotated[Path | None, MODEL_FILE] = None,
    image: ImageOptions = IMAGE,
    result: ResultOptions = RESULT,
    training: TailoredOptions = TRAINING,
    console: Console = CONSOLE,
) -> int:
    """Train on an image and denoise it, in one go.

    The same as train, then denoise, for people with one image or with several alike.
    The result has the axes, scale and units of the image, in counts. Ctrl-C during
    training saves the model learned so far beside the result's place; during denoising
    it leaves nothing there.

    Parameters
    ----------
    images
        Image files or folders. One model is trained on all of them.
    output
        Where the result goes: a name ending in .ome.zarr or .ome.tif; for several
        images a folder.
    model
        Keep the model, too, in this file (.blindsound).
    image, result, training, console
        Options.
    """
    recipe, volumes = training.recipe(), opened(images, image)
    same_channels(volumes)
    where = places.result_places(volumes, output, result)
    if model is not None:
        places.check_file(model, "the model", overwrite=result.overwrite)
    learned = learn(volumes, recipe, console, training.estimate, training.checkpoint)
    if learned.stopped:
        saved = learned.save(model or _free(output.parent, output))
        data = {"command": "run", **learned.as_data(), "model": _path(saved)}
        console.report(learned.as_lines(saved), {**data, "outputs": []})
        return INTERRUPTED
    saved = learned.save(model) if model else None
    try:
        written = apply(learned.denoiser, volumes, where, result, console)
    except (BlindsoundError, OSError):
        if saved is None:
            _rescue(learned, console, _free(output.parent, output))
        raise
    if written[-1].stopped and saved is None:
        saved = _rescue(learned, console, _free(output.parent, output))
    data = {"command": "run", **learned.as_data(), "model": _path(saved)}
    lines = [*learned.as_lines(saved), *as_lines(written)]
    console.report(lines, {**data, **as_data(written)})
    return INTERRUPTED if written[-1].stopped else 0


@dataclass(frozen=True)
class Learned:
    """What a training left behind."""

    denoiser: Denoiser
    stopped: bool
    terms: dict[str, float]

    @property
    def is_usable(self) -> bool:
        """Whether every network has been trained at all."""
        return all(self.denoiser.provenance["steps"])

    def save(self, path: Path) -> Path | None:
        """Write the model, if it is worth it."""
        return self.denoiser.save(path) if self.is_usable else None

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
            "loss": self.terms,
            "noise": [noise.to_json() for noise in preprocessing.noise],
        }

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
            "model": str(saved or ""),
        }
        if saved and self.stopped:
            rows["apply it"] = f"blindsound denoise IMAGE -m {saved} -o RESULT.ome.zarr"
        return ["trained", *table(rows)]


def learn(
    volumes: Sequence[Volume],
    recipe: Recipe,
    console: Console,
    estimate: str | None = None,
    checkpoint: Path | None = None,
) -> Learned:
    """Train, with progress, until done or interrupted.

    Parameters
    ----------
    volumes : sequence of Volume
        With the same channels.
    recipe : Recipe
        What to train.
    console : Console
        How to show it.
    estimate : str, optional
        Which of the method's estimates the denoiser returns.
    checkpoint : Path, optional
        File to continue from if it is there, and to write to.
    """
    if checkpoint is not None:
        places.check_file(checkpoint, "the checkpoint", overwrite=True, suffix=None)
    names = volumes[0].name if len(volumes) == 1 else f"{len(volumes)} images"
    console.say(f"measuring range and noise of {names}")
    training = Training(volumes, recipe)
    try:
        if checkpoint is not None and checkpoint.exists():
            training.restore(checkpoint)
            console.say(f"continuing from {checkpoint}")
        with stoppable("training") as stop:
            events = _kept(training, training.run(stop), checkpoint, console)
            terms = _shown(events, console)
        denoiser = training.denoiser(estimate)
    finally:
        training.close()
    return Learned(denoiser, stop.is_set(), terms)


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


def _shown(events: Iterator[TrainEvent], console: Console) -> dict[str, float]:
    """Show a bar of the whole training; return the last terms of the loss."""
    terms: dict[str, float] = {}
    with Meter("training", quiet=console.quiet) as meter:
        for event in events:
            if isinstance(event, Progress):
                meter.show(event.fraction, _note(event))
                terms = event.terms or terms
    return terms


def _note(event: Progress) -> str:
    loss = f", loss {sum(event.terms.values()):.4g}" if event.terms else ""
    loss += f" ({event.stage})" if event.stage and loss else ""
    pace = f"{event.steps_per_second:.0f} steps/s"
    return f"{duration(event.seconds_left)} left, step {event.step}, {pace}{loss}"


def _rescue(learned: Learned, console: Console, path: Path) -> Path | None:
    """Keep what was learned, although the command cannot be done to the end."""
    with suppress(OutputError):
        learned.save(path)
        console.say(f"the model was kept: {path.absolute()}")
        return path
    return None


def _free(folder: Path, output: Path) -> Path:
    """A free name for a model in a folder, after the place of a result."""
    name = output.name.split(".")[0] or "model"
    names = (f"{name}-{n}" if n > 1 else name for n in count(1))
    paths = (folder / f"{name}{SUFFIX}" for name in names)
    folder.mkdir(parents=True, exist_ok=True)
    return next(path for path in paths if not path.exists())


def _path(path: Path | None) -> str | None:
    return str(path.absolute()) if path else None
