"""Long work in a thread, told about on the GUI thread, ended by asking it to end.

napari's own workers are not used: its list of running tasks keeps a quit worker, and
with it the model, for as long as the program runs; and they share a pool of as many
threads as there are cores, in which a second dock would wait for the first one.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_blindsound.inference.background import bare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Work = Callable[[threading.Event], Iterator[object]]

log = logging.getLogger(__name__)

_EVENT, _FAILED, _FINISHED = "event", "failed", "finished"

# A worker that its owner has dropped would end with its thread's last reference: in
# that thread, where no object of Qt's may be deleted whose home is another one.
_alive: set[Worker] = set()


class Worker(QObject):
    """Takes events from a generator in a thread of its own.

    The generator decides how often it yields: ten times a second is plenty.

    Parameters
    ----------
    work : callable
        Called in the thread with a `threading.Event`, which it must look at several
        times a second and end when it is set; returns an iterator of events.

    Attributes
    ----------
    yielded : Signal
        Each event, on the GUI thread.
    failed : Signal
        The exception that ended the work, if one did.
    finished : Signal
        Always last, however the work ended.
    """

    yielded = Signal(object)
    failed = Signal(object)
    finished = Signal()
    _woken = Signal()

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work: Work | None = work
        self._stop = threading.Event()
        self._posted: deque[tuple[str, object]] = deque()
        # A method of an object of this thread: queued, since it is told from another.
        self._woken.connect(self._deliver)
        self._thread = threading.Thread(
            target=self._run, name="blindsound-work", daemon=True
        )

    @property
    def is_running(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        _alive.add(self)
        self._thread.start()

    def stop(self) -> None:
        """Ask the work to end; returns at once."""
        self._stop.set()

    def join(self, seconds: float) -> bool:
        """Wait until the thread has ended, and say whether it has."""
        if self._thread.is_alive():
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        work, self._work = self._work, None
        try:
            if work is not None:
                for event in work(self._stop):
                    self._post(_EVENT, event)
        except Exception as error:
            # Passed on to whoever started it.
            log.debug("work failed", exc_info=True)
            self._post(_FAILED, bare(error))
        finally:
            # What the frame still holds would live on until the thread's last line.
            del work
            self._post(_FINISHED, None)

    def _post(self, kind: str, content: object) -> None:
        self._posted.append((kind, content))
        try:
            self._woken.emit()
        except RuntimeError:
            # Qt's half of this object is gone: nobody listens any more.
            self._stop.set()

    def _deliver(self) -> None:
        while self._posted:
            kind, content = self._posted.popleft()
            if kind == _EVENT:
                self.yielded.emit(content)
            elif kind == _FAILED:
                self.failed.emit(content)
            else:
                self._thread.join()
                self.finished.emit()
                _alive.discard(self)
                # What listens holds it, and it what listens: Qt cuts the knot.
                self.deleteLater()
