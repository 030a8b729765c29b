"""Samples and first steps of 100 GB that are nowhere: little memory, few seconds."""

from __future__ import annotations

import threading
import time

import numpy as np
import psutil
import pytest
import torch

from napari_blindsound.images.array import LazyArray
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.sample import sample_frames, sample_planes
from napari_blindsound.images.volume import Volume
from napari_blindsound.recipe import Recipe, Training

SIDE = 4096


class Virtual(LazyArray):
    """Noise that is made when it is asked for, another one at each place."""

    def __init__(self, shape, chunks):
        super().__init__(shape, np.uint16, chunks)
        self.pixels, self.planes, self._lock = 0, set(), threading.Lock()

    def read(self, region):
        shape = tuple(part.stop - part.start for part in region)
        with self._lock:
            self.pixels += int(np.prod(shape))
            self.planes.add(tuple(part.start for part in region[:-2]))
        seed = [part.start for part in region]
        pixels = np.random.default_rng(seed).integers(60, 140, shape, np.uint16)
        rows = np.arange(region[-2].start, region[-2].stop) // 64 % 2
        pixels += (rows * 300).astype(np.uint16)[:, None]
        return pixels


LAYOUTS = {
    "ZYX": ((3125, SIDE, SIDE), (1, 256, 256)),
    "TZYX": ((125, 25, SIDE, SIDE), (1, 1, 512, 512)),
    # One plane, as a slide scanner's.
    "YX": ((225_000, 225_000), (1024, 1024)),
    # Two channels of whole planes in one chunk.
    "TCYX": ((1562, 2, SIDE, SIDE), (1, 1, SIDE, SIDE)),
}


@pytest.mark.parametrize("axes", LAYOUTS)
def test_a_sample_reads_what_it_returns(axes):
    source = Virtual(*LAYOUTS[axes])
    volume = Volume((source,), Axes.parse(axes), "virtual")
    assert volume.nbytes > 1e11
    start = time.perf_counter()
    blocks = sample_planes(volume, pixels=2_000_000)
    assert time.perf_counter() - start < 5
    assert 1_000_000 < sum(block.size for block in blocks) <= 2_000_000
    assert source.pixels == sum(block.size for block in blocks)
    if "T" in axes:
        frames = sample_frames(volume, pixels=2_000_000)
        assert sum(block.size for block in frames) <= 2_000_000
        # From all over, not from the beginning.
        times = {plane[0] for plane in source.planes}
        assert min(times) < 0.2 * volume.shape[0]
        assert max(times) > 0.8 * volume.shape[0]


def test_training_starts_in_seconds_and_in_little_memory(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    # The bounds of a run of minutes, scaled down to one of seconds.
    monkeypatch.setattr("napari_blindsound.recipe.training.CACHE_BYTES", 64 << 20)
    monkeypatch.setattr("napari_blindsound.training.sampling.FIRST_PIXELS", 4_000_000)
    source = Virtual(*LAYOUTS["ZYX"])
    volume = Volume((source,), Axes.parse("ZYX"), "virtual")
    settings = {"width": 4, "depth": 1, "patch": 64, "batch": 2}
    recipe = Recipe(settings=settings, train={"steps": 60})
    process = psutil.Process()
    held = [process.memory_info().rss]
    try:
        start = time.perf_counter()
        training = Training([volume], recipe)
        events = training.run()
        next(events)
        seconds = time.perf_counter() - start
        held += [process.memory_info().rss for _ in events]
        training.close()
    finally:
        torch.set_num_threads(before)
    assert seconds < 60  # some 6 on an idle machine, mostly the noise survey
    assert max(held) - held[0] < 1e9
    # A few blocks all over the stack.
    assert source.pixels < 0.01 * np.prod(source.shape)
    planes = np.array([plane[0] for plane in source.planes])
    assert planes.min() < 0.1 * len(source) < 0.9 * len(source) < planes.max()
