"""``blindsound inspect``: what an image is, how noisy, and what to do about it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from napari_blindsound.cli.messages import table
from napari_blindsound.cli.options import CONSOLE, IMAGE, Console, ImageOptions
from napari_blindsound.job import Job
from napari_blindsound.quality.advice import advice
from napari_blindsound.quality.preflight import glances
from napari_blindsound.wording import file_name, size

if TYPE_CHECKING:
    from napari_blindsound.images.volume import Volume

_SYMBOLS = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm", "second": "s"}


def inspect(
    path: str, /, *, image: ImageOptions = IMAGE, console: Console = CONSOLE
) -> int:
    """Tell what an image is, how noisy it is, and what to do about it.

    Reads a small sample of the pixels, however large the image is, and estimates the
    camera's noise from it: variance = gain x (mean - offset) + read noise squared. One
    photon adds `gain` counts.

    Parameters
    ----------
    path
        Image file or folder.
    image, console
        Options.
    """
    [volume] = Job(
        inputs=(path,), axes=image.axes, image=image.image, channel=image.channel
    ).volumes()
    facts = _facts(volume)
    lines = [volume.name, *table(facts)]
    found = glances(volume)
    for glance in found:
        lines += ["", f"Noise{glance.title}", *table(glance.as_rows())]
    told = [*advice(volume, found), _next(volume, path)]
    lines += ["", "Advice", *(f"  - {text}" for text in told)]
    channels = [glance.as_data() for glance in found]
    data = {"command": "inspect", **_data(volume), "noise": channels, "advice": told}
    console.report(lines, data)
    return 0


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
