"""Settings of methods with visible blind spots: the mask, the network, the loss.

What is hidden around a blind pixel, and which neighboring planes are seen beside it, is
left to the image where nobody chose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, get_args

from pydantic import Field, model_validator

from napari_blindsound.images.context import NO_CONTEXT, Context
from napari_blindsound.methods.base import WarmConfig
from napari_blindsound.methods.masking import Padding
from napari_blindsound.networks.symmetry import FLIPS

if TYPE_CHECKING:
    from typing import Any, Self

Region = Literal[
    "auto",
    "1x1",
    "1x3",
    "1x5",
    "1x7",
    "3x1",
    "3x3",
    "3x5",
    "5x1",
    "5x3",
    "5x5",
    "7x1",
    "7x7",
]
"""Rows x columns of pixels that are hidden around a blind one, itself included."""

Planes = Literal["auto", "none", "Z1", "Z2", "Z3", "T1", "T2", "T3"]
"""Axis and number of the neighboring planes on each side."""

# Of an image, so that enough is left to fill the rest from, and to be like the image.
_MOST_HIDDEN = 0.5


class RevisibleConfig(WarmConfig):
    """Network, mask and the weight of the visible branch over the training."""

    width: int = Field(8, ge=1, description="channels of the network's downward path")
    depth: int = Field(3, ge=1, le=7, description="poolings by 2 in the network")
    region: Region = Field(
        "auto",
        description="rows x columns hidden around a blind pixel, for noise that "
        "neighbors share; auto follows the correlation of the noise",
    )
    context: Planes = Field(
        "auto",
        description="neighboring planes on each side, along Z or T, that the network "
        "sees beside a plane; auto takes those that tell more of the image",
    )
    convolutions: Literal["2d", "3d"] = Field(
        "2d",
        description="of neighboring planes: 2d takes them as channels, 3d convolves "
        "along them, too: a little better after as many steps, which take 1.6 times "
        "as long or more",
    )
    cell: Literal[2, 4, 8, 16] = Field(
        4,
        description="side of a masking cell; one pixel of each cell is blind at once. "
        "Large regions make it larger",
    )
    phases: int = Field(
        1,
        ge=1,
        le=16,
        description="masked copies a step, drawn at random; cell x cell is the exact "
        "loss, fewer an unbiased and much faster estimate of it",
    )
    padding: Padding = Field(
        "reflect", description="what lies beyond the border when a pixel is filled"
    )
    lam_start: float = Field(
        2.0, ge=0, description="weight of the visible branch at the start"
    )
    lam_end: float = Field(
        20.0, ge=0, description="weight of the visible branch at the end"
    )
    lam_hold: float = Field(
        0.4, ge=0, lt=1, description="fraction of training before that weight rises"
    )

    @model_validator(mode="before")
    @classmethod
    def _follow_the_region(cls, settings: object) -> object:
        """Make room for the region."""
        if not isinstance(settings, Mapping):
            return settings
        region = settings.get("region", "auto")
        if region in ("auto", "1x1") or region not in get_args(Region):
            return settings
        rows, columns = _sides(region)
        cells = get_args(cls.model_fields["cell"].annotation)
        room = max(rows, columns) + 1, (rows * columns / _MOST_HIDDEN) ** 0.5
        least = min(cell for cell in cells if cell >= max(room))
        given = settings.get("cell", cls.model_fields["cell"].default)
        changed = {**settings}
        if given in cells:
            changed["cell"] = max(given, least)
        return changed

    @model_validator(mode="after")
    def _phases_fit_the_cell(self) -> Self:
        if self.phases > self.cell**2:
            msg = (
                f"phases is {self.phases}, but a cell of {self.cell} x {self.cell} has "
                f"{self.cell**2} pixels; choose at most that"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _has_planes_to_convolve(self) -> Self:
        if self.convolutions == "3d" and self.context == "none":
            msg = (
                "convolutions is 3d, but context is none: choose neighboring planes, "
                "such as context Z1 or T1, or convolutions 2d"
            )
            raise ValueError(msg)
        return self

    @property
    def hidden(self) -> tuple[int, int]:
        """Rows and columns hidden around a blind pixel; one where nobody chose."""
        return (1, 1) if self.region == "auto" else _sides(self.region)

    @property
    def neighbors(self) -> Context:
        """Neighboring planes as the setting has them; none where nobody chose."""
        if self.context in ("auto", "none"):
            return NO_CONTEXT
        return Context("T" if self.context[0] == "T" else "Z", int(self.context[1:]))

    def beside(self, context: Context) -> Self:
        """With these neighbors, only in place of ``auto``; without, there is no 3d."""
        if self.context != "auto":
            return self
        changed = {**self.model_dump(), "context": context.name}
        if not context.planes:
            changed["convolutions"] = "2d"
        return self.model_validate(changed)

    def facts(self) -> dict[str, Any]:
        """Without neighbors, or 3d, a model is what it was before there were these."""
        found = super().facts()
        if not self.neighbors.planes:
            found.pop("context")
        if not self.is_deep:
            found.pop("convolutions")
        return found

    @property
    def is_deep(self) -> bool:
        """Whether there are neighbors that the network convolves along."""
        return self.convolutions == "3d" and self.neighbors.planes > 0

    @property
    def orientations(self) -> tuple[int, ...]:
        """Flips only, where the noise has a direction."""
        rows, columns = self.hidden
        return super().orientations if rows == columns else FLIPS

    def suited(self, region: tuple[int, int]) -> Self:
        """The smallest region that hides as many rows and columns on each side.

        Only in place of ``auto``. The cell grows with it.
        """
        if self.region != "auto":
            return self
        rows, columns = (2 * extent + 1 for extent in region)
        offered = [name for name in get_args(Region) if name != "auto"]
        covering = [
            name
            for name in offered
            if _sides(name)[0] >= rows and _sides(name)[1] >= columns
        ]
        found = min(covering or offered[-1:], key=lambda name: math.prod(_sides(name)))
        return self.model_validate({**self.model_dump(), "region": found})

    def lam(self, progress: float, *, warm: bool = False) -> float:
        """Weight of the visible branch after a fraction `progress` of the training.

        A network that denoises from the start may be trusted with what it sees: half of
        the last weight, or more.
        """
        rise = max(0.0, progress - self.lam_hold) / (1 - self.lam_hold)
        start = max(self.lam_start, self.lam_end / 2) if warm else self.lam_start
        return start + rise * (self.lam_end - start)


def _sides(region: str) -> tuple[int, int]:
    rows, _, columns = region.partition("x")
    return int(rows), int(columns)
