"""How numbers and names are put into words, the same in every message and file."""

from __future__ import annotations

import math
from pathlib import PurePath

_ENDS = (".zarr", ".tif", ".tiff", ".ome", ".png", ".npy")


def size(count: float) -> str:
    """Bytes in words: ``10.5 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def duration(seconds: float | None) -> str:
    """Time in words: ``42 s``, ``3 min 5 s``, ``2 h 10 min``; ``?`` if unknown."""
    if seconds is None or not math.isfinite(seconds):
        return "?"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def file_name(image: str) -> str:
    """Name of an image without the ends that formats give it, fit for a file.

    Examples
    --------
    >>> file_name("cells 2.ome.tif")
    'cells_2'
    """
    name = PurePath(image).name
    for end in _ENDS:
        name = name.removesuffix(end)
    return "".join(c if c.isalnum() or c in "-_.+" else "_" for c in name) or "image"
