"""What napari calls: a reader, a writer and sample data, all in layer-data tuples.

napari itself is not imported, nor is torch, and nothing heavy before a function is
called: napari loads this file to find out whether a path is ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_blindsound.images.layers import LayerData
    from napari_blindsound.images.phantom import Kind

_TIFF = (".ome.tif", ".ome.tiff")
_ZARR = ".zarr"
_ZARR_FILES = ("zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")


def get_reader(
    path: str | Sequence[str],
) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Say whether a path is read here, by a look at names alone.

    Parameters
    ----------
    path : str or sequence of str
        An OME-TIFF, a zarr folder or URL; several files are the frames of one stack.

    Returns
    -------
    callable or None
        :func:`read_layers`, or None for what is left to other readers.
    """
    paths = _listed(path)
    return read_layers if paths and all(_is_ours(one) for one in paths) else None


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Open an image lazily, as one layer a channel.

    Parameters
    ----------
    path : str or sequence of str
        As for :func:`get_reader`.

    Returns
    -------
    list of LayerData
        With dask arrays, one a level of the pyramid, and all that the file says about
        scale, position, units, axes, colors and display range.

    Raises
    ------
    BlindsoundError
        If the image cannot be read.
    """
    from napari_blindsound.images.layers import volume_to_layers
    from napari_blindsound.images.open import open_volume

    paths = _listed(path)
    return volume_to_layers(open_volume(paths[0] if len(paths) == 1 else paths))


def write_ome_zarr(path: str, layers: Sequence[LayerData]) -> list[str]:
    """Write image layers, one or the channels of one image, as OME-Zarr 0.5.

    Parameters
    ----------
    path : str
        A name that ends in ``.zarr``, where nothing lies yet.
    layers : sequence of LayerData
        Of one shape, position and scale, with named axes.

    Returns
    -------
    list of str
        The path.

    Raises
    ------
    OutputExistsError
        If something lies there.
    OutputError
        If the layers are RGB pictures, do not name their axes or do not fit together,
        or if it cannot be written.
    """
    from napari_blindsound.errors import OutputError
    from napari_blindsound.images.layers import layers_to_volume
    from napari_blindsound.inference.convert import convert

    try:
        return [str(convert(layers_to_volume(layers), Path(path)))]
    except ValueError as error:
        # napari takes any ValueError for "no such writer", and drops its words.
        raise OutputError(str(error)) from error


def sample_image() -> list[LayerData]:
    """Clean and noisy image of synthetic cells."""
    return _phantom_layers("2d")


def sample_stack() -> list[LayerData]:
    """Clean and noisy Z stack of synthetic cells."""
    return _phantom_layers("zstack")


def sample_movie() -> list[LayerData]:
    """Clean and noisy time-lapse of moving synthetic cells."""
    return _phantom_layers("timelapse")


def _listed(path: str | Sequence[str]) -> list[str]:
    return [path] if isinstance(path, str) else list(path)


def _is_ours(path: str) -> bool:
    """Whether a path has one of the names in the manifest, and may be an image."""
    name = path.lower().rstrip("/\\")
    if name.endswith(_TIFF):
        return Path(path).is_file()
    if not name.endswith(_ZARR):
        return False
    return "://" in path or any((Path(path) / file).is_file() for file in _ZARR_FILES)


def _phantom_layers(kind: Kind) -> list[LayerData]:
    from dataclasses import replace

    from napari_blindsound.images.layers import volume_to_layers
    from napari_blindsound.images.phantom import phantom

    made = phantom(kind)
    noisy = made.volume()
    clean = replace(noisy, levels=(made.clean,))
    [clean_layer] = volume_to_layers(replace(clean, name=f"{made.name} clean"))
    [noisy_layer] = volume_to_layers(replace(noisy, name=f"{made.name} noisy"))
    # One range for both, or they could not be compared by eye.
    clean_layer[1]["contrast_limits"] = noisy_layer[1]["contrast_limits"]
    return [clean_layer, noisy_layer]
