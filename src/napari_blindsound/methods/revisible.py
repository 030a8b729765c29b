"""What Blind2Unblind and Blind2Sound share: blind spots that become visible again.

One network sees masked copies of the image, in which it learns, and the image itself,
which it denoises. How the two estimates make a loss is each method's own matter.

Where the noise is shared by neighbors, a region around each blind pixel is hidden. In
training every hidden pixel becomes a neighbor of the region drawn at random. A smooth
fill would tell the network where it is blind, and it would not know what to make of the
image itself; noise among noise does not, and so the visible estimate stays the best.

Neighboring planes, of a stack or a movie, can be seen beside the image. Their noise is
their own, so that nothing of them is hidden: they are further inputs of the network,
and it is the image in the middle that is masked, denoised and learned from. The network
takes them as channels of its first convolution, or convolves along them, too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch

from napari_blindsound.methods.base import Method
from napari_blindsound.methods.masking import (
    join_phases,
    mask_phases,
    mask_regions,
    split_phases,
)
from napari_blindsound.methods.revisible_config import RevisibleConfig
from napari_blindsound.networks.unet import UNet
from napari_blindsound.networks.unet3d import UNet3d

if TYPE_CHECKING:
    from torch import Tensor

    from napari_blindsound.networks.family import Member

__all__ = ["GROUP", "Revisible", "RevisibleConfig"]

# Masked copies that go through the network at once. The loss is a sum over phases, so
# groups change nothing but memory; one that fits the cache is computed twice as fast.
GROUP = 4


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
        self.network = self._network(numbers or channels)
        self.register_buffer("lam", torch.tensor(config.lam_start))

    def _network(self, numbers: int) -> UNet:
        config = self.config
        width, depth = config.width, config.depth
        if not config.is_deep:
            return UNet(self.inputs, numbers, width=width, depth=depth)
        planes = self.context.planes
        return UNet3d(self.channels, numbers, planes=planes, width=width, depth=depth)

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
    def starter(self) -> UNet | None:
        """The network, where it denoises one channel."""
        return self.network if self.channels == 1 else None

    def start_from(self, member: Member) -> None:
        """Begin with weights that synthetic images taught, trusting what they see."""
        super().start_from(member)
        self.lam.fill_(self.lam_at(0.0))

    def lam_at(self, progress: float) -> float:
        """Weight of the visible branch after a fraction `progress` of the training."""
        return self.config.lam(progress, warm=bool(self.started_from))

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
