"""Errors in the words of the docks: what happened, and what to do about it."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from typing import Literal

from napari_blindsound.errors import BlindsoundError

Step = Literal["data", "check", "train", "apply"]
Remedy = Literal["use CPU", "choose axes"]

_NO_MEMORY = (
    "There is not enough memory: restrict the image (times, slices, a rectangle), "
    "choose a smaller patch, batch or width under More settings, or close other "
    "programs."
)
_NO_DEVICE_MEMORY = (
    "The graphics card has not enough memory: choose a smaller patch, batch or width "
    "under More settings, or use the CPU."
)
# torch tells of a processor's memory by an error of no kind of its own.
_ALLOCATOR = "DefaultCPUAllocator"
# The library's remedies are arguments of functions; here they are what the dock shows.
_IN_DOCKS = (
    (r"\b(?:give|pass|say) axes=\S+", "choose the axes above"),
    (r"\baxes='?\w+'?", "the axes above"),
    (r"\(--channel\S*( \d+)?\)", "(channel, above)"),
    (r"\bask to overwrite it\b", "tick Replace"),
    (r"\bask to start it anew\b", "tick Replace to start it anew"),
    (r"\bset its axis_labels, such as \([^)]*\)", "choose the axes above"),
)


@dataclass(frozen=True)
class Failure:
    """What a panel tells in red.

    Parameters
    ----------
    step : {"data", "check", "train", "apply"}
        The panel.
    message : str
        A sentence or two.
    remedy : {"use CPU", "choose axes"} or None
        What a button offers to do.
    """

    step: Step
    message: str
    remedy: Remedy | None = None


def explain(error: BaseException, step: Step) -> Failure:
    """Say what an exception means to the one who pressed the button."""
    kind = type(error).__name__
    if kind == "OutOfMemoryError":
        return Failure(step, _NO_DEVICE_MEMORY, "use CPU")
    if isinstance(error, MemoryError) or _ALLOCATOR in str(error):
        return Failure(step, _NO_MEMORY)
    if kind == "DeviceError":
        return Failure(step, _sentence(str(error)), "use CPU")
    if kind == "AxesError":
        return Failure(step, _sentence(str(error)), "choose axes")
    if isinstance(error, BlindsoundError | ValueError):
        return Failure(step, _sentence(_said(error)))
    if isinstance(error, OSError):
        return Failure(step, _sentence(_of_disk(error)))
    return Failure(
        step, f"This should not have happened: {kind}: {error}. Please report it."
    )


def _said(error: BaseException) -> str:
    """The words of an error; of pydantic's, those about its first field."""
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return str(error)
    first = errors()[0]
    field = str(first["loc"][-1]).replace("_", " ") if first["loc"] else ""
    reason = str(first["msg"]).removeprefix("Value error, ")
    return f"{field}: {reason}" if field else reason


def _of_disk(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space is left on the disk{where}; free some, then go on"
    return f"{error.strerror or error}{where}; check the disk or choose another place"


def _sentence(text: str) -> str:
    for pattern, words in _IN_DOCKS:
        text = re.sub(pattern, words, text)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
