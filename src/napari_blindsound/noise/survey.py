"""All that is measured of the noise, at one place and on one sample.

Training and the preflight both ask here, so that what is shown is what is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from napari_blindsound.images.sample import sample_frames, sample_planes
from napari_blindsound.noise.camera import calibrate
from napari_blindsound.noise.correlation import measure_correlation
from napari_blindsound.noise.estimated import Calibration, Estimated
from napari_blindsound.noise.hot_pixels import HotPixels
from napari_blindsound.noise.verdict import Correlation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.noise.calibration import NoiseModel

PIXELS = 2_000_000
"""Of all channels and images of a sample."""

_SECOND = np.array([1.0, -2.0, 1.0])
_LAPLACIAN = np.outer(_SECOND, _SECOND) / 6
_OVERLAP = np.correlate(_SECOND, _SECOND, "full") / 6
_SURE = 1.96  # standard errors, in 95 % intervals
_LEAST_RESPONSE = 0.02
# Half widths up to which the calibration calls gain and read noise known.
_GAIN_WIDTH, _READ_WIDTH = 0.10, 0.15


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of the noise of one channel.

    Parameters
    ----------
    calibration
        Gain, offset and read noise, with intervals.
    correlation
        How much of its noise a pixel shares with its neighbors.
    hot_pixels
        Which pixels cannot be used.
    """

    calibration: Calibration
    correlation: Correlation
    hot_pixels: HotPixels

    @property
    def noise(self) -> NoiseModel:
        """The variance of a pixel by its mean, to compute with."""
        return self.calibration.model

    def to_json(self) -> dict[str, Any]:
        """Plain data, exactly reversible by `from_json`."""
        return {
            "calibration": self.calibration.to_json(),
            "correlation": self.correlation.to_json(),
            "hot_pixels": self.hot_pixels.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_json`; raises KeyError for a missing entry."""
        return cls(
            Calibration.from_json(data["calibration"]),
            Correlation.from_json(data["correlation"]),
            HotPixels.from_json(data["hot_pixels"]),
        )


class Sample(NamedTuple):
    """Pixels of one channel to measure its noise on.

    Attributes
    ----------
    planes
        Arrays ``(h, w)`` of counts.
    frames
        Arrays ``(t, h, w)``, the same pixels as far as they are frames of a movie.
    """

    planes: list[NDArray[Any]]
    frames: list[NDArray[Any]]

    def survey(self, *, seed: int = 0) -> Survey:
        """Measure the noise as :func:`survey` does."""
        return survey(self.planes, self.frames, seed=seed)


class Response(NamedTuple):
    """Variance of the calibration's filter over that of the noise it is given.

    Attributes
    ----------
    gain
        1 for noise that is independent from pixel to pixel.
    error
        Its standard error; 0 where nothing speaks against 1.
    """

    gain: float
    error: float


def samples(volumes: Sequence[Volume], *, seed: int = 0) -> list[Sample]:
    """Read a bounded sample of images with the same channels, one a channel.

    Parameters
    ----------
    volumes
        Read once: frames at consecutive times where there is a time axis, otherwise
        planes.
    seed
        Of the draw.

    Raises
    ------
    DataError
        If a pixel read is not finite.
    """
    share = PIXELS // len(volumes)
    found = [Sample([], []) for _ in range(volumes[0].n_channels)]
    for volume in volumes:
        movies = sample_frames(volume, pixels=share, seed=seed)
        blocks = [] if movies else sample_planes(volume, pixels=share, seed=seed)
        for index, sample in enumerate(found):
            sample.frames.extend(movie[index] for movie in movies)
            sample.planes.extend(frame for movie in movies for frame in movie[index])
            sample.planes.extend(block[index] for block in blocks)
    return found


def survey(
    planes: Sequence[NDArray[Any]],
    frames: Sequence[NDArray[Any]] = (),
    *,
    seed: int = 0,
) -> Survey:
    """Measure the noise of one channel on a sample.

    Parameters
    ----------
    planes
        Arrays ``(h, w)`` of counts, of any real dtypes.
    frames
        Arrays ``(t, h, w)``: the same place at consecutive times. Preferred to the
        planes as far as the image keeps still.
    seed
        Of the draws.

    Returns
    -------
    Survey
        Also of images that say nothing about their noise: then nothing in it is known.

    Raises
    ------
    DataError
        If an array has another shape or is not finite, or all are smaller than 5 x 5.
    """
    found = measure_correlation(planes, frames=frames, seed=seed)
    # With the digits that a model's file has, so that both decide alike.
    correlation = Correlation.from_json(found.to_json())
    response = laplacian_response(correlation)
    calibration = calibrate(
        planes, frames=frames, response_gain=response.gain, seed=seed
    )
    if calibration.source == "planes" and response.error:
        calibration = _widened(calibration, _SURE * response.error / response.gain)
    return Survey(calibration, correlation, HotPixels.fit(planes, calibration.model))


def laplacian_response(correlation: Correlation) -> Response:
    """How correlated noise passes the filter that the calibration looks through.

    Noise that neighbors share passes a Laplacian less than other noise, and would be
    taken for less. Deviations from 1 that are not certain are left alone.
    """
    if correlation.verdict == "unknown":
        return Response(1.0, 0.0)
    gain = correlation.gain_of(_LAPLACIAN)
    lags = np.pad(np.outer(_OVERLAP, _OVERLAP), 1)
    # Each lag and its opposite are one measurement, so that their errors add up.
    error = math.sqrt(2 * float(((lags * correlation.error) ** 2).sum()))
    if correlation.verdict == "white" and abs(gain - 1) < _SURE * error:
        return Response(1.0, 0.0)
    return Response(max(gain, _LEAST_RESPONSE), error)


def _widened(calibration: Calibration, share: float) -> Calibration:
    """With intervals that hold the error of the response, `share` of a variance."""
    gain = _wider(calibration.gain, share, _GAIN_WIDTH)
    read = calibration.read_noise
    if read.known:
        read = _wider(read, share / 2, _READ_WIDTH)
    return replace(calibration, gain=gain, read_noise=read)


def _wider(number: Estimated, share: float, most: float) -> Estimated:
    value, extra = number.value, share * number.value
    low = max(0.0, value - math.hypot(value - number.low, extra))
    high = value + math.hypot(number.high - value, extra)
    if not math.isfinite(high):
        return number
    known = number.known and high - low <= 2 * most * value
    reason = (
        "neighboring pixels share noise, and the data only say that it lies between"
        f" {low:.3g} and {high:.3g}"
    )
    return Estimated(value, low, high, known, "" if known else reason)
