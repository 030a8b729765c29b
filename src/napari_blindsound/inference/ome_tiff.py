"""OME-TIFF: one file that Fiji and every microscope's software opens.

Pixels are stored uncompressed in strips, plane after plane at known places. So shards
can be written in any order and by several threads, nothing is held back, and ImageJ
opens the file as a virtual stack. For compression and pyramids there is OME-Zarr.
"""

from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np
import numpy.typing as npt
import tifffile

from napari_blindsound.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from io import FileIO
    from pathlib import Path

    from napari_blindsound.images.axes import Axes
    from napari_blindsound.images.volume import Region, Volume
    from napari_blindsound.inference.shards import Shards

NAMESPACE = "napari-blindsound"
_DTYPES = ("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8")
_CLASSIC = 2**32 - 2**25  # bytes that a TIFF without 64-bit offsets surely holds
_STRIP = 2**22  # bytes of a strip: what a reader must read at least

# Words of the axes to the symbols of the OME-XML schema.
_PREFIXES = {"femto": "f", "pico": "p", "nano": "n", "micro": "µ", "milli": "m"} | {
    "centi": "c",
    "deci": "d",
    "": "",
    "kilo": "k",
}
_SYMBOLS = {
    f"{word}{base}": f"{symbol}{base[0]}"
    for base in ("meter", "second")
    for word, symbol in _PREFIXES.items()
} | {"angstrom": "Å", "inch": "in", "minute": "min", "hour": "h", "day": "d"}


class OmeTiffSink:
    """An OME-TIFF that is being written.

    Parameters
    ----------
    path : Path
        File to make.
    volume : Volume
        The source, whose name and channel names are kept.
    axes : Axes
        The source's axes in the order of the output.
    shards : Shards
        How the image is cut; the file itself knows only strips.
    dtype : numpy.dtype
        Of the pixels.
    facts : mapping
        Stored as JSON in a MapAnnotation of the namespace ``napari-blindsound``.
    identity : mapping
        Plain data that the pixels depend on; the file's UUID is made of it and `facts`,
        so that the same run writes the same bytes.
    resume : bool
        Go on with the file that is there, with the facts it has.

    Raises
    ------
    OutputError
        If OME-TIFF has no such type of pixels.
    """

    def __init__(
        self,
        path: Path,
        volume: Volume,
        axes: Axes,
        shards: Shards,
        *,
        dtype: np.dtype[Any],
        facts: Mapping[str, Any],
        identity: Mapping[str, Any],
        resume: bool = False,
    ) -> None:
        if dtype.str[1:] not in _DTYPES:
            msg = (
                f"OME-TIFF cannot hold pixels of type {dtype}: ask for float32, or "
                "write an OME-Zarr (a name that ends in .ome.zarr)"
            )
            raise OutputError(msg)
        self.path = path
        self.shards = shards
        self._dtype = dtype.newbyteorder("<")
        if not resume:
            run = json.dumps([dict(facts), dict(identity)], sort_keys=True)
            unique = str(uuid5(NAMESPACE_URL, run))
            metadata = {"UUID": unique, **_metadata(volume, axes, facts)}
            _make_empty(path, shards.shape, self._dtype, metadata)
        self._offset = _first_pixel(path)

    def put(self, region: Region, pixels: npt.NDArray[Any]) -> None:
        """Write one shard; several threads may, each its own shard.

        When this returns, the pixels are on the disk: after a power cut nothing in the
        file would tell a shard that was lost from one that was written.
        """
        ordered = np.ascontiguousarray(pixels, self._dtype)
        height, width = self.shards.shape[-2:]
        rows, columns = region[-2:]
        lead = [range(span.start, span.stop) for span in region[:-2]]
        flat = ordered.reshape(-1, *ordered.shape[-2:])
        planes = _numbers(lead, self.shards.shape[:-2])
        whole = columns.stop - columns.start == width
        with self.path.open("r+b", buffering=0) as file:
            for number, plane in zip(planes, flat, strict=True):
                first = (number * height + rows.start) * width + columns.start
                for i, part in enumerate([plane] if whole else plane):
                    at = first + i * width
                    file.seek(self._offset + at * self._dtype.itemsize)
                    _write_all(file, part)
            os.fsync(file.fileno())

    def recall(self, notes: object) -> None:
        """Nothing was found that is needed again."""

    def size(self, region: Region) -> int:
        """Bytes of the file, which has its full size from the beginning."""
        del region
        return self.path.stat().st_size

    def finish(self, result: Mapping[str, Any]) -> Iterator[str]:
        """Nothing is left to do: the metadata were written first."""
        del result
        yield from ()


def _make_empty(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], metadata: dict[str, Any]
) -> None:
    """Make the file with all its metadata and no pixels."""
    height, width = shape[-2:]
    size = math.prod(shape) * dtype.itemsize
    rows = max(1, min(height, _STRIP // (width * dtype.itemsize)))
    with tifffile.TiffWriter(path, bigtiff=size > _CLASSIC, ome=True) as tiff:
        tiff.write(
            shape=shape,
            dtype=dtype,
            photometric="minisblack",
            rowsperstrip=rows,
            metadata=metadata,
            software=NAMESPACE,
        )


def _first_pixel(path: Path) -> int:
    """Where in the file the pixels begin.

    Raises
    ------
    ValueError
        If it is no such file.
    """
    try:
        tiff = tifffile.TiffFile(path)
    except tifffile.TiffFileError as error:
        raise ValueError(str(error)) from error
    with tiff:
        offset = tiff.series[0].dataoffset
        assert offset is not None  # uncompressed planes without gaps
        return int(offset)


def _metadata(volume: Volume, axes: Axes, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What tifffile turns into OME-XML."""
    metadata: dict[str, Any] = {
        "axes": axes.names,
        "Name": volume.name,
        "MapAnnotation": {
            "Namespace": NAMESPACE,
            "Value": {"blindsound": json.dumps(dict(facts))},
        },
    }
    if volume.channel_names:
        metadata["Channel"] = {"Name": list(volume.channel_names)}
    for axis in axes:
        symbol = _SYMBOLS.get(axis.unit or "")
        if axis.name == "T" and symbol:
            metadata |= {"TimeIncrement": axis.scale, "TimeIncrementUnit": symbol}
        elif axis.name in "ZYX" and (symbol or axis.scale != 1):
            # Without a unit the schema would mean micrometers.
            size = f"PhysicalSize{axis.name}"
            metadata |= {size: axis.scale, f"{size}Unit": symbol or "pixel"}
    return metadata


def _numbers(lead: list[range], sizes: tuple[int, ...]) -> list[int]:
    """Numbers of planes in the file, in the order of their positions."""
    grid = np.meshgrid(*lead, indexing="ij") if lead else []
    if not lead:
        return [0]
    return [int(n) for n in np.ravel_multi_index(grid, sizes).ravel()]


def _write_all(file: FileIO, pixels: npt.NDArray[Any]) -> None:
    """Write until everything is written: a nearly full disk takes less at a time."""
    rest = pixels.data.cast("B")
    while rest:
        rest = rest[file.write(rest) :]
