"""A training that is watched: paused, continued, and seen at work on what is looked at.

Runs in a thread; knows nothing of Qt. Previews are made by a copy of the network, on a
core that the training leaves free if there is one, and otherwise between two steps.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_blindsound.gui.beside import Beside
from napari_blindsound.gui.view import Look
from napari_blindsound.images.context import read_around
from napari_blindsound.training.events import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from napari_blindsound.gui.data import Data
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.pace import Pace
    from napari_blindsound.recipe import Recipe, Training
    from napari_blindsound.training.events import TrainEvent

MOST_PIXELS = 1024 * 1024
"""Of a preview; more is looked at from so far that nothing would be seen."""

_SHARE = 4
"""A preview is repeated after this many times the time that it took."""

_NUDGE_SECONDS = 0.15  # between previews while somebody scrolls
_NEWS_SECONDS = 0.9  # between two tellings of progress; previews come with one
_JUDGED_SIDE = 192  # px of the part that quality is estimated on
_JUDGED_SHARE = 40  # an estimate is repeated after so many times the time it took


@dataclass(frozen=True)
class Request:
    """Which part somebody wants to see denoised.

    Parameters
    ----------
    look : Look
        In the pixels of the layer.
    ends : bool
        Whether both estimates are wanted that can be blended, or only the best one.
    """

    look: Look
    ends: bool = False


@dataclass(frozen=True)
class Preview:
    """The denoised part.

    Parameters
    ----------
    look : Look
        Where it lies.
    estimates : tuple of ndarray
        Of the shape of `look`, float32 counts: one estimate, or the two that can be
        blended.
    noisy : ndarray
        The same part as it came.
    seconds : float
        What it took.
    trained_blend : float or None
        Weight of the second estimate that the training used.
    """

    look: Look
    estimates: tuple[npt.NDArray[np.float32], ...]
    noisy: npt.NDArray[np.float32]
    seconds: float
    trained_blend: float | None = None


@dataclass(frozen=True)
class Quality:
    """How good the model is by now, estimated without a clean image.

    Parameters
    ----------
    step : int
        Of the training.
    gain : float
        Decibels by which the error is lower than the noise; NaN if not known.
    """

    step: int
    gain: float


@dataclass(frozen=True)
class Prepared:
    """The training is about to begin, with this recipe, on this device."""

    training: Training
    recipe: Recipe
    pace: Pace | None
    device: str


@dataclass(frozen=True)
class Trained:
    """The training has ended, with this model."""

    denoiser: Denoiser


class Controls:
    """What the one who looks tells the one who trains.

    Attributes
    ----------
    pause : threading.Event
        Set while the training waits.
    preview_seconds : float
        Between two previews of a view that stays.
    """

    def __init__(self, preview_seconds: float = 1.0) -> None:
        self.pause = threading.Event()
        self.preview_seconds = preview_seconds
        self._changed = threading.Condition()
        self._request: Request | None = None
        self._is_new = False

    def ask(self, request: Request | None) -> None:
        """Want a preview; only the last wish counts, None ends them."""
        with self._changed:
            if request == self._request:
                return
            self._request, self._is_new = request, request is not None
            self._changed.notify_all()

    @property
    def request(self) -> Request | None:
        """The last wish."""
        return self._request

    @property
    def is_new(self) -> bool:
        """Whether the last wish has not been looked at yet."""
        return self._is_new

    def take(self) -> Request | None:
        """The last wish, from now on an old one."""
        with self._changed:
            self._is_new = False
            return self._request

    def wait(self, seconds: float) -> bool:
        """Wait for a new wish, and say whether there is one."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_new, seconds)


def watched(
    data: Data, training: Training, controls: Controls, stop: threading.Event
) -> Iterator[TrainEvent | Preview | Quality | Trained]:
    """Train, or go on training, with previews.

    Parameters
    ----------
    data : Data
        Where previews are taken from.
    training : Training
        New, or stopped before.
    controls : Controls
        Wishes of the one who looks.
    stop : threading.Event
        Ends the training within a second, with a good model.

    Yields
    ------
    Progress, Judged, Finished, Preview, Quality, Trained
        `Trained` last; no `Quality` where the training judges itself.
    """
    clock, news = _Clock(controls), _News()
    judge = _Judge(training) if training.recipe.train.ending == "last" else None
    beside: Beside[Preview | Quality] = Beside(_free_cores(training.recipe))
    try:
        for event in training.run(stop):
            if beside.is_free and clock.is_due():
                beside.do(clock.preview, data, training.denoiser())
            elif judge and beside.is_free and judge.is_due():
                beside.do(judge.quality, training.denoiser(), event.step)
            seen = list(beside.done())
            yield from seen
            yield from news.of(event, at_once=bool(seen))
            while controls.pause.is_set() and not stop.is_set():
                if controls.wait(0.1) and beside.is_free:
                    beside.do(clock.preview, data, training.denoiser())
                yield from beside.done()
        denoiser = training.result()
        if judge and (event.step or training.reason == "done"):
            yield judge.quality(denoiser, event.step)
        yield Trained(denoiser)
    finally:
        beside.close()


def _free_cores(recipe: Recipe) -> int:
    """Cores of the processor that a training leaves to others."""
    import torch

    from napari_blindsound.networks.device import pick_device

    if pick_device(recipe.train.device).type != "cpu" or recipe.train.threads is None:
        return 0
    return max(0, torch.get_num_threads() - recipe.train.threads)


def preview(data: Data, denoiser: Denoiser, request: Request) -> Preview | None:
    """Denoise what is looked at; None if it shows a channel that is not denoised."""
    from napari_blindsound.inference.tiling import denoise_region

    started = time.perf_counter()
    passes = getattr(denoiser.methods[0].config, "cell", 1) ** 2
    most = MOST_PIXELS // (1 + passes // 2) if request.ends else MOST_PIXELS
    look = request.look.within(most)
    region = data.region(look)
    if region is None:
        return None
    ends = denoiser.method.ends if request.ends else None
    models = [denoiser.with_output(end) for end in ends] if ends else [denoiser]
    volume = data.volume
    estimates = tuple(
        data.on_layer(denoise_region(model, volume, region), look) for model in models
    )
    noisy = data.on_layer(volume.read(region).astype(np.float32), look)
    seconds = time.perf_counter() - started
    return Preview(look, estimates, noisy, seconds, denoiser.trained_blend)


class _News:
    """Passes on progress as often as somebody reads it.

    Whatever changes in a window has all of it painted anew, which on a computer without
    a graphics card takes the processor from the training.
    """

    def __init__(self) -> None:
        self._last = 0.0
        self._losses: list[float] = []

    def of(self, event: TrainEvent, *, at_once: bool) -> Iterator[TrainEvent]:
        """The event, with the mean loss of those left out; or nothing."""
        if not isinstance(event, Progress):
            yield event
            return
        if event.terms:
            self._losses.append(event.loss)
        now = time.perf_counter()
        if not at_once and now - self._last < _NEWS_SECONDS:
            return
        loss = sum(self._losses) / len(self._losses) if self._losses else event.loss
        self._last, self._losses = now, []
        yield replace(event, loss=loss)


class _Clock:
    """Decides when the next preview is due: often, but never at training's cost."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._last = self._cost = 0.0

    def is_due(self) -> bool:
        if self._controls.request is None:
            return False
        passed = time.perf_counter() - self._last
        if self._controls.is_new:
            return passed >= max(_NUDGE_SECONDS, 2 * self._cost)
        # Events come every tenth of a second: the one before counts.
        return passed >= max(self._controls.preview_seconds - 0.15, _SHARE * self._cost)

    def preview(self, data: Data, denoiser: Denoiser) -> Preview | None:
        request = self._controls.take()
        if request is None:
            return None
        self._last = time.perf_counter()
        made = preview(data, denoiser, request)
        self._cost = time.perf_counter() - self._last
        return made


class _Judge:
    """Estimates the quality now and then, always on the same pixels."""

    def __init__(self, training: Training) -> None:
        self._image = training.images[0]
        self._next = time.perf_counter() + 1.0
        self._noisy: npt.NDArray[np.generic] | None = None

    def is_due(self) -> bool:
        return time.perf_counter() >= self._next

    def quality(self, denoiser: Denoiser, step: int) -> Quality:
        from napari_blindsound.quality.estimate import estimated_gain

        started = time.perf_counter()
        if self._noisy is None:
            self._noisy = self._middle(denoiser)
        gain = estimated_gain(denoiser, self._noisy)
        now = time.perf_counter()
        self._next = now + max(1.0, _JUDGED_SHARE * (now - started))
        return Quality(step, gain)

    def _middle(self, denoiser: Denoiser) -> npt.NDArray[np.generic]:
        """The middle of the middle plane, with its neighbors: (depth, C, H, W)."""
        image = self._image
        plane = image.plane(image.n_planes // 2)
        look = Look(plane).within(_JUDGED_SIDE**2 * image.n_channels)
        region = tuple(
            whole if axis.name == "C" else part
            for axis, whole, part in zip(image.axes, plane, look.region, strict=True)
        )
        return read_around(image, region, denoiser.context)
