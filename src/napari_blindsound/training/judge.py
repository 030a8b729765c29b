"""How good a network is by now, from pixels that never taught it.

A few fixed crops, the same at every judgement, so that two judgements differ by what
the network has learned and not by what it was asked.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from napari_blindsound.methods.masking import neighbor_mean
from napari_blindsound.networks.device import mixed_precision
from napari_blindsound.noise.correlation import measure_correlation
from napari_blindsound.training.held_out import held_out
from napari_blindsound.training.judgement import Judgement
from napari_blindsound.training.places import frames_of, places
from napari_blindsound.training.repeats import (
    are_repeats,
    frames_needed,
    noise_variance,
    seen_by_each,
    squared_errors,
)
from napari_blindsound.training.windows import fitting_patch, read_window

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

_SIDE = 144  # px of a crop, more or less, so that crops fill an image
_WINDOWS = 8
_FRAMES = 4  # of the same scene
_USUAL_PASSES = 16  # of a blind estimate; where it takes more, it is made of less
_MARGIN = 8  # px of a crop's border, where context is missing
_BLOCK = 8  # px
_STEP = 0.1  # of the noise's standard deviation
_SURE = 2.0  # standard errors


class _Crops(NamedTuple):
    """Windows (W) of T frames, in the network's units."""

    noisy: Tensor  # (W, T, inputs, s, s), the channels of a frame before its neighbors'
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
        self._context, self._channels = method.context, method.channels
        self._saw = self._context.planes if self._context.axis == "T" else 0
        self._side = min(_side(image, method.stride) for image in images)
        self._blind_passes = 0
        self._width = getattr(method.config, "width", None)
        self.source: Source = "repeats"
        noise = preprocessing.normalized_noise()
        self._is_known = any(n.gain or n.read_variance for n in noise)
        crops = self._repeats(images, seed)
        if crops is None:
            self.source = "stein"
            crops = self._crops(images, _WINDOWS, 1, seed)
            is_white = _is_white(crops.noisy[:, 0, : self._channels])
            if not (is_white and self._is_known):
                self.source = "blind error"
            if not is_white and "blind" in method.outputs:
                self._blind_passes = getattr(method.config, "cell", 1) ** 2
                few = max(1, _WINDOWS * _USUAL_PASSES // self._blind_passes)
                crops = self._crops(images, min(_WINDOWS, few), 1, seed)
        self._noisy, self._every, held = crops
        flat = self._noisy.flatten(0, 1)[:, : self._channels]
        seen = neighbor_mean(flat)
        each = held.repeat_interleave(self._noisy.shape[1], dim=0)
        self._masked = self._beside(torch.where(each, seen, flat))
        self._variance = self._noise_at(seen)
        signs = np.random.default_rng(seed).choice((-1, 1), flat.shape)
        self._signs = torch.from_numpy(signs.astype(np.float32)).to(flat)
        self._is_held = (held & self._every)[self._every].cpu().numpy()
        self._blocks = _blocks(self._every.cpu().numpy())
        self._pixels = self._picked(flat)
        if self.source == "repeats":
            self._frames = self._seen_by_each()

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
                found.append(self._estimates(method, index))
        visible, hidden, slopes = (
            self._picked(torch.cat(part)) for part in zip(*found, strict=True)
        )
        away, unseen = visible - self._pixels, hidden - self._pixels
        held = self._is_held
        unseen_square = max(float((unseen[:, held] ** 2).mean()), 1e-12)
        identity = float((away[:, held] ** 2).mean()) / unseen_square
        if self.source == "blind error":
            return self._of_predictions(step, unseen, identity)
        errors, noise = self._errors(visible, slopes)
        blocks = self._in_blocks(errors)
        at_held = errors[held].astype(np.float32)
        if first is None:
            return Judgement(step, blocks, noise, identity, held=at_held)
        grown = (at_held - first.held).astype(np.float64)
        gap = float(grown.mean()) - float((blocks - first.errors).mean())
        error = float(grown.std(ddof=1)) / math.sqrt(len(grown))
        excess = max(0.0, gap - _SURE * error)
        return Judgement(step, blocks, noise, identity, excess)

    def _of_predictions(self, step: int, unseen: Doubles, identity: float) -> Judgement:
        """Judge by predictions alone, less the variance of what they predict."""
        variance = self._picked(self._variance)
        errors = unseen**2 - variance
        if not self._blind_passes:
            errors = errors[:, self._is_held]
        noise = float(variance.mean()) if self._is_known else float("nan")
        kept = errors.astype(np.float32).ravel()
        if self._blind_passes:
            kept = self._in_blocks(errors[0])
        return Judgement(step, kept, noise, identity)

    def _errors(self, visible: Doubles, slopes: Doubles) -> tuple[Doubles, float]:
        """Squared error at each pixel, (n,), and the variance of the noise."""
        if self.source == "repeats":
            errors = squared_errors(visible, self._frames, self._saw)
            noise = float(noise_variance(self._frames).mean())
            return np.asarray(errors, np.float64), noise
        variance = self._picked(self._variance)
        errors = (visible - self._pixels) ** 2 - variance + 2 * variance * slopes
        return errors[0], float(variance.mean())

    def _estimates(self, method: Method, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of one crop: denoised, predicted where it is masked, and slope."""
        crop = slice(index, index + 1)
        noisy = self._noisy.flatten(0, 1)[crop]
        plane = noisy[:, : self._channels]
        visible = method.denoise(noisy).float()
        if self._blind_passes:
            hidden = method.denoise(noisy, output="blind").float()
        else:
            hidden = method.denoise(self._masked[crop]).float()
        if self.source != "stein":
            return visible, hidden, visible
        nudge = _STEP * self._variance[crop].mean((-2, -1), keepdim=True).sqrt()
        nudge = nudge.clamp(min=1e-6)
        nudged = plane + nudge * self._signs[crop]
        moved = method.denoise(self._beside(nudged, index)).float()
        return visible, hidden, self._signs[crop] * (moved - visible) / nudge

    def _beside(self, planes: Tensor, first: int = 0) -> Tensor:
        """Planes (N, C, s, s), from the crop `first` on, with their neighbors."""
        if not self._context.planes:
            return planes
        around = self._noisy.flatten(0, 1)[first : first + len(planes)]
        return torch.cat([planes, around[:, self._channels :]], dim=1)

    def _picked(self, flat: Tensor) -> Doubles:
        """(W T, C, s, s) at the pixels that count, (T, n)."""
        crops = flat.unflatten(0, self._noisy.shape[:2]).transpose(0, 1)
        return np.asarray(crops[:, self._every].cpu().numpy(), dtype=np.float64)

    def _in_blocks(self, errors: Doubles) -> Floats:
        """Sums over blocks, scaled so that their mean is that of the pixels."""
        sums = np.bincount(self._blocks, weights=errors)
        return np.asarray(sums * (len(sums) / len(errors)), np.float32)

    def _seen_by_each(self) -> Doubles:
        """The pixels of all frames, as each of them sees them, (T, T, n)."""
        planes = self._noisy[:, :, : self._channels].transpose(1, 2)
        windows = planes.cpu().numpy().astype(np.float64)
        chosen = self._every.cpu().numpy()
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
        least, wanted = frames_needed(self._saw, _FRAMES)
        again = [image for image in images if frames_of(image) >= least]
        if not again:
            return None
        count = min(wanted, *(frames_of(image) for image in again))
        crops = self._crops(again, _WINDOWS // 2, count, seed)
        planes = crops.noisy[:, :, : self._channels].transpose(1, 2)
        series = planes.flatten(0, 1).cpu().numpy()
        return crops if all(are_repeats(frames) for frames in series) else None

    def _crops(
        self, images: Sequence[Volume], windows: int, frames: int, seed: int
    ) -> _Crops:
        noisy, every, held = [], [], []
        margin = min(_MARGIN, self._side // 8)
        inside = np.zeros((self._side, self._side), bool)
        inside[margin : self._side - margin, margin : self._side - margin] = True
        for image, regions in places(images, self._side, windows, frames, seed):
            read = [
                read_window(image, r, self._preprocessing, self._context)
                for r in regions
            ]
            rows, columns = (regions[0][image.axes.index(name)] for name in "YX")
            may = np.broadcast_to(inside, (self._channels, *inside.shape))
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


def _blocks(every: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Number of the block, from 0, that each chosen pixel of (W, C, s, s) is in."""
    window, channel, row, column = np.nonzero(every)
    place = np.stack([window, channel, row // _BLOCK, column // _BLOCK])
    shape = tuple(int(axis.max()) + 1 for axis in place)
    return np.unique(np.ravel_multi_index(tuple(place), shape), return_inverse=True)[1]


def _side(image: Volume, stride: int) -> int:
    """Side of crops that fill an image, or all of a small one."""
    shorter = min(image.shape[image.axes.index(name)] for name in "YX")
    return fitting_patch(image, shorter // max(1, round(shorter / _SIDE)), stride)


def _is_white(windows: Tensor) -> bool:
    """Whether nothing speaks for noise that near pixels share, (W, C, s, s)."""
    planes = windows.transpose(0, 1).cpu().numpy()
    verdicts = {measure_correlation(list(channel)).verdict for channel in planes}
    return verdicts <= {"white", "unknown"}
