"""From counts to what a network sees: hot pixels repaired, one map for a whole stack.

Fitted once on a sample of the training data, stored with the model, and applied alike
in training, previews and results.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_blindsound.images.intensity import Intensity
from napari_blindsound.images.sample import sample_planes
from napari_blindsound.noise.calibration import NoiseModel, estimate_noise
from napari_blindsound.noise.hot_pixels import HotPixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindsound.images.volume import Volume

NOISE_PIXELS = 2_000_000


@dataclass(frozen=True)
class Preprocessing:
    """Intensity map, noise numbers and hot-pixel rule, one of each a channel."""

    intensity: Intensity
    noise: tuple[NoiseModel, ...]
    hot_pixels: tuple[HotPixels, ...]

    @classmethod
    def fit(cls, volumes: Sequence[Volume], *, seed: int = 0) -> Self:
        """Fit all three on a bounded random sample of the volumes.

        Raises
        ------
        DataError
            If the pixels are not finite, or all the same.
        """
        intensity = Intensity.fit(volumes, seed=seed)
        share = NOISE_PIXELS // len(volumes)
        blocks = [
            block
            for volume in volumes
            for block in sample_planes(volume, pixels=share, seed=seed)
        ]
        noise, rules = [], []
        for channel in range(volumes[0].n_channels):
            planes = [block[channel] for block in blocks]
            noise.append(estimate_noise(planes))
            rules.append(HotPixels.fit(planes, noise[-1]))
        return cls(intensity, tuple(noise), tuple(rules))

    def normalize(self, counts: np.ndarray) -> np.ndarray:
        """Hot pixels repaired, counts mapped to the network's range.

        Parameters
        ----------
        counts : ndarray
            (..., C, H, W), finite. A pixel is judged by its eight neighbors, and at the
            border by their reflection: give a pixel of context where that matters.

        Returns
        -------
        ndarray
            float32, of the same shape.
        """
        return self._map(self._repair(counts)[0])

    def normalize_with_mask(
        self, counts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """As :meth:`normalize`, and which pixels may teach.

        Returns
        -------
        normalized : ndarray
            float32, of the same shape.
        valid : ndarray of bool, or None
            False at hot and saturated pixels; None where there are none.
        """
        repaired, bad = self._repair(counts)
        for index, rule in enumerate(self.hot_pixels):
            bad[..., index, :, :] |= rule.saturated(counts[..., index, :, :])
        return self._map(repaired), ~bad if bad.any() else None

    def _repair(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pairs = [
            rule.repair(counts[..., index, :, :])
            for index, rule in enumerate(self.hot_pixels)
        ]
        repaired, hot = zip(*pairs, strict=True)
        return np.stack(repaired, axis=-3), np.stack(hot, axis=-3)

    def _map(self, counts: np.ndarray) -> np.ndarray:
        return self.intensity.normalize(counts, channel_axis=counts.ndim - 3)

    def restore(self, normalized: np.ndarray) -> np.ndarray:
        """Counts from the network's range, (..., C, H, W), float32."""
        return self.intensity.restore(normalized, channel_axis=normalized.ndim - 3)

    def normalized_noise(self) -> tuple[NoiseModel, ...]:
        """Noise of normalized images, one model a channel."""
        return tuple(
            NoiseModel(
                model.gain / scale,
                (model.offset - offset) / scale,
                model.read_variance / scale**2,
            )
            for model, offset, scale in zip(
                self.noise, self.intensity.offset, self.intensity.scale, strict=True
            )
        )

    def of_channel(self, channel: int) -> Preprocessing:
        """The part for one channel."""
        offset, scale = self.intensity.offset[channel], self.intensity.scale[channel]
        return Preprocessing(
            Intensity((offset,), (scale,)),
            (self.noise[channel],),
            (self.hot_pixels[channel],),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data, exactly reversible by :meth:`from_json`."""
        return {
            "intensity": self.intensity.to_json(),
            "noise": [noise.to_json() for noise in self.noise],
            "hot_pixels": [rule.to_json() for rule in self.hot_pixels],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_json`."""
        return cls(
            Intensity.from_json(data["intensity"]),
            tuple(NoiseModel.from_json(noise) for noise in data["noise"]),
            tuple(HotPixels.from_json(rule) for rule in data["hot_pixels"]),
        )
