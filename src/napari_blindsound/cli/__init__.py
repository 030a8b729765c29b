"""The command line ``blindsound``: a thin face over :mod:`napari_blindsound.api`."""

from __future__ import annotations

from napari_blindsound.cli.app import main

__all__ = ["main"]
