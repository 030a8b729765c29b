"""One result: of which model and image it is made, how it is stored, and where.

Whoever writes a part of it, in this process or in another, begins with this. It can be
pickled, and says by its `identity` whether two runs would write the same pixels.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindsound.errors import OutputError
from napari_blindsound.images.axes import Axes
from napari_blindsound.inference.lazy import source_token
from napari_blindsound.inference.ledger import Notepad, Records, records_of
from napari_blindsound.inference.ngff import NgffSink
from napari_blindsound.inference.ome_tiff import OmeTiffSink
from napari_blindsound.inference.pipeline import Pipeline
from napari_blindsound.inference.plan import in_order
from napari_blindsound.inference.resume import check_same, leftover
from napari_blindsound.inference.shards import Shards, output_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.destination import Destination
    from napari_blindsound.inference.ledger import Header, Notebook
    from napari_blindsound.inference.pipeline import Sink
    from napari_blindsound.inference.store import WriteConfig
    from napari_blindsound.inference.tiling import TileOperator

SEEN_SECONDS = 90.0
"""What one computer wrote to a shared disk is seen by all others after so long."""
_PAUSE = 0.2  # s
# What a damaged output makes its format's reader raise.
_DAMAGED = (KeyError, TypeError, ValueError, FileNotFoundError)


@dataclass(frozen=True)
class Result:
    """A result that is to be written.

    Parameters
    ----------
    denoiser : TileOperator
        The denoiser.
    volume : Volume
        The noisy image.
    destination : Destination
        Where to.
    config : WriteConfig
        How it is stored.
    dtype : numpy.dtype
        Of its pixels.
    facts : mapping
        Plain data that is stored with it.
    """

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

    @property
    def total(self) -> int:
        """Pixels of the result, channels counted."""
        return math.prod(self.volume.shape)

    @cached_property
    def shards(self) -> Shards:
        """How the full resolution is cut."""
        names = output_order(self.volume.axes.names)
        shape = tuple(self.volume.shape[i] for i in self._order)
        return Shards(names, shape, self.config.chunk, self.config.shard)

    def in_order(self, numbers: Iterable[int]) -> list[int]:
        """Shards so that those of one chunk of the source come one after the other."""
        given = np.fromiter(numbers, np.intp)
        found: list[int] = in_order(self.shards, self.volume, given).tolist()
        return found

    def begun(self) -> Header | None:
        """What the ledger says that there is to go on with, None to start anew.

        Raises
        ------
        OutputError
            If something is left there, and belongs to another run.
        """
        found = leftover(self.destination) if self.config.resume else None
        if found is not None:
            check_same(self.destination.path, found.run, self.identity)
        return found

    def sink(self, *, resume: bool = False, shared: bool = False) -> Sink:
        """Open the output, with the axes in its own order.

        Parameters
        ----------
        resume : bool
            Go on with what is there, alone.
        shared : bool
            Go on with what is there, while others do.

        Raises
        ------
        OutputError
            If what should be there is damaged.
        """
        try:
            return self._sink(resume=resume, shared=shared)
        except _DAMAGED as error:
            if not (resume or shared):
                raise
            msg = (
                f"what is left of {self.destination.path} is damaged ({error}) and "
                "cannot be continued: ask to start it anew"
            )
            raise OutputError(msg) from error

    def told(self, sink: Sink) -> Records:
        """Shards that any ledger calls finished; their notes go to the sink."""
        records, count = Records(), len(self.shards)
        for path in self.destination.ledgers:
            for record in records_of(path):
                if 0 <= record.shard < count:
                    records.add(record)
                    sink.recall(record.notes)
        return records

    def missing(self, sink: Sink, records: Records) -> list[int]:
        """Shards that should be there, and are not, or not whole."""
        return [
            number
            for number in records
            if sink.size(self.shards[number]) != records.size(number)
        ]

    def mended(self, sink: Sink, records: Records) -> Iterator[str]:
        """Make again what others should have written and cannot be found here.

        Computers that share a disk see only after a while what others wrote there.

        Yields
        ------
        str
            What is being done.
        """
        deadline = time.monotonic() + SEEN_SECONDS
        missing = self.missing(sink, records)
        while missing and time.monotonic() < deadline:
            yield "waiting until this computer sees what others wrote"
            time.sleep(_PAUSE)
            missing = [n for n in self.missing(sink, records) if n in missing]
        for _ in self.pipeline(sink, Notepad(), missing).steps():
            yield "making lost shards again"

    def pipeline(
        self, sink: Sink, ledger: Notebook, numbers: Sequence[int] | None = None
    ) -> Pipeline:
        """The work in this process; on some of the shards, where others do the rest."""
        path = self.destination.path
        return Pipeline(
            self.denoiser, self.volume, sink, self.dtype, path, ledger, numbers
        )

    def complete(self, sink: Sink, records: Records) -> Iterator[str]:
        """Build the pyramid and complete the metadata, when all shards are there.

        Yields
        ------
        str
            What was done, after each piece of work.
        """
        tally = records.tally()
        facts = {
            "clipped": tally.clipped,
            "mean_in": tally.mean_in,
            "mean_out": tally.mean_out,
        }
        yield from sink.finish(facts)

    @property
    def _order(self) -> list[int]:
        """Axes of the source in the order of the output."""
        names = self.volume.axes.names
        return [names.index(name) for name in output_order(names)]

    def _sink(self, *, resume: bool, shared: bool) -> Sink:
        axes = Axes(tuple(self.volume.axes[i] for i in self._order))
        if self.destination.format == "OME-TIFF":
            return OmeTiffSink(
                self.destination.partial,
                self.volume,
                axes,
                self.shards,
                dtype=self.dtype,
                facts=self.facts,
                # Only a new file needs it; a process of a cluster does not know it.
                identity={} if resume or shared else self.identity,
                resume=resume or shared,
            )
        return NgffSink(
            self.destination.partial,
            self.volume,
            axes,
            self.shards,
            dtype=self.dtype,
            facts=self.facts,
            levels=self.config.levels,
            compression=self.config.compression,
            resume=resume,
            shared=shared,
        )
