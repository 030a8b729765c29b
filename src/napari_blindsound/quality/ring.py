"""Fourier ring correlation: down to which size two images agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from napari_blindsound.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

THRESHOLD = 1 / 7
LEAST = 32  # px a side
_SMOOTHED = 3  # rings
_EDGE = 0.25  # part of a side that the window takes to rise or fall


@dataclass(frozen=True, eq=False)
class Ring:
    """Correlation of two images by spatial frequency.

    Parameters
    ----------
    frequencies : ndarray
        Cycles a pixel (of the images given), rising, up to one half.
    correlation : ndarray
        Of the same length, from -1 to 1.
    """

    frequencies: Floats
    correlation: Floats

    @property
    def cutoff(self) -> float | None:
        """Frequency at which the correlation, smoothed over three rings, meets 1/7.

        None where it never falls so low: the images agree down to the pixel.
        """
        smooth = np.convolve(
            np.pad(self.correlation, _SMOOTHED // 2, mode="edge"),
            np.full(_SMOOTHED, 1 / _SMOOTHED),
            "valid",
        )
        below = np.flatnonzero(smooth < THRESHOLD)
        if not len(below):
            return None
        first = int(below[0])
        if first == 0:
            return float(self.frequencies[0])
        high, low = smooth[first - 1], smooth[first]
        part = (high - THRESHOLD) / (high - low)
        before, after = self.frequencies[first - 1 : first + 1]
        return float(before + part * (after - before))

    def resolution(self, pixel: float = 1.0) -> float:
        """Smallest size at which the images agree, in the unit of `pixel`.

        Two pixels, the least there is, where they agree everywhere.
        """
        return pixel / (self.cutoff or 0.5)


def ring_correlation(first: NDArray[Any], second: NDArray[Any]) -> Ring:
    r"""Correlate two images ring by ring in the Fourier plane.

    .. math:: \mathrm{FRC}(q) = \frac{\Re \sum F_1 F_2^*}
              {\sqrt{\sum |F_1|^2 \sum |F_2|^2}}

    with sums over the ring of frequency q; where it falls to 1/7 the images no longer
    agree. That is a resolution only if the noise of the two is independent: two
    exposures of the same scene. Two results of one denoiser share what it invents and
    what it takes away, and so agree further than they show the specimen.

    Parameters
    ----------
    first, second : ndarray
        (h, w), of one shape, 32 x 32 pixels or more.

    Raises
    ------
    DataError
        If the images differ in shape, are no planes, too small or not finite.

    References
    ----------
    Nieuwenhuizen et al., Nature Methods 10 (2013); Banterle et al., J. Struct. Biol.
    183 (2013), for the threshold of 1/7.
    """
    one, two = _plane(first), _plane(second)
    if one.shape != two.shape:
        message = (
            f"the images to correlate have shapes {one.shape} and {two.shape}; give two"
            " of the same shape"
        )
        raise DataError(message)
    height, width = one.shape
    window = np.multiply.outer(_taper(height), _taper(width))
    f1, f2 = (np.fft.rfft2((im - im.mean()) * window) for im in (one, two))
    summed = _Rings.of(height, width)
    shared = summed((f1 * f2.conj()).real)
    power = np.sqrt(summed(np.abs(f1) ** 2) * summed(np.abs(f2) ** 2))
    correlation = np.divide(shared, power, out=np.zeros_like(shared), where=power > 0)
    return Ring(np.arange(1, summed.highest + 1) / (2 * summed.highest), correlation)


def one_image_ring(image: NDArray[Any]) -> Ring:
    """Ring correlation of one noisy image, split like a checkerboard.

    The pixels of even rows and columns make one half, those of odd rows and columns the
    other, and so with the pixels between; the two correlations are averaged, and the
    halves' shift of half their pixel is taken back.

    To be read with care: the noise must be independent from pixel to pixel, the halves
    say nothing beyond half of the image's highest frequency (a resolution better than
    four pixels cannot be found), and an image that is not oversampled folds what is
    there into lower frequencies. Of a denoised image it says nothing: what a denoiser
    leaves of the noise is shared by neighbors.

    Parameters
    ----------
    image : ndarray
        (h, w), 64 x 64 pixels or more.

    Returns
    -------
    Ring
        Frequencies in cycles a pixel of the image, up to one quarter.

    Raises
    ------
    DataError
        If the image is no plane, too small or not finite.

    References
    ----------
    Koho et al., Nature Communications 10 (2019), for the split.
    """
    plane = _plane(image)
    rows, columns = (size // 2 * 2 for size in plane.shape)
    even = plane[:rows, :columns]
    pairs = [
        ((even[0::2, 0::2], even[1::2, 1::2]), (1, 1)),
        ((even[0::2, 1::2], even[1::2, 0::2]), (1, -1)),
    ]
    rings = [ring_correlation(a, _moved(b, way)) for (a, b), way in pairs]
    mean = np.mean([ring.correlation for ring in rings], axis=0)
    return Ring(rings[0].frequencies / 2, mean)


class _Rings(NamedTuple):
    """Sums over rings of the bins of ``rfft2``.

    Parameters
    ----------
    numbers, weights : ndarray
        Ring of each bin, and for how many bins of a full transform it stands.
    highest : int
        Number of the last ring; the first, 0, holds the mean.
    """

    numbers: NDArray[np.intp]
    weights: Floats
    highest: int

    @classmethod
    def of(cls, height: int, width: int) -> Self:
        """The rings of images of a size."""
        columns = np.fft.rfftfreq(width)
        radius = np.hypot(np.fft.fftfreq(height)[:, None], columns)
        highest = min(height, width) // 2
        weights = np.full(radius.shape, 2.0)
        weights[:, (columns == 0) | (columns == 0.5)] = 1.0
        return cls(np.rint(radius * 2 * highest).astype(np.intp), weights, highest)

    def __call__(self, values: Floats) -> Floats:
        """Sum of each ring, (highest,)."""
        sums = np.bincount(self.numbers.ravel(), (self.weights * values).ravel())
        return np.asarray(sums[1 : self.highest + 1], dtype=np.float64)


def _moved(half: Floats, way: tuple[int, int]) -> Floats:
    """Shift by half a pixel toward larger indices, against the sign of the split."""
    spectrum = np.fft.fft2(half)
    for axis, sign in enumerate(way):
        shape = [1, 1]
        shape[axis] = half.shape[axis]
        phase = np.fft.fftfreq(half.shape[axis]).reshape(shape)
        spectrum = spectrum * np.exp(-1j * np.pi * phase * sign)
    return np.asarray(np.fft.ifft2(spectrum).real)


def _plane(image: NDArray[Any]) -> Floats:
    array = np.asarray(image)
    usable = array.ndim == 2 and min(array.shape) >= LEAST and array.dtype.kind in "uif"
    if not usable or not np.isfinite(array).all():
        message = (
            f"an image to correlate has shape {array.shape}, dtype {array.dtype}, or"
            f" NaN; give planes of at least {LEAST} x {LEAST} finite numbers"
        )
        raise DataError(message)
    return array.astype(np.float64)


def _taper(size: int) -> Floats:
    """Window that is flat in the middle and falls to the borders like a cosine."""
    inside = np.arange(size) + 0.5
    rise = np.minimum(np.minimum(inside, size - inside) / (_EDGE * size), 1.0)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * rise))
