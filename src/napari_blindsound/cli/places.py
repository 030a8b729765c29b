"""Where results go, settled and checked before any work is done for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from napari_blindsound.errors import OutputError, OutputExistsError
from napari_blindsound.inference.denoiser import SUFFIX
from napari_blindsound.inference.destination import Destination, deviation_place
from napari_blindsound.inference.resume import awaits_deviation, resumable
from napari_blindsound.recipe_file import SUFFIXES
from napari_blindsound.wording import file_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.parts import Part
    from napari_blindsound.job import Job

_IMAGES = (".zarr", ".tif", ".tiff")


def result_places(
    volumes: Sequence[Volume],
    job: Job,
    *,
    resume: bool = True,
    part: Part | None = None,
) -> list[Path]:
    """Decide on a path for each image's result, and check it.

    One image is written to the job's output, several into that folder, each under its
    own name. With `resume`, results are not checked that only lack their deviation.

    Raises
    ------
    OutputError, OutputExistsError
        If a result could not be written there, as far as can be known now.
    """
    places = _places(volumes, Path(job.output or ""))
    written = [
        (volume, place, job.dtype)
        for volume, place in zip(volumes, places, strict=True)
        if not (resume and job.uncertainty and awaits_deviation(place))
    ]
    if job.uncertainty:
        written += [
            (volume, deviation_place(place), "float32")
            for volume, place in zip(volumes, places, strict=True)
        ]
    needed = sum(_bytes(*one) for one in written)
    for _, place, _ in written:
        for volume in volumes:
            destination = Destination(place, overwrite=job.overwrite)
            destination.check(volume, needed=needed, part=part)
        _check_writable(place)
    return places


def check_nothing_begun(places: Sequence[Path]) -> None:
    """Refuse to train where what is left of a result needs the model it began with.

    Raises
    ------
    OutputError
        With what to do; a training by seconds gives another model each time.
    """
    for place in places:
        if resumable(place) is not None:
            msg = (
                f"{place} was begun with another model: go on with that one "
                "(blindsound denoise -m MODEL), or ask to start it anew"
            )
            raise OutputError(msg)


def check_file(
    path: Path,
    what: str,
    *,
    overwrite: bool,
    suffix: str | tuple[str, ...] | None = SUFFIX,
) -> None:
    """Refuse a place for a model or a checkpoint that cannot be written to.

    Raises
    ------
    OutputExistsError
        If something lies there and may not be replaced.
    OutputError
        If the name ends otherwise, or the folder cannot be written to.
    """
    known = (suffix,) if isinstance(suffix, str) else suffix
    if known is not None and path.suffix not in known:
        msg = f"{path} is no name for {what}; let it end in {known[0]}"
        raise OutputError(msg)
    if path.is_dir() or (path.exists() and not overwrite):
        msg = f"{path} exists; choose another name for {what}, or give --overwrite"
        raise OutputExistsError(msg)
    if not path.absolute().parent.is_dir():
        msg = f"there is no folder {path.absolute().parent} for {what}; make it first"
        raise OutputError(msg)
    _check_writable(path)


def check_recipe(path: Path | None, *, overwrite: bool) -> None:
    """Refuse a place for a recipe file that cannot be written to, if there is one.

    Raises
    ------
    OutputExistsError, OutputError
        As of :func:`check_file`.
    """
    if path is not None:
        check_file(path, "the recipe", overwrite=overwrite, suffix=SUFFIXES)


def _places(volumes: Sequence[Volume], output: Path) -> list[Path]:
    is_image = output.suffix.lower() in _IMAGES
    if len(volumes) == 1 and (is_image or not output.is_dir()):
        return [output]
    if is_image:
        msg = (
            f"{len(volumes)} images cannot go to one {output.name}; give a folder, or "
            f"quote a pattern ('t*.png') to open its files as one stack"
        )
        raise OutputError(msg)
    places = [output / f"{file_name(v.name)}_denoised.ome.zarr" for v in volumes]
    twice = sorted({str(place) for place in places if places.count(place) > 1})
    if twice:
        msg = f"several images would be written to {twice[0]}; denoise them one by one"
        raise OutputError(msg)
    return places


def _bytes(volume: Volume, place: Path, dtype: str) -> int:
    """What a result takes at least."""
    width = 4 if dtype == "float32" else volume.dtype.itemsize
    size = volume.nbytes // volume.dtype.itemsize * width
    # A pyramid adds a third, and compression takes off up to half.
    return size * 2 // 3 if place.suffix.lower() == ".zarr" else size


def _check_writable(path: Path) -> None:
    folder = next(p for p in path.absolute().parents if p.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        msg = f"cannot write to {folder}; choose a folder that you may write to"
        raise OutputError(msg)
