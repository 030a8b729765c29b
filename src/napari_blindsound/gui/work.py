"""What a dock has done in threads: generators, which end when they are told to stop.

Here torch is imported, on first use; on the GUI thread it would freeze the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_blindsound.gui import live
from napari_blindsound.gui.live import Controls, Prepared, Preview

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_blindsound.gui.data import Data
    from napari_blindsound.gui.plan import Plan
    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.inference.events import WriteEvent
    from napari_blindsound.job import Job
    from napari_blindsound.methods.base import Method
    from napari_blindsound.pace import Pace
    from napari_blindsound.quality.preflight import Glance


@dataclass(frozen=True)
class Checked:
    """What the data look like at a glance."""

    glances: tuple[Glance, ...]
    advice: tuple[str, ...]


@dataclass(frozen=True)
class Imported:
    """What can be chosen from once torch is there."""

    methods: Mapping[str, type[Method]]
    devices: tuple[str, ...]


def importing(stop: threading.Event) -> Iterator[Imported]:
    """Import what is large, and tell what there is."""
    from napari_blindsound import methods, pace
    from napari_blindsound.networks.device import devices

    # Both are needed when Start is pressed, and what they import takes seconds.
    del pace

    if not stop.is_set():
        yield Imported(methods.available(), tuple(devices()))


def checking(data: Data, plan: Plan, stop: threading.Event) -> Iterator[Checked | Pace]:
    """Look at the data, then measure the speed."""
    from napari_blindsound.quality.advice import advice
    from napari_blindsound.quality.preflight import glances

    found = glances(data.training)
    yield Checked(tuple(found), tuple(advice(data.training, found)))
    if not stop.is_set():
        yield pace_of(data, plan, stop)


def pace_of(data: Data, plan: Plan, stop: threading.Event) -> Pace:
    """Speed of a training that leaves a core to the window and its previews."""
    import torch

    from napari_blindsound.pace import measure_pace

    most = max(1, torch.get_num_threads() - 1)
    recipe = plan.recipe(data, None)
    return measure_pace([data.training], recipe, most_threads=most, stop=stop)


def training(
    data: Data,
    plan: Plan,
    pace: Pace | None,
    controls: Controls,
    stop: threading.Event,
) -> Iterator[object]:
    """Prepare a training, then do it, watched."""
    from napari_blindsound.networks.device import pick_device
    from napari_blindsound.recipe import Training

    if pace is None:
        pace = pace_of(data, plan, stop)
    recipe = plan.recipe(data, pace)
    training = Training([data.training], recipe, may_fall_back=True)
    device = str(pick_device(recipe.train.device))
    yield Prepared(training, recipe, pace, device)
    yield from live.watched(data, training, controls, stop)


def painting(
    data: Data, denoiser: Denoiser, controls: Controls, stop: threading.Event
) -> Iterator[Preview]:
    """Denoise what is looked at with a finished model, until nobody looks elsewhere."""
    while controls.request is not None and not stop.is_set():
        request = controls.take()
        made = None if request is None else live.preview(data, denoiser, request)
        if made is not None:
            yield made
        if not controls.is_new:
            return


def loading(path: Path, device: str, stop: threading.Event) -> Iterator[Denoiser]:
    """Read a model file."""
    from napari_blindsound.inference.denoiser import Denoiser

    model = Denoiser.load(path, device)
    if not stop.is_set():
        yield model


def writing(
    job: Job,
    model: Denoiser,
    targets: Sequence[tuple[Volume, Path]],
    resume: bool,  # noqa: FBT001 - handed over by place, as all work is
    scheduler: str | None,
    stop: threading.Event,
) -> Iterator[WriteEvent]:
    """Denoise images to disk, one after another, each with its deviation if wanted."""
    from napari_blindsound.inference.resume import awaits_deviation

    for volume, path in targets:
        if stop.is_set():
            return
        if not (resume and job.uncertainty and awaits_deviation(path)):
            yield from job.write(
                model, volume, path, stop=stop, resume=resume, scheduler=scheduler
            )
        if job.uncertainty and not stop.is_set():
            yield from job.write_deviation(
                model, volume, path, stop=stop, resume=resume, scheduler=scheduler
            )
