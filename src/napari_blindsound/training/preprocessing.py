"""From counts to what a network sees: hot pixels repaired, one map for a whole stack.

Fitted once on a sample of the training data, stored with the model, and applied alike
in training, previews and results.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_blindsound.images.intensity import Intensity
from napari_blindsound.noise.calibration import NoiseModel
from napari_blindsound.noise.hot_pixels import HotPixels
from napari_blindsound.noise.survey import samples
from napari_blindsound.noise.verdict import Correlation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindsound.images.volume import Volume


@dataclass(frozen=True)
class Preprocessing:
    """Intensity map, noise numbers and hot-pixel rule, one of each a channel.

    Parameters
    ----------
    intensity : Intensity
    noise : tuple of NoiseModel
    hot_pixels : tuple of HotPixels
    correlation : tuple of Correlation, optional
        Of the noise; None in models of before it was measured.
    """

    intensity: Intensity
    noise: tuple[NoiseModel, ...]
    hot_pixels: tuple[HotPixels, ...]
    correlation: tuple[Correlation, ...] | None = field(default=None, compare=False)

    @classmethod
    def fit(cls, volumes: Sequence[Volume], *, seed: int = 0) -> Self:
        """Fit all on a bounded random sample of the volumes.

        Raises
        ------
        DataError
            If the pixels are not finite, or all the same.
        """
        intensity = Intensity.fit(volumes, seed=seed)
        found = [sample.survey(seed=seed) for sample in samples(volumes, seed=seed)]
        return cls(
            intensity,
            tuple(channel.noise for channel in found),
            tuple(channel.hot_pixels for channel in found),
            tuple(channel.correlation for channel in found),
        )

    def region(self) -> tuple[int, int]:
        """Rows and columns on each side of a pixel that share its noise.

        The most of all channels; (0, 0) where the noise is independent from pixel to
        pixel, or nothing is known of it.
        """
        regions = [channel.region for channel in self.correlation or ()]
        rows, columns = zip(*regions, strict=True) if regions else ((0,), (0,))
        return max(rows), max(columns)

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
            None if self.correlation is None else (self.correlation[channel],),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data, exactly reversible by :meth:`from_json`."""
        # Without correlation, models have the revision that they had before it.
        extra = {}
        if self.correlation is not None:
            extra["correlation"] = [channel.to_json() for channel in self.correlation]
        return {
            "intensity": self.intensity.to_json(),
            "noise": [noise.to_json() for noise in self.noise],
            "hot_pixels": [rule.to_json() for rule in self.hot_pixels],
            **extra,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_json`."""
        known = data.get("correlation")
        return cls(
            Intensity.from_json(data["intensity"]),
            tuple(NoiseModel.from_json(noise) for noise in data["noise"]),
            tuple(HotPixels.from_json(rule) for rule in data["hot_pixels"]),
            known and tuple(Correlation.from_json(channel) for channel in known),
        )
