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

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_blindsound.images.context import read_around
from napari_blindsound.inference.deviation import Deviation
from napari_blindsound.inference.reading import check_channels
from napari_blindsound.inference.windows import denoise_windows, denoised_around
from napari_blindsound.noise.correlation import measure_correlation
from napari_blindsound.quality.exposure import Exposure
from napari_blindsound.training.places import frames_of, places
from napari_blindsound.training.repeats import (
    MOST_CHANGE,
    change,
    frames_needed,
    seen_by_each,
    squared_errors,
)

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindsound.images.volume import Region, Volume
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.inference.deviation import Observed

    Floats = NDArray[np.floating]
    Series = list[NDArray[Any]]
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
        context = denoiser.context
        self._saw = context.planes if context.axis == "T" else 0
        least, wanted = frames_needed(self._saw, _FRAMES)
        frames = min(wanted, *(frames_of(volume) for volume in volumes))
        self.observed: Observed = "residual"
        if frames >= least:
            series = self._read(volumes, frames, seed)
            if _most_change(series) <= MOST_CHANGE:
                self.observed = "repeats"
        if self.observed == "residual":
            series = self._read(volumes, 1, seed)
        self.pixels = sum(_own(windows).size for windows in series)
        drawn = sum(_own(windows)[:1].size for windows in series)
        self._draws = max(1, min(_MOST_DRAWS, _PIXELS // drawn))
        self._shapes = [
            _correlation([_own(windows)[0, channel] for windows in series])
            for channel in range(denoiser.n_channels)
        ]

    def tables(self, stop: threading.Event | None) -> list[Table]:
        """A table for each channel; none if stopped, or if there is no noise."""
        parts: list[list[Table]] = []
        for number in range(len(self._series)) if self._exposure.is_noisy else ():
            if stop is not None and stop.is_set():
                return []
            parts.append(self._of_window(number))
        return [_joined(channel) for channel in zip(*parts, strict=True)]

    def _read(self, volumes: Sequence[Volume], frames: int, seed: int) -> Series:
        """Windows (T, depth, C, h, w) of counts, of frames that follow one another."""
        context = self._denoiser.context
        self._places = _windows(volumes, frames, seed)
        self._series = [
            np.stack([read_around(volume, region, context) for region in regions])
            for volume, regions in self._places
        ]
        return self._series

    def _scene(self, number: int, estimate: Floats) -> NDArray[np.float32]:
        """What is taken for the truth: (depth, C, h, w), `estimate` in the middle."""
        if not self._denoiser.context.planes:
            return np.asarray(estimate[:1])
        volume, regions = self._places[number]
        scene = denoised_around(self._denoiser, volume, regions[0])
        scene[len(scene) // 2] = estimate[0]
        return scene

    def _of_window(self, number: int) -> list[Table]:
        """Tables of a window in frames that follow one another."""
        windows = self._series[number].astype(np.float32)
        noisy = _own(windows)
        good = self._valid(noisy)
        estimate, predicted = self._denoised(windows), self._predicted(windows)
        truth = estimate[:1]
        scene = self._scene(number, estimate)
        exposed = np.stack([self._exposed(scene) for _ in range(self._draws)])
        drawn = _own(exposed)
        denoised, said = self._denoised(exposed), self._predicted(exposed)
        errors = denoised - truth
        is_repeated = self.observed == "repeats"
        left = errors**2 if is_repeated else _blurred(errors)
        tables = []
        for channel, chosen in enumerate(good):
            unit = self._denoiser.preprocessing.intensity.scale[channel]
            frames, estimates = noisy[:, channel], estimate[:, channel]
            if is_repeated:
                seen = seen_by_each(frames.astype(np.float64))
                made = estimates.astype(np.float64)
                fine: Floats = squared_errors(made, seen, self._saw)
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
        """Noisy planes of clean ones, (depth, C, h, w), in counts."""
        drawn = self._exposure.draw(truth, self._rng)
        sigmas = self._exposure.sigma(truth)
        for channel, shape in enumerate(self._shapes):
            for plane in range(len(truth)) if shape.size > 1 else ():
                clean, sigma = truth[plane, channel], sigmas[plane, channel]
                sigma = np.maximum(sigma, 1e-6 * sigma.max())
                noise = (drawn[plane, channel] - clean) / sigma
                drawn[plane, channel] = clean + sigma * _colored(noise, shape)
        return drawn

    def _denoised(self, windows: Floats) -> Floats:
        return denoise_windows(self._denoiser, windows)

    def _predicted(self, windows: Floats) -> Floats:
        return denoise_windows(self._deviation, windows)

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
) -> list[tuple[Volume, list[Region]]]:
    """Windows of planes, each in frames that follow one another."""
    side = min(_SIDE, *(v.shape[v.axes.index(name)] for v in volumes for name in "YX"))
    channels = volumes[0].n_channels
    count = max(1, _PIXELS // (side**2 * frames * channels))
    return list(places(volumes, side, count, frames, seed))


def _own(windows: Floats) -> Floats:
    """The planes in the middle of windows (N, depth, C, h, w)."""
    return windows[:, windows.shape[1] // 2]


def _most_change(series: Sequence[Floats]) -> float:
    return max(
        change(frames)
        for windows in series
        for frames in _own(windows).transpose(1, 0, 2, 3)
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
