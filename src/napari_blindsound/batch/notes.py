"""What is kept of each row of a batch: the lines of the table, and the summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_blindsound.batch.rows import Report
from napari_blindsound.batch.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_blindsound.batch.finding import Found
    from napari_blindsound.batch.rows import RowEvent
    from napari_blindsound.quality.preflight import Glance


class Notes:
    """Takes note of how rows end, in ``batch.csv`` and ``batch.json``.

    Parameters
    ----------
    folder : Path
        The output folder.
    images : sequence of Found
        All images of the batch.
    facts : mapping
        Plain data on the whole of it.
    """

    def __init__(
        self, folder: Path, images: Sequence[Found], facts: Mapping[str, Any]
    ) -> None:
        self._images = images
        self._report = Report(folder)
        self._summary = Summary(folder, images, facts)

    def of(self, event: RowEvent, glances: Sequence[Glance] = ()) -> RowEvent:
        """Take note of an event, if its row has ended, and pass it on.

        Of a row that needs no making, with what an earlier run found.
        """
        if event.row is None or not event.is_final:
            return event
        row = event.row
        if event.state == "skipped":
            event = self._summary.recalled(row, event)
        else:
            self._report.add(str(self._images[row].path), event, glances)
        self._summary.add(row, event, glances)
        return event

    def close(self) -> None:
        """Write what has not been written."""
        self._summary.write()
