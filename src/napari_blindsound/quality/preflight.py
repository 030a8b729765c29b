"""Noise of an image at a glance: numbers from a small sample, one set a channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import uniform_filter

from napari_blindsound.images.intensity import Intensity
from napari_blindsound.images.sample import sample_planes
from napari_blindsound.noise.calibration import NoiseModel, fit_noise
from napari_blindsound.noise.hot_pixels import HotPixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindsound.images.volume import Volume

_PIXELS = 2_000_000
_BRIGHT = 99.0  # percentile
_WINDOW = 5  # px


@dataclass(frozen=True)
class Glance:
    """Noise and range of one channel, in counts.

    Parameters
    ----------
    title : str
        Which channel, for a heading; empty where there is one.
    noise : NoiseModel
        Variance against mean.
    low, median, bright : float
        Darkest level, median, and 99th percentile of the means over 5 x 5 pixels.
    saturated, hot : float
        Fractions of the pixels.
    hot_enabled : bool
        False where so many pixels stand out that they must be signal.
    pixels : int
        Pixels that were read.
    points : tuple of (float, float)
        Mean and variance of groups of pixels, which the line of :attr:`noise` was
        fitted to.
    """

    title: str
    noise: NoiseModel
    low: float
    median: float
    bright: float
    saturated: float
    hot: float
    hot_enabled: bool
    pixels: int
    points: tuple[tuple[float, float], ...] = ()

    def photons(self, counts: float) -> float | None:
        """Photoelectrons that a count stands for; None if there is no photon noise."""
        if self.noise.gain <= 0:
            return None
        return max(0.0, (counts - self.noise.offset) / self.noise.gain)

    @property
    def signal_to_noise(self) -> float:
        """Bright pixels above the darkest level, over their standard deviation."""
        spread = float(self.noise.variance(self.bright)) ** 0.5
        return (self.bright - self.low) / spread if spread else float("inf")

    def as_rows(self) -> dict[str, str]:
        """For people."""
        noise = self.noise
        median, bright = self.photons(self.median), self.photons(self.bright)
        rows = {
            "gain": f"{noise.gain:.3g} counts a photon",
            "offset": f"{noise.offset:.4g} counts",
            "read noise": f"{noise.read_variance**0.5:.3g} counts",
            "photons": "no photon noise found",
            "signal/noise": f"{self.signal_to_noise:.3g} at the bright pixels",
            "saturated": f"{100 * self.saturated:.3g} % of the pixels",
            "hot pixels": f"{1e6 * self.hot:.3g} in a million",
            "range": f"{self.low:.4g} dark, {self.median:.4g} median, "
            f"{self.bright:.4g} bright",
        }
        if median is not None and bright is not None:
            rows["photons"] = f"{median:.3g} at the median, {bright:.3g} at the bright"
            rows["photons"] += " pixels"
        if not self.hot_enabled:
            rows["hot pixels"] = "not told from signal: too many pixels stand out"
        return rows

    def as_data(self) -> dict[str, Any]:
        """For programs."""
        finite = np.isfinite(self.signal_to_noise)
        return {
            "channel": self.title.removeprefix(" of "),
            **self.noise.to_json(),
            "photons_median": self.photons(self.median),
            "photons_bright": self.photons(self.bright),
            "signal_to_noise": self.signal_to_noise if finite else None,
            "saturated": self.saturated,
            "hot": self.hot,
            "low": self.low,
            "median": self.median,
            "bright": self.bright,
            "pixels_read": self.pixels,
        }


def glances(volume: Volume) -> list[Glance]:
    """Estimate the noise of each channel from a bounded sample.

    Raises
    ------
    DataError
        If the pixels are not finite, too few, or all the same.
    """
    # Only asked for what it refuses: a constant image has no noise to speak of.
    Intensity.fit(volume, pixels=_PIXELS)
    blocks = sample_planes(volume, pixels=_PIXELS)
    count = volume.n_channels
    names = volume.channel_names or [f"channel {index}" for index in range(count)]
    return [
        _glance([block[index] for block in blocks], f" of {name}" if count > 1 else "")
        for index, name in enumerate(names)
    ]


def _glance(planes: Sequence[np.ndarray], title: str) -> Glance:
    noise, points = fit_noise(planes)
    rule = HotPixels.fit(planes, noise)
    # Percentiles of single pixels would be those of the noise where light is scarce.
    means = [uniform_filter(plane.astype(np.float32), _WINDOW) for plane in planes]
    light = np.concatenate([mean.ravel() for mean in means])
    low, median, bright = np.percentile(light, [0.5, 50, _BRIGHT])
    saturated = sum(int(rule.saturated(plane).sum()) for plane in planes)
    hot = sum(int(rule.find(plane).sum()) for plane in planes)
    return Glance(
        title,
        noise,
        float(low),
        float(median),
        float(bright),
        saturated / light.size,
        hot / light.size,
        hot_enabled=rule.enabled,
        pixels=light.size,
        points=tuple((float(mean), float(variance)) for mean, variance in points),
    )
