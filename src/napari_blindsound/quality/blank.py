"""Blank test: which structure comes out where nothing but noise goes in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindsound.inference.windows import denoise_windows
from napari_blindsound.quality.grid import Peak, grid_peaks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.quality.exposure import Exposure

    Floats = NDArray[np.float64]
    Image = NDArray[np.float32]

LEVELS = 5
SIDE = 256  # px, a multiple of every network's stride
BANDS = {"low": (0.0, 1 / 16), "middle": (1 / 16, 1 / 4)}
"""Cycles a pixel: structures of more than 16, and of 4 to 16 pixels."""

_DIMMEST = 0.25  # photons
_SHOWN = 96  # px a side of the example


@dataclass(frozen=True, eq=False)
class Blank:
    """What one channel makes of flat fields.

    Parameters
    ----------
    levels : ndarray
        Mean counts of the fields, (n,), darkest first.
    left : ndarray
        Standard deviation of the output over that of the noise put in, (n,).
    gain : dict of str to ndarray
        For each of the `BANDS`, power of the output over that of the noise, (n,). Any
        averaging of pixels leaves at most 1: more was invented.
    bias : ndarray
        Mean of the output minus that of the input, over the standard deviation of the
        noise, (n,).
    grid : dict of int to Peak
        Grids by period, amplitudes over the standard deviation of the noise.
    frequencies, spectrum : ndarray
        Power of the output by frequency, mean over the levels, over that of the noise.
    noisy, denoised : ndarray
        Part of the field of the level that came out worst, counts.
    """

    levels: Floats
    left: Floats
    gain: dict[str, Floats]
    bias: Floats
    grid: dict[int, Peak]
    frequencies: Floats
    spectrum: Floats
    noisy: Image
    denoised: Image

    def as_data(self) -> dict[str, Any]:
        """For programs."""
        return {
            "levels": self.levels.tolist(),
            "noise_left": self.left.tolist(),
            **{f"power_{name}": power.tolist() for name, power in self.gain.items()},
            "bias": self.bias.tolist(),
            "grid": {str(period): peak.ratio for period, peak in self.grid.items()},
        }


def blank_levels(exposure: Exposure, low: Floats, high: Floats) -> Floats:
    """Levels between dark and bright in equal steps of the noise, (n, C) counts.

    Parameters
    ----------
    exposure : Exposure
        Of the noise.
    low, high : ndarray
        Counts of each channel, (C,).
    """
    steps = np.linspace(0.0, 1.0, LEVELS)[:, None]
    offset = np.array([model.offset for model in exposure.noise])
    # Without any light and read noise there would be no noise either.
    least = [0.0 if m.read_variance else _DIMMEST * m.gain for m in exposure.noise]
    dark, bright = (np.maximum(level - offset, least) ** 0.5 for level in (low, high))
    # The square root of the light grows as the noise of the photons does.
    return np.asarray((dark + steps * (bright - dark)) ** 2 + offset)


def blank_test(
    denoiser: Denoiser,
    exposure: Exposure,
    levels: Floats,
    rng: np.random.Generator,
) -> list[Blank]:
    """Denoise flat fields of noise.

    Parameters
    ----------
    denoiser : Denoiser
        The model.
    exposure : Exposure
        Of the noise.
    levels : ndarray
        Mean counts, (n, C).
    rng : numpy.random.Generator
        Where the noise comes from.

    Returns
    -------
    list of Blank
        One a channel.
    """
    # Planes that are seen beside it are as flat, and have noise of their own.
    depth, (count, channels) = denoiser.context.depth, levels.shape
    shape = (count, depth, channels, SIDE, SIDE)
    windows = exposure.draw(np.broadcast_to(levels[:, None, :, None, None], shape), rng)
    noisy, denoised = windows[:, depth // 2], denoise_windows(denoiser, windows)
    periods = (2, 4, denoiser.stride)
    return [
        _blank(noisy[:, channel], denoised[:, channel], levels[:, channel], periods)
        for channel in range(levels.shape[1])
    ]


def _blank(
    noisy: Image, denoised: Image, levels: Floats, periods: Sequence[int]
) -> Blank:
    given, made = noisy.astype(np.float64), denoised.astype(np.float64)
    sigma = np.maximum(given.std(axis=(1, 2)), 1e-9)
    bias = (made.mean(axis=(1, 2)) - given.mean(axis=(1, 2))) / sigma
    left = made.std(axis=(1, 2)) / sigma
    unit = sigma[:, None, None]
    frequency, before = _power(given / unit)
    _, after = _power(made / unit)
    gain = {
        name: _band(after, frequency, band) / _band(before, frequency, band)
        for name, band in BANDS.items()
    }
    worst = int(np.argmax(left + np.abs(bias)))
    return Blank(
        levels,
        left,
        gain,
        bias,
        grid_peaks(made / unit, periods),
        *_radial(frequency, after.mean(axis=0) / before.mean()),
        noisy[worst, :_SHOWN, :_SHOWN],
        denoised[worst, :_SHOWN, :_SHOWN],
    )


def _power(images: Floats) -> tuple[Floats, Floats]:
    """Radius of each bin in cycles a pixel, (h, w), and power, (n, h, w)."""
    centered = images - images.mean(axis=(1, 2), keepdims=True)
    frequency = np.hypot(
        np.fft.fftfreq(images.shape[1])[:, None], np.fft.fftfreq(images.shape[2])
    )
    return frequency, np.abs(np.fft.fft2(centered)) ** 2 / images[0].size


def _band(power: Floats, frequency: Floats, band: tuple[float, float]) -> Floats:
    low, high = band
    inside = (frequency > low) & (frequency <= high)
    return np.asarray(power[:, inside].mean(axis=1))


def _radial(frequency: Floats, power: Floats) -> tuple[Floats, Floats]:
    """Mean power in 32 rings up to one half."""
    edges = np.linspace(0, 0.5, 33)
    ring = np.digitize(frequency.ravel(), edges) - 1
    inside = (ring < 32) & (frequency.ravel() > 0)
    sums = np.bincount(ring[inside], power.ravel()[inside], minlength=32)
    counts = np.bincount(ring[inside], minlength=32)
    return (edges[:-1] + edges[1:]) / 2, sums / np.maximum(counts, 1)
