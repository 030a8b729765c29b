from __future__ import annotations

import threading
from copy import deepcopy

import numpy as np
import pytest
import torch

from napari_blindsound import open_volume
from napari_blindsound.methods.blind2unblind import Blind2Unblind, Blind2UnblindConfig
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training import schedules, stopping
from napari_blindsound.training.events import Finished, Judged, Progress
from napari_blindsound.training.judgement import Judgement
from napari_blindsound.training.schedules import HOLD, OpenEnd, one_cycle
from napari_blindsound.training.stopping import Stopping
from napari_blindsound.training.trainer import TrainConfig

SMALL = {"width": 4, "depth": 2, "patch": 32, "batch": 2}


class Countdown(threading.Event):
    """Is set when it has been asked a number of times: while judging, too."""

    def __init__(self, count):
        super().__init__()
        self.count = count

    def is_set(self):
        self.count -= 1
        return self.count < 0


class Scripted:
    """Finds what it is told to, with noise that all judgements share but for a part."""

    cost, source = 1, "stein"

    def __init__(self, means, *, own_noise=0.02):
        self._means = iter(means)
        self._random = np.random.default_rng(0)
        self._shared = self._random.normal(0, 1, 4000)
        self._own_noise = own_noise

    def judge(self, method, step, stop=None, first=None):
        own = self._random.normal(0, self._own_noise, 4000)
        noise = self._shared + own - (self._shared + own).mean()
        return Judgement(step, (noise + next(self._means)).astype("f4"), 1.0, 0.9)


def method_of(value):
    method = Blind2Unblind(Blind2UnblindConfig(width=4, depth=2))
    for parameter in method.parameters():
        parameter.data.fill_(value)
    return method


def value_of(method):
    return float(next(method.parameters()).detach().flatten()[0])


def judged(means, ending="auto", least_gain=stopping.LEAST_GAIN, **noise):
    """A `Stopping` that saw these errors at steps that double four times in all."""
    judge = Scripted(means, **noise)
    found = Stopping(judge, ending, step_pixels=10**6, least_gain=least_gain)
    step = stopping._SETTLING
    for number, _ in enumerate(means):
        assert found.is_due(step)
        assert found.look(method_of(number), step, 0.1) is not None
        assert found.look(method_of(number), step, 0.1) is None
        assert not found.is_due(step)
        step = int(step * 1.3)
    return found


@pytest.fixture
def soon(monkeypatch):
    """Judged every few steps, so that trainings may be short."""
    monkeypatch.setattr(schedules, "WARM_STEPS", 10)
    monkeypatch.setattr(stopping, "_SETTLING", 20)
    monkeypatch.setattr(stopping, "FIRST_STEP", 8)
    monkeypatch.setattr(stopping, "SHARE", 100)


@pytest.fixture
def two_channels(stack):
    counts = stack.levels[0]
    return open_volume(np.stack([counts, counts[:, ::-1] + 7], 1), axes="TCYX")


def recipe(ending, steps=60, least_gain=None, **changes):
    train = TrainConfig(
        steps=steps, device="cpu", threads=1, ending=ending, least_gain=least_gain
    )
    return Recipe(settings=SMALL, train=train, **changes)


def trained(volume, what, *stops):
    """Denoiser and last event of a training stopped and started again at `stops`."""
    training = Training([volume], what)
    for stop in stops:
        *_, last = training.run(stop)
    denoiser = training.denoiser()
    training.close()
    return denoiser, last


def test_an_open_end_creeps_and_then_cools_for_a_quarter():
    end = OpenEnd(HOLD["one-cycle"])
    rising = [end.progress(step, step / 10_000) for step in range(0, 1201, 100)]
    assert rising == sorted(rising)
    assert rising[3] == pytest.approx(0.4)
    assert rising[12] == pytest.approx(0.85 - 0.45 / 2)
    rates = [one_cycle(end.progress(steps, 0.0)) for steps in (300, 1200, 4800)]
    assert 0.9 > rates[0] > 1.5 * rates[1] > 2.5 * rates[2] > 0.3
    end.cool(1200, 0.12)
    cooling = [end.progress(step, step / 10_000) for step in (1200, 1400, 1600)]
    assert cooling == pytest.approx([rising[12], (rising[12] + 1) / 2, 1.0])
    done = [end.done(step, step / 10_000) for step in (1200, 1400, 1600)]
    assert done == pytest.approx([0.12, 0.56, 1.0])


def test_the_budget_ends_an_open_end():
    end = OpenEnd(HOLD["halving"])
    assert not end.must_cool(0.74)
    assert end.must_cool(0.76)
    end.cool(760, 0.76)
    assert not end.must_cool(0.8)
    assert end.progress(880, 0.88) == pytest.approx((0.19 + 1) / 2)
    assert end.progress(1000, 1.0) == end.done(1000, 1.0) == 1


def test_it_goes_on_while_there_is_a_gain_and_ends_when_there_is_none():
    falling = [0.9**k for k in range(10)]
    assert not judged(falling).has_settled
    settled = judged([*falling, *[falling[-1]] * 5])
    assert settled.has_settled
    assert settled.open_end.cools_from is not None
    assert not judged([*falling, *[falling[-1]] * 5], "best").has_settled


def test_how_little_is_enough_can_be_said():
    # A hundredth of the error in a step of 1.3 times is 0.12 dB in one of twice.
    creeping = [0.99**k for k in range(10)]
    assert not judged(creeping).has_settled
    assert judged(creeping, least_gain=0.2).has_settled
    assert "less than 0.2 dB" in judged(creeping, least_gain=0.2).words("converged", 9)
    slower = [0.999**k for k in range(10)]
    assert judged(slower).has_settled
    assert not judged(slower, least_gain=0.01).has_settled


def test_earlier_weights_are_kept_only_if_they_are_surely_better():
    found = judged([0.5, 0.2, 0.3], "best")
    assert found.kept.step == found.judgements[1].step
    assert value_of(found.chosen(method_of(9))) == 1
    assert "were better, and are kept" in found.words("done", 1000)
    near = judged([0.5, 0.2, 0.2001], "best")
    assert near.kept is near.judgements[-1]
    assert value_of(near.chosen(method_of(9))) == 9
    unsure = judged([0.5, 0.2, 0.3], "best", own_noise=5.0)
    assert value_of(unsure.chosen(method_of(9))) == 9


def test_a_judgement_is_taken_back_where_training_was_stopped():
    found = judged([0.5, 0.2])
    last = found.judgements[-1].step
    found.forget(last - 1)
    assert len(found.judgements) == 2
    found.forget(last)
    assert len(found.judgements) == 1
    assert value_of(found._best) == 0


def test_its_state_is_all_that_later_decisions_need():
    found = judged([0.9**k for k in range(10)] + [0.38] * 5)
    again = Stopping(Scripted([]), "auto", step_pixels=10**6)
    again.restore(*deepcopy(found.state()), method_of(0))
    assert again.has_settled
    assert again.open_end == found.open_end
    assert value_of(again._best) == value_of(found._best)
    assert [j.error for j in again.judgements] == [j.error for j in found.judgements]
    empty = Stopping(Scripted([]), "auto", step_pixels=10**6)
    again.restore(*empty.state(), method_of(0))
    assert again.kept is None


@pytest.mark.usefixtures("soon")
def test_a_training_without_gain_ends_by_itself_and_says_so(stack):
    training = Training([stack], recipe("auto", 200, least_gain=50.0))
    events = list(training.run())
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.reason, training.reason) == ("converged", "converged")
    assert last.step < 150
    assert "ended after" in last.words
    fractions = [e.fraction for e in events if isinstance(e, Progress)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    found = [e for e in events if isinstance(e, Judged)]
    assert found[-1].step == last.step
    assert any(e.is_best for e in found)
    assert all(e.source == "stein" for e in found)
    origin = training.denoiser().provenance
    assert origin["ended"] == "converged"
    assert origin["kept_steps"] == [last.best_step]
    assert origin["estimated_gain"] == [last.gain]
    training.close()
    again, repeated = trained(stack, recipe("auto", 200, least_gain=50.0), None)
    assert again.revision == training.denoiser().revision
    assert repeated.step == last.step
    stopped = recipe("auto", 200, least_gain=50.0, stop_after=(last.step,))
    assert trained(stack, stopped, None)[0].revision == again.revision


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("ending", ["best", "auto"])
def test_a_budget_is_kept_to(stack, ending):
    _, last = trained(stack, recipe(ending, 40), None)
    assert (last.reason, last.step) == ("done", 40)
    assert last.best_step is not None
    clocked = Recipe(
        settings=SMALL, train=TrainConfig(seconds=1.0, device="cpu", ending=ending)
    )
    _, last = trained(stack, clocked, None)
    assert last.reason == "done"
    # The cool-down of an open end is counted in steps, which may be faster by then.
    assert (0.5 if ending == "auto" else 1.0) <= last.seconds < 2.5


def test_judging_disturbs_nothing(stack, soon, monkeypatch):
    often = Training([stack], recipe("best", 30))
    events = list(often.run())
    assert sum(isinstance(e, Judged) for e in events) > 3
    monkeypatch.setattr(stopping, "FIRST_STEP", 10**9)
    once = Training([stack], recipe("best", 30))
    events = list(once.run())
    assert sum(isinstance(e, Judged) for e in events) == 1
    revisions = {t.denoiser(latest=True).revision for t in (often, once)}
    assert len(revisions) == 1
    often.close()
    once.close()


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(("channels", "stops"), [(1, (25, 34)), (2, (34,))])
def test_stopped_and_continued_it_ends_as_if_never_stopped(
    stack, two_channels, channels, stops, tmp_path
):
    volume = stack if channels == 1 else two_channels
    whole, last = trained(volume, recipe("auto", 24), None)
    for asked in stops:
        parts, ended = trained(volume, recipe("auto", 24), Countdown(asked), None)
        assert parts.revision == whole.revision
        assert ended.words == last.words
        first, second = (Training([volume], recipe("auto", 24)) for _ in range(2))
        list(first.run(Countdown(asked)))
        second.restore(first.save(tmp_path / "point"))
        list(second.run())
        assert second.denoiser().revision == whole.revision
        first.close()
        second.close()


@pytest.mark.usefixtures("soon")
def test_a_stopped_one_is_repeated_by_its_steps(stack):
    stops = set()
    for asked in range(24, 36, 3):
        stopped, last = trained(stack, recipe("best", 60), Countdown(asked))
        assert last.reason == "stopped"
        steps = tuple(stopped.provenance["steps"])
        stops.add(steps)
        again, _ = trained(stack, recipe("best", 60, stop_after=steps), None)
        assert again.revision == stopped.revision
    assert len(stops) > 2


def test_without_judgements_nothing_is_held_out(stack):
    training = Training([stack], recipe("last", 2))
    trainer = training._trainers[0]
    _, weight = trainer.patches.draw()
    assert weight is None
    assert trainer.stopping is None
    assert "ending" not in trainer.state()[1]["training"]
    *_, last = training.run()
    assert (last.best_step, last.words) == (None, "")
    assert torch.equal(
        *(next(m.parameters()) for m in (trainer.result, trainer.averaged))
    )
    training.close()
