"""Blind2Unblind: self-supervised denoising with visible blind spots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field, model_validator

from napari_blindsound.methods.base import Method, MethodConfig
from napari_blindsound.methods.masking import (
    Padding,
    join_phases,
    mask_phases,
    split_phases,
)
from napari_blindsound.networks.unet import UNet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from torch import Tensor

# Masked copies that go through the network at once. The loss is a sum over phases, so
# groups change nothing but memory; one that fits the cache is computed twice as fast.
GROUP = 4


class Blind2UnblindConfig(MethodConfig):
    """Settings of Blind2Unblind; the defaults are the preset ``fast``."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "fast": {},
        "paper": {
            "width": 48,
            "depth": 5,
            "phases": 16,
            "patch": 128,
            "learning_rate": 1e-4,
            "schedule": "halving",
            "clip": 0.0,
            "averaging": 0.0,
            "weight_decay": 1e-8,
            "augment": False,
            "scale_loss": False,
            "steps": 23_700,
        },
    }

    width: int = Field(16, ge=1, description="channels of the network's downward path")
    depth: int = Field(3, ge=1, le=7, description="poolings by 2 in the network")
    cell: Literal[2, 4] = Field(
        4, description="side of a masking cell; one pixel of each cell is blind at once"
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
    eta: float = Field(1.0, ge=0, description="weight of the blind regularization")
    lam_start: float = Field(
        2.0, ge=0, description="weight of the visible branch at the start"
    )
    lam_end: float = Field(
        20.0, ge=0, description="weight of the visible branch at the end"
    )
    lam_hold: float = Field(
        0.4, ge=0, lt=1, description="fraction of training before that weight rises"
    )
    scale_loss: bool = Field(
        True,
        description="divide the loss by 1 + lambda, so that clipping means the same "
        "throughout",
    )

    @model_validator(mode="after")
    def _phases_fit_the_cell(self) -> Self:
        if self.phases > self.cell**2:
            msg = (
                f"phases is {self.phases}, but a cell of {self.cell} x {self.cell} has "
                f"{self.cell**2} pixels; choose at most that"
            )
            raise ValueError(msg)
        return self

    def lam(self, progress: float) -> float:
        """Weight of the visible branch after a fraction `progress` of the training."""
        rise = max(0.0, progress - self.lam_hold) / (1 - self.lam_hold)
        return self.lam_start + rise * (self.lam_end - self.lam_start)


class Blind2Unblind(Method):
    r"""Blind spots for the loss, none for the result.

    With y the noisy image, :math:`\Omega_y` its masked copies, h the mask mapper, f the
    network and :math:`\hat f` the network without gradient, the re-visible loss is

    .. math:: \|h(f(\Omega_y)) + \lambda \hat f(y) - (\lambda + 1) y\|^2
              + \eta \|h(f(\Omega_y)) - y\|^2

    with :math:`\lambda` rising from 2 to 20. Estimates: *visible* f(y), *blind*
    h(f(Omega_y)), and *blended* (blind + lambda visible) / (1 + lambda).

    Assumes noise of zero mean, independent from pixel to pixel; correlated noise is
    kept. A step costs ``phases`` passes with gradient and one without; the visible
    estimate costs one pass, the others ``cell**2 + 1``.

    References
    ----------
    Wang, Liu, Li, Han: Blind2Unblind: Self-Supervised Image Denoising with Visible
    Blind Spots, CVPR 2022, equations (8) and (12); https://arxiv.org/abs/2203.06967
    """

    name = "blind2unblind"
    title = "Blind2Unblind"
    reference = "Wang et al., CVPR 2022, arXiv:2203.06967"
    Config = Blind2UnblindConfig
    outputs = ("visible", "blind", "blended")
    ends = ("blind", "visible")

    config: Blind2UnblindConfig
    lam: Tensor

    def __init__(self, config: Blind2UnblindConfig, channels: int = 1) -> None:
        super().__init__(config, channels)
        self.network = UNet(channels, channels, width=config.width, depth=config.depth)
        self.register_buffer("lam", torch.tensor(config.lam_start))

    @property
    def halo(self) -> int:
        """The network's, and one pixel for the filling of masked ones."""
        return self.network.halo + 1

    @property
    def stride(self) -> int:
        """Whole cells of the pooling and of the mask."""
        return max(self.network.stride, self.config.cell)

    @property
    def bytes_per_pixel(self) -> int:
        """The network's."""
        return self.network.bytes_per_pixel

    @property
    def trained_blend(self) -> float:
        """Weight lambda / (1 + lambda) of *visible* in *blended*."""
        lam = float(self.lam)
        return lam / (1 + lam)

    def losses(
        self, noisy: Tensor, progress: float, weight: Tensor | None = None
    ) -> Iterator[dict[str, Tensor]]:
        """Yield ``re-visible`` and ``regularization`` for a few phases at a time."""
        config = self.config
        lam = config.lam(progress)
        self.lam.fill_(lam)
        phases = torch.randperm(config.cell**2, generator=self.random)[: config.phases]
        target = split_phases(noisy, config.cell)[phases]
        with torch.no_grad():
            visible = self._visible_at(noisy, phases) - target
        share = _shares(target, weight, config.cell, phases)
        if config.scale_loss:
            share = share / (1 + lam)
        for group in torch.arange(len(phases)).split(GROUP):
            masked = mask_phases(noisy, phases[group], config.cell, config.padding)
            blind = self._blind_at(masked, phases[group]) - target[group]
            part = share[group]
            yield {
                "re-visible": (part * (blind + lam * visible[group]) ** 2).sum(),
                "regularization": config.eta * (part * blind**2).sum(),
            }

    def curve(self, terms: Mapping[str, float], progress: float) -> float:
        """Squared error at blind pixels: the rest of the loss grows with lambda."""
        config = self.config
        if not config.eta or "regularization" not in terms:
            return sum(terms.values())
        scale = 1 + config.lam(progress) if config.scale_loss else 1
        return terms["regularization"] * scale / config.eta

    def denoise(
        self, noisy: Tensor, *, halo: int = 0, output: str | None = None
    ) -> Tensor:
        """Visible estimate in one pass; blind and blended in ``cell**2 + 1``."""
        if output in (None, "visible"):
            return self.network(noisy, halo)  # type: ignore[no-any-return]
        if output not in self.outputs:
            msg = f"no output {output!r}; there are {', '.join(self.outputs)}"
            raise ValueError(msg)
        cell, padding = self.config.cell, self.config.padding
        blind = join_phases(
            torch.cat(
                [
                    self._blind_at(
                        mask_phases(noisy, phase, cell, padding), phase, halo
                    )
                    for phase in torch.arange(cell**2).split(1)
                ]
            ),
            cell,
        )
        if output == "blind":
            return blind
        return (blind + self.lam * self.network(noisy, halo)) / (1 + self.lam)  # type: ignore[no-any-return]

    def _blind_at(self, masked: Tensor, phases: Tensor, halo: int = 0) -> Tensor:
        """Mask mapper: masked copies (P B, C, H, W) to (P, B, C, H/cell, W/cell)."""
        features = self.network.trunk(masked, halo).unflatten(0, (len(phases), -1))
        cell, margin = self.config.cell, 1 if halo else 0
        return torch.stack(
            [
                self.network.tail_at(copy, phase // cell, phase % cell, cell, margin)
                for copy, phase in zip(features, phases.tolist(), strict=True)
            ]
        )

    def _visible_at(self, noisy: Tensor, phases: Tensor) -> Tensor:
        """Visible estimate at some phases, (P, B, C, H/cell, W/cell)."""
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


def _shares(target: Tensor, weight: Tensor | None, cell: int, phases: Tensor) -> Tensor:
    """Share of each pixel in the mean, broadcastable to (P, B, C, H/cell, W/cell)."""
    if weight is None:
        return target.new_full((len(phases), 1, 1, 1, 1), 1 / target.numel())
    chosen = split_phases(weight, cell)[phases]
    return chosen / chosen.sum().clamp(min=1)
