"""How it is known that a result needs no making: stamps of sources and of results.

A source's stamp is made of the names, sizes and times of its files, so that finding out
whether it has changed means to read none of them. Every result carries the stamp of all
that it was made from among its own metadata: it stays true wherever the result goes.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from tifffile import TiffFile, TiffFileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from napari_blindsound.batch.finding import Found

KEY = "batch"
"""Where the stamp stands, among what a result and a model say of their origin."""

_Entry = tuple[str, int, int]  # name, bytes, time


def digest(facts: object) -> str:
    """Short name of plain data."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint(image: Found) -> str:
    """Name of a source that changes when its files do.

    Where the files lie makes no difference, nor what kind of disk.

    Raises
    ------
    OSError
        If they are not there.
    """
    if image.files:
        return digest(_entries(image.files))
    if image.path.is_dir():
        return digest(sorted(_below(image.path, "")))
    return digest(_entries([image.path]))


def result_stamp(path: Path) -> str | None:
    """Stamp in a result's metadata; None where there is no result, or no stamp."""
    try:
        facts = _zarr_facts(path) if path.is_dir() else _tiff_facts(path)
    except (OSError, ValueError, KeyError, TypeError, ElementTree.ParseError):
        return None
    stamp = facts.get(KEY) if isinstance(facts, dict) else None
    return stamp if isinstance(stamp, str) else None


def _zarr_facts(path: Path) -> Any:  # noqa: ANN401 - JSON
    facts = json.loads((path / "zarr.json").read_bytes())["attributes"]["blindsound"]
    return facts if facts["complete"] else None


def _tiff_facts(path: Path) -> Any:  # noqa: ANN401 - JSON
    try:
        with TiffFile(path) as tiff:
            xml = tiff.ome_metadata or ""
    except TiffFileError:
        return None
    for value in ElementTree.fromstring(xml).iterfind(".//{*}M[@K='blindsound']"):
        return json.loads(value.text or "")
    return None


def _entries(files: Iterable[Path]) -> list[_Entry]:
    stats = [(file.name, file.stat()) for file in files]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def _below(folder: Path | str, place: str) -> Iterator[_Entry]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{place}/{entry.name}"
            if entry.is_dir():
                yield from _below(entry.path, name)
            else:
                stat = entry.stat()
                yield name, stat.st_size, stat.st_mtime_ns
