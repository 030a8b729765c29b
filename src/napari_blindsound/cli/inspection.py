"""``blindsound inspect``: what an image is, how noisy, and what to do about it."""

from __future__ import annotations

import shlex
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from napari_blindsound.cli.messages import table
from napari_blindsound.cli.options import (
    CONSOLE,
    FILES,
    IMAGE,
    OVERWRITE,
    Console,
    ImageOptions,
)
from napari_blindsound.images.chunks import missing_chunks
from napari_blindsound.job import Job
from napari_blindsound.quality.advice import advice, suited_method
from napari_blindsound.quality.facts import map_lines
from napari_blindsound.quality.preflight import glances
from napari_blindsound.wording import file_name, size

if TYPE_CHECKING:
    from napari_blindsound.images.volume import Volume
    from napari_blindsound.quality.preflight import Glance

_SYMBOLS = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm", "second": "s"}


def inspect(
    path: str,
    /,
    *,
    plot: Annotated[Path | None, Parameter(group=FILES)] = None,
    overwrite: Annotated[bool, OVERWRITE] = False,
    image: ImageOptions = IMAGE,
    console: Console = CONSOLE,
) -> int:
    """Tell what an image is, how noisy it is, and what to do about it.

    Reads a small sample of the pixels, however large the image is, and estimates the
    camera's noise from it: variance = gain x (mean - offset) + read noise squared. One
    photon adds `gain` counts. In brackets are 95 % intervals. What the data cannot tell
    is called not known.

    Parameters
    ----------
    path
        Image file or folder.
    plot
        Picture of the noise to write (.png, .pdf or .svg): variance against mean with
        error bars, and how neighboring pixels correlate.
    overwrite
        Replace the picture that is there.
    image, console
        Options.
    """
    if plot is not None:
        from napari_blindsound.quality.noise_picture import check_picture, write_picture

        check_picture(plot, overwrite=overwrite)
    [volume] = Job(
        inputs=(path,), axes=image.axes, image=image.image, channel=image.channel
    ).volumes()
    lines = [volume.name, *table(_facts(volume))]
    found = glances(volume)
    for glance in found:
        lines += ["", f"Noise{glance.title}", *table(glance.as_rows()), *_map(glance)]
    told = [*_missing(volume), *_in_options(advice(volume, found))]
    told.append(suited_method(found))
    told.append(_next(volume, path))
    lines += ["", "Advice", *(f"  - {text}" for text in told)]
    channels = [glance.as_data() for glance in found]
    data = {"command": "inspect", **_data(volume), "noise": channels, "advice": told}
    if plot is not None:
        write_picture(found, plot, volume.name)
        data["plot"] = str(plot)
    console.report(lines, data)
    return 0


def _map(glance: Glance) -> list[str]:
    """How neighbors correlate, as a square of numbers, where they do."""
    lines = map_lines(glance.correlation)
    heading = "  correlation with pixels 3 rows above to 3 below, 3 left to 3 right:"
    return [heading, *(f"    {line}" for line in lines)] if lines else []


def _missing(volume: Volume) -> list[str]:
    """What there is to say of chunks that are not there."""
    found = missing_chunks(volume.levels[0])
    return [found.sentence] if found is not None and found.sentence else []


def _in_options(told: list[str]) -> list[str]:
    """Name the setting as it is given here."""
    return [
        text.replace("the setting region overrides", "--region overrides")
        .replace("set region to 3x3", "give --region 3x3")
        .replace("the setting context overrides", "--context overrides")
        for text in told
    ]


def _next(volume: Volume, path: str) -> str:
    """Say which command to run."""
    output = f"{file_name(volume.name)}_denoised.ome.zarr"
    words = shlex.join(["blindsound", "run", path, "-o", output])
    jointly = " (and --channels joint for one network)" if volume.n_channels > 1 else ""
    return f"Next: {words}{jointly}"


def _facts(volume: Volume) -> dict[str, str]:
    levels = len(volume.levels)
    return {
        "axes": _sizes(volume.axes.names, volume.shape),
        "pixel type": f"{volume.dtype}, {size(volume.nbytes)} in all",
        "pixel size": _pixel_size(volume),
        "chunks": _sizes(volume.axes.names, volume.chunks),
        "levels": f"{levels} (a pyramid)" if levels > 1 else "1",
        "channels": ", ".join(volume.channel_names),
        "source": volume.source or "",
    }


def _data(volume: Volume) -> dict[str, Any]:
    return {
        "name": volume.name,
        "source": volume.source,
        "axes": volume.axes.to_json(),
        "shape": list(volume.shape),
        "dtype": str(volume.dtype),
        "bytes": volume.nbytes,
        "chunks": list(volume.chunks),
        "levels": [list(map(int, level.shape)) for level in volume.levels],
        "channel_names": list(volume.channel_names),
    }


def _sizes(names: str, sizes: tuple[int, ...]) -> str:
    return " x ".join(f"{name} {n}" for name, n in zip(names, sizes, strict=True))


def _pixel_size(volume: Volume) -> str:
    known = [axis for axis in volume.axes if axis.unit and axis.name != "C"]
    return (
        ", ".join(
            f"{axis.name} {axis.scale:.4g} {_SYMBOLS.get(axis.unit, axis.unit)}"
            for axis in known
            if axis.unit
        )
        or "not known"
    )
