"""One part of a result, where other commands write the others.

Whichever comes first makes the empty result, and whichever is last to finish, in
whatever order they were started, completes it: both under the lock of the result. What
is finished is what any ledger there says, so that also parts of another count, or a
single command, can go on with what some of them left.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_blindsound.inference.destination import output_errors
from napari_blindsound.inference.events import Progress, WriteEvent
from napari_blindsound.inference.ledger import Header, Ledger, read
from napari_blindsound.inference.lock import locked
from napari_blindsound.inference.resume import begun, check_same
from napari_blindsound.inference.shards import pixels_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_blindsound.inference.ledger import Records
    from napari_blindsound.inference.parts import Part
    from napari_blindsound.inference.pipeline import Sink
    from napari_blindsound.inference.result import Result


def write_part(
    result: Result, part: Part, stop: threading.Event | None
) -> Iterator[WriteEvent]:
    """Denoise one part of an image; parameters, events and errors are those of `write`.

    Its first and last events are of the part alone; the last one has the path if this
    part was the last one of the result.
    """
    _begun(result)
    return _Run(result, part, stop or threading.Event()).events()


class _Run:
    """One run of :func:`write_part`."""

    def __init__(self, result: Result, part: Part, stop: threading.Event) -> None:
        self.result, self.part, self.stop = result, part, stop
        self.path = result.destination.path
        count = len(result.shards)
        # All commands cut the same order in the same way.
        places = part.numbers(count)
        self.numbers = result.in_order(range(count))[places.start : places.stop]
        self.total = sum(pixels_of(result.shards[number]) for number in self.numbers)

    def events(self) -> Iterator[WriteEvent]:
        """Do the work while the events are taken."""
        last = WriteEvent(0, self.total, 0.0, None, "")
        for event in self._events():
            last = event
            if not self.stop.is_set():
                yield event
        if self.stop.is_set():
            yield replace(last, message="stopped", stopped=True)

    def _events(self) -> Iterator[WriteEvent]:
        with ExitStack() as mine:
            with ExitStack() as turn:
                yield from self._waiting(turn)
                if self.stop.is_set():
                    return
                sink, ledger = self._joined(mine)
            progress = Progress(self.total, ledger)
            yield from self._work(sink, ledger, progress)
        with ExitStack() as turn:
            if not self.stop.is_set():
                yield from self._waiting(turn)
            if not self.stop.is_set():
                yield from self._last(progress)

    def _waiting(self, turn: ExitStack) -> Iterator[WriteEvent]:
        """Wait for other parts to begin or to complete the result."""
        for message in self.result.destination.claimed_in_turn(turn):
            if self.stop.is_set():
                return
            yield WriteEvent(0, self.total, 0.0, None, message)

    def _joined(self, mine: ExitStack) -> tuple[Sink, Ledger]:
        """Take the part up, after making the empty result if nobody did."""
        result, destination = self.result, self.result.destination
        with output_errors(self.path):
            mine.enter_context(locked(self.part.lock(self.path), self.path))
            header = _begun(result)
            if header is None:
                destination.check_existing()
                header = Header(result.volume.name, result.total, result.identity)
                with closing(destination.begin(header)) as empty:
                    result.sink()
                    empty.ready()
            sink = result.sink(shared=True)
            ledger = self._ledger(header, self._found(sink))
            mine.callback(ledger.close)
        return sink, ledger

    def _found(self, sink: Sink) -> Records:
        """Shards of this part that are finished and still there."""
        found = self.result.told(sink)
        for number in {*found} - {*self.numbers}:
            found.discard(number)
        for number in self.result.missing(sink, found):
            found.discard(number)
        return found

    def _ledger(self, header: Header, found: Records) -> Ledger:
        path = self.part.ledger(self.path)
        known = read(path)
        if known is not None and known.is_ready:
            return Ledger(path, records=found)
        ledger = Ledger(path, header, found)
        ledger.ready()
        return ledger

    def _work(
        self, sink: Sink, ledger: Ledger, progress: Progress
    ) -> Iterator[WriteEvent]:
        told = "continuing" if ledger.records else "denoising"
        yield progress.event(f"{told} part {self.part}")
        pipeline = self.result.pipeline(sink, ledger, self.numbers)
        with closing(pipeline.steps()) as steps:
            for pixels in steps:
                progress.done += pixels
                if self.stop.is_set():
                    break
                if progress.is_due():
                    yield progress.event("denoising")
        if self.stop.is_set():
            progress.done = ledger.tally.pixels
            yield progress.event("stopped")

    def _last(self, progress: Progress) -> Iterator[WriteEvent]:
        """Complete the result, if nothing of it is missing."""
        destination, path = self.result.destination, self.path
        if begun(destination) is None and path.exists():
            yield replace(progress.event("complete"), path=path)
            return
        with output_errors(path, is_kept=True):
            records = self.result.told(self.result.sink(shared=True))
            count = len(self.result.shards)
            if len(records) < count:
                share = f"{len(records) / count:.0%} of the result is finished"
                yield progress.event(f"part {self.part} is done, {share}")
                return
            sink = self.result.sink(resume=True)
            self.result.told(sink)
            for work in (
                self.result.mended(sink, records),
                self.result.complete(sink, records),
            ):
                for message in work:
                    if self.stop.is_set():
                        return
                    if progress.is_due():
                        yield progress.event(message)
            destination.commit()
        yield replace(progress.event("complete"), path=path)


def _begun(result: Result) -> Header | None:
    """The run that parts go on with; None to make the empty result.

    Raises
    ------
    OutputError
        If something is left there, and belongs to another run.
    """
    found = begun(result.destination)
    if found is not None:
        check_same(result.destination.path, found.run, result.identity)
    return found
