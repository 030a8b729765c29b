"""Denoising to disk, out of core: read, compute and write shard by shard.

The next shard is read and the last one is written while this one is computed, in the
thread of the caller. At most a few shards are in memory, whatever the size of the
image. Everything is written beside the destination, under its name with ``.partial``
behind it, and renamed when complete: nothing half-written ever looks whole.
"""

from __future__ import annotations

import math
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_blindsound.images.axes import Axes
from napari_blindsound.inference.destination import Destination, output_errors
from napari_blindsound.inference.ngff import NgffSink
from napari_blindsound.inference.ome_tiff import OmeTiffSink
from napari_blindsound.inference.pipeline import Pipeline, Sink, Tally
from napari_blindsound.inference.reading import check_channels
from napari_blindsound.inference.shards import Shards, output_order

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator, Iterator, Mapping
    from typing import Self

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.tiling import TileOperator

EVENTS_PER_SECOND = 10


class WriteConfig(BaseModel):
    """How a result is stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Literal["float32", "source"] = Field(
        "float32",
        description="type of the pixels: float32, or the source's own, to which values "
        "are rounded and clipped",
    )
    overwrite: bool = Field(
        False, description="replace an existing result, once the new one is complete"
    )
    chunk: int = Field(
        512,
        ge=16,
        description="side in pixels of what a viewer reads at once (OME-Zarr)",
    )
    shard: int = Field(
        2048,
        ge=16,
        description="side in pixels of what is computed and written at once, a "
        "multiple of chunk; one file of an OME-Zarr",
    )
    levels: int | None = Field(
        None,
        ge=1,
        description="levels of the pyramid (OME-Zarr); by default down to 256 pixels",
    )
    compression: int = Field(
        1,
        ge=0,
        le=9,
        description="zstd level of an OME-Zarr, 0 for none; OME-TIFF is never "
        "compressed",
    )

    @model_validator(mode="after")
    def _whole_chunks(self) -> Self:
        if self.shard % self.chunk:
            msg = (
                f"a shard of {self.shard} pixels is not made of chunks of "
                f"{self.chunk}: give a multiple"
            )
            raise ValueError(msg)
        return self


@dataclass(frozen=True)
class WriteEvent:
    """How far the work has come.

    Parameters
    ----------
    done, total : int
        Pixels of the full resolution, channels counted.
    seconds : float
        Since the start.
    seconds_left : float or None
        Estimate; None where there is nothing to judge by.
    message : str
        What is being done.
    path : Path or None
        The complete result; only in the last event.
    clipped : int
        Pixels so far that did not fit the range of an integer type.
    mean_in, mean_out : float or None
        Means of the noisy and the written pixels so far.
    stopped : bool
        The work ended early, and nothing was kept.
    """

    done: int
    total: int
    seconds: float
    seconds_left: float | None
    message: str
    path: Path | None = None
    clipped: int = 0
    mean_in: float | None = None
    mean_out: float | None = None
    stopped: bool = False


DEFAULTS = WriteConfig()


def write(
    denoiser: TileOperator,
    volume: Volume,
    dest: str | Path,
    config: WriteConfig = DEFAULTS,
    *,
    stop: threading.Event | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Iterator[WriteEvent]:
    """Denoise an image of any size into an OME-Zarr or an OME-TIFF.

    What can be known to fail is refused at once; the work is done while the events are
    taken, and thrown away if they are not taken to the end.

    Parameters
    ----------
    denoiser : TileOperator
        The denoiser; called in the caller's thread only.
    volume : Volume
        The noisy image.
    dest : str or Path
        A name that ends in .ome.zarr or .zarr (OME-Zarr 0.5), or in .ome.tif, .tif,
        .ome.tiff or .tiff (OME-TIFF). Axes come in the order TCZYX; scale, units,
        channel names and, in OME-Zarr, display settings are the source's.
    config : WriteConfig
        How the result is stored.
    stop : threading.Event, optional
        Set it to end the work at the next tile; nothing is kept then.
    provenance : mapping, optional
        Plain data stored with the result, beside the model's own provenance.

    Returns
    -------
    iterator of WriteEvent
        At most ten a second. The last one has the path of the complete result, or
        ``stopped``.

    Raises
    ------
    ModelMismatchError
        If the image has another number of channels than the model.
    OutputExistsError
        If something lies at `dest` and may not be replaced.
    OutputError
        If the format is unknown, `dest` is the source or inside it, or the disk is too
        small; while iterating, if writing fails.
    DataError
        While iterating, if a pixel is NaN or infinite.
    """
    check_channels(denoiser, volume)
    destination = Destination(Path(dest), overwrite=config.overwrite)
    dtype = np.dtype(np.float32) if config.dtype == "float32" else volume.dtype
    size = math.prod(volume.shape) * dtype.itemsize
    # The pyramid adds a third to an OME-Zarr, and compression takes off up to half.
    needed = size if destination.format == "OME-TIFF" else size * 4 // 3 // 2
    destination.check(volume, needed=needed)
    facts = {
        "source": volume.name,
        "revision": denoiser.revision,
        "dtype": str(dtype),
        "model": getattr(denoiser, "provenance", {}),
        **(provenance or {}),
    }
    events = _Events(denoiser, volume, destination, config, dtype, facts)
    return events.run(stop)


@dataclass(frozen=True)
class _Events:
    """One run of `write`."""

    denoiser: TileOperator
    volume: Volume
    destination: Destination
    config: WriteConfig
    dtype: np.dtype[Any]
    facts: Mapping[str, Any]

    def run(self, stop: threading.Event | None) -> Iterator[WriteEvent]:
        progress = _Progress(math.prod(self.volume.shape))
        stopped = False
        with (
            self.destination.writing() as partial,
            closing(self._steps(partial, progress)) as steps,
        ):
            for message in steps:
                stopped = stop is not None and stop.is_set()
                if stopped:
                    break
                if progress.is_due():
                    yield progress.event(message)
            if not stopped:
                self.destination.commit()
        if stopped:
            yield replace(progress.event("stopped"), stopped=True)
        else:
            yield replace(progress.event("complete"), path=self.destination.path)

    def _steps(self, partial: Path, progress: _Progress) -> Generator[str]:
        """Do the work, and say what is being done after each piece of it."""
        path, tally = self.destination.path, progress.tally
        with output_errors(path):
            sink = self._sink(partial)
        yield "denoising"
        pipeline = Pipeline(self.denoiser, self.volume, sink, self.dtype, path)
        for pixels in pipeline.steps(tally):
            progress.done += pixels
            yield "denoising"
        with output_errors(path):
            yield from sink.finish(progress.facts)

    def _sink(self, partial: Path) -> Sink:
        """Begin the output, with the axes in its own order."""
        volume, axes = self.volume, self.volume.axes
        names = output_order(axes.names)
        order = [axes.index(name) for name in names]
        shape = tuple(volume.shape[i] for i in order)
        placed = Axes(tuple(axes[i] for i in order))
        shards = Shards(names, shape, self.config.chunk, self.config.shard)
        if self.destination.format == "OME-TIFF":
            return OmeTiffSink(
                partial, volume, placed, shards, dtype=self.dtype, facts=self.facts
            )
        return NgffSink(
            partial,
            volume,
            placed,
            shards,
            dtype=self.dtype,
            facts=self.facts,
            levels=self.config.levels,
            compression=self.config.compression,
        )


@dataclass
class _Progress:
    """What events are made of, and when the next one is due."""

    total: int
    done: int = 0
    tally: Tally = field(default_factory=Tally)
    started: float = field(default_factory=time.monotonic)
    due: float = 0.0

    def is_due(self) -> bool:
        now = time.monotonic()
        if now < self.due:
            return False
        self.due = now + 1 / EVENTS_PER_SECOND
        return True

    @property
    def facts(self) -> dict[str, Any]:
        """What was found on the way, to be stored with the result."""
        return {
            "clipped": self.tally.clipped,
            "mean_in": self.tally.mean(self.tally.noisy),
            "mean_out": self.tally.mean(self.tally.written),
        }

    def event(self, message: str) -> WriteEvent:
        seconds = time.monotonic() - self.started
        rest = self.total - self.done
        return WriteEvent(
            done=self.done,
            total=self.total,
            seconds=seconds,
            seconds_left=seconds * rest / self.done if self.done else None,
            message=message,
            clipped=self.tally.clipped,
            mean_in=self.tally.mean(self.tally.noisy),
            mean_out=self.tally.mean(self.tally.written),
        )
