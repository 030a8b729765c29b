from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

import pytest
import torch

from napari_blindsound.errors import ModelError, ModelNotFoundError, OutputError
from napari_blindsound.methods.blind2unblind import Blind2Unblind, Blind2UnblindConfig
from napari_blindsound.networks.device import DeviceError, pick_device
from napari_blindsound.training.checkpoint import load_tensors, save_tensors
from napari_blindsound.training.events import Finished, Progress
from napari_blindsound.training.preprocessing import Preprocessing
from napari_blindsound.training.sampling import PatchSampler
from napari_blindsound.training.schedules import halving, one_cycle
from napari_blindsound.training.trainer import TrainConfig, Trainer

if TYPE_CHECKING:
    from napari_blindsound.images.volume import Volume


def make_trainer(
    stack: Volume, settings: dict | None = None, **train: object
) -> Trainer:
    torch.manual_seed(0)
    config = Blind2UnblindConfig.preset(
        "fast", {"width": 4, "depth": 2, "patch": 32, **(settings or {})}
    )
    method = Blind2Unblind(config)
    patches = PatchSampler(
        [stack],
        Preprocessing.fit([stack]),
        patch=config.patch,
        batch=config.batch,
        stride=method.stride,
    )
    return Trainer(method, patches, TrainConfig(device="cpu", **train))


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().ravel() for p in trainer.averaged.parameters()])


def test_trains_the_steps_asked_for_and_learns(stack):
    trainer = make_trainer(stack, {"width": 8}, steps=150)
    events = list(trainer.run())
    *progress, last = events
    assert isinstance(last, Finished)
    assert (last.reason, last.step) == ("done", 150)
    assert all(isinstance(event, Progress) for event in progress)
    fractions = [event.fraction for event in progress]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    noisy, _ = trainer.patches.draw()
    with torch.inference_mode():
        error = (trainer.averaged.denoise(noisy, output="blind") - noisy).var()
    assert error < 0.4 * noisy.var()


def test_ends_after_the_seconds_asked_for(stack):
    started = time.perf_counter()
    *_, last = make_trainer(stack, seconds=0.5).run()
    assert last.reason == "done"
    assert 0.5 <= last.seconds <= 1.5
    assert time.perf_counter() - started < 3


def test_without_a_length_takes_the_methods(stack):
    *_, last = make_trainer(stack, {"steps": 7}).run()
    assert last.step == 7


def test_events_are_throttled_at_the_source(stack):
    trainer = make_trainer(stack, seconds=1.0)
    events = list(trainer.run())
    assert 3 <= len(events) <= 12
    assert all(event.steps_per_second > 0 for event in events[:-1])
    assert set(events[0].terms) == {"re-visible", "regularization"}
    assert all(math.isfinite(v) for event in events[:-1] for v in event.terms.values())


def test_stops_within_a_second_and_leaves_a_good_model(stack):
    stop = threading.Event()
    trainer = make_trainer(stack, {"phases": 16}, steps=10**6)
    threading.Timer(0.5, stop.set).start()
    started = time.perf_counter()
    *_, last = trainer.run(stop)
    assert time.perf_counter() - started < 1.5
    assert last.reason == "stopped"
    assert last.step > 0
    assert torch.isfinite(weights(trainer)).all()


def test_same_seed_gives_the_same_weights(stack):
    results = []
    for _ in range(2):
        trainer = make_trainer(stack, steps=20, seed=5)
        list(trainer.run())
        results.append(weights(trainer))
    assert torch.equal(*results)


def test_pause_and_resume_continue_identically(stack, tmp_path):
    whole = make_trainer(stack, steps=30)
    list(whole.run())

    stop = threading.Event()
    first = make_trainer(stack, steps=30)
    while first.step < 13:
        first._advance(stop)
    path = save_tensors(tmp_path / "pause", *first.state())
    second = make_trainer(stack, steps=30)
    second.restore(*load_tensors(path))
    assert second.step == 13
    list(second.run())
    assert torch.equal(weights(second), weights(whole))


def test_checkpoint_of_another_training_is_refused(stack):
    state = make_trainer(stack, steps=5).state()
    with pytest.raises(ModelError, match="another training"):
        make_trainer(stack, {"eta": 2.0}, steps=5).restore(*state)


def test_steps_that_are_not_finite_are_survived(stack, caplog, monkeypatch):
    trainer = make_trainer(stack, steps=60)
    draw, count = trainer.patches.draw, iter(range(1000))

    def spoilt() -> tuple[torch.Tensor, None]:
        noisy, _ = draw()
        return (noisy * math.inf if 20 <= next(count) < 35 else noisy), None

    monkeypatch.setattr(trainer.patches, "draw", spoilt)
    *_, last = trainer.run()
    assert last.step == 60
    assert torch.isfinite(weights(trainer)).all()
    assert "last good weights" in caplog.text
    assert trainer.descent.damping == 0.5


def test_published_optimizer_settings_are_kept(stack):
    trainer = make_trainer(
        stack, {"schedule": "halving", "learning_rate": 1e-4, "averaging": 0.0}, steps=9
    )
    list(trainer.run())
    assert trainer.descent.optimizer.param_groups[0]["lr"] == pytest.approx(1e-4 / 16)
    last = torch.cat([p.detach().ravel() for p in trainer.method.parameters()])
    assert torch.equal(weights(trainer), last)


def test_one_cycle_rises_and_falls():
    rates = [one_cycle(i / 1000) for i in range(1001)]
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(1)
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[-1] < 0.01
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_halving_is_the_papers():
    assert [halving(p) for p in (0, 0.19, 0.2, 0.4, 0.6, 0.8, 1.0)] == [
        1, 1, 0.5, 0.25, 0.125, 0.0625, 0.0625,
    ]  # fmt: skip


def test_files_are_replaced_whole_or_not_at_all(tmp_path):
    path = save_tensors(tmp_path / "model", {"a": torch.arange(3.0)}, {"n": 1})
    with pytest.raises(OutputError, match="choose a folder"):
        save_tensors(tmp_path / "nowhere" / "model", {"a": torch.zeros(1)}, {})
    tensors, header = load_tensors(path)
    assert header == {"n": 1}
    assert torch.equal(tensors["a"], torch.arange(3.0))
    assert [p.name for p in tmp_path.iterdir()] == ["model"]

    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ModelError, match="cut off"):
        load_tensors(path)
    path.write_text("no model")
    with pytest.raises(ModelError, match="not a model"):
        load_tensors(path)
    with pytest.raises(ModelNotFoundError, match="no model at"):
        load_tensors(tmp_path / "missing")


def test_device_that_is_not_there_is_refused():
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(DeviceError, match="there is"):
        pick_device("abacus")
