"""How good a network is by now, from pixels that never taught it.

A few fixed crops, the same at every judgement, so that two judgements differ by what
the network has learned and not by what it was asked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from napari_blindsound.methods.masking import neighbor_mean
from napari_blindsound.networks.device import mixed_precision
from napari_blindsound.noise.correlation import measure_correlation
from napari_blindsound.training.events import MOST_DECIBELS
from napari_blindsound.training.held_out import held_out
from napari_blindsound.training.places import frames_of, places
from napari_blindsound.training.repeats import (
    are_repeats,
    noise_variance,
    seen_by_each,
    squared_errors,
)
from napari_blindsound.training.sampling import fitting_patch, read_window

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.methods.base import Method
    from napari_blindsound.training.events import Source
    from napari_blindsound.training.preprocessing import Preprocessing

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]

_SIDE = 128  # px of a crop
_WINDOWS = 8
_FRAMES = 4  # of the same scene
_MARGIN = 8  # px of a crop's border, where context is missing
_STEP = 0.1  # of the noise's standard deviation


@dataclass(frozen=True, eq=False)
class Judgement:
    """What was found at one step; all squares in the network's units.

    Parameters
    ----------
    step : int
        Of the training.
    errors : ndarray
        (n,) float32: estimate of the squared error at each held-out pixel, with noise
        of its own; only the mean is close to the truth. Where nothing is known of the
        noise, that of the noisy pixel's prediction.
    noise : float
        Mean variance of the noise at these pixels; NaN where it is not known.
    offset : float
        Difference that all pixels of the crops, those that teach included, made to the
        mean over the held-out ones at the first judgement, when nothing could have been
        learned by heart: most of what a mean over few pixels is wrong by.
    identity : float
        Mean square of what denoising takes away, against that of what a pixel differs
        from its prediction by the others: near 1 where denoising works, near 0 where
        the network has become the identity.
    """

    step: int
    errors: Floats
    noise: float
    identity: float
    offset: float = 0.0

    @property
    def error(self) -> float:
        """Mean squared error; at least what can be told from zero."""
        mean = float(self.errors.mean()) + self.offset
        floor = self.noise * 10 ** (-MOST_DECIBELS / 10)
        return mean if math.isnan(self.noise) else max(mean, floor)

    @property
    def gain(self) -> float:
        """Decibels by which the error is lower than the noise; NaN if not known."""
        if not self.noise > 0:
            return float("nan")
        return float(10 * np.log10(self.noise / self.error))

    def worse_by(self, other: Judgement) -> tuple[float, float]:
        """Decibels by which the other one is better, and their standard error.

        The pixels are the same, so most of what each is wrong by cancels.
        """
        differences = self.errors - other.errors
        spread = float(differences.std(ddof=1)) / math.sqrt(len(differences))
        decibels = 10 * math.log10(self.error / other.error)
        return decibels, 10 / math.log(10) * spread / min(self.error, other.error)


class _Crops(NamedTuple):
    """Windows (W) of T frames, in the network's units."""

    noisy: Tensor  # (W, T, C, s, s)
    every: Tensor  # (W, C, s, s) bool, pixels that count
    held: Tensor  # (W, 1, s, s) bool


class Judge:
    """Estimates errors on fixed crops.

    Draws nothing from the training's random numbers, and changes nothing in a method.
    Where the noise of near pixels is shared, and no scene was recorded again, it is the
    method's own blind estimate that is judged.

    Parameters
    ----------
    images : sequence of Volume
        Those trained on.
    preprocessing : Preprocessing
        As in training.
    method : Method
        What will be judged: of its alignment and its channels.
    device : torch.device
        Where the method lies.
    seed : int
        Of the choice of crops.

    Attributes
    ----------
    source : str
        What the estimates rest on.
    """

    def __init__(
        self,
        images: Sequence[Volume],
        preprocessing: Preprocessing,
        method: Method,
        *,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        self._preprocessing, self._device = preprocessing, torch.device(device)
        self._side = min(fitting_patch(i, _SIDE, method.stride) for i in images)
        self._blind_passes = 0
        self._width = getattr(method.config, "width", None)
        self.source: Source = "repeats"
        noise = preprocessing.normalized_noise()
        self._is_known = any(n.gain or n.read_variance for n in noise)
        crops = self._repeats(images, seed)
        if crops is None:
            self.source = "stein"
            crops = self._crops(images, _WINDOWS, 1, seed)
            is_white = _is_white(crops)
            if not (is_white and self._is_known):
                self.source = "blind error"
            if not is_white and "blind" in method.outputs:
                self._blind_passes = getattr(method.config, "cell", 1) ** 2
        self._noisy, self._every, held = crops
        self._scored = self._every & held
        flat = self._noisy.flatten(0, 1)
        self._seen = neighbor_mean(flat)
        each = held.repeat_interleave(self._noisy.shape[1], dim=0)
        self._masked = torch.where(each, self._seen, flat)
        self._variance = self._noise_at(self._seen)
        signs = np.random.default_rng(seed).choice((-1, 1), flat.shape)
        self._all_signs = torch.from_numpy(signs.astype(np.float32)).to(flat)
        self._signs = self._all_signs * each
        self._pixels = self._picked(flat)
        if self.source == "repeats":
            self._frames = self._seen_by_each(self._scored)

    @property
    def cost(self) -> int:
        """Pixels that go through the network in one judgement."""
        passes = 3 if self.source == "stein" else 2
        return self._noisy.numel() * (passes + self._blind_passes)

    def judge(
        self,
        method: Method,
        step: int,
        stop: threading.Event | None = None,
        first: Judgement | None = None,
    ) -> Judgement | None:
        """Judge a method's default estimate.

        Parameters
        ----------
        method : Method
            As it is at `step`.
        step : int
            Of the training.
        stop : threading.Event, optional
            Ends the work between two crops.
        first : Judgement, optional
            Of the same training, if there was one.

        Returns
        -------
        Judgement or None
            None if stopped.
        """
        found = []
        for index in range(len(self._masked)):
            if stop is not None and stop.is_set():
                return None
            with torch.inference_mode(), mixed_precision(self._device, self._width):
                found.append(self._estimates(method, index, is_first=first is None))
        visible, hidden, slopes, all_slopes = (
            torch.cat(part) for part in zip(*found, strict=True)
        )
        away = self._picked(visible) - self._pixels
        unseen = self._picked(hidden) - self._pixels
        identity = float((away**2).mean() / max(float((unseen**2).mean()), 1e-12))
        if self.source == "blind error":
            variance = self._picked(self._variance)
            errors, offset = unseen**2 - variance, 0.0
            noise = float(variance.mean()) if self._is_known else float("nan")
        else:
            errors, noise = self._errors(visible, slopes, self._scored)
            offset = first.offset if first else 0.0
            if first is None:
                every, _ = self._errors(visible, all_slopes, self._every)
                offset = float(every.mean() - errors.mean())
        kept = errors.astype(np.float32).ravel()
        return Judgement(step, kept, noise, identity, offset)

    def _errors(
        self, visible: Tensor, slopes: Tensor, pixels: Tensor
    ) -> tuple[Doubles, float]:
        """Squared errors at some pixels, and the variance of their noise."""
        if self.source == "repeats":
            is_scored = pixels is self._scored
            seen = self._frames if is_scored else self._seen_by_each(pixels)
            errors = squared_errors(self._picked(visible, pixels), seen)
            return np.asarray(errors, np.float64), float(noise_variance(seen).mean())
        variance = self._picked(self._variance, pixels)
        away = self._picked(visible - self._noisy.flatten(0, 1), pixels)
        kept = variance * self._picked(slopes, pixels)
        return away**2 - variance + 2 * kept, float(variance.mean())

    def _estimates(
        self, method: Method, index: int, *, is_first: bool
    ) -> tuple[Tensor, ...]:
        """Of one crop: denoised, predicted where it is masked, slopes there and all."""
        crop = slice(index, index + 1)
        noisy = self._noisy.flatten(0, 1)[crop]
        visible = method.denoise(noisy).float()
        if self._blind_passes:
            hidden = method.denoise(noisy, output="blind").float()
        else:
            hidden = method.denoise(self._masked[crop]).float()
        if self.source != "stein":
            return visible, hidden, visible, visible
        nudge = _STEP * self._variance[crop].mean((-2, -1), keepdim=True).sqrt()
        nudge = nudge.clamp(min=1e-6)
        slopes = []
        for signs in (self._signs, self._all_signs)[: 2 if is_first else 1]:
            moved = method.denoise(noisy + nudge * signs[crop]).float()
            slopes.append(signs[crop] * (moved - visible) / nudge)
        return visible, hidden, slopes[0], slopes[-1]

    def _picked(self, flat: Tensor, chosen: Tensor | None = None) -> Doubles:
        """(W T, C, s, s) at the held-out or other pixels, (T, n)."""
        crops = flat.unflatten(0, self._noisy.shape[:2]).transpose(0, 1)
        pixels = crops[:, self._scored if chosen is None else chosen]
        return np.asarray(pixels.cpu().numpy(), dtype=np.float64)

    def _seen_by_each(self, pixels: Tensor) -> Doubles:
        """Pixels of all frames, as each of them sees them, (T, T, n)."""
        windows = self._noisy.transpose(1, 2).cpu().numpy().astype(np.float64)
        chosen = pixels.cpu().numpy()
        return np.concatenate(
            [
                seen_by_each(frames)[..., picked]
                for window, parts in zip(windows, chosen, strict=True)
                for frames, picked in zip(window, parts, strict=True)
            ],
            axis=-1,
        )

    def _noise_at(self, mean: Tensor) -> Tensor:
        """Variance of the noise of pixels with these means, (N, C, s, s)."""
        models = self._preprocessing.normalized_noise()
        planes = mean.cpu().numpy()
        found = [model.variance(planes[:, c]) for c, model in enumerate(models)]
        return torch.from_numpy(np.stack(found, axis=1)).to(mean)

    def _repeats(self, images: Sequence[Volume], seed: int) -> _Crops | None:
        """Crops of frames that show the same scene, if there are any."""
        again = [image for image in images if frames_of(image) > 1]
        if not again:
            return None
        count = min(_FRAMES, *(frames_of(image) for image in again))
        crops = self._crops(again, _WINDOWS // 2, count, seed)
        series = crops.noisy.transpose(1, 2).flatten(0, 1).cpu().numpy()
        return crops if all(are_repeats(frames) for frames in series) else None

    def _crops(
        self, images: Sequence[Volume], windows: int, frames: int, seed: int
    ) -> _Crops:
        noisy, every, held = [], [], []
        margin = min(_MARGIN, self._side // 8)
        inside = np.zeros((self._side, self._side), bool)
        inside[margin : self._side - margin, margin : self._side - margin] = True
        for image, regions in places(images, self._side, windows, frames, seed):
            read = [read_window(image, r, self._preprocessing) for r in regions]
            rows, columns = (regions[0][image.axes.index(name)] for name in "YX")
            may = np.broadcast_to(inside, read[0][0].shape)
            for _, valid in read:
                may = may if valid is None else may & valid
            noisy.append(np.stack([normalized for normalized, _ in read]))
            every.append(may)
            held.append(held_out(rows, columns)[None])
        return _Crops(
            *(
                torch.from_numpy(np.stack(parts)).to(self._device)
                for parts in (noisy, every, held)
            )
        )


def _is_white(crops: _Crops) -> bool:
    """Whether nothing speaks for noise that near pixels share."""
    planes = crops.noisy[:, 0].transpose(0, 1).cpu().numpy()
    verdicts = {measure_correlation(list(channel)).verdict for channel in planes}
    return verdicts <= {"white", "unknown"}
