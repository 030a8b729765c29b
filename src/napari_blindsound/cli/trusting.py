"""``blindsound trust``: tests of a model, in words, as data, and on one page."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations
from typing import TYPE_CHECKING, Annotated

from napari_blindsound.api import load
from napari_blindsound.cli import places
from napari_blindsound.cli.interruption import stoppable
from napari_blindsound.cli.messages import table
from napari_blindsound.cli.options import (
    CONSOLE,
    IMAGE,
    MODEL,
    MODEL_FILE,
    OUTPUT,
    OVERWRITE,
    Console,
    ImageOptions,
    ModelOptions,
)
from napari_blindsound.inference.reading import check_channels
from napari_blindsound.job import Job
from napari_blindsound.quality.report import check_report, report
from napari_blindsound.quality.trust import trust as tested
from napari_blindsound.recipe import Recipe
from napari_blindsound.training.threads import fixed
from napari_blindsound.training.trainer import TrainConfig

if TYPE_CHECKING:
    from napari_blindsound.quality.trust import ChannelTrust, Trust

INTERRUPTED = 130


def trust(
    path: str,
    /,
    *,
    model: Annotated[Path, MODEL_FILE],
    output: Annotated[Path | None, OUTPUT] = None,
    overwrite: Annotated[bool, OVERWRITE] = False,
    seed: int = 0,
    image: ImageOptions = IMAGE,
    applied: ModelOptions = MODEL,
    console: Console = CONSOLE,
) -> int:
    """Test whether a model's results can be trusted, and write a page about it.

    Pure noise and planted spots go through the model, and what it takes away from the
    image is looked at. Takes seconds, however large the image. The exit code is 0 when
    the tests were done, whatever they found.

    Parameters
    ----------
    path
        Image file or folder that the model is used on.
    model
        Model file, as train writes it (.blindsound).
    output
        Where a one-page report goes: a name ending in .html, .png or .pdf.
    overwrite
        Replace an earlier report.
    seed
        Seed of the noise and of the places that are looked at.
    image, applied, console
        Options.
    """
    job = _job(path, model, seed, image, applied)
    if output is not None:
        check_report(output, overwrite=overwrite)
        places.check_file(output, "the report", overwrite=overwrite, suffix=None)
    [volume] = job.volumes()
    denoiser = job.estimated(load(model, applied.device))
    check_channels(denoiser, volume)
    console.say(f"testing {model.name} on {volume.name}")
    with stoppable("tests") as stop, fixed(applied.threads):
        found = tested(denoiser, volume, seed=seed, stop=stop)
        page = None if found.stopped else output
        if page is not None:
            report(found, denoiser, volume, page, overwrite=overwrite)
    data = {"command": "trust", "image": volume.source, "model": str(model)}
    data |= {**found.as_data(), "report": str(page.absolute()) if page else None}
    console.report(_lines(found, page), data)
    return INTERRUPTED if found.stopped else 0


def _job(
    path: str, model: Path, seed: int, image: ImageOptions, applied: ModelOptions
) -> Job:
    """What is opened and loaded, checked before any of it is done."""
    train = TrainConfig(seed=seed, device=applied.device, threads=applied.threads)
    return Job(
        inputs=(path,),
        axes=image.axes,
        image=image.image,
        channel=image.channel,
        recipe=Recipe(train=train),
        model_in=str(model),
        estimate=applied.estimate,
        blend=applied.blend,
        adjust=applied.adjusted,
    )


def _lines(found: Trust, page: Path | None) -> list[str]:
    lines = [f"{found.verdict.upper()}: {found.summary}"]
    for channel in found.channels:
        lines += ["", *_of_channel(channel)]
    if page is not None:
        lines += ["", f"report {page}"]
    return lines


def _of_channel(channel: ChannelTrust) -> list[str]:
    heading = f"Tests{channel.title}"
    return [heading, *table(channel.as_rows())]
