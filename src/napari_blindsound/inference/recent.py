"""A memory of what was used last, with a limit in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


_V = TypeVar("_V", bound=_Sized)


class Recent(Generic[_V]):
    """What was used last, up to a number of bytes; several threads may share it.

    Parameters
    ----------
    limit : int
        Bytes; a single value may have more, and is alone then.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.nbytes = 0
        self._values: OrderedDict[Hashable, _V] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def get(self, key: Hashable) -> _V | None:
        """The value, which thereby is the last one used; None if it is not there."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def touch(self, keys: Iterable[Hashable]) -> None:
        """Count values as used just now."""
        with self._lock:
            for key in keys:
                if key in self._values:
                    self._values.move_to_end(key)

    def put(self, key: Hashable, value: _V) -> None:
        """Keep a value, and forget those that were not used for longest."""
        with self._lock:
            old = self._values.pop(key, None)
            self.nbytes += value.nbytes - (old.nbytes if old is not None else 0)
            self._values[key] = value
            while self.nbytes > self.limit and len(self._values) > 1:
                _, forgotten = self._values.popitem(last=False)
                self.nbytes -= forgotten.nbytes

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._values.clear()
            self.nbytes = 0
