"""From the options of a command to the job that it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_blindsound.job import Job
from napari_blindsound.recipe import Recipe
from napari_blindsound.training.trainer import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_blindsound.cli.options import (
        ImagesOptions,
        ModelOptions,
        PartOptions,
        ResultOptions,
    )
    from napari_blindsound.cli.settings import TailoredOptions


def of_train(
    images: Sequence[str],
    output: Path,
    image: ImagesOptions,
    part: PartOptions,
    training: TailoredOptions,
    *,
    overwrite: bool,
) -> Job:
    """What ``blindsound train`` is to do.

    Raises
    ------
    pydantic.ValidationError
        If a value is out of bounds.
    """
    return _of_training(images, image, part, training).changed(
        model_out=str(output), overwrite=overwrite
    )


def of_run(
    images: Sequence[str],
    output: Path,
    model: Path | None,
    image: ImagesOptions,
    result: ResultOptions,
    part: PartOptions,
    training: TailoredOptions,
) -> Job:
    """What ``blindsound run`` is to do.

    Raises
    ------
    pydantic.ValidationError
        If a value is out of bounds.
    """
    return _of_training(images, image, part, training).changed(
        output=str(output),
        model_out=str(model) if model else None,
        dtype=result.dtype,
        overwrite=result.overwrite,
        turns=result.turns,
        uncertainty=result.uncertainty,
    )


def of_denoise(
    images: Sequence[str],
    model: Path,
    output: Path,
    image: ImagesOptions,
    result: ResultOptions,
    applied: ModelOptions,
) -> Job:
    """What ``blindsound denoise`` is to do.

    Raises
    ------
    pydantic.ValidationError
        If a value is out of bounds.
    """
    train = TrainConfig(device=applied.device, threads=applied.threads)
    return Job(
        inputs=tuple(images),
        stack=image.stack,
        axes=image.axes,
        image=image.image,
        channel=image.channel,
        recipe=Recipe(train=train),
        model_in=str(model),
        output=str(output),
        estimate=applied.estimate,
        blend=applied.blend,
        adjust=applied.adjusted,
        turns=result.turns,
        uncertainty=result.uncertainty,
        dtype=result.dtype,
        overwrite=result.overwrite,
    )


def _of_training(
    images: Sequence[str],
    image: ImagesOptions,
    part: PartOptions,
    training: TailoredOptions,
) -> Job:
    rows, columns = part.train_region or (None, None)
    return Job(
        inputs=tuple(images),
        stack=image.stack,
        axes=image.axes,
        image=image.image,
        channel=image.channel,
        times=part.train_times,
        slices=part.train_slices,
        rows=rows,
        columns=columns,
        recipe=training.recipe(),
        estimate=training.estimate,
        blend=training.blend,
    )
