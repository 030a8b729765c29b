"""What can be judged: a denoiser, or whatever else makes an image of a noisy one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from napari_blindsound.inference.tiling import TileOperator

if TYPE_CHECKING:
    from napari_blindsound.images.context import Context
    from napari_blindsound.training.preprocessing import Preprocessing


class Judged(TileOperator, Protocol):
    """What is estimated: a `Denoiser`, or whatever else makes an image of an image."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What is known of the noise, and of hot pixels."""

    @property
    def context(self) -> Context:
        """Neighboring planes that each plane is seen with."""

    @property
    def output(self) -> str:
        """Name of the estimate that is returned; "blind" has not seen the pixel."""

    @property
    def blend(self) -> float | None:
        """Weight of a second estimate; None where there is none."""
