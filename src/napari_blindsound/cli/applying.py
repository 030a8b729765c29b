"""``blindsound denoise``: a model applied to images, with progress and Ctrl-C."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

from napari_blindsound.api import load
from napari_blindsound.cli import jobs
from napari_blindsound.cli.interruption import stoppable
from napari_blindsound.cli.messages import table
from napari_blindsound.cli.options import (
    CONSOLE,
    IMAGES,
    MODEL,
    MODEL_FILE,
    OUTPUT,
    RECIPE_FILE,
    RESULT,
    RESUME,
    Console,
    ImagesOptions,
    ModelOptions,
    ResultOptions,
)
from napari_blindsound.cli.places import check_recipe, result_places
from napari_blindsound.cli.processes import PROCESSES, ProcessOptions
from napari_blindsound.cli.progress import Meter
from napari_blindsound.inference.deviation import meaning
from napari_blindsound.inference.reading import check_channels
from napari_blindsound.inference.resume import awaits_deviation
from napari_blindsound.wording import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.inference.store import WriteEvent
    from napari_blindsound.job import Job

INTERRUPTED = 130
_MEAN_KEPT = 0.02  # a larger change of the mean is a sign of too little training


@dataclass(frozen=True)
class Written:
    """How the writing of a result ended, or of its deviation, with words on that."""

    event: WriteEvent
    deviation: str = ""

    @property
    def stopped(self) -> bool:
        """Whether it was interrupted."""
        return self.event.stopped


def denoise(
    images: list[str],
    /,
    *,
    model: Annotated[Path, MODEL_FILE],
    output: Annotated[Path, OUTPUT],
    save_recipe: Annotated[Path | None, RECIPE_FILE] = None,
    resume: Annotated[bool, RESUME] = True,
    image: ImagesOptions = IMAGES,
    result: ResultOptions = RESULT,
    applied: ModelOptions = MODEL,
    processes: ProcessOptions = PROCESSES,
    console: Console = CONSOLE,
) -> int:
    """Apply a model to images of any size.

    The image is read, denoised and written piece by piece, so that it may be far larger
    than memory. The result has the axes, scale and units of the image, in counts.

    Parameters
    ----------
    images
        Image files or folders.
    model
        Model file, as train writes it (.blindsound).
    output
        Where the result goes: a name ending in .ome.zarr or .ome.tif; for several
        images a folder.
    save_recipe
        Write what was done to this file (.toml), for repeat.
    resume
        Continue a result that was left unfinished, as is done anyway, or start it anew.
    image, result, applied, processes, console
        Options.
    """
    job = jobs.of_denoise(images, model, output, image, result, applied)
    return denoise_job(
        job, console, resume=resume, save_recipe=save_recipe, processes=processes
    )


def denoise_job(
    job: Job,
    console: Console,
    *,
    resume: bool = True,
    save_recipe: Path | None = None,
    processes: ProcessOptions = PROCESSES,
) -> int:
    """Do a job that applies a model.

    Parameters
    ----------
    job : Job
        With a model and a place for the result.
    console : Console
        How to show it.
    resume : bool
        Continue what was left unfinished.
    save_recipe : Path, optional
        Where the job is written to, as it was done.
    processes : ProcessOptions
        Who does it.

    Returns
    -------
    int
        Exit code.
    """
    job, volumes = processes.settled(job), job.volumes()
    places = result_places(volumes, job, resume=resume, part=processes.part)
    check_recipe(save_recipe, overwrite=job.overwrite)
    assert job.model_in is not None
    denoiser = load(job.model_in, job.recipe.train.device)
    job.check_uncertainty(denoiser)
    for volume in volumes:
        check_channels(denoiser, volume)
    denoiser, job = job.estimated(denoiser), job.settled(denoiser)
    if save_recipe is not None:
        job.save(save_recipe)
    written = apply(
        job, denoiser, volumes, places, console, resume=resume, processes=processes
    )
    data = {"command": "denoise", "model": job.model_in, **as_data(written)}
    data["repeat"] = job.command_line()
    console.report(as_lines(written), data)
    return INTERRUPTED if written[-1].stopped else 0


def apply(
    job: Job,
    denoiser: Denoiser,
    volumes: Sequence[Volume],
    places: Sequence[Path],
    console: Console,
    *,
    resume: bool = True,
    processes: ProcessOptions = PROCESSES,
    threads: int | None = None,
) -> list[Written]:
    """Denoise images to disk, until done or interrupted.

    Parameters
    ----------
    job, denoiser
        What is done, with which model.
    volumes, places
        Images and where their results go.
    console : Console
        How to show it.
    resume : bool
        Continue what was left unfinished.
    processes : ProcessOptions
        Who does it.
    threads : int, optional
        Of each of several processes, in place of the job's.

    Returns
    -------
    list of Written
        What became of each result begun.
    """
    last: list[Written] = []
    threads = threads or job.recipe.train.threads
    with (
        stoppable("denoising; the same command continues it") as stop,
        processes.started(threads, console) as workers,
    ):
        for volume, place in zip(volumes, places, strict=True):
            name = "" if len(volumes) == 1 else f" {volume.name}"
            works = {"denoising": job.write}
            if job.uncertainty:
                works["uncertainty of"] = job.write_deviation
                if resume and awaits_deviation(place):
                    del works["denoising"]
            for title, work in works.items():
                events = work(
                    denoiser,
                    volume,
                    place,
                    stop=stop,
                    resume=resume,
                    scheduler=workers,
                    part=processes.part,
                )
                with Meter(f"{title}{name}", quiet=console.quiet) as meter:
                    for event in events:
                        meter.show(event.done / max(1, event.total), _note(event))
                is_result = title == "denoising"
                last.append(Written(event, "" if is_result else meaning(denoiser)))
                if event.stopped:
                    return last
    return last


def as_data(written: Sequence[Written]) -> dict[str, Any]:
    """Results of :func:`apply` as plain data."""
    done = [one for one in written if one.event.path is not None]
    ended = "done" if len(done) == len(written) else "part"
    data: dict[str, Any] = {
        "ended": "stopped" if written[-1].stopped else ended,
        "outputs": [
            {
                **_data(one.event),
                "clipped": one.event.clipped,
                "mean_in": one.event.mean_in,
                "mean_out": one.event.mean_out,
            }
            for one in done
            if not one.deviation
        ],
    }
    deviations = [
        {**_data(one.event), "mean": one.event.mean_out, "meaning": one.deviation}
        for one in done
        if one.deviation
    ]
    return data | ({"deviations": deviations} if deviations else {})


def _data(event: WriteEvent) -> dict[str, Any]:
    return {
        "path": str(event.path.absolute()) if event.path else None,
        "seconds": round(event.seconds, 3),
        "pixels": event.total,
    }


def as_lines(written: Sequence[Written]) -> list[str]:
    """Results of :func:`apply` in words."""
    lines = []
    for one in written:
        event = one.event
        if event.path is None:
            again = "interrupted; the same command goes on from here"
            lines.append(again if event.stopped else event.message)
            continue
        if one.deviation:
            mean = "" if event.mean_out is None else f"{event.mean_out:.3g} counts"
            found = {"mean": mean, "meaning": one.deviation}
            lines += [f"standard deviation {event.path}", *table(found)]
            continue
        lines.append(f"denoised {event.path}")
        rows = {"time": ", ".join([duration(event.seconds), *_pace(event)])}
        if event.mean_in is not None and event.mean_out is not None:
            means = f"{event.mean_in:.4g} noisy, {event.mean_out:.4g} denoised"
            rows["mean"] = f"{means} (counts)"
            if abs(event.mean_out - event.mean_in) > _MEAN_KEPT * abs(event.mean_in):
                rows["mean"] += ": it should be kept, so train longer"
        if event.clipped:
            rows["clipped"] = (
                f"{event.clipped} of {event.total} pixels did not fit the source's "
                f"type; --dtype float32 keeps them"
            )
        lines += table(rows)
    return lines


def _pace(event: WriteEvent) -> list[str]:
    """How fast it goes, if that is known."""
    if event.pixels_per_second is None:
        return []
    return [f"{event.pixels_per_second / 1e6:.2g} million pixels a second"]


def _note(event: WriteEvent) -> str:
    if event.seconds_left is None:
        return event.message
    if event.done < event.total:
        left = f"{duration(event.seconds_left)} left"
        return ", ".join([left, *_pace(event)])
    return f"{duration(event.seconds)}, {event.message}"
