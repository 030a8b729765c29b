"""``blindsound batch``: many images, a line each; the next run goes on where this ends.

Ctrl-C ends it within a second, and nothing that was finished is made again.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from napari_blindsound.batch import RowEvent, find_images, run_batch
from napari_blindsound.batch.config import BatchConfig
from napari_blindsound.batch.recipe import write_batch
from napari_blindsound.batch.summary import finite
from napari_blindsound.cli import messages
from napari_blindsound.cli.interruption import stoppable
from napari_blindsound.cli.messages import table
from napari_blindsound.cli.options import (
    CONSOLE,
    FILES,
    IMAGE,
    MODEL_FILE,
    OUTPUT,
    RECIPE_FILE,
    RESULT,
    Console,
    ImageOptions,
    ResultOptions,
)
from napari_blindsound.cli.places import check_recipe
from napari_blindsound.cli.progress import Meter
from napari_blindsound.cli.settings import TailoredOptions
from napari_blindsound.errors import ImageNotFoundError, RecipeError
from napari_blindsound.wording import duration, shell_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_blindsound.batch import Found

DONE, FAILED, INTERRUPTED = 0, 1, 130
TRAINING = TailoredOptions()
_EACH = Parameter(negative="", show_default=False, group=FILES)
_FORMAT = Parameter(group=FILES)


def batch(
    images: list[str],
    /,
    *,
    output: Annotated[Path, OUTPUT],
    model: Annotated[Path | None, MODEL_FILE] = None,
    each: Annotated[bool, _EACH] = False,
    each_folder: Annotated[bool, _EACH] = False,
    save_recipe: Annotated[Path | None, RECIPE_FILE] = None,
    format: Annotated[Literal[".ome.zarr", ".ome.tif"], _FORMAT] = ".ome.zarr",
    image: ImageOptions = IMAGE,
    result: ResultOptions = RESULT,
    training: TailoredOptions = TRAINING,
    console: Console = CONSOLE,
) -> int:
    """Denoise many images, one after the other; a failed one does not stop the rest.

    One model is trained for all of them, one for each folder (--each-folder) or for
    each image (--each), or a model file is applied (--model). Run again, it goes on:
    results that are there, made by the same model or settings from the same files, are
    left alone. Ctrl-C ends it within a second. The table batch.csv in the output
    folder, and batch.json for programs, say how each image ended: its noise, what was
    gained by estimate and, where ground truth lies beside (as in gt/cells.tif, or
    cells_gt.tif, or in the FMDD data set), PSNR and SSIM.

    Parameters
    ----------
    images
        Files, patterns such as "day*/*.tif", and folders, which are looked into: TIFF
        stacks are an image each, single planes the frames of one. A folder of the FMDD
        data set is one image.
    output
        Folder of the results; those of a folder keep its structure.
    model
        Apply this model (.blindsound) instead of training one.
    each
        Train a model for each image, and keep it beside the result.
    each_folder
        Train a model for each folder, and keep it among the results of that folder.
    save_recipe
        Write what is done to this file (.toml), for repeat.
    format
        Of the results.
    image, result, training, console
        Options.
    """
    kind = _model(model, each=each, each_folder=each_folder)
    config = _config(output, kind, options=(image, result, training))
    config = config.model_copy(update={"format": format})
    check_recipe(save_recipe, overwrite=config.overwrite)
    return batch_job(images, config, console, save_recipe=save_recipe)


def batch_job(
    images: Sequence[str],
    config: BatchConfig,
    console: Console,
    *,
    save_recipe: Path | None = None,
) -> int:
    """Do a batch.

    Parameters
    ----------
    images : sequence of str
        Files, folders and patterns.
    config : BatchConfig
        What to do with each.
    console : Console
        How to show it.
    save_recipe : Path, optional
        Where it is written to.

    Returns
    -------
    int
        Exit code.
    """
    output = config.output
    found = find_images(images)
    if not found:
        msg = f"no image was found in {', '.join(images)}; check the paths"
        raise ImageNotFoundError(msg)
    lines = _Lines(found, console)
    command = shell_line(["blindsound", *sys.argv[1:]])
    if save_recipe is not None:
        write_batch(save_recipe, images, config, command)
    with stoppable("batch; the next run goes on from here") as stop:
        for event in run_batch(found, config, stop=stop, command=command):
            lines.show(event)
    lines.close()
    ended = lines.ended
    data = {"command": "batch", "output": str(output.absolute())}
    was_stopped = stop.is_set() and not _is_complete(ended, found)
    data["ended"] = "stopped" if was_stopped else "done"
    console.report(_summary(ended, found, output), {**data, **_data(ended, found)})
    if was_stopped:
        return INTERRUPTED
    return FAILED if any(e.state == "failed" for e in ended.values()) else DONE


def _model(
    model: Path | None, *, each: bool, each_folder: bool
) -> Literal["one", "folder", "each"] | Path:
    if (model is not None) + each + each_folder > 1:
        msg = (
            "give --model FILE to apply a model, --each to train one for each image, "
            "or --each-folder to train one for each folder"
        )
        raise RecipeError(msg)
    if model is not None:
        return model.absolute()
    return "each" if each else "folder" if each_folder else "one"


def _config(
    output: Path,
    model: Literal["one", "folder", "each"] | Path,
    *,
    options: tuple[ImageOptions, ResultOptions, TailoredOptions],
) -> BatchConfig:
    image, result, training = options
    if training.checkpoint is not None:
        msg = "a batch keeps checkpoints of its own, beside its models: leave yours out"
        raise RecipeError(msg)
    return BatchConfig(
        output=output.absolute(),
        model=model,
        recipe=training.recipe(),
        dtype=result.dtype,
        overwrite=result.overwrite,
        turns=result.turns,
        uncertainty=result.uncertainty,
        estimate=training.estimate,
        blend=training.blend,
        axes=image.axes,
        channel=image.channel,
        image=image.image,
    )


class _Lines:
    """Progress of one row after the other."""

    def __init__(self, found: Sequence[Found], console: Console) -> None:
        self.ended: dict[int, RowEvent] = {}
        self._found, self._console = found, console
        self._row: int | None = -1
        self._meter: Meter | None = None
        self._stack = ExitStack()

    def show(self, event: RowEvent) -> None:
        if event.is_final and event.row is not None:
            self.ended[event.row] = event
        is_news = event.fraction > 0 or event.is_final or event.row is None
        if event.state == "skipped" or not is_news:
            return
        if event.state == "failed":
            self.close()
            self._console.say(f"blindsound: {messages.in_options(event.message)}")
            return
        if event.row != self._row or self._meter is None:
            self.close()
            self._row = event.row
            meter = Meter(self._title(event), quiet=self._console.quiet)
            self._meter = self._stack.enter_context(meter)
        self._meter.show(event.fraction, _note(event))
        if event.is_final:
            self.close()

    def close(self) -> None:
        self._stack.close()
        self._meter = None

    def _title(self, event: RowEvent) -> str:
        if event.row is None:
            return event.message.partition(",")[0].removeprefix("the ")
        return f"{event.row + 1} of {len(self._found)}: {self._found[event.row].name}"


def _note(event: RowEvent) -> str:
    if event.is_final:
        return f"{event.state}, {duration(event.seconds)}"
    return f"{event.state}, {event.left}" if event.left else event.state


def _is_complete(ended: Mapping[int, RowEvent], found: Sequence[Found]) -> bool:
    states = [event.state for event in ended.values()]
    return len(states) == len(found) and "stopped" not in states


def _summary(
    ended: Mapping[int, RowEvent], found: Sequence[Found], output: Path
) -> list[str]:
    counts = {state: _count(ended.values(), state) for state in ("done", "failed")}
    skipped, waiting = _count(ended.values(), "skipped"), len(found) - len(ended)
    waiting += _count(ended.values(), "stopped")
    rows = {
        "denoised": str(counts["done"]),
        "already there": str(skipped or ""),
        "failed": str(counts["failed"] or ""),
        "not done": f"{waiting}; the same command goes on with them" if waiting else "",
        "results": str(output),
    }
    return [f"{len(found)} images", *table(rows)]


def _count(events: Iterable[RowEvent], state: str) -> int:
    return sum(event.state == state for event in events)


def _data(ended: Mapping[int, RowEvent], found: Sequence[Found]) -> dict[str, Any]:
    waiting = RowEvent(None, "waiting")
    told = [(image, ended.get(row, waiting)) for row, image in enumerate(found)]
    return {
        "images": [
            {
                "path": str(image.path),
                "state": event.state,
                "seconds": round(event.seconds, 3),
                "noise": event.noise,
                "estimated_gain_db": event.quality,
                "truth": event.truth and finite(asdict(event.truth)),
                "message": event.message,
                "result": str(event.path) if event.path else None,
            }
            for image, event in told
        ]
    }
