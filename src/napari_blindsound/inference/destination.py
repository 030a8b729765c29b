"""Where a result goes, what may be written there, and how it appears: whole or not.

The format follows from the name. Everything that can be known to fail is refused before
any work is done. The result grows beside its place, under its name with ``.partial``
behind it, and moves there when complete; an older result goes only then. A ledger with
``.partial.jsonl`` behind the name, made before anything else, says that what grows
there is ours; nothing without one is ever removed. Commands that each write a part of
it have ledgers and locks of their own there (`parts`).
"""

from __future__ import annotations

import errno
import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_blindsound.errors import BlindsoundError, OutputError, OutputExistsError
from napari_blindsound.inference.ledger import Header, Ledger, is_ledger
from napari_blindsound.inference.lock import check_unlocked, in_turn, is_locked, locked
from napari_blindsound.inference.parts import check_whole, part_ledgers, part_locks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.parts import Part

Format = Literal["OME-Zarr", "OME-TIFF"]
_SUFFIXES: dict[str, Format] = {
    ".zarr": "OME-Zarr",
    ".tif": "OME-TIFF",
    ".tiff": "OME-TIFF",
}
_ZARR_FILES = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Destination:
    """A place for a result.

    Parameters
    ----------
    path : Path
        Where the result shall lie.
    overwrite : bool
        Whether an existing result may be replaced.
    """

    path: Path
    overwrite: bool = False

    @property
    def format(self) -> Format:
        """Format by the end of the name.

        Raises
        ------
        OutputError
            If it is neither of the two.
        """
        found = _SUFFIXES.get(self.path.suffix.lower())
        if found is None:
            msg = (
                f"cannot tell the format of {self.path}: let the name end in .ome.zarr "
                "(OME-Zarr) or .ome.tif (OME-TIFF)"
            )
            raise OutputError(msg)
        return found

    @property
    def partial(self) -> Path:
        """Where the result is while it is not complete."""
        return self.path.with_name(f"{self.path.name}.partial")

    @property
    def ledger(self) -> Path:
        """Where it is said what of that is finished."""
        return self.path.with_name(f"{self.path.name}.partial.jsonl")

    @property
    def ledgers(self) -> list[Path]:
        """That ledger, and those of the parts that were begun."""
        return [self.ledger, *part_ledgers(self.path)]

    @property
    def lock(self) -> Path:
        """Where it is said who writes."""
        return self.path.with_name(f"{self.path.name}.partial.lock")

    def check(self, volume: Volume, *, needed: int, part: Part | None = None) -> None:
        """Refuse what can be known to fail or to do harm; nothing is changed.

        Parameters
        ----------
        volume : Volume
            The source, which must not be written into.
        needed : int
            Bytes of the whole result, without which there is no point in beginning;
            what is left of an earlier run counts as there.
        part : Part, optional
            All that shall be written; others may be at work on the rest.

        Raises
        ------
        OutputExistsError
            If something lies there that may not be replaced.
        OutputError
            If the format is unknown, the place is the source's own, somebody writes
            there, or the disk is too small.
        """
        if "://" in str(self.path) or ":/" in str(self.path)[2:]:
            msg = f"{self.path} is not on this computer: write to a local folder"
            raise OutputError(msg)
        _ = self.format
        self._check_source(volume)
        self.check_existing()
        if part is None:
            check_unlocked(self.lock, self.path)
            self._check_parts()
        else:
            self._check_part(part)
        self._check_leftover()
        self._check_space(needed - _occupied(self.partial))

    def _check_parts(self) -> None:
        for lock in part_locks(self.path):
            check_unlocked(lock, self.path)

    def _check_part(self, part: Part) -> None:
        check_whole(self.path)
        if self.overwrite:
            msg = (
                f"{self.path} cannot be overwritten part by part, as a part that is "
                "started again would begin anew: leave overwriting out, and delete an "
                "earlier result first"
            )
            raise OutputError(msg)
        check_unlocked(part.lock(self.path), self.path)

    def _check_source(self, volume: Volume) -> None:
        found = self.path.resolve() if self.path.is_file() else None
        if found in {file.resolve() for file in volume.files if found}:
            msg = f"{self.path} is part of the source itself: choose a name beside it"
            raise OutputError(msg)
        if volume.source is None or not Path(volume.source).exists():
            return
        source, place = _store(Path(volume.source).resolve()), self.path.resolve()
        if source == place:
            what = "is the source itself"
        elif source in place.parents:
            what = f"lies inside the source {source}"
        elif place in source.parents:
            what = f"contains the source {source}"
        else:
            return
        msg = f"{self.path} {what}: choose a name beside it"
        raise OutputError(msg)

    def check_existing(self) -> None:
        """Refuse to replace what may not be replaced.

        Raises
        ------
        OutputExistsError
            If that lies there.
        """
        if not self.path.exists():
            return
        if not self.overwrite:
            msg = f"{self.path} exists: choose another name, or ask to overwrite it"
            raise OutputExistsError(msg)
        is_zarr = self.format == "OME-Zarr"
        is_ours = _is_store(self.path) if is_zarr else self.path.is_file()
        if not is_ours:
            msg = (
                f"{self.path} exists and is no {self.format}: it is not overwritten, "
                "choose another name"
            )
            raise OutputExistsError(msg)

    def _check_leftover(self) -> None:
        if self.partial.exists() and not is_ledger(self.ledger):
            msg = (
                f"{self.partial} is in the way, and it cannot be told whose it is: "
                "move or delete it, or choose another name"
            )
            raise OutputError(msg)

    def _check_space(self, needed: int) -> None:
        folder = next(p for p in self.path.absolute().parents if p.exists())
        free = shutil.disk_usage(folder).free
        if free < needed:
            msg = (
                f"not enough space for {self.path}: about {_size(needed)} are needed "
                f"and {_size(free)} are free in {folder}; free some, or choose another "
                "disk"
            )
            raise OutputError(msg)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep everybody else from writing there.

        Raises
        ------
        OutputError
            If the folder cannot be made or written to, somebody else writes there, or
            something unknown is in the way.
        """
        with ExitStack() as stack:
            with output_errors(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.lock, self.path))
                self._check_parts()
                self._check_leftover()
            yield

    def claimed_in_turn(self, stack: ExitStack) -> Iterator[str]:
        """Keep everybody else from writing there for a moment, one part of several.

        Parameters
        ----------
        stack : ExitStack
            What ends the moment.

        Yields
        ------
        str
            Who is waited for; at the end the place is held.

        Raises
        ------
        OutputError
            As of :meth:`claimed`, if somebody writes there alone.
        """
        with output_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            yield from in_turn(self.lock, self.path, stack)
            self._check_leftover()

    def begin(self, header: Header) -> Ledger:
        """Clear away what an earlier run left, and open a new ledger.

        Raises
        ------
        OSError
            If that is not possible.
        """
        self._remove_parts()
        # Whatever interrupts this: a ledger without shards is never continued.
        ledger = Ledger(self.ledger, header)
        _remove(self.partial)
        return ledger

    def discard(self) -> None:
        """Remove what was written so far."""
        self._remove_parts()
        _remove(self.partial)
        _remove(self.ledger)

    def _remove_parts(self) -> None:
        """Remove the ledgers of parts, and the locks of the dead."""
        for path in part_ledgers(self.path):
            _remove(path)
        for lock in part_locks(self.path):
            if not is_locked(lock):
                _remove(lock)

    @contextmanager
    def writing(self, source: str) -> Iterator[Path]:
        """Give a place to write to, and clear it away unless `commit` was called.

        Parameters
        ----------
        source : str
            Name of the image.

        Raises
        ------
        OutputError
            As of :meth:`claimed`.
        """
        with self.claimed():
            with output_errors(self.path):
                self.begin(Header(source, 0)).close()
            try:
                yield self.partial
            finally:
                self.discard()

    def commit(self) -> None:
        """Move the complete result to its place.

        Raises
        ------
        OSError
            If that is not possible; what lay there before still does.
        """
        if self.path.is_dir():
            self._exchange()
        else:
            self.partial.replace(self.path)
        self._remove_parts()
        _remove(self.ledger)

    def _exchange(self) -> None:
        """Put a folder in the place of another one, which cannot be done in one go."""
        old = self.path.with_name(f"{self.path.name}.replaced")
        _remove(old)
        self.path.rename(old)
        try:
            self.partial.rename(self.path)
        except OSError:
            old.rename(self.path)
            raise
        _remove(old)


def deviation_place(result: Path) -> Path:
    """Where the standard deviation of a result lies: beside it, ``_deviation``."""
    name = result.with_suffix("").name
    end = ".ome" if name.lower().endswith(".ome") else ""
    stem, end = name[: len(name) - len(end)], result.name[len(name) - len(end) :]
    return result.with_name(f"{stem}_deviation{end}")


@contextmanager
def output_errors(path: Path, *, is_kept: bool = False) -> Iterator[None]:
    """Turn what the system says about a failed write into a sentence with a remedy.

    Parameters
    ----------
    path : Path
        What is being written.
    is_kept : bool
        Whether what was written so far stays there, to be continued.

    Raises
    ------
    OutputError
        In place of any other OSError.
    """
    try:
        yield
    except BlindsoundError:
        raise
    except OSError as error:
        remedy = "choose another place"
        if error.errno in _NO_SPACE:
            remedy = "free some space or choose another disk, and run again"
        elif isinstance(error, PermissionError) or error.errno == errno.EROFS:
            remedy = "choose a folder that you may write to"
        reason = error.strerror or str(error)
        rest = "what is finished is kept and can be continued"
        rest = rest if is_kept else "nothing was left behind"
        msg = f"cannot write {path} ({reason}): {remedy}; {rest}"
        raise OutputError(msg) from error


def _is_store(path: Path) -> bool:
    return any((path / name).exists() for name in _ZARR_FILES)


def _store(path: Path) -> Path:
    """Outermost Zarr store that a path lies in; itself where there is none."""
    return next((p for p in reversed(path.parents) if _is_store(p)), path)


def _remove(path: Path) -> None:
    """Remove a file or a folder, or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _occupied(path: Path) -> int:
    """Bytes that a file or folder takes on the disk; files with holes take less."""
    files = [path] if path.is_file() else path.rglob("*")
    found = 0
    for file in files:
        try:
            stat = file.stat()
        except OSError:
            continue
        found += getattr(stat, "st_blocks", -(-stat.st_size // 512)) * 512
    return found


def _size(count: int) -> str:
    powers = {"TB": 12, "GB": 9, "MB": 6, "kB": 3}
    unit = next((unit for unit, power in powers.items() if count >= 10**power), "kB")
    return f"{count / 10 ** powers[unit]:.1f} {unit}"
