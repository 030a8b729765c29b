"""Denoising to disk, out of core: read, compute and write shard by shard.

The next shard is read and the last one is written while this one is computed, in the
thread of the caller. At most a few shards are in memory, whatever the size of the
image. Everything is written beside the destination, under its name with ``.partial``
behind it, and renamed when complete: nothing half-written ever looks whole. A ledger
beside it says which shards are finished, so that a run can be continued that was
stopped, failed or was killed.
"""

from __future__ import annotations

import math
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_blindsound.errors import OutputError
from napari_blindsound.images.axes import Axes
from napari_blindsound.inference.destination import Destination, output_errors
from napari_blindsound.inference.events import Progress, WriteEvent
from napari_blindsound.inference.lazy import source_token
from napari_blindsound.inference.ledger import Header, Ledger
from napari_blindsound.inference.ngff import NgffSink
from napari_blindsound.inference.ome_tiff import OmeTiffSink
from napari_blindsound.inference.pipeline import Pipeline, Sink
from napari_blindsound.inference.reading import check_channels
from napari_blindsound.inference.resume import check_same, leftover
from napari_blindsound.inference.shards import Shards, output_order
from napari_blindsound.inference.tiling import is_deviation

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator, Iterator, Mapping
    from typing import Self

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.ledger import Contents, Record
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
        False,
        description="continue a result that was stopped or failed, in place of "
        "starting anew; refused if image, model or settings are others",
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
) -> Iterator[WriteEvent]:
    """Denoise an image of any size into an OME-Zarr or an OME-TIFF.

    What can be known to fail is refused at once; the work is done while the events are
    taken. If they are not taken to the end, or the work fails or is killed, what is
    finished stays beside `dest`, and ``config.resume`` continues it; a start without it
    replaces it.

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
        How the result is stored. Standard deviations are float32 whatever it says:
        rounded they are of no use.
    stop : threading.Event, optional
        Set it to end the work at the next tile; what is finished is kept.
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
        If the format is unknown, `dest` is the source or inside it, somebody else is
        writing it, the disk is too small, or what is there cannot be continued by this
        run; while iterating, if writing fails.
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
    destination.check(volume, needed=needed)
    facts = {
        "source": volume.name,
        "revision": denoiser.revision,
        "dtype": str(dtype),
        "model": getattr(denoiser, "provenance", {}),
        **(provenance or {}),
    }
    run = _Run(denoiser, volume, destination, config, dtype, facts)
    run.check()
    return run.events(stop)


@dataclass(frozen=True)
class _Run:
    """One run of `write`."""

    denoiser: TileOperator
    volume: Volume
    destination: Destination
    config: WriteConfig
    dtype: np.dtype[Any]
    facts: Mapping[str, Any]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that the pixels of the result depend on, as plain data."""
        names = {"shard", "chunk"}
        if self.destination.format == "OME-Zarr":
            names |= {"levels", "compression"}
        return {
            "format": self.destination.format,
            "source": source_token(self.volume),
            "shape": list(self.volume.shape),
            "revision": self.denoiser.revision,
            "dtype": str(self.dtype),
            **self.config.model_dump(mode="json", include=names),
        }

    def check(self) -> Contents | None:
        """Contents of the ledger to go on with, None to start anew.

        Raises
        ------
        OutputError
            If there is one, and it belongs to another run.
        """
        begun = leftover(self.destination) if self.config.resume else None
        if begun is not None:
            check_same(self.destination.path, begun.header.run, self.identity)
        return begun

    def events(self, stop: threading.Event | None) -> Iterator[WriteEvent]:
        path = self.destination.path
        with self.destination.claimed(), ExitStack() as stack:
            sink, ledger = self._opened(stack)
            progress = Progress(math.prod(self.volume.shape), ledger)
            steps = stack.enter_context(closing(self._steps(sink, progress)))
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
                    self.destination.commit()
        if stopped:
            progress.done = ledger.tally.pixels
            yield replace(progress.event("stopped"), stopped=True)
        else:
            yield replace(progress.event("complete"), path=path)

    def _opened(self, stack: ExitStack) -> tuple[Sink, Ledger]:
        """Begin the output, or take it up where it was left.

        When the stack is closed, it is cleared away unless a shard of it is finished.
        """
        with output_errors(self.destination.path):
            begun = self.check()
            if begun is not None:
                return self._taken_up(begun, stack)
            total = math.prod(self.volume.shape)
            header = Header(self.volume.name, total, self.identity)
            ledger = self.destination.begin(header)
            stack.callback(self._leave, ledger)
            sink = self._sink()
            ledger.ready()
            return sink, ledger

    def _taken_up(self, begun: Contents, stack: ExitStack) -> tuple[Sink, Ledger]:
        path = self.destination.path
        try:
            sink = self._sink(resume=True)
            records = _found(sink, begun)
        except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
            msg = (
                f"what is left of {path} is damaged ({error}) and cannot be "
                "continued: start it anew (without resume)"
            )
            raise OutputError(msg) from error
        ledger = Ledger(self.destination.ledger, records=records)
        stack.callback(ledger.close)
        return sink, ledger

    def _leave(self, ledger: Ledger) -> None:
        ledger.close()
        if not ledger.records:
            self.destination.discard()

    def _steps(self, sink: Sink, progress: Progress) -> Generator[str]:
        """Do the work, and say what is being done after each piece of it."""
        path, ledger = self.destination.path, progress.ledger
        yield "continuing" if ledger.records else "denoising"
        pipeline = Pipeline(self.denoiser, self.volume, sink, self.dtype, path, ledger)
        for pixels in pipeline.steps():
            progress.done += pixels
            yield "denoising"
        tally = ledger.whole()
        facts = {
            "clipped": tally.clipped,
            "mean_in": tally.mean_in,
            "mean_out": tally.mean_out,
        }
        with output_errors(path, is_kept=True):
            yield from sink.finish(facts)

    def _sink(self, *, resume: bool = False) -> Sink:
        """Open the output, with the axes in its own order."""
        volume, axes = self.volume, self.volume.axes
        names = output_order(axes.names)
        order = [axes.index(name) for name in names]
        shape = tuple(volume.shape[i] for i in order)
        placed = Axes(tuple(axes[i] for i in order))
        shards = Shards(names, shape, self.config.chunk, self.config.shard)
        if self.destination.format == "OME-TIFF":
            return OmeTiffSink(
                self.destination.partial,
                volume,
                placed,
                shards,
                dtype=self.dtype,
                facts=self.facts,
                identity=self.identity,
                resume=resume,
            )
        return NgffSink(
            self.destination.partial,
            volume,
            placed,
            shards,
            dtype=self.dtype,
            facts=self.facts,
            levels=self.config.levels,
            compression=self.config.compression,
            resume=resume,
        )


def _found(sink: Sink, begun: Contents) -> dict[int, Record]:
    """Shards that are finished and still there; their notes go to the sink."""
    found = {}
    for number, region in enumerate(sink.shards):
        record = begun.records.get(number)
        if record is not None and sink.size(region) == record.size:
            found[number] = record
            sink.recall(record.notes)
    return found
