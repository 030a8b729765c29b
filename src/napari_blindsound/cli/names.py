"""Names that are made up for the user."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_blindsound.images.volume import Volume

_ENDS = (".zarr", ".tif", ".tiff", ".ome", ".png", ".npy")


def plain_name(volume: Volume) -> str:
    """Name of an image without the ends that formats give it, fit for a file."""
    name = Path(volume.name).name
    for end in _ENDS:
        name = name.removesuffix(end)
    return "".join(c if c.isalnum() or c in "-_.+" else "_" for c in name) or "image"
