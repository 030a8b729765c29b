"""``blindsound train`` and ``blindsound run``: what is learned is never lost.

Everything that can be known to fail is checked before training. Ctrl-C ends training
with the model learned so far, which is then saved.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from napari_blindsound.cli import jobs, places
from napari_blindsound.cli.applying import INTERRUPTED, apply, as_data, as_lines
from napari_blindsound.cli.kept import begun_with, kept_beside
from napari_blindsound.cli.learned import free_name, learn, rescue
from napari_blindsound.cli.options import (
    CONSOLE,
    IMAGES,
    MODEL_FILE,
    OUTPUT,
    OVERWRITE,
    PART,
    RECIPE_FILE,
    RESULT,
    RESUME,
    Console,
    ImagesOptions,
    PartOptions,
    ResultOptions,
)
from napari_blindsound.cli.processes import PROCESSES, ProcessOptions
from napari_blindsound.cli.settings import TailoredOptions
from napari_blindsound.errors import BlindsoundError, OutputError

if TYPE_CHECKING:
    from napari_blindsound.job import Job

TRAINING = TailoredOptions()


def train(
    images: list[str],
    /,
    *,
    output: Annotated[Path, OUTPUT],
    save_recipe: Annotated[Path | None, RECIPE_FILE] = None,
    overwrite: Annotated[bool, OVERWRITE] = False,
    image: ImagesOptions = IMAGES,
    training: TailoredOptions = TRAINING,
    part: PartOptions = PART,
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
    save_recipe
        Write what was done to this file (.toml), for repeat.
    overwrite
        Replace an existing model file, once the new one is complete.
    image, training, part, console
        Options.
    """
    job = jobs.of_train(images, output, image, part, training, overwrite=overwrite)
    return train_job(
        job, console, checkpoint=training.checkpoint, save_recipe=save_recipe
    )


def run(
    images: list[str],
    /,
    *,
    output: Annotated[Path, OUTPUT],
    model: Annotated[Path | None, MODEL_FILE] = None,
    save_recipe: Annotated[Path | None, RECIPE_FILE] = None,
    resume: Annotated[bool, RESUME] = True,
    image: ImagesOptions = IMAGES,
    result: ResultOptions = RESULT,
    training: TailoredOptions = TRAINING,
    part: PartOptions = PART,
    processes: ProcessOptions = PROCESSES,
    console: Console = CONSOLE,
) -> int:
    """Train on an image and denoise it, in one go.

    The same as train, then denoise, for people with one image or with several alike.
    The result has the axes, scale and units of the image, in counts. Ctrl-C during
    training saves the model learned so far beside the result's place; what it leaves
    unfinished during denoising, the same command continues.

    Parameters
    ----------
    images
        Image files or folders. One model is trained on all of them.
    output
        Where the result goes: a name ending in .ome.zarr or .ome.tif; for several
        images a folder.
    model
        Keep the model, too, in this file (.blindsound).
    save_recipe
        Write what was done to this file (.toml), for repeat.
    resume
        Continue a result that was left unfinished, as is done anyway, or start it anew;
        to continue, the training is done again, and must be by steps.
    image, result, training, part, processes, console
        Options.
    """
    job = jobs.of_run(images, output, model, image, result, part, training)
    return run_job(
        job,
        console,
        checkpoint=training.checkpoint,
        save_recipe=save_recipe,
        resume=resume,
        processes=processes,
    )


def train_job(
    job: Job,
    console: Console,
    *,
    checkpoint: Path | None = None,
    save_recipe: Path | None = None,
) -> int:
    """Do a job that trains a model, and return the exit code."""
    volumes = job.training_volumes()
    output = Path(job.model_out or "")
    places.check_file(output, "the model", overwrite=job.overwrite)
    places.check_recipe(save_recipe, overwrite=job.overwrite)
    learned = learn(job, volumes, console, checkpoint)
    try:
        saved = learned.save(output)
    except OutputError:
        rescue(learned, console, free_name(Path(tempfile.gettempdir()), output))
        raise
    job = learned.settled(job, save_recipe)
    data = {"command": "train", **learned.as_data(), "model": _path(saved)}
    console.report(learned.as_lines(saved), {**data, "repeat": job.command_line()})
    return INTERRUPTED if learned.stopped else 0


def run_job(
    job: Job,
    console: Console,
    *,
    checkpoint: Path | None = None,
    save_recipe: Path | None = None,
    resume: bool = True,
    processes: ProcessOptions = PROCESSES,
) -> int:
    """Do a job that trains a model and applies it, and return the exit code."""
    processes.check_alone()
    job.check_uncertainty()
    volumes = job.volumes()
    parts = job.training_volumes(volumes)
    where = places.result_places(volumes, job, resume=resume)
    by_clock = job.recipe.settled().train.seconds is not None
    begun = begun_with(job, parts, where) if resume and by_clock else None
    model = Path(job.model_out) if job.model_out else None
    if model:
        places.check_file(model, "the model", overwrite=job.overwrite)
    places.check_recipe(save_recipe, overwrite=job.overwrite)
    kept = kept_beside(where)
    if begun:
        console.say(f"going on with the model that the result was begun with: {kept}")
    learned = begun or learn(job, parts, console, checkpoint)
    saved = learned.save(model) if model else None
    data = {"command": "run", **learned.as_data()}
    try:
        threads = processes.settled(job).recipe.train.threads
        job = learned.settled(job, save_recipe)
        data["repeat"] = job.command_line()
        if learned.stopped:
            saved = saved or learned.save(_beside(job))
            data |= {"model": _path(saved), "outputs": []}
            console.report(learned.as_lines(saved), data)
            return INTERRUPTED
        if by_clock and not begun:
            learned.denoiser.save(kept)
        written = apply(
            job,
            learned.denoiser,
            volumes,
            where,
            console,
            resume=resume,
            processes=processes,
            threads=threads,
        )
    except (BlindsoundError, OSError):
        if saved is None:
            rescue(learned, console, _beside(job))
        raise
    if written[-1].stopped and saved is None:
        saved = rescue(learned, console, _beside(job))
    if not written[-1].stopped:
        kept.unlink(missing_ok=True)
    lines = [*learned.as_lines(saved), *as_lines(written)]
    console.report(lines, {**data, "model": _path(saved), **as_data(written)})
    return INTERRUPTED if written[-1].stopped else 0


def _beside(job: Job) -> Path:
    """A free name for the model beside the result."""
    output = Path(job.output or "")
    return free_name(output.parent, output)


def _path(path: Path | None) -> str | None:
    return str(path.absolute()) if path else None
