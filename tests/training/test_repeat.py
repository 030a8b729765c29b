"""Trainings that were stopped are repeated, and continued, to the bit."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from napari_blindsound import open_volume
from napari_blindsound.errors import RecipeError
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.threads import Slowdown
from napari_blindsound.training.trainer import TrainConfig

SMALL = {"width": 4, "depth": 2, "patch": 32, "batch": 2, "phases": 8}


class Countdown(threading.Event):
    """Is set when it has been asked a number of times: in the middle of a step, too."""

    def __init__(self, count):
        super().__init__()
        self.count = count

    def is_set(self):
        self.count -= 1
        return self.count < 0


@pytest.fixture
def two_channels(stack):
    counts = stack.levels[0]
    return open_volume(np.stack([counts, counts[:, ::-1] + 7], 1), axes="TCYX")


def recipe(**changes):
    train = TrainConfig(steps=changes.pop("steps", 16), device="cpu", threads=1)
    return Recipe(settings=SMALL, train=train, **changes)


def trained(volume, what, *stops):
    """Denoiser of a training that is stopped, and started again, at each of `stops`."""
    training = Training([volume], what)
    for stop in stops:
        list(training.run(stop))
    denoiser = training.denoiser()
    training.close()
    return denoiser


@pytest.mark.parametrize("asked", [6, 7, 8])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_stopped_training_is_repeated(stack, two_channels, asked, channels):
    volume = stack if channels == 1 else two_channels
    stopped = trained(volume, recipe(), Countdown(asked))
    steps = stopped.provenance["steps"]
    assert stopped.provenance["ended"] == "stopped"
    assert len(steps) == channels
    assert 0 < max(steps) < 16
    again = trained(volume, recipe(stop_after=steps), None)
    assert again.provenance["steps"] == steps
    assert again.provenance["ended"] == "stopped"
    assert again.revision == stopped.revision
    assert again.revision != trained(volume, recipe(), None).revision


@pytest.mark.parametrize("channels", ["one", "each", "joint"])
def test_a_continued_training_ends_as_if_never_stopped(stack, two_channels, channels):
    if channels == "one":
        volume, what = stack, recipe()
    else:
        volume, what = two_channels, recipe(channels=channels)
    whole = trained(volume, what, None)
    for asked in (6, 7):
        parts = trained(volume, what, Countdown(asked), Countdown(8), None)
        assert parts.provenance["ended"] == "done"
        assert parts.revision == whole.revision


def test_a_checkpoint_of_a_step_that_was_stopped(stack, tmp_path):
    whole = trained(stack, recipe(), None)
    for asked in (5, 6):
        first, second = (Training([stack], recipe()) for _ in range(2))
        list(first.run(Countdown(asked)))
        second.restore(first.save(tmp_path / "point"))
        list(second.run())
        assert second.denoiser().revision == whole.revision
        first.close()
        second.close()


def test_networks_stopped_at_steps_of_their_own(two_channels):
    events = []
    training = Training([two_channels], recipe(stop_after=(3, 0)))
    events.extend(training.run())
    assert events[-1].reason == "stopped"
    assert events[-2].fraction == 1
    assert training.denoiser().provenance["steps"] == [3, 0]
    training.close()
    with pytest.raises(RecipeError, match=r"2 network\(s\) are trained"):
        Training([two_channels], recipe(stop_after=(3,)))


def test_the_number_of_threads_is_kept_and_torch_left_alone(stack):
    used, before = set(), torch.get_num_threads()
    for threads in (1, 3):
        train = TrainConfig(steps=3, device="cpu", threads=threads)
        training = Training([stack], Recipe(settings=SMALL, train=train))
        draw = training._trainers[0].patches.draw
        training._trainers[0].patches.draw = lambda draw=draw: (
            used.add(torch.get_num_threads()),
            draw(),
        )[1]
        list(training.run())
        training.close()
    assert used == {1, 3}
    assert torch.get_num_threads() == before


def test_training_on_a_part_of_an_image(stack):
    part = stack.select(Y=slice(10, 60), X=slice(20, 80), T=slice(1, 3))
    cut = stack.levels[0][1:3, 10:60, 20:80]
    copied = open_volume(np.ascontiguousarray(cut), axes="TYX")
    revisions = {trained(v, recipe(), None).revision for v in (part, copied)}
    assert len(revisions) == 1


def test_a_training_that_fell_back_to_one_thread_is_repeated(stack, monkeypatch):
    before = torch.get_num_threads()
    what = Recipe(settings=SMALL, train=TrainConfig(steps=8, device="cpu", threads=2))
    # The sixth step comes when the machine has become busy.
    calls = iter(range(100))
    monkeypatch.setattr(Slowdown, "note", lambda *_: next(calls) == 5)
    training = Training([stack], what, may_fall_back=True)
    list(training.run())
    fallen = training.denoiser()
    assert fallen.provenance["one_thread_after"] == [6]
    again = trained(stack, what.model_copy(update={"one_thread_after": (6,)}), None)
    assert again.revision == fallen.revision
    assert torch.get_num_threads() == before
