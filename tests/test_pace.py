from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
import torch

from napari_blindsound import open_volume
from napari_blindsound.errors import DataError
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.pace import Pace, measure_pace
from napari_blindsound.recipe import Recipe
from napari_blindsound.training.trainer import TrainConfig

CPU = TrainConfig(device="cpu")
SMALL = Recipe(settings={"width": 4, "depth": 2, "patch": 32}, train=CPU)


class Unreadable:
    """An image whose pixels are not to be had."""

    shape, dtype, ndim = (2, 3, 50, 70), np.dtype(np.uint16), 4

    def __getitem__(self, index):
        raise AssertionError(index)


@pytest.fixture
def volume():
    return open_volume(np.zeros((3, 50, 70), np.uint16), axes="TYX")


def test_tells_what_work_costs(volume):
    pace = measure_pace([volume], SMALL, seconds=0.3)
    assert pace.steps_per_second > 1
    assert pace.pixels_per_second > 1000
    assert pace.threads in {1, torch.get_num_threads()}
    larger = SMALL.model_copy(update={"settings": {**SMALL.settings, "batch": 16}})
    # Four times the crops are four times the maps that the backward pass keeps.
    more = measure_pace([volume], larger, seconds=0.1).memory
    assert 2 < more / pace.memory < 5
    assert more > 16 * 32 * 32 * 4 * 10


def test_leaves_no_trace(volume):
    threads = torch.get_num_threads()
    torch.manual_seed(3)
    state, alive = torch.get_rng_state(), threading.active_count()
    torch.set_num_threads(2)
    try:
        measure_pace([volume], SMALL, seconds=0.2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)
    gc.collect()
    assert not [held for held in gc.get_objects() if type(held) is Denoiser]
    assert threading.active_count() <= alive


def test_threads_that_were_asked_for_are_kept(volume):
    train = TrainConfig(device="cpu", threads=3)
    pace = measure_pace([volume], SMALL.model_copy(update={"train": train}))
    assert pace.threads == 3


def test_networks_take_turns():
    volume = open_volume(Unreadable(), axes="TCYX")
    assert measure_pace([volume], SMALL, seconds=0.1).networks == 3
    joint = SMALL.model_copy(update={"channels": "joint"})
    assert measure_pace([volume], joint, seconds=0.1).networks == 1
    pace = Pace(100.0, 1, 1e6, 10, networks=2)
    assert [pace.steps_for(s) for s in (0.001, 1, 60)] == [1, 50, 3000]


def test_ends_when_told_to(volume):
    stop = threading.Event()
    stop.set()
    assert measure_pace([volume], SMALL, seconds=60, stop=stop).steps_per_second == 0


def test_an_image_that_cannot_be_trained_on_is_refused():
    volume = open_volume(np.zeros((10, 70), np.uint16))
    with pytest.raises(DataError, match="crops of"):
        measure_pace([volume], SMALL)
