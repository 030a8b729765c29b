"""Previews bring the neighbors of what is looked at."""

from __future__ import annotations

import threading

import numpy as np

from napari_blindsound.gui.data import Data
from napari_blindsound.gui.live import (
    Controls,
    Preview,
    Quality,
    Request,
    Trained,
    preview,
    watched,
)
from napari_blindsound.gui.view import Look
from napari_blindsound.images.phantom import phantom
from napari_blindsound.inference.tiling import denoise_region
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig


def test_a_watched_training_sees_the_planes_beside():
    volume = phantom("zstack", size=96, planes=5).volume()
    data = Data(volume, "ZYX")
    settings = {"context": "Z1", "width": 4, "depth": 2, "patch": 32}
    recipe = Recipe(settings=settings, train=TrainConfig(steps=60, threads=1))
    training = Training([data.training], recipe)
    controls = Controls(preview_seconds=0.1)
    look = Look((slice(2, 3), slice(8, 72), slice(0, 64)))
    controls.ask(Request(look, ends=True))
    found = list(watched(data, training, controls, threading.Event()))
    training.close()
    assert any(isinstance(event, Preview) for event in found)
    [*_, quality, last] = found
    assert isinstance(quality, Quality)
    assert np.isfinite(quality.gain)
    assert isinstance(last, Trained)
    made = preview(data, last.denoiser, Request(look))
    whole = tuple(slice(0, size) for size in volume.shape)
    expected = denoise_region(last.denoiser, volume, whole)[look.region]
    assert np.abs(made.estimates[0] - expected).max() < 1e-3
