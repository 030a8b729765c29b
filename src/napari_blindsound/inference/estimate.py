"""Which of a method's estimates a model returns: one output, or a mixture of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_blindsound.errors import ModelError
from napari_blindsound.methods.base import DEVIATION
from napari_blindsound.networks.symmetry import turned, turned_back

if TYPE_CHECKING:
    from torch import Tensor

    from napari_blindsound.methods.base import Method


@dataclass(frozen=True)
class Estimate:
    """A choice among what a method can return.

    Parameters
    ----------
    method : type of Method
        The method.
    output : str
        One of its outputs.
    blend : float or None
        Weight of the second of its ends, from 0 to 1, in place of the output.
    turns : bool
        Whether to average over the eight orientations.

    Raises
    ------
    ModelError
        If the method has no such output, or nothing to blend, or the blend is not
        between 0 and 1.
    """

    method: type[Method]
    output: str
    blend: float | None = None
    turns: bool = False

    def __post_init__(self) -> None:
        title, outputs = self.method.title, ", ".join(estimates(self.method))
        msg = None
        if self.output not in self.method.outputs:
            msg = f"{title} has no output {self.output!r}; choose one of {outputs}"
        elif self.blend is not None and self.method.ends is None:
            msg = f"{title} has nothing to blend: choose one of its outputs, {outputs}"
        elif self.blend is not None and not 0 <= self.blend <= 1:
            first, second = self.method.ends or ("", "")
            msg = f"a blend of {self.blend} is not between 0 ({first}) and 1 ({second})"
        if msg is not None:
            raise ModelError(msg)

    @property
    def name(self) -> str:
        """What to call it: the output, or the blend unless that is one of them."""
        if self.blend is None or self.method.ends is None:
            return self.output
        end = {0.0: self.method.ends[0], 1.0: self.method.ends[1]}.get(self.blend)
        return end or f"blend {self.blend:g}"

    def of(self, method: Method, noisy: Tensor, halo: int) -> Tensor:
        """Denoise the core of normalized tiles, (B, C, H, W), as float32.

        Of deviations, too, the mean over the orientations is taken: no less than that
        of the mean, and hardly more, since the eight errors are nearly the same.
        """
        if not self.turns:
            return self._upright(method, noisy, halo)
        parts = [
            turned_back(self._upright(method, turned(noisy, turn), halo), turn)
            for turn in method.config.orientations
        ]
        return torch.stack(parts).mean(0)

    def _upright(self, method: Method, noisy: Tensor, halo: int) -> Tensor:
        if self.blend is None or method.ends is None:
            return method.denoise(noisy, halo=halo, output=self.output).float()
        weights = (1 - self.blend, self.blend)
        parts = [
            weight * method.denoise(noisy, halo=halo, output=end).float()
            for end, weight in zip(method.ends, weights, strict=True)
            if weight
        ]
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def estimates(method: type[Method]) -> tuple[str, ...]:
    """Outputs that are an estimate of the clean image, the default first."""
    return tuple(name for name in method.outputs if name != DEVIATION)
