"""``blindsound repeat``: what a recipe file says is done again."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations
from typing import TYPE_CHECKING, Annotated

from napari_blindsound.batch.recipe import read_batch
from napari_blindsound.cli.applying import denoise_job
from napari_blindsound.cli.batching import batch_job
from napari_blindsound.cli.learning import run_job, train_job
from napari_blindsound.cli.options import (
    CONSOLE,
    OUTPUT,
    OVERWRITE,
    RESUME,
    Console,
)
from napari_blindsound.cli.processes import PROCESSES, ProcessOptions
from napari_blindsound.errors import RecipeError
from napari_blindsound.job import Job

if TYPE_CHECKING:
    from napari_blindsound.batch.config import BatchConfig


def repeat(
    recipe: Path,
    /,
    *,
    output: Annotated[Path | None, OUTPUT] = None,
    overwrite: Annotated[bool, OVERWRITE] = False,
    resume: Annotated[bool, RESUME] = True,
    processes: ProcessOptions = PROCESSES,
    console: Console = CONSOLE,
) -> int:
    """Do again what a recipe file says, with the same result.

    The docks write such files, and so do run, train, denoise and batch with
    --save-recipe. On the same
    machine, with the same versions, the pixels are the same to the bit; a training by
    seconds, not by steps, comes out a little different each time.

    Parameters
    ----------
    recipe
        Recipe file (.toml, or .yaml of earlier versions).
    output
        Where the result goes, or the model if only that is made; in place of the
        recipe's.
    overwrite
        Replace what lies at the places of the results.
    resume
        Continue a result that was left unfinished, as is done anyway, or start it anew.
    processes, console
        Options.
    """
    found = read_batch(recipe)
    if found is not None:
        return _batch(*found, console, output=output, overwrite=overwrite)
    job = Job.load(recipe)
    job = job.changed(overwrite=job.overwrite or overwrite)
    if job.command == "train":
        job = job.changed(model_out=str(output)) if output else job
        return train_job(job, console)
    job = job.changed(output=str(output)) if output else job
    if job.output is None:
        msg = f"{recipe} names no place for the result; give one with -o"
        raise RecipeError(msg)
    do = denoise_job if job.model_in else run_job
    return do(job, console, resume=resume, processes=processes)


def _batch(
    inputs: list[str],
    config: BatchConfig,
    console: Console,
    *,
    output: Path | None,
    overwrite: bool,
) -> int:
    changes: dict[str, object] = {"overwrite": config.overwrite or overwrite}
    if output is not None:
        changes["output"] = output.absolute()
    return batch_job(inputs, config.model_copy(update=changes), console)
