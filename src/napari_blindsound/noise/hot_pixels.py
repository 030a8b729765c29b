"""Which pixels cannot be used: hot or dead ones, and saturated ones.

A hot pixel stands out from the median of its 3 x 3 neighborhood by more than the noise
explains, and nearly alone: light that passed a lens spreads over more pixels. One such
pixel outweighs the rest of an image in a squared loss. The decision looks at one pixel
on each side and no further, so that a tile with that context decides as the image does.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindsound.noise.calibration import NoiseModel, saturation_level

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
    Floats = NDArray[np.float32]
    Places = tuple[NDArray[np.intp], ...]

_SIGMAS = 8.0
# Photon noise has heavier tails than a Gaussian where there are few photons.
_PHOTONS = 8.0
_MOST_TOGETHER = 3
_MOST_HOT = 1e-3
_QUANTILE, _QUANTILE_SIGMAS = 0.9, 1.6448536
# A strip and its handful of buffers stay in the processor's cache.
_STRIP_PIXELS = 16_384
_NEIGHBORS = tuple(
    (dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)
)


@dataclass(frozen=True, slots=True)
class HotPixels:
    """What makes a pixel of one channel unusable; stored with the model.

    With the median ``m`` of the 3 x 3 pixels and the standard deviation ``s`` of the
    noise there, a pixel is hot (or dead) when it differs from ``m`` by more than the
    threshold ``8 s + 8 gain``, and no light can have made it. For that, with a limit of
    a quarter of the threshold and at least an eighth of the pixel's own difference,

    - at most 3 of the 9 pixels, itself included, differ from ``m`` by more than the
      limit, as the neighbors of a bright spot do;
    - the neighbors beside it are not nearer to it than those across its corners, by
      more than the limit.

    Beyond the border the image is reflected.

    Parameters
    ----------
    gain, offset, read_variance
        The noise, as in `NoiseModel`, counts.
    saturation
        Counts from which a pixel is saturated, None if the camera was not.
    enabled
        False if what looks like hot pixels is signal; then none are found.
    """

    gain: float
    offset: float
    read_variance: float
    saturation: float | None = None
    enabled: bool = True

    @classmethod
    def fit(cls, planes: Sequence[NDArray[Any]], noise: NoiseModel) -> HotPixels:
        """Decide from sample planes what is hot and what saturated.

        Parameters
        ----------
        planes
            Arrays ``(h, w)`` of counts of one channel.
        noise
            The channel's noise. With no noise at all nothing can be called hot.

        Returns
        -------
        HotPixels
            Not enabled if more than 0.1 % of the pixels would be hot: that is signal.
        """
        found = cls(
            noise.gain, noise.offset, noise.read_variance, saturation_level(planes)
        )
        if noise.gain == 0.0 and noise.read_variance == 0.0:
            return replace(found, enabled=False)
        filled = [plane for plane in planes if plane.size]
        rough = max((found._roughness(plane) for plane in filled), default=1.0) ** 2
        if rough > 1.0:
            found = replace(
                found,
                gain=found.gain * rough,
                read_variance=found.read_variance * rough,
            )
        hot = sum(int(np.count_nonzero(found.find(plane))) for plane in filled)
        most = _MOST_HOT * sum(plane.size for plane in filled)
        return replace(found, enabled=hot <= most)

    @property
    def noise(self) -> NoiseModel:
        """The noise that the thresholds come from."""
        return NoiseModel(self.gain, self.offset, self.read_variance)

    def find(self, image: NDArray[Any]) -> Mask:
        """Mask of the hot and dead pixels.

        Parameters
        ----------
        image
            ``(..., h, w)`` counts, any real dtype; planes are judged one by one.

        Returns
        -------
        numpy.ndarray
            Boolean, same shape.
        """
        mask = np.zeros(image.shape, dtype=np.bool_)
        if self.enabled and image.size:
            for index in np.ndindex(image.shape[:-2]):
                self._find_plane(image[index], mask[index])
        return mask

    def repair(self, image: NDArray[Any]) -> tuple[Floats, Mask]:
        """Replace every hot pixel by the median of its 8 neighbors.

        Parameters
        ----------
        image
            ``(..., h, w)`` counts, any real dtype.

        Returns
        -------
        repaired : numpy.ndarray
            float32 counts, same shape; the image itself if it is float32 and no pixel
            is hot.
        mask : numpy.ndarray
            Boolean, where pixels were replaced.
        """
        mask = self.find(image)
        *planes, rows, columns = np.nonzero(mask)
        if not len(rows):
            return image.astype(np.float32, copy=False), mask
        repaired = image.astype(np.float32)
        height, width = image.shape[-2:]
        around = np.stack(
            [
                image[
                    (
                        *planes,
                        _reflect(rows + dy, height),
                        _reflect(columns + dx, width),
                    )
                ]
                for dy, dx in _NEIGHBORS
            ]
        )
        repaired[mask] = np.median(around.astype(np.float32), axis=0)
        return repaired, mask

    def saturated(self, image: NDArray[Any]) -> Mask:
        """Mask of the saturated pixels of an image of counts, same shape."""
        if self.saturation is None:
            return np.zeros(image.shape, dtype=np.bool_)
        return np.asarray(image >= self.saturation)

    def to_json(self) -> dict[str, float | bool | None]:
        """Return the numbers for a model's header."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> HotPixels:
        """Rebuild from `to_json`; raises KeyError for a missing number."""
        saturation = data["saturation"]
        return cls(
            float(data["gain"]),
            float(data["offset"]),
            float(data["read_variance"]),
            None if saturation is None else float(saturation),
            enabled=bool(data["enabled"]),
        )

    def _find_plane(self, plane: NDArray[Any], mask: Mask) -> None:
        height, width = plane.shape
        rows = max(1, min(height, _STRIP_PIXELS // width))
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            self._find_strip(_framed(plane, top, bottom), mask[top:bottom])

    def _find_strip(self, framed: Floats, mask: Mask) -> None:
        """Judge a strip that has one pixel of context on each side."""
        center = framed[1:-1, 1:-1]
        median = _median9(framed)
        threshold = self._threshold(median)
        suspects = np.nonzero(np.abs(center - median) > threshold)
        if not len(suspects[0]):
            return
        alone = _alone(framed, suspects, median[suspects], threshold[suspects])
        mask[suspects[0][alone], suspects[1][alone]] = True

    def _roughness(self, plane: NDArray[Any]) -> float:
        """How many times rougher a plane is than noise that is independent per pixel.

        From 1 up where neighboring pixels share their noise, which the noise model
        cannot see, or where the image itself is sharp.
        """
        framed = _framed(plane, 0, len(plane))
        median = _median9(framed)
        sigmas = np.abs(framed[1:-1, 1:-1] - median)
        sigmas *= np.float32(_SIGMAS)
        sigmas /= self._threshold(median)
        return float(np.quantile(sigmas, _QUANTILE)) / _QUANTILE_SIGMAS

    def _threshold(self, median: Floats) -> Floats:
        """``8 s + 8 gain``, in one buffer."""
        threshold = median - np.float32(self.offset)
        np.maximum(threshold, 0, out=threshold)
        threshold *= np.float32(self.gain)
        threshold += np.float32(self.read_variance)
        np.sqrt(threshold, out=threshold)
        threshold *= np.float32(_SIGMAS)
        threshold += np.float32(_PHOTONS * self.gain)
        return threshold


def _alone(framed: Floats, suspects: Places, median: Floats, threshold: Floats) -> Mask:
    """Which suspects no light can have made, from their 3 x 3 pixels alone."""
    rows, columns = suspects
    around = np.stack([framed[rows + dy, columns + dx] for dy, dx in np.ndindex(3, 3)])
    around -= median
    around *= np.sign(around[4])
    limit = np.maximum(threshold / 4, around[4] / 8)
    together = np.count_nonzero(np.abs(around) > limit, axis=0)
    # At the border, reflection makes a trench of three pixels from any slope.
    mirrored = (around[0::3] == around[2::3]).all(axis=0)
    mirrored |= (around[:3] == around[6:]).all(axis=0)
    # Light fades with distance. The second lowest of four ignores two hot neighbors.
    beside = np.sort(around[1::2], axis=0)[1]
    diagonal = np.sort(around[[0, 2, 6, 8]], axis=0)[1]
    alone = together <= np.where(mirrored, _MOST_TOGETHER - 1, _MOST_TOGETHER)
    return np.asarray(alone & (beside - diagonal <= limit))


def _framed(plane: NDArray[Any], top: int, bottom: int) -> Floats:
    """Rows ``top`` to ``bottom`` as float32 with one pixel of context on each side."""
    height, width = plane.shape
    framed = np.empty((bottom - top + 2, width + 2), dtype=np.float32)
    framed[1:-1, 1:-1] = plane[top:bottom]
    framed[0, 1:-1] = plane[_reflect(top - 1, height)]
    framed[-1, 1:-1] = plane[_reflect(bottom, height)]
    framed[:, 0] = framed[:, 1 + _reflect(-1, width)]
    framed[:, -1] = framed[:, 1 + _reflect(width, width)]
    return framed


def _reflect(index: Any, size: int) -> Any:  # noqa: ANN401  (an int or an array of them)
    """Position inside ``0 .. size - 1`` of an index at most one beyond the border."""
    last = size - 1
    return np.clip(last - np.abs(last - np.abs(index)), 0, last)


def _median9(framed: Floats) -> Floats:
    """Median of the 3 x 3 pixels, from columns of three that are sorted once.

    It is the median of the largest minimum, the median median and the smallest maximum
    of the three columns, which minima and maxima of whole strips give quickly.
    """
    above, here, below = framed[:-2], framed[1:-1], framed[2:]
    least, most = np.minimum(above, here), np.maximum(above, here)
    middle = np.maximum(least, np.minimum(most, below))
    np.minimum(least, below, out=least)
    np.maximum(most, below, out=most)
    largest = np.maximum(np.maximum(least[:, :-2], least[:, 1:-1]), least[:, 2:])
    smallest = np.minimum(np.minimum(most[:, :-2], most[:, 1:-1]), most[:, 2:])
    central = _median3(middle[:, :-2], middle[:, 1:-1], middle[:, 2:])
    return _median3(largest, central, smallest)


def _median3(a: Floats, b: Floats, c: Floats) -> Floats:
    low = np.minimum(a, b)
    high = np.maximum(a, b)
    np.minimum(high, c, out=high)
    return np.maximum(low, high, out=low)
