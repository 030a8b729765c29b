"""OME-Zarr 0.5: a sharded pyramid with axes, scale and display settings.

Level 0 is written shard by shard, in any order and by several threads; the coarser
levels are means over 2 x 2 pixels of the level before, and grow with it. Everything
that knows the standard's metadata (yaozarrs) is in this file.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import zarr
from pydantic import ValidationError
from yaozarrs import v05
from yaozarrs.write.v05 import prepare_image
from zarr.codecs import BloscCodec

from napari_blindsound.inference.coarser import Coarser, Level
from napari_blindsound.inference.shards import Shards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from napari_blindsound.images.axes import Axes
    from napari_blindsound.images.volume import Region, Volume

log = logging.getLogger(__name__)

SMALLEST_SIDE = 256  # px; levels are added while Y and X are larger than this
_WINDOW = (0.001, 0.999)  # quantiles between which a channel is displayed
_Range = tuple[float, float, float, float]  # minimum, start, end, maximum
_SAMPLE = 2**16  # pixels a shard and channel that the window is measured on


class NgffSink:
    """An OME-Zarr image that is being written.

    Parameters
    ----------
    path : Path
        Folder to make, which must not exist unless the work is continued.
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
    resume : bool
        Go on with the folder that is there, with the facts it has.
    shared : bool
        Go on with it while other processes do, too: only put shards into it.
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
        resume: bool = False,
        shared: bool = False,
    ) -> None:
        self.path = path
        self.shards = shards
        self._volume = volume
        self._windows = _Windows(volume.n_channels)
        self._grids = list(_grids(shards, levels))
        self._is_new = not (resume or shared)
        if resume:
            self._remove_drafts()
        elif not shared:
            multiscale = _multiscale(volume.name, axes, self._grids)
            self._make(v05.Image(multiscales=[multiscale]), dtype, compression)
        root = zarr.open_group(path, mode="r+")
        attributes: dict[str, Any] = dict(root.attrs)
        # A result that was complete but for its name is taken up, too.
        known = attributes.get("blindsound", facts)
        self._ome: dict[str, Any] = attributes.get("ome") or known["ome"]
        labels = ("ome", "complete")
        self._facts = {name: known[name] for name in known if name not in labels}
        self._levels = [
            Level(zarr.open_array(path / str(i), mode="r+"), path / str(i), grid)
            for i, grid in enumerate(self._grids)
        ]
        self._coarser = Coarser(self._levels, is_new=self._is_new)
        if not shared:
            # Until it is complete, no reader shall take it for an image.
            self._label({"ome": self._ome, "complete": False})

    def _make(self, image: v05.Image, dtype: np.dtype[Any], compression: int) -> None:
        prepare_image(
            self.path,
            image,
            [(grid.shape, dtype) for grid in self._grids],
            writer=_creator(self.shards, compression),
        )

    def _remove_drafts(self) -> None:
        """Remove what killed processes left of files that they were writing."""
        for folder, _, names in os.walk(self.path):
            for name in names:
                if name.endswith(".partial"):
                    Path(folder, name).unlink(missing_ok=True)

    def put(self, region: Region, pixels: npt.NDArray[Any]) -> dict[str, Any]:
        """Write one shard of level 0, and those of coarser levels that it completes.

        Several threads may, each its own shard.

        Returns
        -------
        dict
            Display range of each channel in the shard, and the coarser shards.
        """
        self._levels[0].write(region, pixels, is_new=self._is_new)
        channel = self.shards.names.find("C")
        by_channel = np.moveaxis(pixels, channel, 0) if channel >= 0 else pixels[None]
        windows = [_range(plane) for plane in by_channel]
        self._windows.add(windows)
        built = self._coarser.add(0, region, pixels)
        return {"windows": windows, "built": built}

    def recall(self, notes: dict[str, Any]) -> None:
        """Take in what :meth:`put` returned in an earlier run, or another process."""
        self._windows.add(notes["windows"])
        self._coarser.known(notes["built"])

    def size(self, region: Region) -> int:
        """Bytes of the shard's file; one that holds nothing but zeros has none."""
        return self._levels[0].size(region)

    def finish(self, result: Mapping[str, Any]) -> Iterator[str]:
        """Build what is missing of the pyramid, then complete the metadata.

        Parameters
        ----------
        result : mapping
            Added to the attribute ``blindsound``.

        Yields
        ------
        str
            What was done, after each piece of work.
        """
        self._remove_drafts()
        yield from self._coarser.rest()
        omero = _omero(self._volume, self._windows.found)
        ome = self._ome if omero is None else {**self._ome, "omero": omero}
        self._label({**result, "complete": True}, ome=ome)

    def _label(
        self, facts: Mapping[str, Any], *, ome: Mapping[str, Any] | None = None
    ) -> None:
        """Set the attributes; only those of an image have ``ome``."""
        attributes = {} if ome is None else {"ome": ome}
        root = zarr.open_group(self.path, mode="r+")
        root.attrs.put({**attributes, "blindsound": {**self._facts, **facts}})


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
        self.found: list[_Range | None] = [None] * channels

    def add(self, windows: Sequence[_Range]) -> None:
        """Take note of a shard's, one a channel."""
        with self._lock:
            for channel, new in enumerate(windows):
                old = self.found[channel] or new
                self.found[channel] = (
                    min(old[0], new[0]),
                    min(old[1], new[1]),
                    max(old[2], new[2]),
                    max(old[3], new[3]),
                )


def _range(plane: npt.NDArray[Any]) -> _Range:
    """Display range of one channel of a shard."""
    sample = plane.ravel()[:: max(1, plane.size // _SAMPLE)]
    start, end = np.quantile(sample, _WINDOW)
    return float(plane.min()), float(start), float(end), float(plane.max())


def _omero(volume: Volume, windows: Sequence[_Range | None]) -> dict[str, Any] | None:
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
