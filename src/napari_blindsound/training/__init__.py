"""From patches to trained weights."""

from __future__ import annotations
