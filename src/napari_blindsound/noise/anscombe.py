"""Counts of a known camera to values whose noise is one everywhere, and means back.

The generalized Anscombe transform (GAT) is nonlinear, so that the mean of transformed
counts is not the transform of their mean. The way back is therefore a table of the
expected value of the transform, computed for the camera's read noise (Makitalo, Foi:
Optimal Inversion of the Generalized Anscombe Transformation for Poisson-Gaussian Noise,
IEEE TIP 22(1), 2013).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import gammaln

from napari_blindsound.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_blindsound.noise.calibration import NoiseModel

    Floats = NDArray[Any]

_SHIFT = 3 / 8
# From so much read noise on, in photoelectrons, photon noise is lost in it.
_GAUSSIAN = 1e4
# Below it in the mean and the read noise the table is integrated, above it the
# expansion in 1 / D is good to some 1e-4 photoelectrons.
_LIGHT, _READ = 100.0, 100.0
_ROOTS = 2049
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_TAIL = 9.0


def stabilize(counts: ArrayLike, noise: NoiseModel) -> Floats:
    r"""Transform counts so that their noise has a variance of one, nearly everywhere.

    .. math:: D = \frac{2}{g} \sqrt{\max(g (y - o) + \tfrac38 g^2 + v, 0)}

    with gain g, offset o and variance v of the read noise. The variance is within 10 %
    of one from 5 photoelectrons on. With fewer it is up to 20 % more, and, where there
    is less than an electron of read noise, falls with the light below 2 of them.

    Parameters
    ----------
    counts
        y, any shape. Below the lowest level that photons and read noise explain, the
        result is zero.
    noise
        The camera. Without gain, or with 10,000 electrons of read noise, the transform
        is the linear one of purely Gaussian noise, ``(y - o) / sqrt(v)``.

    Returns
    -------
    numpy.ndarray
        D, of the same shape, float32 for float32 and float64 otherwise.

    Raises
    ------
    DataError
        If the model has no noise at all, or numbers that no camera has.
    """
    camera = _Camera.of(noise)
    values = np.asarray(counts)
    light = camera.light(values)
    if not camera.is_gaussian:
        light = 2 * np.sqrt(np.maximum(light + _SHIFT + camera.read**2, 0))
    return _like(values, light)


def stabilized_mean(mean: ArrayLike, noise: NoiseModel) -> Floats:
    """Mean of D over the noise, for pixels of a known mean: E[D | mean].

    Parameters
    ----------
    mean
        Expected counts, any shape. Below the offset, where no camera has a mean, the
        line goes on with the slope it has there.
    noise
        As for :func:`stabilize`.

    Returns
    -------
    numpy.ndarray
        Same shape, float32 for float32 and float64 otherwise; rises with the mean.

    Raises
    ------
    DataError
        As :func:`stabilize`.
    """
    camera = _Camera.of(noise)
    values = np.asarray(mean)
    light = camera.light(values)
    if not camera.is_gaussian:
        light = _table(camera.read).forward(light)
    return _like(values, light)


def exact_inverse(stabilized: ArrayLike, noise: NoiseModel) -> Floats:
    """Counts whose transform has the given mean: the exact unbiased inverse.

    Takes what a denoiser made of :func:`stabilize`'s result back to counts, without the
    bias of the algebraic inverse, which loses a quarter of a photoelectron and more.

    Parameters
    ----------
    stabilized
        Estimates of E[D], any shape. Below E[D] in the dark the line goes on with the
        slope it has there, to counts below the offset, so that the mean of a dark
        region stays what it is.
    noise
        As for :func:`stabilize`.

    Returns
    -------
    numpy.ndarray
        Counts, same shape, float32 for float32 and float64 otherwise.

    Raises
    ------
    DataError
        As :func:`stabilize`.
    """
    camera = _Camera.of(noise)
    values = np.asarray(stabilized)
    light = values.astype(np.float64)
    if not camera.is_gaussian:
        light = _table(camera.read).backward(light)
    return _like(values, camera.counts(light))


def closed_form_inverse(stabilized: ArrayLike, noise: NoiseModel) -> Floats:
    r"""Approximation of :func:`exact_inverse`, never below the offset.

    .. math:: \frac{D^2}{4} + \frac14 \sqrt{\tfrac32} D^{-1} - \frac{11}{8} D^{-2}
              + \frac58 \sqrt{\tfrac32} D^{-3} - \frac18 - \frac{v}{g^2}

    photoelectrons; at most 0.05 of them away from the exact inverse.

    Parameters
    ----------
    stabilized, noise
        As for :func:`exact_inverse`.

    Returns
    -------
    numpy.ndarray
        Counts, same shape, float32 for float32 and float64 otherwise.

    Raises
    ------
    DataError
        As :func:`stabilize`.
    """
    camera = _Camera.of(noise)
    values = np.asarray(stabilized)
    light = values.astype(np.float64)
    if not camera.is_gaussian:
        d = np.maximum(light, 2 * np.sqrt(_SHIFT))
        root = np.sqrt(1.5)
        series = root / 4 / d - 11 / 8 / d**2 + 5 / 8 * root / d**3
        light = np.maximum(d * d / 4 + series - 1 / 8 - camera.read**2, 0)
    return _like(values, camera.counts(light))


class _Camera(NamedTuple):
    """Counts a unit of light, dark counts, and read noise in units of light.

    The unit is a photoelectron, or, without photon noise, the read noise itself.
    """

    unit: float
    offset: float
    read: float

    @classmethod
    def of(cls, noise: NoiseModel) -> _Camera:
        gain, variance = noise.gain, noise.read_variance
        possible = np.isfinite([gain, noise.offset, variance]).all()
        if not possible or min(gain, variance) < 0 or max(gain, variance) == 0:
            message = (
                f"no transform makes noise of gain {gain:g}, offset {noise.offset:g}"
                f" and read variance {variance:g} one everywhere; give finite numbers,"
                " gain and variance not below zero and not both zero"
            )
            raise DataError(message)
        sigma = float(np.sqrt(variance))
        if sigma >= _GAUSSIAN * gain:
            return cls(sigma, noise.offset, _GAUSSIAN)
        return cls(gain, noise.offset, sigma / gain)

    @property
    def is_gaussian(self) -> bool:
        return self.read >= _GAUSSIAN

    def light(self, counts: Floats) -> Floats:
        # In float64 from the start: the offset may be all that a count has in float32.
        result: Floats = (counts.astype(np.float64) - self.offset) / self.unit
        return result

    def counts(self, light: Floats) -> Floats:
        result: Floats = light * self.unit + self.offset
        return result


class _Table(NamedTuple):
    """E[D] at means from 0 to 100, and how it goes on at both ends."""

    light: Floats
    expected: Floats
    constant: float  # E[D]^2 / 4 = mean + constant from the last entry on

    @property
    def slope(self) -> float:
        return float(self.expected[1] - self.expected[0]) / float(self.light[1])

    def forward(self, light: Floats) -> Floats:
        inside = np.interp(light, self.light, self.expected)
        above = 2 * np.sqrt(np.maximum(light, _LIGHT) + self.constant)
        below = self.expected[0] + light * self.slope
        return np.where(light > _LIGHT, above, np.where(light < 0, below, inside))

    def backward(self, expected: Floats) -> Floats:
        first, last = self.expected[0], self.expected[-1]
        inside = np.interp(expected, self.expected, self.light)
        above = expected * expected / 4 - self.constant
        below = (expected - first) / self.slope
        return np.where(
            expected > last, above, np.where(expected < first, below, inside)
        )


@lru_cache(maxsize=32)
def _table(read: float) -> _Table:
    light = np.linspace(0, np.sqrt(_LIGHT), _ROOTS) ** 2
    if read < _READ:
        expected = _expected(light, read)
    else:
        expected = 2 * np.sqrt(light + read**2 + 1 / 8)
    # The asymptotic value is 1/8 + read^2. Taken from the last entry, nothing jumps.
    return _Table(light, expected, float(expected[-1]) ** 2 / 4 - float(light[-1]))


def _expected(light: Floats, read: float) -> Floats:
    """E[D] by the sum over photoelectrons of the integral over the read noise."""
    most = light.max() + 12 * np.sqrt(light.max()) + 20
    electrons = np.arange(most)
    # At a mean of zero the logarithm of zero counts zero times: 0, not NaN.
    logs = np.log(np.maximum(light, 1e-300))[:, None] * electrons
    chances = np.exp(logs - light[:, None] - gammaln(electrons + 1))
    result: Floats = chances @ _given(electrons, read)
    return result


def _given(electrons: Floats, read: float) -> Floats:
    """Mean of D over the read noise, for a known number of photoelectrons.

    Integrated over D / 2, in which the integrand is smooth even where D begins.
    """
    shift = _SHIFT + read**2
    middle = electrons[:, None] + shift
    if read == 0:
        return 2 * np.sqrt(middle[:, 0])
    low = np.sqrt(np.maximum(middle - _TAIL * read, 0))
    half = (np.sqrt(middle + _TAIL * read) - low) / 2
    roots = low + half * (_NODES + 1)
    density = np.exp(-(((roots**2 - middle) / read) ** 2) / 2)
    density /= np.sqrt(2 * np.pi) * read
    result: Floats = (4 * roots**2 * density * half) @ _WEIGHTS
    return result


def _like(given: Floats, result: Floats) -> Floats:
    return result.astype(np.float32) if given.dtype == np.float32 else result
