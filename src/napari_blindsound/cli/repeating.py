"""``blindsound repeat``: what a recipe file says is done again."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations
from typing import Annotated

from napari_blindsound.cli.applying import denoise_job
from napari_blindsound.cli.learning import run_job, train_job
from napari_blindsound.cli.options import (
    CONSOLE,
    OUTPUT,
    OVERWRITE,
    RESUME,
    Console,
)
from napari_blindsound.errors import RecipeError
from napari_blindsound.job import Job


def repeat(
    recipe: Path,
    /,
    *,
    output: Annotated[Path | None, OUTPUT] = None,
    overwrite: Annotated[bool, OVERWRITE] = False,
    resume: Annotated[bool, RESUME] = False,
    console: Console = CONSOLE,
) -> int:
    """Do again what a recipe file says, with the same result.

    The docks write such files, and so do run and train with --save-recipe. On the same
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
        Continue a result that was left unfinished, in place of starting anew.
    console
        Options.
    """
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
    return do(job, console, resume=resume)
