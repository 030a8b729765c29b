"""One writer to a place: a small file beside the result says who is at work."""

from __future__ import annotations

import json
import os
import platform
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

import psutil

from napari_blindsound.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CLOCK = 60.0  # s that the clock may be set by without a writer being taken for dead
_BIRTH = 10.0  # s after which a lock that names nobody was left by a killed process


@dataclass(frozen=True)
class _Owner:
    """The process that holds a lock."""

    pid: int
    host: str
    since: float

    @classmethod
    def myself(cls) -> Self:
        return cls(os.getpid(), platform.node(), time.time())

    @property
    def is_gone(self) -> bool:
        """Whether the process surely runs no more; of other machines nobody knows."""
        if self.host != platform.node():
            return False
        try:
            process = psutil.Process(self.pid)
            is_another = process.create_time() > self.since + _CLOCK
            return bool(is_another or process.status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False


def is_locked(lock: Path) -> bool:
    """Whether somebody who may be at work holds the lock."""
    try:
        age = time.time() - lock.stat().st_mtime
        owner = _Owner(**json.loads(lock.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (ValueError, TypeError):
        # Between its birth and its first word a lock is empty.
        return age < _BIRTH
    return not owner.is_gone


def check_unlocked(lock: Path, what: Path) -> None:
    """Refuse to go on while another one writes.

    Raises
    ------
    OutputError
        With who it is, and what to do.
    """
    if not is_locked(lock):
        return
    msg = (
        f"{what} is being written by {_holder(lock)}: wait until it is done, or choose "
        f"another name; if nobody is at work, delete {lock}"
    )
    raise OutputError(msg)


@contextmanager
def locked(lock: Path, what: Path) -> Iterator[None]:
    """Hold a lock; those of processes that were killed are taken over.

    Parameters
    ----------
    lock : Path
        The file, in a folder that exists.
    what : Path
        What is being written, for the error.

    Raises
    ------
    OutputError
        If another one holds it.
    OSError
        If the file cannot be made.
    """
    while not _made(lock):
        check_unlocked(lock, what)
        _take_away(lock)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _made(lock: Path) -> bool:
    try:
        handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(asdict(_Owner.myself()), file)
    except OSError:
        lock.unlink(missing_ok=True)
        raise
    return True


def _take_away(lock: Path) -> None:
    """Remove a dead process's lock, and not one that somebody else just made."""
    aside = lock.with_name(f"{lock.name}.{os.getpid()}")
    try:
        lock.replace(aside)
    except FileNotFoundError:
        return
    if is_locked(aside):
        aside.replace(lock)
    else:
        aside.unlink()


def _holder(lock: Path) -> str:
    try:
        owner = _Owner(**json.loads(lock.read_text()))
    except (OSError, ValueError, TypeError):
        return "another process"
    if (owner.pid, owner.host) == (os.getpid(), platform.node()):
        return "another task of this program"
    return f"another process ({owner.pid} on {owner.host})"
