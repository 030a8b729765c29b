"""OME-Zarr 0.5: a sharded pyramid with axes, scale and display settings.

Level 0 is written shard by shard, in any order and by several threads; the coarser
levels are means over 2 x 2 pixels of the level before, read back from what was written.
Everything that knows the standard's metadata (yaozarrs) is in this file.
"""

from __future__ import annotations

import logging
import math
import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import zarr
from pydantic import ValidationError
from yaozarrs import v05
from yaozarrs.write.v05 import prepare_image
from zarr.codecs import BloscCodec

from napari_blindsound.inference.shards import Shards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from napari_blindsound.images.axes import Axes
    from napari_blindsound.images.volume import Region, Volume

log = logging.getLogger(__name__)

SMALLEST_SIDE = 256  # px; levels are added while Y and X are larger than this
_WINDOW = (0.001, 0.999)  # quantiles between which a channel is displayed
_SAMPLE = 2**16  # pixels a shard and channel that the window is measured on


class NgffSink:
    """An OME-Zarr image that is being written.

    Parameters
    ----------
    path : Path
        Folder to make, which must not exist.
    volume : Volume
        The source: its axes, channel names and display settings are kept.
    axes : Axes
        The source's axes in the order of the output.
    shards : Shards
        Of level 0.
    dtype : numpy.dtype
        Of the pixels.
    levels : int or None
        Number of levels; as many as make sense if None.
    compression : int
        Level of zstd, 0 for none.
    facts : mapping
        Stored as the attribute ``blindsound``.
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
        levels: int | None,
        compression: int,
    ) -> None:
        self.path = path
        self.shards = shards
        self._volume = volume
        self._facts = facts
        self._windows = _Windows(volume.n_channels)
        self._grids = list(_grids(shards, levels))
        image = v05.Image(multiscales=[_multiscale(volume.name, axes, self._grids)])
        _, arrays = prepare_image(
            path,
            image,
            [(grid.shape, dtype) for grid in self._grids],
            writer=_creator(shards, compression),
        )
        self._levels = [arrays[str(i)] for i in range(len(self._grids))]
        # Until it is complete, no reader shall take it for an image.
        root = zarr.open_group(path, mode="r+")
        self._ome: dict[str, Any] = dict(root.attrs["ome"])  # type: ignore[arg-type] # JSON
        root.attrs.put({"blindsound": {**facts, "complete": False}})

    def put(self, region: Region, pixels: npt.NDArray[Any]) -> None:
        """Write one shard of level 0; several threads may, each its own shard."""
        self._levels[0][region] = pixels
        channel = self.shards.names.find("C")
        by_channel = np.moveaxis(pixels, channel, 0) if channel >= 0 else pixels[None]
        self._windows.add(by_channel)

    def finish(self, result: Mapping[str, Any]) -> Iterator[str]:
        """Build the pyramid, then complete the metadata.

        Parameters
        ----------
        result : mapping
            Added to the attribute ``blindsound``.

        Yields
        ------
        str
            What was done, after each piece of work.
        """
        for number, grid in enumerate(self._grids[1:], start=1):
            for done, region in enumerate(grid, start=1):
                self._levels[number][region] = self._coarse(number, region)
                yield f"level {number}: shard {done} of {len(grid)}"
        omero = _omero(self._volume, self._windows.found)
        ome = self._ome if omero is None else {**self._ome, "omero": omero}
        blindsound = {**self._facts, **result, "complete": True}
        root = zarr.open_group(self.path, mode="r+")
        root.attrs.put({"ome": ome, "blindsound": blindsound})

    def _coarse(self, number: int, region: Region) -> npt.NDArray[Any]:
        """One shard of a level from the level before."""
        finer = self._levels[number - 1]
        source = [*region[:-2]]
        for span, size in zip(region[-2:], finer.shape[-2:], strict=True):
            source.append(slice(2 * span.start, min(2 * span.stop, size)))
        return halved(np.asarray(finer[tuple(source)]))


def halved(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Mean over 2 x 2 pixels of the last two axes, in the same dtype.

    The last row or column of an odd size stands for two. Integers are rounded.
    """
    exact = pixels.dtype.itemsize > 2 and pixels.dtype != np.float32
    kind = np.float64 if exact else np.float32
    odd = [(0, 0)] * (pixels.ndim - 2) + [(0, size % 2) for size in pixels.shape[-2:]]
    full = np.pad(pixels, odd, mode="edge") if np.any(odd) else pixels
    rows = full[..., 0::2, :].astype(kind) + full[..., 1::2, :]
    mean: npt.NDArray[Any] = (rows[..., 0::2] + rows[..., 1::2]) / 4
    if pixels.dtype.kind in "ui":
        np.rint(mean, out=mean)
    return mean.astype(pixels.dtype, copy=False)


def _grids(shards: Shards, levels: int | None) -> Iterator[Shards]:
    """Shards of each level, as many levels as asked for or as make sense."""
    grid, number = shards, 0
    while True:
        yield grid
        number += 1
        small = min(grid.shape[-2:]) <= (1 if levels else SMALLEST_SIDE)
        if small or number == levels:
            return
        coarse = tuple(math.ceil(size / 2) for size in grid.shape[-2:])
        grid = Shards(
            grid.names, (*grid.shape[:-2], *coarse), shards.chunk, shards.side
        )


def _creator(shards: Shards, compression: int) -> Callable[..., Any]:
    """Make the arrays: every level has shards that fit its own shape."""

    def create(
        path: Path,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        chunks: tuple[int, ...],
        *,
        shards: tuple[int, ...] | None,
        overwrite: bool,
        compression: str,
        dimension_names: list[str] | None,
    ) -> zarr.Array[Any]:
        grid = Shards(level.names, shape, level.chunk, level.side)
        return zarr.create_array(
            path,
            shape=shape,
            dtype=dtype,
            chunks=grid.chunk_shape,
            shards=grid.shard_shape,
            compressors=codecs,
            dimension_names=dimension_names,
            zarr_format=3,
            overwrite=overwrite,
        )

    level = shards
    codecs = (BloscCodec(cname="zstd", clevel=compression),) if compression else None
    return create


def _multiscale(name: str, axes: Axes, grids: list[Shards]) -> v05.Multiscale:
    datasets = []
    for number in range(len(grids)):
        factors = [2**number if axis.name in "YX" else 1 for axis in axes]
        pairs = list(zip(axes, factors, strict=True))
        scale = [axis.scale * f for axis, f in pairs]
        # The middle of a coarse pixel lies between those it is the mean of.
        shift = [axis.translate + axis.scale * (f - 1) / 2 for axis, f in pairs]
        transforms: list[Any] = [v05.ScaleTransformation(scale=scale)]
        if any(shift):
            transforms.append(v05.TranslationTransformation(translation=shift))
        datasets.append(
            v05.Dataset(path=str(number), coordinateTransformations=transforms)
        )
    return v05.Multiscale(
        name=name,
        axes=[_axis(axis.name, axis.unit) for axis in axes],
        datasets=datasets,
        type="mean",
        metadata={"description": "mean over 2 x 2 pixels of the level before"},
    )


def _axis(name: str, unit: str | None) -> Any:  # noqa: ANN401 - a union of theirs
    if name == "C":
        return v05.ChannelAxis(name="c")
    kind = v05.TimeAxis if name == "T" else v05.SpaceAxis
    with warnings.catch_warnings():
        # A unit that the standard does not list is kept all the same.
        warnings.simplefilter("ignore")
        return kind(name=name.lower(), unit=unit)


class _Windows:
    """Display range of each channel, measured on what is written."""

    def __init__(self, channels: int) -> None:
        self._lock = threading.Lock()
        self.found: list[tuple[float, float, float, float] | None] = [None] * channels

    def add(self, pixels: npt.NDArray[Any]) -> None:
        """Take note of a shard, (C, ...)."""
        for channel, plane in enumerate(pixels):
            sample = plane.ravel()[:: max(1, plane.size // _SAMPLE)]
            start, end = np.quantile(sample, _WINDOW)
            new = (plane.min(), start, end, plane.max())
            with self._lock:
                old = self.found[channel] or new
                self.found[channel] = (
                    float(min(old[0], new[0])),
                    float(min(old[1], new[1])),
                    float(max(old[2], new[2])),
                    float(max(old[3], new[3])),
                )


def _omero(
    volume: Volume, windows: list[tuple[float, float, float, float] | None]
) -> dict[str, Any] | None:
    """Display settings: the source's where it has some, measured windows otherwise.

    None where nothing is known about the channels, so that viewers decide.
    """
    known = dict(volume.omero or {})
    settings = list(known.get("channels") or [])
    if len(settings) != volume.n_channels:
        settings = [{} for _ in range(volume.n_channels)]
    if not any(settings) and not volume.channel_names:
        return None
    channels = []
    for i, (setting, window) in enumerate(zip(settings, windows, strict=True)):
        channel = {"color": "FFFFFF", "active": True, **setting}
        if volume.channel_names:
            channel["label"] = volume.channel_names[i]
        if window is not None:
            measured = dict(zip(("min", "start", "end", "max"), window, strict=True))
            channel["window"] = {**measured, **(setting.get("window") or {})}
        channels.append(channel)
    return _validated({**known, "channels": channels})


def _validated(omero: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return v05.Omero.model_validate(omero).model_dump(
            mode="json", exclude_none=True
        )
    except ValidationError as error:
        log.warning("display settings of the source left out: %s", error)
        return None
