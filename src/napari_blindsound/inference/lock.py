"""One writer to a place: a small file beside the result says who is at work.

Those who write one result together (`parts`) hold its lock in turns, each for the
moment that it needs it alone; whoever else meets the lock is turned away.
"""

from __future__ import annotations

import json
import os
import platform
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

import psutil

from napari_blindsound.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CLOCK = 60.0  # s that the clock may be set by without a writer being taken for dead
_BIRTH = 10.0  # s after which a lock that names nobody was left by a killed process
_PAUSE = 0.2  # s between two looks at a lock that is waited for


@dataclass(frozen=True)
class _Owner:
    """The process that holds a lock."""

    pid: int
    host: str
    since: float
    takes_turns: bool = False

    @classmethod
    def myself(cls, *, takes_turns: bool) -> Self:
        return cls(os.getpid(), platform.node(), time.time(), takes_turns)

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
def locked(lock: Path, what: Path, *, takes_turns: bool = False) -> Iterator[None]:
    """Hold a lock; those of processes that were killed are taken over.

    Parameters
    ----------
    lock : Path
        The file, in a folder that exists.
    what : Path
        What is being written, for the error.
    takes_turns : bool
        Whether others who write the same result may wait for it.

    Raises
    ------
    OutputError
        If another one holds it.
    OSError
        If the file cannot be made.
    """
    while not _made(lock, takes_turns=takes_turns):
        check_unlocked(lock, what)
        _take_away(lock)
    try:
        yield
    finally:
        # Where the disk has gone, so has the lock.
        with suppress(OSError):
            lock.unlink()


def in_turn(lock: Path, what: Path, stack: ExitStack) -> Iterator[str]:
    """Hold a lock until a stack is closed, after those who take turns with it.

    Parameters
    ----------
    lock, what
        As of :func:`locked`.
    stack : ExitStack
        What gives the lock back.

    Yields
    ------
    str
        Who is waited for, five times a second; at the end it is held.

    Raises
    ------
    OutputError
        If somebody holds it who takes no turns.
    OSError
        If the file cannot be made.
    """
    while True:
        try:
            stack.enter_context(locked(lock, what, takes_turns=True))
        except OutputError:
            if is_locked(lock) and not _takes_turns(lock):
                raise
        else:
            return
        yield f"waiting for {_holder(lock)}; if nobody is at work, delete {lock}"
        time.sleep(_PAUSE)


def _made(lock: Path, *, takes_turns: bool) -> bool:
    try:
        handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(asdict(_Owner.myself(takes_turns=takes_turns)), file)
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


def _takes_turns(lock: Path) -> bool:
    try:
        return bool(json.loads(lock.read_text()).get("takes_turns"))
    except (FileNotFoundError, ValueError):
        # It has just been given back, or its holder has not said a word yet.
        return True


def _holder(lock: Path) -> str:
    try:
        owner = _Owner(**json.loads(lock.read_text()))
    except (OSError, ValueError, TypeError):
        return "another process"
    if (owner.pid, owner.host) == (os.getpid(), platform.node()):
        return "another task of this program"
    return f"another process ({owner.pid} on {owner.host})"
