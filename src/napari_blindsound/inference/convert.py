"""An image as it is, written as OME-Zarr: what napari's *Save* does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_blindsound.errors import OutputError
from napari_blindsound.images.axes import Axes
from napari_blindsound.inference.destination import Destination, output_errors
from napari_blindsound.inference.ngff import NgffSink
from napari_blindsound.inference.shards import Shards, output_order

if TYPE_CHECKING:
    from pathlib import Path

    from napari_blindsound.images.volume import Volume

_CHUNK, _SHARD = 512, 2048  # px


def convert(volume: Volume, dest: Path) -> Path:
    """Write an image of any size, without denoising it, as OME-Zarr 0.5.

    Parameters
    ----------
    volume : Volume
        The image; its axes, scale, units, dtype and display settings are kept.
    dest : Path
        A name that ends in ``.zarr``, where nothing lies yet.

    Returns
    -------
    Path
        `dest`.

    Raises
    ------
    OutputExistsError
        If something lies there.
    OutputError
        If the name does not end in ``.zarr``, or writing fails.
    """
    destination = Destination(dest)
    if destination.format != "OME-Zarr":
        msg = f"{dest} would be no OME-Zarr: let the name end in .ome.zarr"
        raise OutputError(msg)
    # Compression takes off about half.
    destination.check(volume, needed=volume.nbytes // 2)
    with destination.writing(volume.name) as partial, output_errors(dest):
        _write(volume, partial)
        destination.commit()
    return dest


def _write(volume: Volume, path: Path) -> None:
    names = output_order(volume.axes.names)
    order = [volume.axes.index(name) for name in names]
    shape = tuple(volume.shape[axis] for axis in order)
    sink = NgffSink(
        path,
        volume,
        Axes(tuple(volume.axes[axis] for axis in order)),
        Shards(names, shape, _CHUNK, _SHARD),
        dtype=volume.dtype,
        levels=None,
        compression=1,
        facts={"source": volume.name},
    )
    for region in sink.shards:
        source = tuple(region[names.index(name)] for name in volume.axes.names)
        sink.put(region, volume.read(source).transpose(order))
    for _ in sink.finish({}):
        pass
