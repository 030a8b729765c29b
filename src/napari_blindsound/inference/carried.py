"""Things on their way to other processes, which unpickle each of them once.

dask sends what a task needs along with it: under its processes scheduler with every
block, under a cluster once to a worker, and once more for every array made of the same
model. What arrives in a `Carried` is looked up by its name first; only what this
process has not seen yet is unpickled. A few are kept, whoever still holds them.
"""

from __future__ import annotations

import pickle
import threading
from collections import OrderedDict
from typing import Any, Generic, TypeVar

import cloudpickle  # type: ignore[import-untyped] # no types

T = TypeVar("T")

_MOST = 8
_LOCK = threading.RLock()
_ARRIVED: OrderedDict[str, Carried[Any]] = OrderedDict()


class Carried(Generic[T]):
    """Something that is unpickled once in a process.

    Parameters
    ----------
    name : str
        Of all that makes a difference: what has the same name is taken for the same.
    value : object
        Which can be pickled.
    """

    def __init__(self, name: str, value: T) -> None:
        self.name, self.value = name, value

    def __reduce__(self) -> tuple[Any, ...]:
        # As bytes, which are unpickled only where the name is not known.
        return _arrived, (self.name, cloudpickle.dumps(self.value))


def _arrived(name: str, packed: bytes) -> Carried[Any]:
    # Reentrant: what is carried may carry something itself.
    with _LOCK:
        if name not in _ARRIVED:
            _ARRIVED[name] = Carried(name, pickle.loads(packed))
        _ARRIVED.move_to_end(name)
        found = _ARRIVED[name]
        while len(_ARRIVED) > _MOST:
            _ARRIVED.popitem(last=False)
        return found
