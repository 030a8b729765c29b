"""What is known of a camera from images alone, how surely, and why not more."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_blindsound.noise.calibration import NoiseModel

if TYPE_CHECKING:
    from collections.abc import Mapping

Source = Literal["frames", "planes"]


@dataclass(frozen=True, slots=True)
class Estimated:
    """A number with what it may also be.

    Parameters
    ----------
    value
        Best guess, always finite.
    low, high
        95 % confidence interval; infinite where the data set no bound.
    known
        Whether the interval is narrow enough to be relied on.
    reason
        If not known, why, in a sentence without a full stop; otherwise empty.
    """

    value: float
    low: float
    high: float
    known: bool
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data; infinite bounds are None."""
        data = asdict(self)
        for bound in ("low", "high"):
            if math.isinf(data[bound]):
                data[bound] = None
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Estimated:
        """Inverse of `to_json`; raises KeyError for a missing entry."""
        low, high = data["low"], data["high"]
        return cls(
            float(data["value"]),
            -math.inf if low is None else float(low),
            math.inf if high is None else float(high),
            bool(data["known"]),
            str(data["reason"]),
        )


@dataclass(frozen=True, slots=True)
class Calibration:
    """The noise of one channel, as :func:`napari_blindsound.noise.camera.calibrate`.

    Parameters
    ----------
    model
        For computing with: right at the brightness that the images have, also where
        its numbers are not those of the camera.
    gain
        Counts a photoelectron.
    offset
        Counts in the dark.
    read_noise
        Standard deviation of the dark counts, without that of rounding.
    points
        Mean, variance and the variance's standard error of groups of pixels of like
        brightness, counts and counts squared, darkest first.
    source
        Whether it comes from differences between frames or from single planes.
    signs
        Troubles found in the data, each a sentence without a full stop.
    """

    model: NoiseModel
    gain: Estimated
    offset: Estimated
    read_noise: Estimated
    points: tuple[tuple[float, float, float], ...]
    source: Source
    signs: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data, exactly reversible by `from_json`."""
        return {
            "model": self.model.to_json(),
            "gain": self.gain.to_json(),
            "offset": self.offset.to_json(),
            "read_noise": self.read_noise.to_json(),
            "points": [list(point) for point in self.points],
            "source": self.source,
            "signs": list(self.signs),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Inverse of `to_json`; raises KeyError for a missing entry."""
        points = ((float(m), float(v), float(e)) for m, v, e in data["points"])
        return cls(
            NoiseModel.from_json(data["model"]),
            Estimated.from_json(data["gain"]),
            Estimated.from_json(data["offset"]),
            Estimated.from_json(data["read_noise"]),
            tuple(points),
            "frames" if data["source"] == "frames" else "planes",
            tuple(str(sign) for sign in data["signs"]),
        )
