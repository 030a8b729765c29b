"""The range of an image: counts to the numbers a network likes, and back.

One offset and one scale per channel hold for the whole stack and are stored with the
model: a range per frame, tile or chunk would flatten bleaching curves and draw seams.
Nothing is ever clipped: cutting off the negative half of the read noise would give the
noise a mean and lift the background.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from scipy.ndimage import convolve1d, median_filter

from napari_blindsound.errors import AxesError, DataError
from napari_blindsound.images.sample import sample_planes
from napari_blindsound.images.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LOW, _SPARSE, _HIGH = 0.5, 99.5, 99.9  # percentiles
_SPARSE_STD = 3.5  # a 99.5th percentile this close to the median is background (2.6 is)
_FEWEST_STD = 5.0  # noise standard deviations that the scale spans at least
_MAD_TO_STD = 1.4826
_NOISE_PIXELS = 2_000_000  # give a standard deviation to 0.1 %


@dataclass(frozen=True)
class Intensity:
    """Affine map between counts and the network's range, ``z = (y - offset) / scale``.

    Parameters
    ----------
    offset, scale : tuple of float
        In counts, one per channel; scale is above zero.
    """

    offset: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def fit(
        cls,
        volumes: Volume | Sequence[Volume],
        *,
        pixels: int = 10_000_000,
        seed: int = 0,
    ) -> Self:
        """Measure offset and scale on a sample of one or several images.

        Per channel, over the whole stack: the offset is the 0.5th percentile, the scale
        runs from there to the 99.9th. Where 99.5 % of the pixels are background, it
        runs to the brightest 3 x 3 median instead, which lone hot pixels do not reach.
        It spans 5 standard deviations of the noise at least. All these follow a change
        of the camera's gain and offset, so ``fit(a * y + b)`` normalizes ``a * y + b``
        to what ``fit(y)`` makes of ``y``.

        Parameters
        ----------
        volumes : Volume or sequence of Volume
            With the same number of channels.
        pixels : int
            The most values read, from all images together.
        seed : int
            Of the sample.

        Raises
        ------
        DataError
            If an image is constant or a pixel read is not finite.
        AxesError
            If the images differ in their number of channels.
        """
        several = [volumes] if isinstance(volumes, Volume) else list(volumes)
        counts = {volume.n_channels for volume in several}
        if len(counts) != 1:
            found = ", ".join(f"{v.name} has {v.n_channels}" for v in several)
            msg = f"images must have the same number of channels, but {found}"
            raise AxesError(msg)
        share = max(1, pixels // len(several))
        blocks = [
            block
            for volume in several
            for block in sample_planes(volume, pixels=share, seed=seed)
        ]
        ranges = [
            _range([block[channel] for block in blocks], _label(several[0], channel))
            for channel in range(counts.pop())
        ]
        offset, scale = zip(*ranges, strict=True)
        return cls(offset, scale)

    def normalize(
        self, array: npt.NDArray[Any], channel_axis: int | None = None
    ) -> npt.NDArray[np.float32]:
        """Map counts to the network's range, float32, not clipped.

        Parameters
        ----------
        array : numpy.ndarray
            Counts of any real type and shape.
        channel_axis : int, optional
            The axis of the channels; needed where there are several.

        Raises
        ------
        AxesError
            If the array has another number of channels.
        """
        # The offset is a value of the data. Subtracted in a type that holds both
        # exactly, it costs no digits, however large it is: float32 has 24 bits.
        exact = np.float32 if array.dtype in _FIT_FLOAT32 else np.float64
        offset, scale = self._along(array, channel_axis, exact)
        shifted: npt.NDArray[Any] = np.subtract(array, offset, dtype=exact)
        shifted /= scale
        return shifted.astype(np.float32, copy=False)

    def restore(
        self, array: npt.NDArray[Any], channel_axis: int | None = None
    ) -> npt.NDArray[np.float32]:
        """Map the network's range to counts, float32; the inverse of `normalize`.

        Parameters
        ----------
        array : numpy.ndarray
            Normalized values of any shape.
        channel_axis : int, optional
            The axis of the channels; needed where there are several.

        Raises
        ------
        AxesError
            If the array has another number of channels.
        """
        offset, scale = self._along(array, channel_axis, np.float32)
        counts: npt.NDArray[np.float32] = np.multiply(array, scale, dtype=np.float32)
        counts += offset
        return counts

    def to_json(self) -> dict[str, list[float]]:
        """Return plain lists that `from_json` reads back exactly."""
        return {"offset": list(self.offset), "scale": list(self.scale)}

    @classmethod
    def from_json(cls, data: Mapping[str, Sequence[float]]) -> Self:
        """Intensity from what `to_json` returned."""
        return cls(tuple(data["offset"]), tuple(data["scale"]))

    def _along(
        self,
        array: npt.NDArray[Any],
        channel_axis: int | None,
        dtype: type[np.floating[Any]],
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Offset and scale shaped to act along the channel axis."""
        n = len(self.offset)
        found = 1 if channel_axis is None else array.shape[channel_axis]
        if found != n:
            msg = (
                f"an array of shape {array.shape} with channel axis {channel_axis} has "
                f"{found} channels, but the intensity range was fitted to {n}"
            )
            raise AxesError(msg)
        shape = [1] * array.ndim
        if channel_axis is not None:
            shape[channel_axis] = n
        offset = np.array(self.offset, dtype).reshape(shape)
        return offset, np.array(self.scale, dtype).reshape(shape)


_FIT_FLOAT32 = tuple(
    np.dtype(name) for name in ("u1", "i1", "u2", "i2", "f2", "f4")
)  # every value of these is a float32


def _label(volume: Volume, channel: int) -> str:
    if volume.n_channels == 1:
        return volume.name
    name = volume.channel_names[channel] if volume.channel_names else str(channel)
    return f"channel {name} of {volume.name}"


def _range(blocks: list[npt.NDArray[Any]], label: str) -> tuple[float, float]:
    """Offset and scale of one channel from its sampled (h, w) blocks.

    Percentiles are values that occur in the data, not interpolated ones: they have the
    precision of the data and follow ``a * y + b`` to the last bit.
    """
    values = np.concatenate([block.ravel() for block in blocks])
    lowest, highest = values.min(), values.max()
    if lowest == highest:
        msg = (
            f"{label} is constant (all {lowest:g}): there is nothing to learn; check "
            "that the right file and channel are given"
        )
        raise DataError(msg)
    percentiles = [_LOW, 50.0, _SPARSE, _HIGH]
    low, middle, sparse, high = np.percentile(
        values, percentiles, method="inverted_cdf"
    ).astype(np.float64)
    noise = _noise_std(blocks)
    if sparse - middle <= _SPARSE_STD * noise:
        brightest = max(float(median_filter(block, 3).max()) for block in blocks)
        high = max(high, brightest)
    scale = max(high - low, _FEWEST_STD * noise)
    if scale <= 0:  # lone bright pixels on a flat background
        scale = float(values.std(dtype=np.float64))
    return float(low), float(scale)


def _noise_std(blocks: list[npt.NDArray[Any]]) -> float:
    """Measure the noise's standard deviation: MAD of the Laplacian of unit noise gain.

    The kernel (1/6) [[1, -2, 1], [-2, 4, -2], [1, -2, 1]] removes what is linear in y
    or x (Immerkaer 1996); the median absolute deviation is deaf to edges and spots.
    """
    residuals = []
    n_pixels = sum(block.size for block in blocks)
    for block in blocks[:: max(1, n_pixels // _NOISE_PIXELS)]:
        if min(block.shape) < 3:
            continue
        rough = block.astype(np.float64)
        for axis in (0, 1):
            rough = convolve1d(rough, [1.0, -2.0, 1.0], axis=axis)
        residuals.append(np.abs(rough[1:-1, 1:-1]).ravel())
    if not residuals:
        return 0.0
    return _MAD_TO_STD * float(np.median(np.concatenate(residuals))) / 6.0
