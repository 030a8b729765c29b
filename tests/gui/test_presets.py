"""A preset sets the dock's length and ending; what is seen there is what runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from qtpy.QtCore import Qt

from napari_blindsound import methods
from napari_blindsound.gui.batch_choice import Choice
from napari_blindsound.gui.batch_panel import BatchPanel
from napari_blindsound.gui.batch_session import BatchSession
from napari_blindsound.gui.data import Data
from napari_blindsound.gui.session import Session
from napari_blindsound.gui.train_panel import TrainPanel
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import phantom
from napari_blindsound.job import Job
from napari_blindsound.pace import Pace
from napari_blindsound.recipe import Recipe
from napari_blindsound.training.trainer import TrainConfig

PACE = Pace(100.0, 1, 1e6, 10)


@pytest.fixture
def data():
    return Data(open_volume(phantom("2d", size=96).noisy, axes="YX"), "YX")


@pytest.fixture
def session():
    made = Session()
    made.methods = methods.available()
    yield made
    made.close(5)


@pytest.fixture
def panel(session, qtbot):
    made = TrainPanel(session)
    session.events.changed.connect(made.refresh)
    qtbot.addWidget(made)
    return made


def choose(panel, preset, method=None):
    if method is not None:
        panel.method.setCurrentIndex(panel.method.findData(method))
    panel.preset.setCurrentIndex(panel.preset.findData(preset))


def shown(panel):
    unit = panel.unit.currentData()
    amount = None if panel.amount.isHidden() else panel.amount.value()
    return unit, amount, panel.until.isChecked()


def runs(session, data):
    """What the plan trains, and the words of its command line."""
    recipe = session.plan.recipe(data, PACE)
    train = recipe.settled().train
    line = Job(inputs=("/a.tif",), output="/o.ome.zarr", recipe=recipe).command_line()
    steps = recipe.config().steps if train.steps is None else train.steps
    return (steps, train.seconds, train.ending), line.partition(" /o.ome.zarr")[2]


def test_a_preset_sets_length_and_ending(panel, session, data):
    minute = PACE.steps_for(60, judged=True)
    assert shown(panel) == ("seconds", 60, True)
    assert runs(session, data)[0] == (minute, None, "auto")
    choose(panel, "best")
    assert shown(panel) == ("preset", None, True)
    assert runs(session, data) == (
        (60_000, None, "auto"),
        " --preset best --threads 1",
    )
    choose(panel, "instant")
    assert shown(panel) == ("preset", None, False)
    assert runs(session, data) == ((0, None, "last"), " --preset instant --threads 1")
    choose(panel, "paper")
    assert shown(panel) == ("preset", None, False)
    assert runs(session, data) == (
        (23_700, None, "last"),
        " --preset paper --threads 1",
    )
    choose(panel, "fast")
    assert shown(panel) == ("seconds", 60, True)
    assert runs(session, data) == (
        (minute, None, "auto"),
        f" --steps {minute} --ending auto --threads 1",
    )
    choose(panel, "fast", "dbsn")
    assert shown(panel) == ("seconds", 240, False)
    assert runs(session, data)[0] == (24_000, None, "last")


def test_what_is_chosen_after_the_preset_counts(panel, session, data):
    choose(panel, "best")
    panel.until.click()
    assert runs(session, data) == (
        (60_000, None, "last"),
        " --preset best --ending last --threads 1",
    )
    panel.unit.setCurrentIndex(panel.unit.findData("steps"))
    panel.amount.setValue(500)
    assert shown(panel) == ("steps", 500, False)
    assert runs(session, data)[0] == (500, None, "last")
    panel.until.click()
    assert runs(session, data) == (
        (500, None, "auto"),
        " --preset best --steps 500 --threads 1",
    )
    choose(panel, "fast")
    panel.unit.setCurrentIndex(panel.unit.findData("preset"))
    assert runs(session, data) == (
        (4000, None, "auto"),
        " --ending auto --threads 1",
    )


def test_a_plan_from_elsewhere_is_shown(panel, session):
    session.set_plan(replace(session.plan, unit="steps", amount=77, ending="last"))
    assert shown(panel) == ("steps", 77, False)


def test_presets_are_explained_where_they_are_chosen(panel):
    at = panel.preset.findData("best")
    tip = panel.preset.itemData(at, Qt.ItemDataRole.ToolTipRole)
    assert tip == "until it stops improving, at most 60000 steps"


def test_a_batch_trains_as_long_as_the_preset(qtbot):
    session = BatchSession()
    session.methods = methods.available()
    panel = BatchPanel(session)
    qtbot.addWidget(panel)
    session.events.changed.connect(panel.refresh)
    panel.refresh()
    assert "at most 60 s" in panel.settings.text()
    train = TrainConfig(steps=9, ending="auto")
    session.choose(Choice().with_recipe(Recipe(train=train)))
    assert panel.steps.value() == 9
    assert panel.settings.text() == "until it stops improving"
    panel.preset.setCurrentIndex(panel.preset.findData("best"))
    panel.preset.activated.emit(panel.preset.currentIndex())
    assert panel.steps.value() == 0
    assert session.choice.config().recipe.settled().train.ending == "auto"
    assert "at most 60000 steps" in panel.settings.text()
    panel.steps.setValue(5)
    assert session.choice.config().recipe.settled().train.steps == 5
    session.close(5)
