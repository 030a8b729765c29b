"""The time that is left: series of steps and seconds as trainings gave them."""

from __future__ import annotations

import gc
import math
import weakref
from copy import deepcopy

import pytest
import torch

from napari_blindsound.methods.blind2unblind import Blind2Unblind, Blind2UnblindConfig
from napari_blindsound.methods.dbsn import DBSN, DBSNConfig
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.events import Progress
from napari_blindsound.training.forecast import Tempo, stage_costs, together
from napari_blindsound.training.preprocessing import Preprocessing
from napari_blindsound.training.sampling import PatchSampler
from napari_blindsound.training.schedules import COOL
from napari_blindsound.training.trainer import TrainConfig, Trainer

SMALL = {"width": 4, "depth": 2, "patch": 32, "batch": 1}
STAGED = {"width": 4, "blocks": 1, "patch": 32, "student_width": 4, "student_depth": 2}
RIGHT = 0.2
FROM = 0.1


def make_trainer(stack, kind=Blind2Unblind, config=None, **train):
    torch.manual_seed(0)
    method = kind(config or Blind2UnblindConfig(**SMALL))
    preprocessing = Preprocessing.fit([stack])
    method.calibrate(preprocessing.normalized_noise(), preprocessing.intensity)
    patches = PatchSampler(
        [stack], preprocessing, patch=32, batch=1, stride=method.stride
    )
    return Trainer(method, patches, TrainConfig(device="cpu", **train))


def followed(trainer, costs, preparation=0.0):
    """What is said to be left before each step, and what was."""
    moments = [preparation]
    for cost in costs:
        moments.append(moments[-1] + cost)
    told = []
    for step, seconds in enumerate(moments):
        trainer.step, trainer.seconds = step, seconds
        trainer.forecast.note(trainer)
        told.append(
            (step / len(costs), trainer.forecast.left(trainer), moments[-1] - seconds)
        )
    return told


def assert_right(told, first=FROM):
    for done, left, actual in told:
        if first <= done < 1:
            assert left.seconds == pytest.approx(actual, rel=RIGHT, abs=0.1), done


SERIES = {
    "steady": [0.01] * 600,
    # The first steps of a process: memory is fetched, kernels are made.
    "slow at first": [0.4, 0.2, 0.1, 0.05] + [0.01] * 600,
    # A judgement every so often, for a twentieth of the work.
    "judged": [0.01 + 0.05 * (i % 100 == 99) for i in range(900)],
    "noisy": [0.005 + 0.01 * ((7 * i) % 11) / 10 for i in range(700)],
}


@pytest.mark.parametrize("preparation", [0.0, 4.0])
@pytest.mark.parametrize("name", SERIES)
def test_steps_are_foretold_from_a_tenth_on(stack, name, preparation):
    costs = SERIES[name]
    trainer = make_trainer(stack, steps=len(costs))
    told = followed(trainer, costs, preparation)
    assert_right(told)
    assert math.isinf(told[0][1].seconds)
    assert told[-1][1] == (0.0, False)


def test_a_computer_that_becomes_slow_is_followed(stack):
    costs = [0.01] * 400 + [0.03] * 1600
    told = followed(make_trainer(stack, steps=len(costs)), costs)
    # Nobody knows before, and soon after it has happened it is known.
    assert_right([one for one in told if one[0] > 0.42])


def test_of_time_it_is_known_what_is_left(stack):
    trainer = make_trainer(stack, seconds=10.0)
    trainer.seconds = 4.0
    assert trainer.forecast.left(trainer) == (6.0, False)
    both = make_trainer(stack, seconds=10.0, steps=100)
    told = followed(both, [0.01] * 100)
    assert_right(told)


def test_a_training_cut_short_is_foretold_to_there(stack):
    trainer = make_trainer(stack, steps=1000)
    trainer._stop_after = 200
    assert_right(followed(trainer, [0.01] * 200))


def test_where_it_may_end_by_itself_the_budget_is_the_most(stack):
    recipe = Recipe(
        settings=SMALL,
        train=TrainConfig(steps=1000, ending="auto", device="cpu", threads=1),
    )
    training = Training([stack], recipe)
    [trainer] = training._trainers
    for step in range(301):
        trainer.step, trainer.seconds = step, 0.01 * step
        trainer.forecast.note(trainer)
    assert trainer.forecast.left(trainer) == (pytest.approx(7.0), True)
    # It has settled: what it cools down for is known.
    trainer.stopping.open_end.cool(300, 0.3)
    left, may_end = trainer.forecast.left(trainer)
    assert left == pytest.approx(0.01 * 300 * COOL / (1 - COOL))
    assert not may_end
    trainer.step = 400
    assert trainer.forecast.left(trainer) == (0.0, False)
    training.close()


def test_stages_cost_what_they_cost(stack):
    config = DBSNConfig(**STAGED, mean_until=0.3, likelihood_until=0.5)
    trainer = make_trainer(stack, DBSN, config, steps=1000)
    trainer.forecast._tempo.costs = [4.0, 1.0, 2.0]
    costs = [0.04] * 300 + [0.01] * 200 + [0.02] * 500
    assert_right(followed(trainer, costs))


def test_a_stage_that_was_timed_is_not_guessed():
    tempo = Tempo([1.0, 5.0])
    for step in range(10):
        tempo.note(step, 0.1 * step)
    assert tempo.of_stage(1) == pytest.approx(0.5)
    for step in range(10):
        tempo.note(10 + step, 1 + 0.2 * step, 1)
    assert tempo.of_stage(0) == pytest.approx(0.1)
    assert tempo.of_stage(1) == pytest.approx(0.2)


def test_few_moments_are_kept_of_many():
    tempo = Tempo()
    for step in range(100_000):
        tempo.note(step, 0.01 * step)
    assert len(tempo._moments) <= 256
    assert tempo.of_stage(0) == pytest.approx(0.01)


def test_each_stage_is_timed_once_and_nothing_is_changed(stack):
    trainer = make_trainer(stack, DBSN, DBSNConfig(**STAGED), steps=6)
    before = deepcopy(trainer.method.state_dict())
    state = trainer.method.random.get_state()
    drawn = torch.get_rng_state()
    costs = stage_costs(trainer.method, trainer.device)
    assert len(costs) == len(trainer.method.stages)
    assert all(cost > 0 for cost in costs)
    assert torch.equal(trainer.method.random.get_state(), state)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(
        torch.equal(p, before[n]) for n, p in trainer.method.state_dict().items()
    )
    list(trainer.run())
    kept = trainer.forecast._tempo.costs
    list(trainer.run())
    assert trainer.forecast._tempo.costs is kept


def test_networks_that_take_turns_are_foretold_together(stack):
    first, second = (make_trainer(stack, steps=100) for _ in range(2))
    for step in range(51):
        first.step, first.seconds = step, 0.01 * step
        first.forecast.note(first)
    # The second has not begun: it is taken for one like the first.
    seconds, _ = together([first, second])
    assert seconds == pytest.approx(1.0)
    for step in range(11):
        second.step, second.seconds = step, 0.02 * step
        second.forecast.note(second)
    seconds, may_end = together([first, second])
    assert seconds == pytest.approx(0.5 + 1.8)
    assert not may_end
    assert math.isinf(together([make_trainer(stack, steps=9)]).seconds)


def test_what_comes_after_the_last_step_counts(stack):
    recipe = Recipe(
        method="blind2sound",
        settings=SMALL,
        train=TrainConfig(steps=30, device="cpu", threads=1),
    )
    training = Training([stack], recipe)
    events = [e for e in training.run() if isinstance(e, Progress)]
    # The deviations are calibrated then.
    assert events[-1].fraction == 1
    assert events[-1].seconds_left > 0
    training.close()
    plain = Training([stack], recipe.model_copy(update={"method": "blind2unblind"}))
    assert [e.seconds_left for e in plain.run() if isinstance(e, Progress)][-1] == 0
    plain.close()


def test_a_trainer_that_is_let_go_of_is_gone(stack):
    trainer = make_trainer(stack, steps=2)
    list(trainer.run())
    alive = weakref.ref(trainer)
    gc.disable()
    try:
        del trainer
        assert alive() is None
    finally:
        gc.enable()
