"""A training that is watched: paused, continued, and seen at work on what is looked at.

Runs in a thread; knows nothing of Qt. Previews are computed between two steps, by the
thread that trains, so that nobody else touches the network.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_blindsound.gui.view import Look

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from napari_blindsound.gui.data import Data
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.pace import Pace
    from napari_blindsound.recipe import Recipe, Training
    from napari_blindsound.training.events import TrainEvent

MOST_PIXELS = 1024 * 1024
"""Of a preview; more is looked at from so far that nothing would be seen."""

_SHARE = 10
"""A preview is repeated after this many times the time that it took."""

_NUDGE_SECONDS = 0.15  # between previews while somebody scrolls
_JUDGED_SIDE = 192  # px of the part that quality is estimated on
_JUDGED_SHARE = 50  # an estimate is repeated after so many times the time it took


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
    Progress, Finished, Preview, Quality, Trained
        `Trained` last.
    """
    clock, judge = _Clock(controls), _Judge(training)
    for event in training.run(stop):
        yield event
        if clock.is_due() and not stop.is_set():
            yield from clock.preview(data, training.denoiser)
        elif judge.is_due() and not stop.is_set():
            yield judge.quality(event.step)
        while controls.pause.is_set() and not stop.is_set():
            if controls.wait(0.1):
                yield from clock.preview(data, training.denoiser)
    if event.step:
        yield judge.quality(event.step)
    yield Trained(training.denoiser())


def preview(data: Data, denoiser: Denoiser, request: Request) -> Preview | None:
    """Denoise what is looked at; None if it shows a channel that is not denoised."""
    from napari_blindsound.inference.tiling import denoise_region

    started = time.perf_counter()
    look = request.look.within(MOST_PIXELS)
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
        return passed >= max(self._controls.preview_seconds - 0.1, _SHARE * self._cost)

    def preview(self, data: Data, model: Callable[[], Denoiser]) -> Iterator[Preview]:
        request = self._controls.take()
        if request is None:
            return
        self._last = time.perf_counter()
        made = preview(data, model(), request)
        self._cost = time.perf_counter() - self._last
        if made is not None:
            yield made


class _Judge:
    """Estimates the quality now and then, always on the same pixels."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._next = time.perf_counter() + 1.0
        self._noisy: npt.NDArray[np.generic] | None = None

    def is_due(self) -> bool:
        return time.perf_counter() >= self._next

    def quality(self, step: int) -> Quality:
        from napari_blindsound.quality.estimate import estimated_gain

        started = time.perf_counter()
        if self._noisy is None:
            self._noisy = self._middle()
        gain = estimated_gain(self._training.denoiser(), self._noisy)
        now = time.perf_counter()
        self._next = now + max(1.0, _JUDGED_SHARE * (now - started))
        return Quality(step, gain)

    def _middle(self) -> npt.NDArray[np.generic]:
        """The middle of the middle plane, (C, H, W)."""
        image = self._training.images[0]
        plane = image.plane(image.n_planes // 2)
        look = Look(plane).within(_JUDGED_SIDE**2 * image.n_channels)
        region = tuple(
            whole if axis.name == "C" else part
            for axis, whole, part in zip(image.axes, plane, look.region, strict=True)
        )
        pixels = image.read(region)
        names = image.axes.names
        order = sorted(range(len(names)), key=lambda i: "TZCYX".index(names[i]))
        return pixels.transpose(order).reshape(
            -1, *(pixels.shape[names.index(name)] for name in "YX")
        )
