"""How good a result is."""

from __future__ import annotations
