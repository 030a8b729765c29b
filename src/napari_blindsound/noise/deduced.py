"""Parameters of a noise model from all that was measured of the noise, in counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_blindsound.noise import growth

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_blindsound.noise.base import Noise
    from napari_blindsound.noise.kernel import Kernel
    from napari_blindsound.noise.models import Kind

    Floats = NDArray[np.float64]

_TINY = 1e-6
_DOUBT = 0.25  # twice as far as they were apart on phantoms


@dataclass(frozen=True)
class Measured:
    """Noise of one channel of normalized images.

    Parameters
    ----------
    sums, wide, shared : ndarray
        As of :func:`napari_blindsound.noise.growth.look`, with one and with
        :data:`~napari_blindsound.noise.growth.WIDE` pixels between the weights; zeros
        where nothing was seen.
    camera : tuple of float
        Gain, dark level and variance in the dark, from the calibration.
    scale, base : float
        Counts a normalized unit, and those of its zero.
    """

    sums: Floats
    wide: Floats
    shared: Floats
    camera: tuple[float, float, float]
    scale: float
    base: float

    def numbers(
        self, kind: Kind, given: Mapping[str, float], offset: float | None
    ) -> dict[str, float]:
        """Parameters that a model needs, and its ``offset``, given or estimated.

        Parameters
        ----------
        kind : Kind
            The model.
        given : mapping of str to float
            Parameters that are not to be estimated.
        offset : float, optional
            Counts without light, if known.
        """
        gain, dark, read = self.camera
        if offset is None:
            offset = growth.dark_level(kind, self._growth(0.0))
        if offset is None:
            offset = dark * self.scale + self.base
        sigma = max(math.sqrt(read), _TINY)
        found = {"gain": gain * self.scale, "sigma": sigma * self.scale}
        if kind.first != "camera":
            wide = None
            if self.wide.any():
                seen = self.wide, self.shared, self.scale, self.base - offset
                wide = growth.Growth.of(*seen)
            found = growth.estimated(kind, self._growth(offset), given, wide)
        found |= given
        return {**{name: found[name] for name in kind.needs}, "offset": offset}

    def doubt(
        self, noise: Noise, offset: float, felt: Floats, filters: Kernel
    ) -> dict[str, float]:
        """Deviation of the noise as it is solved for, and as a score has it, if apart.

        Parameters
        ----------
        noise : Noise
            As it is solved for.
        offset : float
            Its counts without light.
        felt : ndarray
            Sums as of :func:`napari_blindsound.noise.felt.felt`; zeros where there was
            no look at the score.
        filters : Kernel
            What noise went through after what was felt.

        Returns
        -------
        dict of str to float
            By words for the user, in counts; empty where they agree.
        """
        seen = felt[0] > 0
        if not seen.any():
            return {}
        pixels, light, variance = felt[:, seen]
        counts = light / pixels * self.scale + self.base - offset
        # One pixel is as good as an even image, also for a filter.
        levels = torch.from_numpy(counts).clamp(min=0)[:, None, None]
        clean = levels / noise.mean(torch.ones_like(levels))
        solved = noise.variance(clean).ravel().numpy()
        passed = filters.power * self.scale**2
        learned = math.sqrt(max(passed * variance.sum() / pixels.sum(), 0.0))
        used = math.sqrt(max(float(np.average(solved, weights=pixels)), 0.0))
        if abs(learned - used) <= _DOUBT * max(learned, used):
            return {}
        return {"noise, as solved for": used, "noise, as the score has it": learned}

    def mean(self) -> float:
        """Mean of the noisy images, in counts."""
        pixels, light, _ = self.sums.sum(-1)
        middle = light / pixels if pixels else 0.5
        return float(middle * self.scale + self.base)

    def deviation(self, edge: float, corner: float) -> float:
        """Noise as a whole, normalized, as it was before a filter."""
        pixels, _, variance = self.sums.sum(-1)
        if not pixels:
            pixels, _, variance = growth.of_line(*self.camera).sum(-1)
        before = variance / pixels / growth.passed(edge, corner)
        return math.sqrt(max(float(before), 0.0)) + _TINY

    def _growth(self, offset: float) -> growth.Growth:
        sums, shared = self.sums, self.shared
        if not sums.any():
            sums, shared = growth.of_line(*self.camera), np.zeros(len(growth.LAGS))
        return growth.Growth.of(sums, shared, self.scale, self.base - offset)
