"""The napari docks: what microscopists see. Everything they do is done elsewhere."""

from __future__ import annotations
