"""The order of file names that people expect: ``t2`` before ``t10``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_Key = tuple[list[tuple[int, int, str]], str]


def natural_key(name: str) -> _Key:
    """Sorting key of a name: numbers by their value, letters without their case."""
    parts = re.split(r"([0-9]+)", name)
    key = [(0, int(p), "") if p.isdecimal() else (1, 0, p.lower()) for p in parts if p]
    return key, name


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Sort paths by the natural order of their names."""
    return sorted(paths, key=lambda path: natural_key(path.as_posix()))
