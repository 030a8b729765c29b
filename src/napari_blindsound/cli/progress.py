"""Progress on stderr: a bar with the time left in a terminal, a few lines elsewhere."""

from __future__ import annotations

import math
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_FEWEST_SECONDS = 5.0
"""Between two lines where stderr is no terminal."""
_LINES = 10
_UNKNOWN = os.terminal_size((80, 24))


class Meter:
    """Shows how far some work has come; use it in a ``with``.

    Parameters
    ----------
    title : str
        What is being done.
    quiet : bool
        Show nothing.
    """

    def __init__(self, title: str, *, quiet: bool = False) -> None:
        self._face: _Face | None = None
        if not quiet:
            self._face = _Bar(title) if sys.stderr.isatty() else _Lines(title)

    def show(self, fraction: float, note: str) -> None:
        """Show a fraction of the work, from 0 to 1, and what is to say about it."""
        if self._face:
            self._face.show(min(1.0, fraction), note)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._face:
            self._face.close()


class _Face(Protocol):
    def show(self, fraction: float, note: str) -> None: ...

    def close(self) -> None: ...


class _Bar:
    def __init__(self, title: str) -> None:
        # Some terminals, such as those of containers, do not know their size.
        size = os.get_terminal_size(sys.stderr.fileno())
        knows = size.columns > 0 and size.lines > 0
        self._bar = _NotedTqdm(
            desc=title,
            total=1.0,
            file=sys.stderr,
            dynamic_ncols=knows,
            ncols=None if knows else _UNKNOWN.columns,
            nrows=None if knows else _UNKNOWN.lines,
            mininterval=0.0,
            bar_format="{desc} {percentage:3.0f} % |{bar:14}| {note}",
        )

    def show(self, fraction: float, note: str) -> None:
        self._bar.n, self._bar.note = fraction, note
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


class _NotedTqdm(tqdm):  # type: ignore[misc] # tqdm comes without types
    """A bar whose format may hold a free text."""

    note = ""

    @property
    def format_dict(self) -> dict[str, Any]:
        """Values for the format of the bar."""
        return {**super().format_dict, "note": self.note}


class _Lines:
    def __init__(self, title: str) -> None:
        self._title = title
        self._next, self._due = 0.0, time.monotonic()
        self._last: tuple[float, str] | None = None

    def show(self, fraction: float, note: str) -> None:
        self._last = (fraction, note)
        if fraction >= self._next and time.monotonic() >= self._due:
            self._write()

    def close(self) -> None:
        if self._last:
            self._write()

    def _write(self) -> None:
        assert self._last is not None
        fraction, note = self._last
        print(f"{self._title} {fraction:4.0%}  {note}", file=sys.stderr, flush=True)  # noqa: T201
        self._next = (math.floor(fraction * _LINES) + 1) / _LINES
        self._due = time.monotonic() + _FEWEST_SECONDS
        self._last = None
