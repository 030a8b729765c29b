"""The threads of one dock: at most one for each purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from weakref import ref

from napari_blindsound.gui.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_blindsound.gui.worker import Work

Place = Literal["main", "check", "paint", "import", "trust"]


class Workers:
    """Runs work by purpose; what a replaced one still tells is not heard."""

    def __init__(self) -> None:
        self._running: dict[Place, Worker] = {}

    def __contains__(self, place: Place) -> bool:
        return place in self._running

    def run(
        self,
        place: Place,
        task: Work,
        on_event: Callable[[Any], None],
        *,
        on_failed: Callable[[BaseException], None],
        on_finished: Callable[[], None],
    ) -> None:
        """Start, in place of what runs for the same purpose."""
        self.drop(place)
        worker = Worker(task)
        self._running[place] = worker
        # What listens to a worker and holds it would keep both for ever.
        this = ref(worker)

        def heard(tell: Callable[[Any], None], content: object) -> None:
            if self._running.get(place) is this():
                tell(content)

        def finished() -> None:
            if self._running.get(place) is this():
                del self._running[place]
                on_finished()

        worker.yielded.connect(lambda event: heard(on_event, event))
        worker.failed.connect(lambda error: heard(on_failed, error))
        worker.finished.connect(finished)
        worker.start()

    def stop(self, place: Place) -> None:
        """Ask it to end; its last words are still wanted."""
        if place in self._running:
            self._running[place].stop()

    def drop(self, place: Place) -> None:
        """Ask it to end, and listen no more."""
        worker = self._running.pop(place, None)
        if worker is not None:
            worker.stop()

    def close(self, seconds: float) -> None:
        """End all, and wait for them so long."""
        ended = list(self._running.values())
        self._running.clear()
        for worker in ended:
            worker.stop()
        for worker in ended:
            worker.join(seconds)
