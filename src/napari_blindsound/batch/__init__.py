"""Many files, one after the other: found, denoised, reported; a failed one is told.

The names are loaded on first use: `find_images` and what the rows of a table are made
of need no torch, `run_batch` does.

>>> from napari_blindsound.batch import BatchConfig, find_images, run_batch
>>> found = find_images(["recordings"])  # doctest: +SKIP
>>> for event in run_batch(found, BatchConfig(output="denoised")):  # doctest: +SKIP
...     print(found[event.row].name, event.state)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_blindsound.batch.rows import FINAL, RowEvent, State

if TYPE_CHECKING:
    from napari_blindsound.batch.config import BatchConfig
    from napari_blindsound.batch.finding import Found, apart, find_images
    from napari_blindsound.batch.run import run_batch

__all__ = [
    "FINAL",
    "BatchConfig",
    "Found",
    "RowEvent",
    "State",
    "apart",
    "find_images",
    "run_batch",
]

_HOMES = {
    "BatchConfig": "config",
    "Found": "finding",
    "apart": "finding",
    "find_images": "finding",
    "run_batch": "run",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attribute is anything
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
