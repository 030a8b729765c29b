"""What the user set once for all docks, in napari's preferences where it has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

NAME = "napari-blindsound"


def _models() -> Path:
    return user_data_path(NAME, appauthor=False) / "models"


@dataclass(frozen=True)
class Preferences:
    """Settings of all docks; what napari shows is described in the manifest.

    Parameters
    ----------
    device : str
        Where to compute: "auto", "cpu", "cuda" or "mps".
    model_folder : Path
        Where models are offered to be saved. Nothing is made there before that.
    preview_seconds : float
        Least time between two previews of a training.
    tile_memory_gb : float
        Memory for the denoised tiles that a lazy layer keeps, in units of 2**30 bytes.
    """

    device: str = "auto"
    model_folder: Path = field(default_factory=_models)
    preview_seconds: float = 1.0
    tile_memory_gb: float = 1.0


def preferences() -> Preferences:
    """Read what is set now.

    Returns
    -------
    Preferences
        The defaults where napari is older than 0.9, which has no such settings, or
        does not know the plugin.
    """
    stored = _stored()
    if stored is None:
        return Preferences()
    folder = str(stored.model_folder).strip()
    return Preferences(
        device=str(stored.device),
        model_folder=Path(folder).expanduser() if folder else _models(),
        preview_seconds=float(stored.preview_seconds),
        tile_memory_gb=float(stored.tile_memory_gb),
    )


def _stored() -> Any:  # noqa: ANN401 - a class that napari makes of the manifest
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return None
    try:
        return get_plugin_settings(NAME).denoising
    except KeyError:
        return None
