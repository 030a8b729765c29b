"""Whether what a stopped run left can be continued, and by which run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_blindsound.errors import OutputError
from napari_blindsound.inference.destination import Destination, deviation_place
from napari_blindsound.inference.ledger import Records, read, records_of
from napari_blindsound.inference.lock import is_locked
from napari_blindsound.inference.parts import part_locks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_blindsound.inference.ledger import Header

_WORDS = {
    "format": "another format",
    "source": "another image, or the image was changed since",
    "shape": "another part of the image",
    "revision": "another model, or another estimate of it",
    "dtype": "another type of pixels",
    "chunk": "another size of chunks",
    "shard": "another size of shards",
    "levels": "another number of levels",
    "compression": "another compression",
}
_SHOWN = ("shape", "dtype", "chunk", "shard", "levels", "compression")


@dataclass(frozen=True)
class Resumable:
    """A result that was stopped before it was complete.

    Parameters
    ----------
    path : Path
        Where it shall lie.
    done, total : int
        Pixels that are kept, and all of them, channels counted.
    source : str
        Name of the noisy image.
    revision : str
        The model's, as `Denoiser.revision` has it.
    """

    path: Path
    done: int
    total: int
    source: str
    revision: str


def resumable(dest: Path | str) -> Resumable | None:
    """Look for what a stopped run left, at the cost of reading its ledger.

    Parameters
    ----------
    dest : Path or str
        Where the result shall lie.

    Returns
    -------
    Resumable or None
        None where nothing is left, or somebody is at work on it.
    """
    destination = Destination(Path(dest))
    header = leftover(destination)
    locks = [destination.lock, *part_locks(destination.path)]
    if header is None or any(map(is_locked, locks)):
        return None
    told = (record for path in destination.ledgers for record in records_of(path))
    done = Records(one for one in told if one.shard < header.total).tally().pixels
    revision = str(header.run.get("revision", ""))
    return Resumable(destination.path, done, header.total, header.source, revision)


def awaits_deviation(result: Path) -> bool:
    """Whether a result is complete and its deviation was stopped on the way."""
    return result.exists() and resumable(deviation_place(result)) is not None


def leftover(destination: Destination) -> Header | None:
    """The run that was stopped; None where no shard of it is finished."""
    found = begun(destination)
    told = (record for path in destination.ledgers for record in records_of(path))
    return None if next(told, None) is None else found


def begun(destination: Destination) -> Header | None:
    """The run whose empty result stands at least; None where there is none."""
    contents = read(destination.ledger)
    if contents is None or not contents.is_ready or not destination.partial.exists():
        return None
    return contents.header


def check_same(path: Path, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to continue with a run that would give another result.

    Parameters
    ----------
    path : Path
        The result.
    begun, now : mapping
        All that the result depends on: of the run that was stopped, and of this one.

    Raises
    ------
    OutputError
        With what differs, and what to do.
    """
    different = [name for name in now if begun.get(name) != now[name]]
    if not different:
        return
    told = [
        f"{_WORDS[name]} (then {begun.get(name)}, now {now[name]})"
        if name in _SHOWN
        else _WORDS[name]
        for name in different
    ]
    msg = (
        f"{path} cannot be continued, it was begun with {'; '.join(told)}: give the "
        "same as then, or ask to start it anew"
    )
    raise OutputError(msg)
