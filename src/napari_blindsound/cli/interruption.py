"""Ctrl-C and SIGTERM: once to stop with a good result, twice to leave at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    _Handler = Callable[[int, FrameType | None], None]


@contextmanager
def stoppable(while_doing: str) -> Iterator[threading.Event]:
    """Give an event that the first Ctrl-C sets; the second raises KeyboardInterrupt.

    Parameters
    ----------
    while_doing : str
        What will be ended, "training".
    """
    stop = threading.Event()

    def handle(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        # Not print: the signal may have come in the middle of one.
        text = f"\nending the {while_doing} ... (again to leave at once)\n"
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, text.encode())

    with _handled((signal.SIGINT, signal.SIGTERM), handle):
        yield stop


@contextmanager
def terminated_like_ctrl_c() -> Iterator[None]:
    """Answer SIGTERM as Ctrl-C, so that what is half-written is cleared away."""

    def handle(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        raise KeyboardInterrupt

    with _handled((signal.SIGTERM,), handle):
        yield


@contextmanager
def _handled(signals: Sequence[signal.Signals], handler: _Handler) -> Iterator[None]:
    # Python lets only the main thread set handlers; elsewhere the caller has its own.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
