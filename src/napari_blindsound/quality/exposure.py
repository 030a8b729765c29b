"""A new exposure of a known scene, with the noise that a model was told of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.noise.calibration import NoiseModel

    Image = NDArray[np.float32]


@dataclass(frozen=True)
class Exposure:
    """Draws noise: gain times Poisson, plus Gaussian, plus offset, rounded as the data.

    Parameters
    ----------
    noise : sequence of NoiseModel
        One a channel.
    dtype : dtype
        Of the data: integers are rounded and clipped to their range.
    """

    noise: Sequence[NoiseModel]
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, denoiser: Denoiser, dtype: np.dtype[Any]) -> Self:
        """The exposures that a model was trained on."""
        return cls(denoiser.preprocessing.noise, dtype)

    @property
    def is_noisy(self) -> bool:
        """Whether every channel has any noise at all."""
        return all(model.gain or model.read_variance for model in self.noise)

    def sigma(self, mean: NDArray[Any]) -> NDArray[np.float64]:
        """Standard deviation of the noise, counts, for means (..., C, H, W)."""
        variances = [
            model.variance(mean[..., index, :, :].astype(np.float64))
            for index, model in enumerate(self.noise)
        ]
        return np.asarray(np.sqrt(np.stack(variances, axis=-3)))

    def draw(self, mean: NDArray[Any], rng: np.random.Generator) -> Image:
        """Expose means (..., C, H, W), in counts; float32 counts of the same shape."""
        drawn = np.empty(mean.shape, np.float32)
        for index, model in enumerate(self.noise):
            light = mean[..., index, :, :].astype(np.float64) - model.offset
            counts = np.minimum(light, 0) + model.offset
            counts += rng.normal(0.0, model.read_variance**0.5, light.shape)
            light = np.maximum(light, 0)
            if model.gain > 0:
                counts += model.gain * rng.poisson(light / model.gain)
            else:
                counts += light
            drawn[..., index, :, :] = counts
        if self.dtype.kind in "ui":
            limits = np.iinfo(self.dtype)
            np.clip(np.rint(drawn, out=drawn), limits.min, limits.max, out=drawn)
        return drawn
