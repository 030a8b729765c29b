"""Denoising to disk, out of core: read, compute and write shard by shard.

The next shard is read and the last one is written while this one is computed, in the
thread of the caller, or in other processes (`dealing`, `joint`). At most a few shards
are in memory, whatever the size of the image. Everything is written beside the
destination, under its name with ``.partial`` behind it, and renamed when complete:
nothing half-written ever looks whole. A ledger beside it says which shards are
finished, so that a run can be continued that was stopped, failed or was killed.
"""

from __future__ import annotations

import math
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_blindsound.inference.cluster import connected
from napari_blindsound.inference.dealing import dealt
from napari_blindsound.inference.destination import Destination, output_errors
from napari_blindsound.inference.events import Progress, WriteEvent
from napari_blindsound.inference.joint import write_part
from napari_blindsound.inference.ledger import Header, Ledger
from napari_blindsound.inference.reading import check_channels
from napari_blindsound.inference.result import Result
from napari_blindsound.inference.tiling import is_deviation

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator, Iterator, Mapping
    from typing import Self

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.cluster import Workers
    from napari_blindsound.inference.parts import Part
    from napari_blindsound.inference.pipeline import Pipeline, Sink
    from napari_blindsound.inference.tiling import TileOperator

__all__ = ["DEFAULTS", "WriteConfig", "WriteEvent", "write"]


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
    resume: bool = Field(
        True,
        description="continue a result that was stopped or failed, refused if image, "
        "model or settings are others; if not, start anew in its place",
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


DEFAULTS = WriteConfig()


def write(
    denoiser: TileOperator,
    volume: Volume,
    dest: str | Path,
    config: WriteConfig = DEFAULTS,
    *,
    stop: threading.Event | None = None,
    provenance: Mapping[str, Any] | None = None,
    scheduler: Workers | str | None = None,
    part: Part | None = None,
) -> Iterator[WriteEvent]:
    """Denoise an image of any size into an OME-Zarr or an OME-TIFF.

    What can be known to fail is refused at once; the work is done while the events are
    taken. If they are not taken to the end, or the work fails or is killed, what is
    finished stays beside `dest`, and the same call continues it, with the same result
    to the bit; ``resume=False`` in `config` starts anew.

    Parameters
    ----------
    denoiser : TileOperator
        The denoiser. Without a `scheduler` it is called in the thread that takes the
        events, unless it has a ``device`` other than the processor: then in a few
        threads at once. With a scheduler, its processes call copies of it.
    volume : Volume
        The noisy image.
    dest : str or Path
        A name that ends in .ome.zarr or .zarr (OME-Zarr 0.5), or in .ome.tif, .tif,
        .ome.tiff or .tiff (OME-TIFF). Axes come in the order TCZYX; scale, units,
        channel names and, in OME-Zarr, display settings are the source's.
    config : WriteConfig
        How the result is stored. Standard deviations are float32 whatever it says:
        rounded they are of no use.
    stop : threading.Event, optional
        Set it to end the work at the next tile; what is finished is kept.
    provenance : mapping, optional
        Plain data stored with the result, beside the model's own provenance.
    scheduler : Workers or str, optional
        Processes that do the work, from :mod:`~napari_blindsound.inference.cluster`, or
        the address of a dask scheduler. All must see image and result at these paths.
    part : Part, optional
        Do this part only; other commands do the others, at the same time or not. What
        there is of the result is always continued.

    Returns
    -------
    iterator of WriteEvent
        At most ten a second. The last one has the path of the complete result, or
        ``stopped``, or neither of a part that others are still to be added to.

    Raises
    ------
    ModelMismatchError
        If the image has another number of channels than the model.
    OutputExistsError
        If something lies at `dest` and may not be replaced.
    OutputError
        If the format is unknown, `dest` is the source or inside it, somebody else is
        writing it, the disk is too small, or what is there cannot be continued by this
        run; while iterating, if writing fails.
    ClusterError, MissingExtraError
        While iterating, if the scheduler does not answer or is lost, its processes do
        not fit, or dask.distributed is not installed.
    DataError
        While iterating, if a pixel is NaN or infinite.
    """
    check_channels(denoiser, volume)
    destination = Destination(Path(dest), overwrite=config.overwrite)
    is_float = config.dtype == "float32" or is_deviation(denoiser)
    dtype = np.dtype(np.float32) if is_float else volume.dtype
    size = math.prod(volume.shape) * dtype.itemsize
    # The pyramid adds a third to an OME-Zarr, and compression takes off up to half.
    needed = size if destination.format == "OME-TIFF" else size * 4 // 3 // 2
    destination.check(volume, needed=needed, part=part)
    facts = {
        "source": volume.name,
        "revision": denoiser.revision,
        "dtype": str(dtype),
        "model": getattr(denoiser, "provenance", {}),
        **(provenance or {}),
    }
    result = Result(denoiser, volume, destination, config, dtype, facts)
    if part is not None:
        return write_part(result, part, stop)
    result.begun()
    return _events(result, scheduler, stop)


def _events(
    result: Result, scheduler: Workers | str | None, stop: threading.Event | None
) -> Iterator[WriteEvent]:
    destination, path = result.destination, result.destination.path
    with destination.claimed(), ExitStack() as stack:
        workers = stack.enter_context(connected(scheduler)) if scheduler else None
        sink, ledger = _opened(result, stack)
        progress = Progress(result.total, ledger)
        steps = stack.enter_context(closing(_steps(result, sink, progress, workers)))
        stopped = False
        for message in steps:
            stopped = stop is not None and stop.is_set()
            if stopped:
                break
            if progress.is_due():
                yield progress.event(message)
        if not stopped:
            ledger.close()
            with output_errors(path, is_kept=True):
                destination.commit()
    if stopped:
        progress.done = ledger.tally.pixels
        yield replace(progress.event("stopped"), stopped=True)
    else:
        yield replace(progress.event("complete"), path=path)


def _opened(result: Result, stack: ExitStack) -> tuple[Sink, Ledger]:
    """Begin the output, or take it up where it was left.

    When the stack is closed, it is cleared away unless a shard of it is finished.
    """
    destination = result.destination
    with output_errors(destination.path):
        if result.begun() is not None:
            sink = result.sink(resume=True)
            found = result.told(sink)
            for number in result.missing(sink, found):
                found.discard(number)
            ledger = Ledger(destination.ledger, records=found)
            stack.callback(ledger.close)
            return sink, ledger
        ledger = destination.begin(
            Header(result.volume.name, result.total, result.identity)
        )
        stack.callback(_leave, destination, ledger)
        sink = result.sink()
        ledger.ready()
        return sink, ledger


def _leave(destination: Destination, ledger: Ledger) -> None:
    ledger.close()
    if not ledger.records:
        destination.discard()


def _steps(
    result: Result, sink: Sink, progress: Progress, workers: Workers | None
) -> Generator[str]:
    """Do the work, and say what is being done after each piece of it."""
    ledger, path = progress.ledger, result.destination.path
    yield "continuing" if ledger.records else "denoising"
    if workers is None:
        work = _alone(result.pipeline(sink, ledger))
    else:
        work = dealt(result, sink, ledger, workers)
    with closing(work):
        for pixels, message in work:
            progress.done += pixels
            yield message
    with output_errors(path, is_kept=True):
        if workers is not None:
            yield from result.mended(sink, ledger.records)
        yield from result.complete(sink, ledger.records)


def _alone(pipeline: Pipeline) -> Generator[tuple[int, str]]:
    """Pixels that this process denoised, step by step."""
    with closing(pipeline.steps()) as steps:
        for pixels in steps:
            yield pixels, "denoising"
