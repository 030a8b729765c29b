from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import torch

from napari_blindsound.methods.dbsn import DBSN, DBSNConfig
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.checkpoint import load_tensors, save_tensors
from napari_blindsound.training.events import Finished, Judged, Progress
from napari_blindsound.training.preprocessing import Preprocessing
from napari_blindsound.training.sampling import PatchSampler
from napari_blindsound.training.schedules import one_cycle
from napari_blindsound.training.trainer import TrainConfig, Trainer

if TYPE_CHECKING:
    from napari_blindsound.images.volume import Volume

SMALL = {"width": 4, "blocks": 1, "patch": 32, "student_width": 4, "student_depth": 2}


def make_trainer(stack: Volume, steps: int = 20, **changes) -> Trainer:
    torch.manual_seed(0)
    method = DBSN(DBSNConfig(**{**SMALL, **changes}))
    preprocessing = Preprocessing.fit([stack])
    method.calibrate(preprocessing.normalized_noise(), preprocessing.intensity)
    patches = PatchSampler(
        [stack], preprocessing, patch=32, batch=1, stride=method.stride
    )
    return Trainer(method, patches, TrainConfig(device="cpu", steps=steps))


def weights(part: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().ravel() for p in part.parameters()])


def advance(trainer: Trainer, to: int) -> None:
    while trainer.step < to:
        trainer._advance(threading.Event())


def test_each_stage_has_a_schedule_of_its_own(stack):
    trainer = make_trainer(stack, 20, mean_until=0.5, likelihood_until=0.75)
    rates = []
    for step in range(20):
        advance(trainer, step + 1)
        rates.append(trainer.descent.optimizer.param_groups[0]["lr"])
    wanted = [
        one_cycle(step / length) for length in (10, 5, 5) for step in range(length)
    ]
    assert rates == pytest.approx([3e-3 * rate for rate in wanted])


def test_a_stage_begins_with_the_averages_and_leaves_the_rest_alone(stack):
    trainer = make_trainer(stack, 20, mean_until=0.5, likelihood_until=0.75)
    method, averaged = trainer.method, trainer.averaged
    before = weights(method.student)
    advance(trainer, 10)
    learned = weights(averaged.network)
    assert not torch.equal(learned, weights(method.network))
    advance(trainer, 11)
    # The likelihood teaches the spread alone, with what the mean has learned.
    assert torch.equal(weights(method.network), learned)
    assert trainer.descent._steps == 1
    assert torch.equal(weights(method.student), before)
    advance(trainer, 16)
    assert not torch.equal(weights(method.student), before)
    assert torch.equal(weights(averaged.network), learned)


def test_the_average_of_what_begins_to_learn_forgets_its_start(stack):
    trainer = make_trainer(stack, 400, mean_until=0.1, likelihood_until=0.2)
    advance(trainer, 80)
    begin = weights(trainer.method.student)
    advance(trainer, 100)
    now, kept = weights(trainer.method.student), weights(trainer.averaged.student)
    assert (kept - now).norm() < 0.5 * (begin - now).norm()


@pytest.mark.parametrize("pause", [7, 10, 13, 17])
def test_pause_and_resume_continue_identically(stack, tmp_path, pause):
    shares = {"mean_until": 0.5, "likelihood_until": 0.75}
    whole = make_trainer(stack, 20, **shares)
    list(whole.run())
    first = make_trainer(stack, 20, **shares)
    advance(first, pause)
    path = save_tensors(tmp_path / "pause", *first.state())
    second = make_trainer(stack, 20, **shares)
    second.restore(*load_tensors(path))
    list(second.run())
    assert torch.equal(weights(second.averaged), weights(whole.averaged))


def test_progress_says_which_stage_it_is(stack):
    trainer = make_trainer(stack, 20)
    words = set()
    for step in range(20):
        advance(trainer, step)
        words |= {next(iter(trainer.run(_set()))).stage}
    assert words == {
        "stage 1 of 3: mean",
        "stage 2 of 3: likelihood",
        "stage 3 of 3: distillation",
    }


def test_a_judged_training_keeps_to_its_stages(stack):
    recipe = Recipe(
        method="dbsn",
        settings=SMALL,
        train=TrainConfig(steps=240, ending="auto", device="cpu", threads=1),
    )
    training = Training([stack], recipe)
    events = list(training.run())
    training.close()
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.reason, last.step, last.best_step) == ("done", 240, 240)
    assert "stages" in last.words
    assert any(isinstance(event, Judged) for event in events)
    assert all(e.network == "" for e in events if isinstance(e, Progress))
    assert bool(training.denoiser().methods[0].distilled)


def _set() -> threading.Event:
    stop = threading.Event()
    stop.set()
    return stop
