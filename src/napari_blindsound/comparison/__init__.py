"""All methods on one image: trained alike, judged alike, told in one table.

What is here needs neither torch nor napari to be imported; `run` does.
"""

from __future__ import annotations

from napari_blindsound.comparison.config import CompareConfig
from napari_blindsound.comparison.rows import FINAL, Row, State

__all__ = ["FINAL", "CompareConfig", "Row", "State"]
