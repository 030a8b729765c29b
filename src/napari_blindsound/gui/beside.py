"""Small work beside a training: on cores that it leaves free, or between its steps."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
T = TypeVar("T")


class Beside(Generic[T]):
    """Does one thing at a time.

    Parameters
    ----------
    cores : int
        That are free for it; without any, things are done when they are asked for.
    """

    def __init__(self, cores: int) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._running: Future[T | None] | None = None
        if cores:
            self._pool = ThreadPoolExecutor(
                1, "blindsound-work", initializer=_use_cores, initargs=(cores,)
            )

    @property
    def is_free(self) -> bool:
        """Whether the last thing is done, and taken."""
        return self._running is None

    def do(
        self, task: Callable[P, T | None], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Begin something."""
        if self._pool is not None:
            self._running = self._pool.submit(task, *args, **kwargs)
            return
        self._running = Future()
        self._running.set_result(task(*args, **kwargs))

    def done(self) -> Iterator[T]:
        """What has been made since, if anything; raises what went wrong."""
        if self._running is None or not self._running.done():
            return
        made, self._running = self._running.result(), None
        if made is not None:
            yield made

    def close(self) -> None:
        """End, without waiting for what is being done."""
        self._running = None
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def _use_cores(count: int) -> None:
    from napari_blindsound.inference.background import use_cores

    use_cores(count)
