"""Options that several commands share; their docstrings are the help."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from napari_blindsound.cli import messages
from napari_blindsound.cli.spans import (  # noqa: TC001 - cyclopts reads them
    CountsOption,
    RegionOption,
    SpanOption,
)
from napari_blindsound.errors import RecipeError
from napari_blindsound.methods import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FILES = Group("Files", sort_key=5)
_IMAGE = Group("Image", sort_key=10)
_RESULT = Group("Result", sort_key=20)
MODEL_GROUP = Group("Model", sort_key=30)
_TRAINING = Group("Training", sort_key=40)
_OTHER = Group("Other", sort_key=90)

FLAG = Parameter(negative="", show_default=False)
QUIET = Parameter(name=["--quiet", "-q"], negative="", show_default=False)
OVERWRITE = Parameter(negative="", show_default=False, group=FILES)
OUTPUT = Parameter(name=["--output", "-o"], group=FILES)
MODEL_FILE = Parameter(name=["--model", "-m"], group=FILES)
RECIPE_FILE = Parameter(group=FILES)
RESUME = Parameter(negative="--restart", show_default=False, group=_RESULT)


@Parameter(name="*", group=_IMAGE)
@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How an image is read.

    Parameters
    ----------
    axes
        What the axes mean, one letter of T, C, Z, Y, X per dimension in the file's
        order, such as ZYX. Needed only where the file does not say.
    channel
        Take one channel only: its number, counted from 0, or its name.
    image
        Which image, counted from 0, of a file that holds several.
    """

    axes: str | None = None
    channel: str | None = None
    image: int | None = None


@Parameter(name="*", group=_IMAGE)
@dataclass(frozen=True, kw_only=True)
class ImagesOptions(ImageOptions):
    """How images are read, where several may be given.

    Parameters
    ----------
    stack
        The images given are the frames of one stack, in this order.
    """

    stack: Annotated[bool, FLAG] = False


@Parameter(name="*", group=_RESULT)
@dataclass(frozen=True, kw_only=True)
class ResultOptions:
    """How a result is made and stored.

    Parameters
    ----------
    turns
        Denoise in all eight orientations and take the mean: eight times the time, for
        some hundredths of a decibel.
    dtype
        Pixels of the result: float32, or the source's own type, to which values are
        rounded and clipped.
    uncertainty
        Write the standard deviation of each pixel, too, beside the result, with
        _deviation in its name: 68 % of the clean pixels lie within it. Only for methods
        that know it (see: blindsound methods).
    overwrite
        Replace what lies at the place of a result, once the new one is complete.
    """

    turns: Annotated[bool, FLAG] = False
    dtype: Literal["float32", "source"] = "float32"
    uncertainty: Annotated[bool, FLAG] = False
    overwrite: Annotated[bool, FLAG] = False


@Parameter(name="*", group=_TRAINING)
@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What is trained, and for how long.

    Parameters
    ----------
    method
        Denoising method, see: blindsound methods.
    preset
        Named settings of the method.
    channels
        Several channels: one network for each, or one for all jointly.
    steps
        Steps of training. Without this, --seconds and --ending, the preset says.
    seconds
        Seconds to train, for all channels together. The first of steps and seconds to
        be over ends the training.
    ending
        When to end, and with which weights: last, after all steps or seconds, with the
        last ones; best, likewise, with the best ones; auto, as soon as more steps bring
        nothing, with the best ones. These are judged by pixels that teach nothing. By
        default last with --steps or --seconds, except in the preset best.
    stop_after
        Step at which each network ends early, such as 120,118: repeats a training of
        --steps that was stopped there.
    one_thread_after
        Step from which each network is trained with one thread: repeats a training in
        napari that other programs got in the way of.
    seed
        Seed of every random choice. With --steps, the same seed gives the same model.
    device
        Where to compute: auto, cpu, cuda (or cuda:1), mps.
    threads
        Processor threads for work on the CPU; by default torch's own number. Another
        number gives the last digits of results another value.
    estimate
        Which of the method's estimates the model returns; the first by default.
    blend
        Mixture of the method's two ends that the model returns in place of an estimate:
        from 0, the first (such as blind), to 1, the second (visible).
    checkpoint
        File to continue from if it exists, written every minute and at the end. The
        image and the settings must be the same; --steps and --seconds may grow.
    """

    method: str = DEFAULT
    preset: str | None = None
    channels: Literal["each", "joint"] = "each"
    steps: int | None = None
    seconds: float | None = None
    ending: Literal["last", "best", "auto"] | None = None
    stop_after: CountsOption = None
    one_thread_after: CountsOption = None
    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    estimate: Annotated[str | None, Parameter(group=MODEL_GROUP)] = None
    blend: Annotated[float | None, Parameter(group=MODEL_GROUP)] = None
    checkpoint: Path | None = None


@Parameter(name="*", group=_TRAINING)
@dataclass(frozen=True, kw_only=True)
class PartOptions:
    """Which part of the images is trained on.

    Parameters
    ----------
    train_times
        Frames to train on, such as 0:10 for the first ten; all are denoised.
    train_slices
        Slices (Z) to train on, such as 3:8.
    train_region
        Rows and columns to train on, such as 0:256,100:400, or :,100:400 for all rows.
    """

    train_times: SpanOption = None
    train_slices: SpanOption = None
    train_region: RegionOption = None


@Parameter(name="*", group=MODEL_GROUP)
@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """How a trained model is applied.

    Parameters
    ----------
    device
        Where to compute: auto, cpu, cuda (or cuda:1), mps.
    estimate
        Which of the method's estimates to return, such as visible, blind or blended
        (see: blindsound methods); what the model was saved with by default.
    blend
        Mixture of the method's two ends to return in place of an estimate: from 0, the
        first (such as blind), to 1, the second (visible).
    threads
        Processor threads for work on the CPU; by default torch's own number.
    adjust
        A setting that no weight depends on, such as noise=gamma or alpha=26 of the
        score method (see: blindsound methods); once for each. estimated leaves it to
        what was found in training.
    """

    device: str = "auto"
    estimate: str | None = None
    blend: float | None = None
    threads: int | None = None
    adjust: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None

    @property
    def adjusted(self) -> dict[str, str]:
        """The settings by name.

        Raises
        ------
        RecipeError
            If one is not written as ``name=value``.
        """
        found = {}
        for word in self.adjust or ():
            name, sign, value = word.partition("=")
            if not (name and sign):
                msg = f"--set {word}: give a setting as name=value, such as alpha=26"
                raise RecipeError(msg)
            found[name.strip().replace("-", "_")] = value.strip() or "estimated"
        return found


@Parameter(name="*", group=_OTHER)
@dataclass(frozen=True, kw_only=True)
class Console:
    """What is said, and how.

    Parameters
    ----------
    json
        Write the results to stdout as one line of JSON.
    quiet
        No progress and no summary; errors are still told.
    debug
        Show where in the program an error came from.
    """

    json: Annotated[bool, FLAG] = False
    quiet: Annotated[bool, QUIET] = False
    debug: Annotated[bool, FLAG] = False

    def report(self, lines: Sequence[str], data: Mapping[str, Any]) -> None:
        """Write a result to stdout, in the form asked for."""
        if self.json or not self.quiet:
            messages.report(lines, data, as_json=self.json)

    def say(self, text: str) -> None:
        """Write a remark to stderr."""
        if not self.quiet:
            messages.say(text)


# What commands take where no option is given.
IMAGE, IMAGES, RESULT = ImageOptions(), ImagesOptions(), ResultOptions()
PART, MODEL, CONSOLE = PartOptions(), ModelOptions(), Console()


def command_line() -> str:
    """The words this process was started with, for the results' provenance."""
    return shlex.join(["blindsound", *sys.argv[1:]])
