"""Noise of an image at a glance: numbers from a small sample, one set a channel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import uniform_filter

from napari_blindsound.images.intensity import Intensity
from napari_blindsound.noise.estimated import Calibration, Estimated
from napari_blindsound.noise.survey import PIXELS, Sample, Survey, samples
from napari_blindsound.quality import facts
from napari_blindsound.quality.prospect import prospect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.noise.calibration import NoiseModel
    from napari_blindsound.noise.verdict import Correlation

_BRIGHT = 99.0  # percentile
_WINDOW = 5  # px


@dataclass(frozen=True, eq=False)
class Glance:
    """Noise and range of one channel, in counts.

    Parameters
    ----------
    title : str
        Which channel, for a heading; empty where there is one.
    survey : Survey
        The noise: what a training measures, too.
    low, median, bright : float
        Darkest level, median, and 99th percentile of the means over 5 x 5 pixels.
    saturated, hot : float
        Fractions of the pixels.
    pixels : int
        Pixels that were read.
    expected : Estimated
        Decibels by which denoising will lower the error.
    """

    title: str
    survey: Survey
    low: float
    median: float
    bright: float
    saturated: float
    hot: float
    pixels: int
    expected: Estimated

    @property
    def noise(self) -> NoiseModel:
        """Variance against mean, to compute with."""
        return self.survey.noise

    @property
    def calibration(self) -> Calibration:
        """Gain, offset and read noise, and the points that they are taken from."""
        return self.survey.calibration

    @property
    def correlation(self) -> Correlation:
        """How much of its noise a pixel shares with its neighbors."""
        return self.survey.correlation

    @property
    def hot_enabled(self) -> bool:
        """False where so many pixels stand out that they must be signal."""
        return self.survey.hot_pixels.enabled

    def photons(self, counts: float) -> float | None:
        """Best guess of the photoelectrons in a count; None without photon noise."""
        return self.light(counts).value if self.noise.gain > 0 else None

    def light(self, counts: float) -> Estimated:
        """Photoelectrons that a count stands for.

        At most all of the variance there is theirs, and at least what lies above the
        highest possible offset is light; so there are bounds without an offset.
        """
        gain, offset = self.calibration.gain, self.calibration.offset
        if gain.value <= 0:
            reason = "no photon noise found"
            return Estimated(0.0, 0.0, math.inf, known=False, reason=reason)
        least_gain = max(gain.low, 1e-3 * gain.value)
        variance = float(self.noise.variance(counts))
        most = min((counts - offset.low) / least_gain, variance / least_gain**2)
        most = max(0.0, most)
        least = (counts - offset.high) / gain.high
        least = min(max(0.0, least), most)
        guess = (counts - offset.value) / gain.value
        known, reason = gain.known, gain.reason
        if self.correlation.verdict == "filtered":
            known, reason = False, "the noise was smoothed, so that it seems less"
        value = min(max(guess, least), most)
        return Estimated(value, least, most, known, "" if known else reason)

    @property
    def signal_to_noise(self) -> float:
        """Bright pixels above the darkest level, over their standard deviation."""
        spread = float(self.noise.variance(self.bright)) ** 0.5
        return (self.bright - self.low) / spread if spread else float("inf")

    def as_rows(self) -> dict[str, str]:
        """For people: heading and words."""
        return facts.rows(self)

    def as_data(self) -> dict[str, Any]:
        """For programs: plain data."""
        finite = np.isfinite(self.signal_to_noise)
        return {
            "channel": self.title.removeprefix(" of "),
            **self.noise.to_json(),
            "calibration": {
                **self.calibration.to_json(),
                "points": [
                    [mean, variance, error if math.isfinite(error) else None]
                    for mean, variance, error in self.calibration.points
                ],
            },
            "correlation": {
                **self.correlation.to_json(),
                "region": list(self.correlation.region),
                "words": self.correlation.words,
            },
            "photons_median": self.photons(self.median),
            "photons_bright": self.photons(self.bright),
            "photons": {
                "median": self.light(self.median).to_json(),
                "bright": self.light(self.bright).to_json(),
            },
            "signal_to_noise": self.signal_to_noise if finite else None,
            "expected_gain": self.expected.to_json(),
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
    Intensity.fit(volume, pixels=PIXELS)
    count = volume.n_channels
    names = volume.channel_names or [f"channel {index}" for index in range(count)]
    return [
        _glance(sample, f" of {name}" if count > 1 else "")
        for name, sample in zip(names, samples([volume]), strict=True)
    ]


def _glance(sample: Sample, title: str) -> Glance:
    planes, survey = sample.planes, sample.survey()
    # Percentiles of single pixels would be those of the noise where light is scarce.
    means = [uniform_filter(plane.astype(np.float32), _WINDOW) for plane in planes]
    light = np.concatenate([mean.ravel() for mean in means])
    low, median, bright = np.percentile(light, [0.5, 50, _BRIGHT])
    hot = sum(int(survey.hot_pixels.find(plane).sum()) for plane in planes)
    return Glance(
        title,
        survey,
        float(low),
        float(median),
        float(bright),
        _saturated(planes, survey),
        hot / light.size,
        light.size,
        prospect(planes, survey),
    )


def _saturated(planes: Sequence[np.ndarray], survey: Survey) -> float:
    """Fraction of the pixels at the end of the camera's range, or of the data's."""
    end = survey.hot_pixels.saturation
    if end is None and any(s.startswith("saturated") for s in survey.calibration.signs):
        end = max(float(plane.max()) for plane in planes)
    if end is None:
        return 0.0
    pixels = sum(plane.size for plane in planes)
    return sum(int(np.count_nonzero(plane >= end)) for plane in planes) / pixels
