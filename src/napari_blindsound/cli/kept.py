"""The model of a run, kept beside its result until that is complete.

A training by the clock gives another model each time, and a result can only be finished
with the model that it was begun with. So whatever ends the command, the same command
goes on with this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_blindsound.api import load
from napari_blindsound.cli.learned import Learned
from napari_blindsound.cli.places import check_nothing_begun
from napari_blindsound.errors import ModelError
from napari_blindsound.inference.denoiser import SUFFIX
from napari_blindsound.inference.resume import resumable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.job import Job


def kept_beside(places: Sequence[Path]) -> Path:
    """Where the model of a run is kept: beside the first of its results."""
    return places[0].with_name(f"{places[0].name}.partial{SUFFIX}")


def begun_with(
    job: Job, volumes: Sequence[Volume], places: Sequence[Path]
) -> Learned | None:
    """The model that the same command began its results with; None to train.

    Parameters
    ----------
    job : Job
        What is to be done.
    volumes : sequence of Volume
        What it would train on.
    places : sequence of Path
        Of its results.

    Raises
    ------
    OutputError
        If a result was begun with another model.
    """
    if not any(resumable(place) for place in places):
        return None
    path = kept_beside(places)
    if path.exists():
        try:
            denoiser = load(path, job.recipe.train.device)
        except ModelError:
            denoiser = None
        if denoiser is not None and _is_of(denoiser, job, volumes):
            return Learned(job.estimated(denoiser), stopped=False, terms={})
    check_nothing_begun(places)
    return None


def _is_of(denoiser: Denoiser, job: Job, volumes: Sequence[Volume]) -> bool:
    """Whether this very training made it."""
    origin = denoiser.provenance
    trained: list[dict[str, Any]] = origin.get("trained_on", [])
    known = [(one["source"], one["shape"]) for one in trained]
    asked = [(volume.source, list(volume.shape)) for volume in volumes]
    recipe = job.recipe.settled().model_dump(mode="json")
    return origin.get("recipe") == recipe and known == asked
