"""How close a denoised image is to a truth that nobody has.

The best estimate that an image allows is taken, and says what it rests on and how far
it may be wrong: frames of the same scene, which need no knowledge of the noise; else
the variance of the noise, and how much of a pixel's noise is in the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_blindsound.images.context import read_around
from napari_blindsound.inference.reading import check_channels
from napari_blindsound.inference.windows import denoise_windows, nudged
from napari_blindsound.noise.correlation import measure_correlation
from napari_blindsound.quality.estimate import variance_at
from napari_blindsound.training.events import MOST_DECIBELS
from napari_blindsound.training.places import frames_of, places
from napari_blindsound.training.repeats import (
    MOST_CHANGE,
    change,
    frames_needed,
    noise_variance,
    seen_by_each,
    squared_errors,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindsound.images.context import Context
    from napari_blindsound.images.volume import Volume
    from napari_blindsound.quality.judged import Judged
    from napari_blindsound.training.events import Source

    Floats = NDArray[np.floating]
    Windows = list[NDArray[np.float32]]

_SIDE = 256  # px of a window
_PIXELS = 1 << 20  # denoised at most
_FRAMES = 4
_BLOCK = 16  # px; means over such blocks are independent of one another
_STEP = 0.1  # of the noise's standard deviation
_NOISE_ERROR = 0.03  # standard error of the noise's variance, against itself
_SIGMAS = 2.0  # standard errors from the estimate to its bounds
_LEVELS = (0.1, 99.9)  # percentiles between which the range of an image lies


@dataclass(frozen=True)
class EstimatedQuality:
    """Estimated error of a denoised image.

    Parameters
    ----------
    mse : float
        Mean squared error, counts squared; NaN where it cannot be known.
    psnr : float
        Of that error, in decibels.
    low, high : float
        Bounds of `psnr` that hold nineteen times out of twenty.
    gain : float
        Decibels by which denoising lowers the error.
    data_range : float
        Peak that `psnr` refers to, counts.
    source : {"repeats", "blind error", "stein"}
        Frames of the same scene; predictions of unseen pixels less the variance of the
        noise; Stein's formula, which needs that variance too.
    words : str
        What it rests on, in a sentence.
    """

    mse: float
    psnr: float
    low: float
    high: float
    gain: float
    data_range: float
    source: Source
    words: str


class _Found(NamedTuple):
    """Mean squared error, its standard error, and the variance of the noise."""

    mse: float
    error: float
    noise: float


def estimate_quality(
    denoiser: Judged,
    volume: Volume,
    *,
    data_range: float | None = None,
    seed: int = 0,
    pixels: int = _PIXELS,
    alike: bool = False,
) -> EstimatedQuality:
    """Estimate the error of what a denoiser makes of an image, without a truth.

    Some windows of the image are denoised, a million pixels at most.

    Parameters
    ----------
    denoiser : Denoiser
        With the output that is to be judged; or any other operator that knows as much.
    volume : Volume
        Noisy, with the denoiser's channels.
    data_range : float, optional
        Peak for the PSNR, counts. By default 255 for 8-bit images, and otherwise the
        range of the denoised one.
    seed : int
        Of the choice of windows and of random directions.
    pixels : int
        Denoised at most, if a window has no more.
    alike : bool
        Judge as any operator can be judged: what is blind, too, by Stein's formula, so
        that all that are to be compared are judged in the same way.

    Returns
    -------
    EstimatedQuality

    Raises
    ------
    ModelMismatchError
        If the image has another number of channels.
    DataError
        If a pixel is not finite.
    """
    check_channels(denoiser, volume)
    context, moved = denoiser.context, float("inf")
    saw = context.planes if context.axis == "T" else 0
    least, wanted = frames_needed(saw, _FRAMES)
    if frames_of(volume) >= least:
        series = _read(volume, context, min(wanted, frames_of(volume)), seed, pixels)
        moved = _most_change(series)
    if moved <= MOST_CHANGE:
        denoised = [denoise_windows(denoiser, windows) for windows in series]
        found = _from_repeats(denoiser, series, denoised, moved, saw)
        return _told(found, "repeats", _peak(volume, denoised, data_range))
    series = _read(volume, context, 1, seed, pixels)
    denoised = [denoise_windows(denoiser, windows) for windows in series]
    is_blind = not alike and denoiser.output == "blind" and denoiser.blend is None
    found = _from_noise(denoiser, series, denoised, seed, is_blind=is_blind)
    source: Source = "blind error" if is_blind else "stein"
    return _told(found, source, _peak(volume, denoised, data_range))


def _read(
    volume: Volume, context: Context, frames: int, seed: int, pixels: int
) -> Windows:
    """Windows (T, depth, C, h, w) of counts, each in frames that follow one another."""
    sizes = dict(zip(volume.axes.names, volume.shape, strict=True))
    side = min(_SIDE, sizes["Y"], sizes["X"])
    count = max(1, pixels // (side**2 * frames * volume.n_channels))
    return [
        np.stack([read_around(volume, region, context) for region in regions]).astype(
            np.float32
        )
        for _, regions in places([volume], side, count, frames, seed)
    ]


def _own(windows: Floats) -> Floats:
    """The planes in the middle, (T, C, h, w)."""
    return windows[:, windows.shape[1] // 2]


def _most_change(series: Windows) -> float:
    """Largest change of the scene in a window and channel; infinite without frames."""
    return max(
        change(frames)
        for window in series
        for frames in _own(window).transpose(1, 0, 2, 3)
    )


def _valid(denoiser: Judged, frames: Floats) -> NDArray[np.bool_]:
    """Pixels that are neither hot nor saturated in any frame, (C, h, w)."""
    _, valid = denoiser.preprocessing.normalize_with_mask(frames)
    if valid is None:
        return np.ones(frames.shape[1:], bool)
    return np.asarray(valid.all(axis=0))


def _from_repeats(
    denoiser: Judged, series: Windows, denoised: Windows, moved: float, saw: int
) -> _Found:
    """Judge each frame by those that it was not made of, `saw` on each side."""
    errors, noises = [], []
    for windows, estimates in zip(series, denoised, strict=True):
        frames = _own(windows)
        good = _valid(denoiser, frames)
        for channel, chosen in enumerate(good):
            seen = seen_by_each(frames[:, channel].astype(np.float64))
            made = estimates[:, channel].astype(np.float64)
            error = squared_errors(made, seen, saw)
            errors.append(_blocks(error, chosen))
            noises.append(noise_variance(seen)[chosen].mean())
    noise = float(np.mean(noises))
    mean, spread = _mean(errors)
    return _Found(mean, math.hypot(spread, max(moved, 0) * noise / 2), noise)


def _from_noise(
    denoiser: Judged,
    series: Windows,
    denoised: Windows,
    seed: int,
    *,
    is_blind: bool,
) -> _Found:
    """Stein's formula, for noise that may be correlated over a few pixels."""
    random = np.random.default_rng(seed)
    shapes = [_correlation(series, channel) for channel in range(denoiser.n_channels)]
    errors, noises, doubts = [], [], []
    for windows, estimates in zip(series, denoised, strict=True):
        frames = _own(windows)
        good = _valid(denoiser, frames)[None]
        models = denoiser.preprocessing.noise
        variance = variance_at(models, estimates, frames, good)
        shared = np.zeros_like(variance)
        if not is_blind:
            shared, doubt = _shared(
                denoiser, windows, estimates, np.sqrt(variance), shapes, random
            )
            doubts.append(doubt)
        loss = (estimates - frames) ** 2 - variance + 2 * shared
        errors += [_blocks(one, may) for one, may in zip(loss[0], good[0], strict=True)]
        noises.append(variance[good].mean())
    noise = float(np.mean(noises))
    mean, spread = _mean(errors)
    doubt = float(np.mean(doubts)) if doubts else 0.0
    error = math.hypot(spread, _NOISE_ERROR * noise, doubt)
    return _Found(mean, error, noise)


def _shared(
    denoiser: Judged,
    windows: NDArray[np.float32],
    estimates: Floats,
    deviation: Floats,
    shapes: Sequence[Floats],
    random: np.random.Generator,
) -> tuple[Floats, float]:
    """What noise and result have in common, by noise that is added on purpose.

    Also how much of its mean is due to the noise's being correlated.
    """
    planes = [_coloured(random, estimates.shape[-2:], shape) for shape in shapes]
    noise = deviation * np.stack(planes)[None].astype(np.float32)

    def answer(noise: Floats) -> Floats:
        moved = denoise_windows(denoiser, nudged(windows, _STEP * noise))
        return np.asarray((moved - estimates) / _STEP)

    shared = noise * answer(noise)
    if all(shape.size == 1 for shape in shapes):
        return shared, 0.0
    white = deviation * random.choice((-1, 1), estimates.shape).astype(np.float32)
    return shared, float(abs((shared - white * answer(white)).mean()))


def _correlation(series: Windows, channel: int) -> Floats:
    """Autocorrelation of the noise, (2 n + 1, 2 n + 1), as far as it is certain."""
    found = measure_correlation([_own(window)[0, channel] for window in series])
    if found.verdict == "unknown":
        return np.ones((1, 1))
    certain = np.abs(found.map) > _SIGMAS * found.error
    return np.where(certain, found.map, 0.0) if certain.sum() > 1 else np.ones((1, 1))


def _coloured(
    random: np.random.Generator, shape: tuple[int, ...], correlation: Floats
) -> Floats:
    """Noise of variance 1 with this autocorrelation."""
    white = random.choice((-1.0, 1.0), shape)
    if correlation.size == 1:
        return white
    reach = len(correlation) // 2
    response = np.zeros(shape)
    response[: len(correlation), : len(correlation)] = correlation
    response = np.roll(response, (-reach, -reach), axis=(0, 1))
    power = np.maximum(np.fft.rfft2(response).real, 0)
    noise = np.fft.irfft2(np.fft.rfft2(white) * np.sqrt(power), shape)
    return np.asarray(noise / noise.std())


def _blocks(errors: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """Means over blocks of the chosen pixels of a plane, weighted alike."""
    height, width = (
        max(1, size // _BLOCK) * min(_BLOCK, size) for size in errors.shape
    )
    tall, wide = min(_BLOCK, errors.shape[0]), min(_BLOCK, errors.shape[1])

    def sums(image: Floats) -> Floats:
        cut = image[:height, :width].reshape(height // tall, tall, width // wide, wide)
        return np.asarray(cut.sum(axis=(1, 3)))

    counts = sums(chosen.astype(np.float64))
    totals = sums(np.where(chosen, errors, 0.0))
    return np.asarray((totals[counts > 0] / counts[counts > 0]).ravel())


def _mean(blocks: Sequence[Floats]) -> tuple[float, float]:
    """Mean of all blocks, and its standard error."""
    values = np.concatenate(list(blocks))
    if not len(values):
        return float("nan"), float("nan")
    spread = float(values.std(ddof=1)) if len(values) > 1 else float("inf")
    return float(values.mean()), spread / math.sqrt(len(values))


def _peak(volume: Volume, denoised: Windows, data_range: float | None) -> float:
    if data_range is not None:
        return data_range
    if volume.dtype == np.uint8:
        return 255.0
    pixels = np.concatenate([window.ravel() for window in denoised])
    low, high = np.percentile(pixels, _LEVELS)
    return float(high - low)


def _psnr(peak: float, mse: float) -> float:
    if math.isinf(mse):  # a single block tells nothing of its spread
        return -math.inf
    return float(10 * np.log10(max(peak**2, 1e-12) / max(mse, 1e-12)))


def _told(found: _Found, source: Source, peak: float) -> EstimatedQuality:
    """Decibels, bounds and words; an error too small to tell is a bound."""
    floor = found.noise * 10 ** (-MOST_DECIBELS / 10)
    names = {
        "repeats": "from frames of the same scene, whatever their noise",
        "blind error": "from how well unseen pixels are predicted, less their noise",
        "stein": "from the variance of the noise, by Stein's formula",
    }
    if not found.noise > 0 or not math.isfinite(found.mse):
        nan = float("nan")
        words = "no noise was found, so the error cannot be estimated"
        return EstimatedQuality(nan, nan, nan, nan, nan, peak, source, words)
    mse = max(found.mse, floor)
    low = _psnr(peak, mse + _SIGMAS * found.error)
    high = _psnr(peak, max(found.mse - _SIGMAS * found.error, floor / 2))
    words = f"PSNR {_psnr(peak, mse):.1f} dB ({low:.1f} to {high:.1f}), {names[source]}"
    gain = float(10 * np.log10(found.noise / mse))
    return EstimatedQuality(mse, _psnr(peak, mse), low, high, gain, peak, source, words)
