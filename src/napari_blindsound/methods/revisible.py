"""What Blind2Unblind and Blind2Sound share: blind spots that become visible again.

One network sees masked copies of the image, in which it learns, and the image itself,
which it denoises. How the two estimates make a loss is each method's own matter.

Where the noise is shared by neighbors, a region around each blind pixel is hidden. In
training every hidden pixel becomes a neighbor of the region drawn at random. A smooth
fill would tell the network where it is blind, and it would not know what to make of the
image itself; noise among noise does not, and so the visible estimate stays the best.

Neighboring planes, of a stack or a movie, can be seen beside the image. Their noise is
their own, so that nothing of them is hidden: they are further inputs of the network,
and it is the image in the middle that is masked, denoised and learned from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import torch
from pydantic import Field, model_validator

from napari_blindsound.images.context import NO_CONTEXT, Context
from napari_blindsound.methods.base import Method, MethodConfig
from napari_blindsound.methods.masking import (
    Padding,
    join_phases,
    mask_phases,
    mask_regions,
    split_phases,
)
from napari_blindsound.networks.symmetry import FLIPS
from napari_blindsound.networks.unet import UNet

if TYPE_CHECKING:
    from typing import Any, Self

    from torch import Tensor

# Masked copies that go through the network at once. The loss is a sum over phases, so
# groups change nothing but memory; one that fits the cache is computed twice as fast.
GROUP = 4

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


class RevisibleConfig(MethodConfig):
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
        """With these neighbors, only in place of ``auto``."""
        if self.context != "auto":
            return self
        return self.model_validate({**self.model_dump(), "context": context.name})

    def facts(self) -> dict[str, Any]:
        """Plane by plane, a model is what it was before there was a choice."""
        found = super().facts()
        if not self.neighbors.planes:
            found.pop("context")
        return found

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

    def lam(self, progress: float) -> float:
        """Weight of the visible branch after a fraction `progress` of the training."""
        rise = max(0.0, progress - self.lam_hold) / (1 - self.lam_hold)
        return self.lam_start + rise * (self.lam_end - self.lam_start)


def _sides(region: str) -> tuple[int, int]:
    rows, _, columns = region.partition("x")
    return int(rows), int(columns)


class Revisible(Method):
    """A method whose network sees an image with blind spots, and without.

    Parameters
    ----------
    config : RevisibleConfig
    channels : int
        Channels denoised jointly.
    numbers : int, optional
        Numbers that the network returns a pixel, the estimates of the channels first;
        by default just these.
    """

    outputs: ClassVar[tuple[str, ...]] = ("visible", "blind", "blended")
    ends = ("blind", "visible")

    config: RevisibleConfig
    lam: Tensor

    def __init__(
        self, config: RevisibleConfig, channels: int = 1, numbers: int | None = None
    ) -> None:
        super().__init__(config, channels)
        self.network = UNet(
            self.inputs, numbers or channels, width=config.width, depth=config.depth
        )
        self.register_buffer("lam", torch.tensor(config.lam_start))

    @property
    def halo(self) -> int:
        """The network's, and what the filling of hidden pixels looks at."""
        return self.network.halo + max(self.config.hidden)

    @property
    def stride(self) -> int:
        """Whole cells of the pooling and of the mask."""
        return math.lcm(self.network.stride, self.config.cell)

    @property
    def bytes_per_pixel(self) -> int:
        """The network's."""
        return self.network.bytes_per_pixel

    @property
    def trained_blend(self) -> float:
        """Weight lambda / (1 + lambda) of *visible* in *blended*."""
        lam = float(self.lam)
        return lam / (1 + lam)

    def denoise(
        self, noisy: Tensor, *, halo: int = 0, output: str | None = None
    ) -> Tensor:
        """Visible estimate in one pass; blind and blended in ``cell**2 + 1``."""
        if output in (None, "visible"):
            return self.network(noisy, halo)[:, : self.channels]  # type: ignore[no-any-return]
        if output not in self.outputs:
            msg = f"no output {output!r}; there are {', '.join(self.outputs)}"
            raise ValueError(msg)
        blind = self.blind(noisy, halo)[:, : self.channels]
        if output == "blind":
            return blind
        visible = self.network(noisy, halo)[:, : self.channels]
        return (blind + self.lam * visible) / (1 + self.lam)  # type: ignore[no-any-return]

    def blind(self, noisy: Tensor, halo: int = 0) -> Tensor:
        """All that the network says where it is blind, one pass a phase.

        Parameters
        ----------
        noisy, halo
            As in :meth:`denoise`.

        Returns
        -------
        Tensor
            (B, numbers, H, W).
        """
        cell = self.config.cell
        return join_phases(
            torch.cat(
                [
                    self.blind_at(self._hide(noisy, phase), phase, halo)
                    for phase in torch.arange(cell**2).split(1)
                ]
            ),
            cell,
        )

    def center(self, noisy: Tensor) -> Tensor:
        """The plane that is denoised, (B, C, H, W), without its neighbors."""
        return noisy[:, : self.channels]

    def draw_phases(self) -> Tensor:
        """Phases of this step, at random without repetition."""
        order = torch.randperm(self.config.cell**2, generator=self.random)
        return order[: self.config.phases]

    def masked(self, noisy: Tensor, phases: Tensor) -> Tensor:
        """Masked copies (P B, inputs, H, W) of (B, inputs, H, W), to learn in."""
        return self._hide(noisy, phases, self.random)

    def _hide(
        self, noisy: Tensor, phases: Tensor, random: torch.Generator | None = None
    ) -> Tensor:
        config, plane = self.config, self.center(noisy)
        if config.hidden == (1, 1):
            hidden = mask_phases(plane, phases, config.cell, config.padding)
        else:
            hidden = mask_regions(plane, phases, config.cell, config.hidden, random)
        if not self.context.planes:
            return hidden
        beside = noisy[:, self.channels :].repeat(len(phases), 1, 1, 1)
        return torch.cat([hidden, beside], dim=1)

    def blind_at(self, masked: Tensor, phases: Tensor, halo: int = 0) -> Tensor:
        """Mask mapper: masked (P B, inputs, H, W) to (P, B, numbers, H/cell, W/cell).

        With a halo, H and W include it on both sides, and the result does not.
        """
        features = self.network.trunk(masked, halo).unflatten(0, (len(phases), -1))
        cell, margin = self.config.cell, 1 if halo else 0
        return torch.stack(
            [
                self.network.tail_at(copy, phase // cell, phase % cell, cell, margin)
                for copy, phase in zip(features, phases.tolist(), strict=True)
            ]
        )

    @torch.no_grad()
    def visible_at(self, noisy: Tensor, phases: Tensor) -> Tensor:
        """The network's view of the image itself, (P, B, numbers, H/cell, W/cell)."""
        cell = self.config.cell
        if len(phases) > cell:
            return split_phases(self.network(noisy), cell)[phases]
        features = self.network.trunk(noisy)
        return torch.stack(
            [
                self.network.tail_at(features, phase // cell, phase % cell, cell)
                for phase in phases.tolist()
            ]
        )

    def shares(self, target: Tensor, weight: Tensor | None, phases: Tensor) -> Tensor:
        """Share of each pixel in the mean, broadcastable to (P, B, C, H/cell, W/cell).

        Parameters
        ----------
        target : Tensor
            (P, B, C, H/cell, W/cell), the noisy image at the phases.
        weight : Tensor or None
            (B, C, H, W), 0 where a pixel must not teach.
        phases : Tensor
            (P,).
        """
        if weight is None:
            return target.new_full((len(phases), 1, 1, 1, 1), 1 / target.numel())
        chosen = split_phases(weight, self.config.cell)[phases]
        return chosen / chosen.sum().clamp(min=1)
