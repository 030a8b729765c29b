"""Blind2Unblind: self-supervised denoising with visible blind spots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field

from napari_blindsound.methods.masking import split_phases
from napari_blindsound.methods.revisible import GROUP, Revisible, RevisibleConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


class Blind2UnblindConfig(RevisibleConfig):
    """Settings of Blind2Unblind; the defaults are the preset ``fast``."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "fast": {},
        "instant": {"steps": 0},
        "best": {"width": 16, "steps": 60_000},
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
            "context": "none",
            "start": "cold",
            "scale_loss": False,
            "steps": 23_700,
        },
    }

    eta: float = Field(1.0, ge=0, description="weight of the blind regularization")
    scale_loss: bool = Field(
        True,
        description="divide the loss by 1 + lambda, so that clipping means the same "
        "throughout",
    )


class Blind2Unblind(Revisible):
    r"""Blind spots for the loss, none for the result.

    With y the noisy image, :math:`\Omega_y` its masked copies, h the mask mapper, f the
    network and :math:`\hat f` the network without gradient, the re-visible loss is

    .. math:: \|h(f(\Omega_y)) + \lambda \hat f(y) - (\lambda + 1) y\|^2
              + \eta \|h(f(\Omega_y)) - y\|^2

    with :math:`\lambda` rising from 2 to 20. Estimates: *visible* f(y), *blind*
    h(f(Omega_y)), and *blended* (blind + lambda visible) / (1 + lambda).

    Assumes noise of zero mean, independent of that outside the blind region: noise that
    neighbors share is kept if the region is smaller than its reach. A step costs
    ``phases`` passes with gradient and one without; the visible estimate costs one
    pass, the others ``cell**2 + 1``.

    References
    ----------
    Wang, Liu, Li, Han: Blind2Unblind: Self-Supervised Image Denoising with Visible
    Blind Spots, CVPR 2022, equations (8) and (12); https://arxiv.org/abs/2203.06967
    """

    name = "blind2unblind"
    title = "Blind2Unblind"
    reference = "Wang et al., CVPR 2022, arXiv:2203.06967"
    assumes = (
        "noise of zero mean, whatever its kind, shared by no more pixels than the "
        "blind region hides"
    )
    cost = "seconds to minutes of training; one pass to denoise"
    limits = "no error bars; what neighbors share beyond the region stays in the result"
    Config = Blind2UnblindConfig

    config: Blind2UnblindConfig

    def losses(
        self, noisy: Tensor, progress: float, weight: Tensor | None = None
    ) -> Iterator[dict[str, Tensor]]:
        """Yield ``re-visible`` and ``regularization`` for a few phases at a time."""
        config = self.config
        lam = self.lam_at(progress)
        self.lam.fill_(lam)
        phases = self.draw_phases()
        target = split_phases(self.center(noisy), config.cell)[phases]
        visible = self.visible_at(noisy, phases) - target
        share = self.shares(target, weight, phases)
        if config.scale_loss:
            share = share / (1 + lam)
        for group in torch.arange(len(phases)).split(GROUP):
            masked = self.masked(noisy, phases[group])
            blind = self.blind_at(masked, phases[group]) - target[group]
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
        scale = 1 + self.lam_at(progress) if config.scale_loss else 1
        return terms["regularization"] * scale / config.eta
