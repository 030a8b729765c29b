"""Trainings that end when they no longer improve, in the dock and by its line."""

from __future__ import annotations

import shlex
import threading
from dataclasses import replace

import pytest
import tifffile

from napari_blindsound.cli import main
from napari_blindsound.gui.data import Data
from napari_blindsound.gui.dock import DenoiseDock
from napari_blindsound.gui.live import Quality
from napari_blindsound.gui.outcome import Outcome
from napari_blindsound.gui.plan import Plan
from napari_blindsound.gui.session import Session, State
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import phantom
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.training.events import Finished, Judged

SMALL = {"width": 4, "depth": 1, "patch": 32, "batch": 1}
LONG = 60_000  # ms


@pytest.fixture
def dock(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    made = DenoiseDock(viewer)
    made.frame = viewer.window.add_dock_widget(made, name="Denoise")
    qtbot.waitUntil(lambda: bool(made.session.methods), timeout=LONG)
    yield made
    made.session.close(5)


@pytest.fixture
def session(qtbot):
    made = Session()
    yield made
    made.close(5)


@pytest.fixture
def data():
    return Data(open_volume(phantom("2d", size=96).noisy, axes="YX"), "YX")


def open_image(dock, qtbot, tmp_path):
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, phantom("2d", size=96).noisy, metadata={"axes": "YX"})
    dock.data.open_paths([path])
    qtbot.waitUntil(lambda: dock.session.pace is not None, timeout=LONG)


def train(dock, qtbot, steps):
    panel = dock.train
    panel._form.set_values({**panel._form.values(), **SMALL})
    panel._on_settings()
    panel.unit.setCurrentIndex(panel.unit.findData("steps"))
    panel.amount.setValue(steps)
    dock.bar.start.click()
    qtbot.waitUntil(lambda: dock.session.state is State.TRAINED, timeout=LONG)


def test_a_training_that_judges_itself_is_what_the_command_line_does(
    dock, qtbot, tmp_path
):
    open_image(dock, qtbot, tmp_path)
    told = []
    dock.session.events.progressed.connect(told.append)
    assert dock.train.until.isChecked()
    train(dock, qtbot, 300)
    assert not any(isinstance(event, Quality) for event in told)
    judged = [event for event in told if isinstance(event, Judged)]
    assert len(judged) >= 2
    [finished] = [event for event in told if isinstance(event, Finished)]
    outcome = dock.train.outcome
    gains = [event.gain for event in judged if event.gain > 0]
    assert list(outcome.curve._quality.points()[1]) == gains
    assert outcome.curve._best == (finished.best_step, finished.gain)
    assert outcome.ended.isVisibleTo(outcome)
    assert "300 steps" in outcome.ended.text()
    assert f"{finished.gain:+.1f} dB" in outcome.quality.text()
    assert dock.train.summary().endswith(f"{finished.gain:+.1f} dB")
    assert dock.apply.isVisibleTo(dock)

    program, *words = shlex.split(dock.bar.command.text())
    assert program == "blindsound"
    assert words[words.index("--ending") + 1] == "auto"
    model = tmp_path / "cli.blindsound"
    words[words.index("-o") + 1] = str(tmp_path / "cli.ome.zarr")
    assert main([*words, "-m", str(model), "-q"]) == 0
    assert Denoiser.load(model).revision == dock.session.denoiser.revision


def test_stopped_and_continued_it_is_the_same_training(session, qtbot, data):
    session.set_plan(Plan(settings=SMALL, unit="steps", amount=200, ending="auto"))
    told = []
    session.events.progressed.connect(told.append)
    session.choose(data)
    session.start()
    qtbot.waitUntil(lambda: any(isinstance(e, Judged) for e in told), timeout=LONG)
    session.stop()
    qtbot.waitUntil(lambda: session.state is State.TRAINED, timeout=LONG)
    assert session.can_go_on
    assert session.finished.words.startswith("stopped after")
    session.go_on()
    assert session.finished is None
    qtbot.waitUntil(lambda: session.state is State.TRAINED, timeout=LONG)
    assert session.is_trained_out
    revision = session.denoiser.revision
    session.start()
    qtbot.waitUntil(lambda: session.state is State.TRAINED, timeout=LONG)
    assert session.denoiser.revision == revision


def test_judging_has_its_share_of_the_seconds(session, qtbot, data):
    session.choose(data)
    qtbot.waitUntil(lambda: session.pace is not None, timeout=LONG)
    pace = session.pace
    plan = Plan(settings=SMALL, amount=100.0, ending="auto")
    steps = plan.recipe(data, pace).train.steps
    assert 0.9 * pace.steps_for(100.0) < steps < pace.steps_for(100.0)


def test_how_it_ended_is_no_complaint(session, qtbot):
    outcome = Outcome(session)
    qtbot.addWidget(outcome)
    outcome.refresh()
    assert outcome.ended.isHidden()
    session.finished = Finished("converged", 740, 9.0, words="ended after 740 steps")
    outcome.refresh()
    assert outcome.ended.text() == "No longer improves: ended after 740 steps."
    assert not outcome.ended.isHidden()


def test_the_gain_of_several_networks_is_their_mean(session, qtbot, data):
    outcome = Outcome(session)
    qtbot.addWidget(outcome)
    session.choose(data)
    qtbot.waitUntil(lambda: session.pace is not None, timeout=LONG)
    session.pace = replace(session.pace, networks=2)
    tell = session.events.progressed.emit
    tell(_judged("red", 100, 4.0))
    assert outcome.quality.text() == ""
    tell(_judged("green", 101, 7.0))
    assert "+5.5 dB" in outcome.quality.text()
    assert outcome.curve._best is None
    tell(_judged("green", 201, float("nan")))
    assert "not known" in outcome.quality.text()
    tell(_judged("green", 301, -9.0))
    assert "not better" in outcome.quality.text()
    tell(Finished("done", 400, 9.0, gain=13.0, words="all"))
    assert "over +13 dB" in outcome.quality.text()


def test_closing_the_dock_while_the_result_is_tested_leaves_no_thread(
    dock, qtbot, tmp_path
):
    open_image(dock, qtbot, tmp_path)
    train(dock, qtbot, 40)
    dock.trust.test.click()
    qtbot.waitUntil(lambda: bool(_threads()), timeout=LONG)
    check = dock.trust.check
    assert check.work == "test"
    dock.viewer.window.remove_dock_widget(dock.frame)
    qtbot.waitUntil(lambda: not _threads(), timeout=10_000)
    assert check.tested is None
    assert check.session.state is State.EMPTY


def _judged(network, step, gain):
    return Judged(
        step, 1.0, gain, 0.01, 0.9, is_best=True, source="stein", network=network
    )


def _threads():
    return [t for t in threading.enumerate() if t.name == "blindsound-work"]
