"""How far one step may go: the norm of a network's gradient is kept below a bound."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from napari_blindsound.methods.base import MethodConfig


class Clip:
    """Clips the gradient of one network, and remembers what its norms were.

    Parameters
    ----------
    network : Module
    config : MethodConfig
        Of ``clip``, the first bound (0 is none), and ``tighten``: after every so many
        steps the bound falls to the mean norm over them, if that is smaller.
    """

    def __init__(self, network: nn.Module, config: MethodConfig) -> None:
        self._network, self._every = network, config.tighten
        self._bound = config.clip or math.inf
        self._sum, self._count = 0.0, 0

    def apply(self) -> Tensor:
        """Clip, and return the norm as it was; what is not finite does not count."""
        norm = torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._bound)
        if self._every and torch.isfinite(norm):
            self._sum, self._count = self._sum + float(norm), self._count + 1
            if self._count == self._every:
                self._bound = min(self._bound, self._sum / self._count)
                self._sum, self._count = 0.0, 0
        return norm

    def state(self) -> dict[str, float]:
        """What the next bounds depend on."""
        bound = 0.0 if math.isinf(self._bound) else self._bound
        return {"bound": bound, "sum": self._sum, "count": self._count}

    def restore(self, state: Mapping[str, float]) -> None:
        """Continue from :meth:`state`."""
        self._bound, self._sum = state["bound"] or math.inf, state["sum"]
        self._count = int(state["count"])
