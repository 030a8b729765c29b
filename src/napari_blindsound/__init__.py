"""Self-supervised denoising of fluorescence microscopy, for napari, Python and shells.

The public names are loaded on first use, so that importing the package costs nothing:
torch, zarr and tifffile come in only when work starts.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_blindsound import methods
    from napari_blindsound.api import compare, denoise, inspect, load, train, trust
    from napari_blindsound.images.open import open_volume

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "compare",
    "denoise",
    "inspect",
    "load",
    "methods",
    "open_volume",
    "train",
    "trust",
]

_HOMES = {
    "compare": "napari_blindsound.api",
    "denoise": "napari_blindsound.api",
    "inspect": "napari_blindsound.api",
    "load": "napari_blindsound.api",
    "open_volume": "napari_blindsound.images.open",
    "train": "napari_blindsound.api",
    "trust": "napari_blindsound.api",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attribute is anything
    if name == "methods":
        return import_module("napari_blindsound.methods")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
