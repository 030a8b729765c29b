"""How numbers and names are put into words, the same in every message and file."""

from __future__ import annotations

import math
import os
import shlex
import subprocess
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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


def decibels(gain: float, most: float = math.inf) -> str:
    """Gain in words: ``+8.4 dB``; ``over +13 dB`` where no more than that is told."""
    is_most = round(gain, 1) >= most
    return f"over {most:+g} dB" if is_most else f"{gain:+.1f} dB"


def found(provenance: Mapping[str, Any]) -> str:
    """Numbers that a training has found of the noise, in words; empty if none.

    Parameters
    ----------
    provenance : mapping
        Of a model: ``found``, numbers by name for each network.

    Examples
    --------
    >>> found({"found": [{"noise, at most": 12.34}]})
    'noise, at most 12.3 (in counts)'
    """
    networks = provenance.get("found", [])
    images = provenance.get("trained_on") or [{}]
    channels = images[0].get("channels") or range(len(networks))
    titles = [f"{name}: " if len(networks) > 1 else "" for name in channels]
    told = [
        title + ", ".join(f"{name} {value:.3g}" for name, value in numbers.items())
        for title, numbers in zip(titles, networks, strict=False)
        if numbers
    ]
    return f"{'; '.join(told)} (in counts)" if told else ""


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


def option(name: str, value: object) -> list[str]:
    """Words of one option for a command line.

    Parameters
    ----------
    name : str
        Without the hyphens before it.
    value : object
        None or an empty list gives no word, True and False ``--name`` and
        ``--no-name``; a list repeats the option.

    Examples
    --------
    >>> option("steps", 20), option("augment", False), option("offset", -1.5)
    (['--steps', '20'], ['--no-augment'], ['--offset=-1.5'])
    """
    if value is None:
        return []
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    if isinstance(value, list | tuple):
        return [word for item in value for word in option(name, item)]
    text = str(int(value)) if _is_whole(value) else str(value)
    return [f"--{name}={text}"] if text.startswith("-") else [f"--{name}", text]


def shell_line(words: Sequence[str]) -> str:
    """Words as one line that a shell takes apart into the same words."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _is_whole(value: object) -> TypeGuard[float]:
    return isinstance(value, float) and value.is_integer() and abs(value) < 1e15


def started(words: Iterable[str]) -> str:
    """What several networks started from, each kind once; empty if nothing is told."""
    return "; ".join(dict.fromkeys(said for said in words if said))
