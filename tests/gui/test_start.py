"""What a training starts from is seen at once, and said."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from tests.networks.filters import member, save

from napari_blindsound.gui.data import Data
from napari_blindsound.gui.form import ConfigForm
from napari_blindsound.gui.live import Controls, Preview, Request, watched
from napari_blindsound.gui.outcome import Outcome
from napari_blindsound.gui.plan import Plan
from napari_blindsound.gui.session import Session, State
from napari_blindsound.gui.view import Look
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import phantom
from napari_blindsound.methods.blind2unblind import Blind2UnblindConfig
from napari_blindsound.networks.family import family
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training import start
from napari_blindsound.training.config import TrainConfig

SMALL = {"width": 4, "depth": 2, "patch": 32, "batch": 1}
LONG = 60_000  # ms


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An image, and a family that fits small networks."""
    save(member(), tmp_path)
    monkeypatch.setattr(start, "family", lambda _: family(tmp_path))
    return Data(open_volume(phantom("2d", size=96).noisy, axes="YX"), "YX")


def test_the_first_preview_is_the_start_itself(data):
    recipe = Recipe(
        settings={**SMALL, "start": "warm"},
        train=TrainConfig(steps=40, ending="last", threads=1),
    )
    training, controls = Training([data.training], recipe), Controls()
    look = Look((slice(0, 96), slice(0, 96)))
    controls.ask(Request(look))
    events = watched(data, training, controls, threading.Event())
    expected = training.denoiser()(data.volume.levels[0])
    first = next(event for event in events if isinstance(event, Preview))
    np.testing.assert_allclose(first.estimates[0], expected, rtol=1e-3)
    training.close()


@pytest.mark.parametrize(
    ("wish", "words"),
    [("warm", "The training starts from weights that synthetic"), ("cold", "")],
)
def test_the_dock_says_what_it_starts_from(qtbot, data, wish, words):
    session = Session()
    outcome = Outcome(session)
    qtbot.addWidget(outcome)
    outcome.refresh()
    assert outcome.start.isHidden()
    session.set_plan(Plan(settings={**SMALL, "start": wish}, unit="steps", amount=3))
    session.choose(data)
    session.start()
    qtbot.waitUntil(lambda: session.state is State.TRAINED, timeout=LONG)
    outcome.refresh()
    assert outcome.start.text().startswith(words)
    assert outcome.start.isHidden() == (not words)
    session.close(5)


def test_the_form_offers_the_start(qtbot):
    form = ConfigForm(Blind2UnblindConfig)
    qtbot.addWidget(form)
    assert "start" not in form.values()
    form.set_values({"start": "cold"})
    assert form.values() == {"start": "cold"}
