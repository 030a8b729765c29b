"""How fast this computer trains and denoises: a second of trial before the real work.

No two seconds are alike, so a training by the clock cannot be repeated to the bit. Time
is turned into a number of steps first, by a few real steps of a throw-away copy.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_blindsound.images.axes import Axes
from napari_blindsound.images.context import Context
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.tiling import Tiler, tile_size
from napari_blindsound.networks.device import pick_device
from napari_blindsound.recipe import Training
from napari_blindsound.training.events import Finished, Progress
from napari_blindsound.training.sampling import CACHE_BYTES
from napari_blindsound.training.stopping import SHARE
from napari_blindsound.training.threads import fixed

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.methods.base import MethodConfig
    from napari_blindsound.recipe import Recipe
    from napari_blindsound.training.events import TrainEvent

_ENDLESS = 10**9  # steps
_CORE = 64  # px, side of the tile that is timed
_LATE = 0.75
"""Part of a stage where it is timed: the last one then returns what it will."""
_WARM = 0.3  # s, a first tile that takes less is timed again
_COPIES = 5
"""Of the weights, while training: themselves, gradient, average, two of Adam's."""
_SLACK = 2
"""Memory of a step against what its backward pass keeps: gradients and workspaces."""


@dataclass(frozen=True)
class Pace:
    """What work costs on this computer, as it is now.

    Parameters
    ----------
    steps_per_second : float
        Of all networks together, which are trained in turns.
    threads : int
        Processor threads that this was fastest with: all, or one. Name them in the
        recipe, since they are part of what decides the bits.
    pixels_per_second : float
        Denoised, channels counted, by the method's default estimate.
    memory : int
        Bytes that training is expected to take, beyond what the program has now.
    networks : int
        Networks to train.
    """

    steps_per_second: float
    threads: int
    pixels_per_second: float
    memory: int
    networks: int = 1

    def steps_for(self, seconds: float, *, judged: bool = False) -> int:
        """Steps of each network for a training of so many seconds, at least one.

        Parameters
        ----------
        seconds : float
            For all networks together.
        judged : bool
            Whether the training judges itself, which takes its share of the time.
        """
        share = SHARE if judged else 0.0
        steps = self.steps_per_second * seconds / (1 + share)
        return max(1, round(steps / self.networks))


def measure_pace(
    volumes: Sequence[Volume],
    recipe: Recipe,
    *,
    seconds: float = 0.6,
    most_threads: int | None = None,
    stop: threading.Event | None = None,
) -> Pace:
    """Time a few real steps and a tile, on noise of the images' size.

    Nothing is read of the images, and torch's random state and number of threads are
    left as they were.

    Parameters
    ----------
    volumes : sequence of Volume
        To be trained on.
    recipe : Recipe
        To be followed; its length of training plays no part.
    seconds : float
        For the steps, or a step with all threads where that takes longer.
    most_threads : int, optional
        Processor threads to try, besides one; torch's own number by default.
    stop : threading.Event, optional
        Set it to end at once; the figures are then rough, and may be zero.

    Returns
    -------
    Pace

    Raises
    ------
    DataError
        If an image is too small to be trained on.
    ValueError
        If there is no such method, preset or setting.
    """
    before, joint = torch.get_num_threads(), recipe.channels == "joint"
    channels = volumes[0].n_channels
    config = recipe.config()
    if getattr(config, "context", None) == "auto":
        # What the images will show is not known yet; a neighbor more costs little.
        stacked = any(volume.n_planes > 1 for volume in volumes)
        asked, config = config, config.beside(Context("T", 1 if stacked else 0))
        changed = {n: v for n, v in config if v != getattr(asked, n)}
        settings = {**recipe.settings, **changed}
        recipe = recipe.model_copy(update={"settings": settings})
    if "start" in type(config).model_fields:
        # Random weights take as long a step, and ask for no look at the image.
        settings = {**recipe.settings, "start": "cold"}
        recipe = recipe.model_copy(update={"settings": settings})
    image = _noise(volumes, config, channels if joint else 1)
    counts = [recipe.train.threads or most_threads or before]
    if counts[0] > 1 and not recipe.train.threads and _on_processor(recipe):
        counts.append(1)
    trials: list[_Trial] = []
    for count in counts:
        if not trials or not trials[0].is_slow:
            trials.append(_trial(image, recipe, count, seconds / len(counts), stop))
    best = max(trials, key=lambda trial: trial.rate)
    networks = 1 if joint else channels
    with fixed(best.threads):
        pixels = _denoised_in_a_second(best.denoiser, volumes[0])
    cached = 4 * sum(math.prod(volume.shape) for volume in volumes)
    return Pace(
        steps_per_second=best.rate,
        threads=best.threads,
        pixels_per_second=pixels,
        memory=min(cached, CACHE_BYTES) + networks * best.weights + _SLACK * best.kept,
        networks=networks,
    )


@dataclass(frozen=True)
class _Trial:
    threads: int
    rate: float  # steps a second
    is_slow: bool  # one step took longer than the trial should have
    kept: int  # bytes for the backward pass
    weights: int  # bytes, with all that Adam and the average add
    denoiser: Denoiser


def _trial(
    image: Volume,
    recipe: Recipe,
    threads: int,
    seconds: float,
    stop: threading.Event | None,
) -> _Trial:
    length = {"steps": _ENDLESS, "seconds": None, "ending": "last"}
    train = {**length, "threads": threads}
    changes = {"train": recipe.train.model_copy(update=train), "stop_after": None}
    training = Training([image], recipe.model_copy(update=changes))
    try:
        events, begun, timed = training.run(stop), 0.0, []
        for stage in training.stages:
            share = stage.end - begun
            if share < 1:
                training.skip_to(begun + _LATE * share)
            timed.append((share, _timed(events, training.steps, seconds * share)))
            begun = stage.end
            if timed[-1][1].is_over:
                break
        denoiser = training.denoiser()
    finally:
        training.close()
    weights = sum(p.nbytes for m in denoiser.methods for p in m.parameters())
    return _Trial(
        threads,
        _overall(timed),
        timed[0][1].is_slow,
        max(stage.kept for _, stage in timed),
        _COPIES * weights,
        denoiser,
    )


@dataclass(frozen=True)
class _Timed:
    rate: float  # steps a second
    is_slow: bool  # one step took longer than the trial should have
    is_over: bool  # told to stop
    kept: int  # bytes for the backward pass


def _timed(events: Iterator[TrainEvent], before: int, seconds: float) -> _Timed:
    """Time a stage, `before` steps from the start."""
    kept, started = _Kept(), time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, kept.unpack):
        first = last = next(events)
    warm = time.perf_counter()
    is_slow = first.step - before <= 1 and warm - started > seconds
    while isinstance(last, Progress) and not is_slow:
        last = next(events)
        if time.perf_counter() - started > seconds:
            break
    now = time.perf_counter()
    steps, spent = last.step - first.step, now - warm
    if not steps:
        steps, spent = last.step - before, now - started
    return _Timed(steps / spent, is_slow, isinstance(last, Finished), kept.most)


def _overall(timed: Sequence[tuple[float, _Timed]]) -> float:
    """Steps a second of a training, from those of stages with a share of its steps."""
    if not all(stage.rate for _, stage in timed):
        return 0.0
    return 1 / sum(share / stage.rate for share, stage in timed)


class _Kept:
    """Counts what autograd keeps for the backward pass, and the most at one time."""

    def __init__(self) -> None:
        self.most = 0
        self._held = 0
        self._uses: dict[int, int] = {}

    def pack(self, tensor: Tensor) -> _Counted:
        storage = tensor.untyped_storage()
        return _Counted(self, tensor, storage.data_ptr(), storage.nbytes())

    def unpack(self, counted: _Counted) -> Tensor:
        return counted.tensor

    def add(self, place: int, size: int) -> None:
        if not self._uses.get(place):
            self._held += size
            self.most = max(self.most, self._held)
        self._uses[place] = self._uses.get(place, 0) + 1

    def remove(self, place: int, size: int) -> None:
        self._uses[place] -= 1
        if not self._uses[place]:
            self._held -= size


class _Counted:
    """A tensor that several operations may keep; its memory counts once."""

    def __init__(self, kept: _Kept, tensor: Tensor, place: int, size: int) -> None:
        self.tensor = tensor
        self._kept, self._place, self._size = kept, place, size
        kept.add(place, size)

    def __del__(self) -> None:
        self._kept.remove(self._place, self._size)


def _noise(volumes: Sequence[Volume], config: MethodConfig, channels: int) -> Volume:
    """Image to learn nothing from, as large as the crops of the real ones need."""
    height, width = (
        min(2 * config.patch, *(v.shape[v.axes.index(name)] for v in volumes))
        for name in "YX"
    )
    random = np.random.default_rng(0)
    context = config.neighbors
    planes = max(2, context.planes + 1)
    noise = random.poisson(100, (planes, channels, height, width)).astype(np.uint16)
    axis = context.axis if context.planes else "T"
    return Volume((noise,), Axes.parse(f"{axis}CYX"), volumes[0].name)


def _denoised_in_a_second(denoiser: Denoiser, volume: Volume) -> float:
    """Pixels, channels counted, in tiles as they will be cut."""
    halo, stride = denoiser.halo, denoiser.stride
    core = -(-_CORE // stride) * stride
    side = core + 2 * halo
    inputs = denoiser.n_channels * denoiser.context.depth
    tile = np.full((1, inputs, side, side), 100, np.uint16)
    spent = [_seconds_of(denoiser, tile)]
    if spent[0] < _WARM:
        spent.append(_seconds_of(denoiser, tile))
    rate = denoiser.n_channels * side**2 / spent[-1]
    sizes = (volume.shape[volume.axes.index(name)] for name in "YX")
    height, width = (-(-size // stride) * stride for size in sizes)
    tall, wide = tile_size(
        height, width, halo=halo, stride=stride, pixels=Tiler(denoiser).pixels
    )
    return rate * tall * wide / ((tall + 2 * halo) * (wide + 2 * halo))


def _seconds_of(denoiser: Denoiser, tile: np.ndarray) -> float:
    started = time.perf_counter()
    denoiser.core(tile, denoiser.halo)
    return time.perf_counter() - started


def _on_processor(recipe: Recipe) -> bool:
    return pick_device(recipe.train.device).type == "cpu"
