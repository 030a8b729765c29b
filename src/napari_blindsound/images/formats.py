"""CZI, ND2, LIF and the other formats of microscope makers, read through bioio."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from napari_blindsound.errors import (
    BlindsoundError,
    ImageFormatError,
    MissingExtraError,
)
from napari_blindsound.images.axes import Axes, Axis, settle_axes
from napari_blindsound.images.choice import choose
from napari_blindsound.images.units import unit_word
from napari_blindsound.images.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from bioio import BioImage

SUFFIXES = (
    *(".czi", ".nd2", ".lif", ".xlif", ".lof", ".dv", ".r3d", ".oib", ".oif", ".oir"),
    *(".vsi", ".ims", ".sldy", ".sld", ".ics", ".ids", ".zvi", ".mrc"),
)
_ORDER = "TCZYX"  # bioio's own


def open_format(
    path: Path, *, axes: str | None = None, image: int | None = None
) -> Volume:
    """Open a file of a microscope maker lazily; axes of size 1 are left out.

    Parameters
    ----------
    path : pathlib.Path
        A file that bioio has a plugin for.
    axes : str, optional
        In place of what the file says of the axes longer than 1.
    image : int, optional
        Which image (bioio's scene), where the file holds several.

    Raises
    ------
    MissingExtraError
        If bioio is not installed.
    ImageFormatError
        If no plugin of bioio reads the file, or it holds colors or several images.
    """
    try:
        from bioio import BioImage
    except ImportError as error:
        msg = (
            f"reading {path.name} needs bioio: "
            'pip install "napari-blindsound[formats]", or export the image as OME-TIFF'
        )
        raise MissingExtraError(msg) from error
    try:
        source = BioImage(path)
        number = choose([str(scene) for scene in source.scenes], image, str(path))
        source.set_scene(number)
        return _volume(source, path, axes)
    except BlindsoundError:
        raise
    except Exception as error:  # every plugin raises its own
        msg = (
            f"bioio cannot read {path} ({type(error).__name__}): the file is damaged, "
            f"or the plugin bioio-{path.suffix[1:].lower()} is not installed; export "
            "the image as OME-TIFF if there is no such plugin"
        )
        raise ImageFormatError(msg) from error


def _volume(source: BioImage, path: Path, axes: str | None) -> Volume:
    if "S" in source.dims.order:
        msg = (
            f"{path} is an RGB photograph: give the gray images of the channels, "
            "exported one by one"
        )
        raise ImageFormatError(msg)
    whole = source.dask_data
    long = [name for name, n in zip(_ORDER, whole.shape, strict=True) if n > 1]
    kept = [name for name in _ORDER if name in long or name in "YX"]
    array = whole[tuple(slice(None) if name in kept else 0 for name in _ORDER)]
    known = Axes(tuple(_axis(source, name) for name in kept))
    settled = settle_axes(axes, known, array.shape, str(path))
    names = tuple(str(name) for name in source.channel_names or ())
    is_named = "C" in settled and len(names) == array.shape[settled.index("C")]
    channel_names = names if is_named else ()
    return Volume((array,), settled, path.name, channel_names, str(path))


def _axis(source: BioImage, name: str) -> Axis:
    """One axis with its pixel size: in micrometers unless the plugin says otherwise."""
    if name == "T":
        seconds = _seconds(source.time_interval)
        return Axis("T", seconds, "second") if seconds else Axis("T")
    size = getattr(source.physical_pixel_sizes, name, None)
    if not size or size < 0:
        return Axis(name)
    said = getattr(getattr(source.dimension_properties, name, None), "unit", None)
    return Axis(name, float(size), unit_word(str(said)) or "micrometer")


def _seconds(interval: Any) -> float:  # noqa: ANN401 - differs between plugins
    if isinstance(interval, timedelta):
        return interval.total_seconds()
    return max(float(interval or 0.0), 0.0)
