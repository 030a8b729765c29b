"""A denoised image exposed anew: errors of denoising whose truth is known.

The denoised image is taken for the truth, noise is drawn from the model of the camera,
and denoised in turn. That shows how errors depend on what a network says of them, and
how often they are large. It does not show what denoising has already lost. By how much
errors are larger for that is told by frames of the same scene, where there are some;
else by what denoising takes away of the image, which holds the lost detail, against
what it takes away in the simulation, where there is none to lose. Both are looked at
after a slight blur, which leaves most of the error and a sixth of the noise; where few
pixels are looked at together, in bands, of which the coarse ones have hardly any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_blindsound.inference.deviation import Deviation
from napari_blindsound.inference.reading import check_channels
from napari_blindsound.noise.correlation import measure_correlation
from napari_blindsound.quality.exposure import Exposure
from napari_blindsound.training.places import frames_of, places
from napari_blindsound.training.repeats import (
    MOST_CHANGE,
    change,
    seen_by_each,
    squared_errors,
)

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.inference.deviation import Observed

    Floats = NDArray[np.floating]
    Mask = NDArray[np.bool_]

_SIDE = 256  # px of a window
_PIXELS = 1 << 19  # denoised at most, once for the image and once for all draws
_FRAMES = 4  # of the same scene
_MOST_DRAWS = 4
_BLUR = 0.7  # px
BLURS = (_BLUR, 1.5, 3.0, 6.0)
"""Blurs, px, between each of which and the next groups of pixels are looked at."""
_BLOCK = 16  # px; means over such blocks are independent of one another
_SIGMAS = 2.0  # from which a correlation of the noise is taken for one


class Table(NamedTuple):
    """One channel of the sample, pixel by pixel; normalized intensities.

    Parameters
    ----------
    simulated : ndarray
        (2, n): what the network says in the simulation, and the size of the error.
    looked, errors : ndarray
        (bands, n): squares of what was looked at in the simulation, to tell errors
        beyond the simulated ones, and of the error when it is looked at like that.
    predicted : ndarray
        (m,): what it says of the image, a mean over frames.
    actual : ndarray
        (bands, m): as `looked`, of the image.
    square : float
        Mean of the simulated squared error that `excess` is to be compared with.
    excess : ndarray
        (k,): squared error beyond the simulated one, a mean in each block.
    """

    simulated: Floats
    looked: Floats
    errors: Floats
    predicted: Floats
    actual: Floats
    square: float
    excess: Floats


class Simulation:
    """Windows of some images, and what a model makes of them and of drawn ones.

    Parameters
    ----------
    denoiser : Denoiser
        Without a calibration; its method knows deviations.
    volumes : sequence of Volume
        Noisy.
    seed : int
        Of the choice of windows and of the noise drawn.

    Attributes
    ----------
    observed : {"repeats", "residual"}
        What tells of errors beyond the simulated ones.
    pixels : int
        Of the windows, channels counted.

    Raises
    ------
    ModelMismatchError
        If an image has another number of channels.
    """

    def __init__(
        self, denoiser: Denoiser, volumes: Sequence[Volume], seed: int
    ) -> None:
        for volume in volumes:
            check_channels(denoiser, volume)
        self._denoiser, self._deviation = denoiser, Deviation(denoiser)
        self._exposure = Exposure.of(denoiser, volumes[0].dtype)
        self._rng = np.random.default_rng(seed)
        frames = min(_FRAMES, *(frames_of(volume) for volume in volumes))
        self._windows = _windows(volumes, frames, seed)
        self.observed: Observed = "residual"
        if frames > 1 and _most_change(self._windows) <= MOST_CHANGE:
            self.observed = "repeats"
        elif frames > 1:
            self._windows = _windows(volumes, 1, seed)
        self.pixels = sum(window.size for window in self._windows)
        drawn = sum(window[:1].size for window in self._windows)
        self._draws = max(1, min(_MOST_DRAWS, _PIXELS // drawn))
        self._shapes = [
            _correlation([window[0, channel] for window in self._windows])
            for channel in range(denoiser.n_channels)
        ]

    def tables(self, stop: threading.Event | None) -> list[Table]:
        """A table for each channel; none if stopped, or if there is no noise."""
        parts: list[list[Table]] = []
        for window in self._windows if self._exposure.is_noisy else ():
            if stop is not None and stop.is_set():
                return []
            parts.append(self._of_window(window))
        return [_joined(channel) for channel in zip(*parts, strict=True)]

    def _of_window(self, noisy: Floats) -> list[Table]:
        """Tables of a window (T, C, h, w) in counts."""
        good = self._valid(noisy)
        estimate, predicted = self._denoised(noisy), self._predicted(noisy)
        truth = estimate[:1]
        drawn = np.concatenate([self._exposed(truth) for _ in range(self._draws)])
        denoised, said = self._denoised(drawn), self._predicted(drawn)
        errors = denoised - truth
        is_repeated = self.observed == "repeats"
        left = errors**2 if is_repeated else _blurred(errors)
        tables = []
        for channel, chosen in enumerate(good):
            unit = self._denoiser.preprocessing.intensity.scale[channel]
            frames, estimates = noisy[:, channel], estimate[:, channel]
            if is_repeated:
                seen = seen_by_each(frames.astype(np.float64))
                fine: Floats = squared_errors(estimates.astype(np.float64), seen)
                fine_drawn = left[:, channel]
                actual, looked = fine[None, None], fine_drawn[None]
                seen_errors = looked
            else:
                removed = drawn[:, channel] - denoised[:, channel]
                fine, fine_drawn = _blurred(frames - estimates)[0], _blurred(removed)
                actual, looked = _bands(frames - estimates), _bands(removed)
                seen_errors = _bands(errors[:, channel])
            pairs = said[:, channel][:, chosen], abs(errors[:, channel][:, chosen])
            tables.append(
                Table(
                    np.stack(pairs).reshape(2, -1) / unit,
                    looked[..., chosen].reshape(len(looked), -1) / unit**2,
                    seen_errors[..., chosen].reshape(len(looked), -1) / unit**2,
                    predicted[:, channel].mean(axis=0)[chosen] / unit,
                    actual[:, 0, chosen] / unit**2,
                    float(left[:, channel][:, chosen].mean()) / unit**2,
                    _blocks(fine - fine_drawn.mean(axis=0), chosen) / unit**2,
                )
            )
        return tables

    def _exposed(self, truth: Floats) -> NDArray[np.float32]:
        """One noisy image of a clean one (1, C, h, w), in counts."""
        drawn = self._exposure.draw(truth, self._rng)
        for channel, shape in enumerate(self._shapes):
            if shape.size > 1:
                clean = truth[0, channel]
                sigma = self._exposure.sigma(truth)[0, channel]
                sigma = np.maximum(sigma, 1e-6 * sigma.max())
                noise = (drawn[0, channel] - clean) / sigma
                drawn[0, channel] = clean + sigma * _colored(noise, shape)
        return drawn

    def _denoised(self, planes: Floats) -> Floats:
        given = planes[:, 0] if self._denoiser.n_channels == 1 else planes
        return self._denoiser(given).reshape(planes.shape)

    def _predicted(self, planes: Floats) -> Floats:
        given = planes[:, 0] if self._denoiser.n_channels == 1 else planes
        return self._deviation(given).reshape(planes.shape)

    def _valid(self, noisy: Floats) -> Mask:
        """Pixels that are neither hot nor saturated in any frame, (C, h, w)."""
        _, valid = self._denoiser.preprocessing.normalize_with_mask(noisy)
        if valid is None:
            return np.ones(noisy.shape[1:], bool)
        good = np.asarray(valid.all(axis=0))
        # Where none is, all have to do.
        good[~good.any(axis=(1, 2))] = True
        return good


def _correlation(planes: Sequence[Floats]) -> Floats:
    """Autocorrelation of the noise, (2 n + 1, 2 n + 1), as far as it is certain."""
    found = measure_correlation(planes)
    if found.verdict in ("white", "unknown"):
        return np.ones((1, 1))
    return np.where(np.abs(found.map) > _SIGMAS * found.error, found.map, 0.0)


def _colored(white: Floats, correlation: Floats) -> Floats:
    """White noise (h, w) with a correlation in place, and of the same variance."""
    reach = len(correlation) // 2
    response = np.zeros(white.shape)
    response[: len(correlation), : len(correlation)] = correlation
    response = np.roll(response, (-reach, -reach), axis=(0, 1))
    power = np.maximum(np.fft.rfft2(response).real, 0)
    noise = np.fft.irfft2(np.fft.rfft2(white) * np.sqrt(power), white.shape)
    return np.asarray(noise * (white.std() / max(float(noise.std()), 1e-12)))


def _windows(
    volumes: Sequence[Volume], frames: int, seed: int
) -> list[NDArray[np.float32]]:
    """Windows (T, C, h, w) of counts, each in frames that follow one another."""
    side = min(_SIDE, *(v.shape[v.axes.index(name)] for v in volumes for name in "YX"))
    channels = volumes[0].n_channels
    count = max(1, _PIXELS // (side**2 * frames * channels))
    return [
        np.concatenate(
            [volume.axes.as_planes(volume.read(region)) for region in regions]
        ).astype(np.float32)
        for volume, regions in places(volumes, side, count, frames, seed)
    ]


def _most_change(windows: Sequence[Floats]) -> float:
    return max(
        change(frames) for window in windows for frames in window.transpose(1, 0, 2, 3)
    )


def _smooth(planes: Floats, blur: float) -> Floats:
    sigma = [0.0] * (planes.ndim - 2) + [blur, blur]
    return np.asarray(gaussian_filter(planes, sigma))


def _blurred(planes: Floats) -> Floats:
    """Square of (T, ..., h, w) after a slight blur."""
    return _smooth(planes, _BLUR) ** 2


def _bands(planes: Floats) -> Floats:
    """Squares of (T, h, w) by size of the structures: (bands, T, h, w)."""
    smooth = [_smooth(planes, blur) for blur in BLURS]
    coarser = [*smooth[1:], np.zeros_like(planes)]
    return np.stack([(a - b) ** 2 for a, b in zip(smooth, coarser, strict=True)])


def _blocks(values: Floats, chosen: Mask) -> Floats:
    """Means over blocks of the chosen pixels of a plane, empty blocks left out."""
    rows, columns = (np.arange(size) // _BLOCK for size in chosen.shape)
    number = rows[:, None] * (columns[-1] + 1) + columns
    counts = np.bincount(number[chosen])
    sums = np.bincount(number[chosen], weights=values[chosen])
    return np.asarray(sums[counts > 0] / counts[counts > 0])


def _joined(parts: Sequence[Table]) -> Table:
    return Table(
        np.concatenate([part.simulated for part in parts], axis=1),
        np.concatenate([part.looked for part in parts], axis=1),
        np.concatenate([part.errors for part in parts], axis=1),
        np.concatenate([part.predicted for part in parts]),
        np.concatenate([part.actual for part in parts], axis=1),
        float(np.mean([part.square for part in parts])),
        np.concatenate([part.excess for part in parts]),
    )
