"""How close a denoised image is to the truth: PSNR, SSIM, and the FMDD protocol.

The SSIM is the one of the original MATLAB script (Wang et al., IEEE TIP 13(4), 2004):
11 x 11 Gaussian window of standard deviation 1.5, population moments, and only the
positions where the whole window lies inside the image. The published tables of the five
methods are made with it, on images rounded to 8 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.ndimage import correlate1d

from napari_blindsound.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[Any]

_RADIUS = 5
_SIGMA = 1.5
_UINT8_RANGE = 255.0


class Scores(NamedTuple):
    """PSNR in decibels and mean SSIM of one image against its truth."""

    psnr: float
    ssim: float


class AffineFit(NamedTuple):
    """The line ``slope * truth + intercept``."""

    slope: float
    intercept: float


def psnr(image: Image, truth: Image, data_range: float) -> float:
    """Peak signal-to-noise ratio, ``10 log10(data_range**2 / mean squared error)``.

    Parameters
    ----------
    image, truth
        Arrays of one shape, any axes, counts.
    data_range
        The peak, in counts: 255 for 8-bit images.

    Returns
    -------
    float
        Decibels; infinity for identical arrays.

    Raises
    ------
    DataError
        If the shapes differ, an array is empty or not finite, or the range is not
        above zero.
    """
    estimate, reference = _pair(image, truth, data_range)
    difference = estimate - reference
    error = float(np.mean(difference * difference))
    if error == 0.0:
        return float("inf")
    return 10.0 * float(np.log10(data_range * data_range / error))


def ssim(image: Image, truth: Image, data_range: float) -> float:
    """Mean structural similarity over the valid region, computed in float64.

    Parameters
    ----------
    image, truth
        Arrays of one shape, ``(..., Y, X)``, counts. Leading axes are independent
        planes; the result is the mean over them.
    data_range
        The peak ``L`` of the constants ``(0.01 L)**2`` and ``(0.03 L)**2``, counts.

    Returns
    -------
    float
        1 for identical arrays.

    Raises
    ------
    DataError
        As for `psnr`, and if a plane is smaller than the 11 x 11 window.
    """
    x, y = _pair(image, truth, data_range)
    side = 2 * _RADIUS + 1
    if x.ndim < 2 or min(x.shape[-2:]) < side:
        message = (
            f"SSIM needs planes of at least {side} x {side} pixels, but the image has"
            f" shape {x.shape}; leave SSIM out or give a larger image"
        )
        raise DataError(message)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_x, mean_y = _window(x), _window(y)
    product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    covariance = _window(x * y) - product
    variances = _window(x * x + y * y) - squares
    luminance = (2.0 * product + c1) / (squares + c1)
    structure = (2.0 * covariance + c2) / (variances + c2)
    return float(np.mean(luminance * structure))


def to_uint8(image: Image, peak: float = _UINT8_RANGE) -> NDArray[np.uint8]:
    """Round to 8 bits the way the FMDD tables do: clip, add one half, floor.

    Parameters
    ----------
    image
        Any shape, counts.
    peak
        The count that becomes 255; 0 stays 0.

    Returns
    -------
    numpy.ndarray
        uint8, same shape.

    Raises
    ------
    DataError
        If the image is not finite or the peak is not above zero.
    """
    _check_range(peak)
    unit = np.clip(_finite(image) / peak, 0.0, 1.0)
    return np.floor(unit * _UINT8_RANGE + 0.5).astype(np.uint8)


def fmdd_scores(denoised: Image, truth: Image) -> Scores:
    """PSNR and SSIM of the FMDD protocol: both images as uint8, data range 255.

    Parameters
    ----------
    denoised, truth
        ``(Y, X)`` counts on the 0 to 255 scale, any dtype. A figure of the tables is
        the mean of these scores over the captures.

    Raises
    ------
    DataError
        As for `ssim`.
    """
    image, reference = to_uint8(denoised), to_uint8(truth)
    return Scores(
        psnr(image, reference, _UINT8_RANGE), ssim(image, reference, _UINT8_RANGE)
    )


def affine_fit(truth: Image, noisy: Image) -> AffineFit:
    """Least-squares line that takes the truth to the scale of the noisy image.

    For pairs stretched to 8 bits each on its own, such as W2S: score against
    ``slope * truth + intercept``.

    Parameters
    ----------
    truth, noisy
        Arrays of one shape, counts.

    Raises
    ------
    DataError
        If the shapes differ, an array is empty or not finite, or the truth is constant.
    """
    x, y = _pair(truth, noisy, 1.0)
    mean_x, mean_y = float(x.mean()), float(y.mean())
    centered = x - mean_x
    spread = float(np.vdot(centered, centered))
    if spread == 0.0:
        message = (
            f"the truth is constant ({mean_x:g}), so no scale can be fitted to it;"
            " give an image with structure"
        )
        raise DataError(message)
    slope = float(np.vdot(centered, y - mean_y)) / spread
    return AffineFit(slope, mean_y - slope * mean_x)


def _window(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian-weighted mean at every valid position of the last two axes."""
    taps = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    taps /= taps.sum()
    rows = correlate1d(image, taps, axis=-2)[..., _RADIUS:-_RADIUS, :]
    whole: NDArray[np.float64] = correlate1d(rows, taps, axis=-1)
    return whole[..., _RADIUS:-_RADIUS]


def _pair(
    image: Image, truth: Image, data_range: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both arrays as finite float64 of one shape, so that uint8 cannot wrap."""
    _check_range(data_range)
    first, second = _finite(image), _finite(truth)
    if first.shape != second.shape:
        message = (
            f"the images to compare have shapes {first.shape} and {second.shape};"
            " give two of the same shape"
        )
        raise DataError(message)
    return first, second


def _finite(image: Image) -> NDArray[np.float64]:
    array = np.asarray(image)
    if array.dtype.kind not in "buif":
        message = (
            f"images to compare hold real numbers, but this one has dtype"
            f" {array.dtype}; convert it first"
        )
        raise DataError(message)
    result = array.astype(np.float64)
    if result.size == 0 or not np.isfinite(result).all():
        message = (
            "an image to compare is empty or holds NaN or infinite pixels;"
            " replace them by numbers first"
        )
        raise DataError(message)
    return result


def _check_range(data_range: float) -> None:
    if not (np.isfinite(data_range) and data_range > 0):
        message = (
            f"the data range is {data_range:g}, but it must be above zero;"
            " give the peak in counts, such as 255"
        )
        raise DataError(message)
