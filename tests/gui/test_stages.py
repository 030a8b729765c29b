"""A training in stages, as the line on what goes on tells of it."""

from __future__ import annotations

import pytest

from napari_blindsound.gui.action_bar import ActionBar
from napari_blindsound.gui.data import Data
from napari_blindsound.gui.plan import Plan
from napari_blindsound.gui.session import Session, State
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import phantom

SMALL = {"width": 4, "blocks": 1, "patch": 32, "student_width": 4}
LONG = 60_000  # ms


@pytest.fixture
def session(qtbot):
    made = Session()
    yield made
    made.close(5)


def test_the_bar_says_which_stage_runs(session, qtbot):
    bar = ActionBar(session)
    qtbot.addWidget(bar)
    said = []
    session.events.progressed.connect(lambda _: said.append(bar.status.text()))
    plan = Plan(method="dbsn", settings=SMALL, unit="steps", amount=300, ending="auto")
    session.set_plan(plan)
    session.choose(Data(open_volume(phantom("2d", size=64).noisy, axes="YX"), "YX"))
    session.start()
    qtbot.waitUntil(lambda: session.state is State.TRAINED, timeout=LONG)
    stages = [text for text in said if text.startswith("stage ")]
    assert any("stage 3 of 3: distillation · cpu · " in text for text in stages)
    assert "stages" in session.finished.words
    assert session.finished.step == 300
    assert bool(session.denoiser.methods[0].distilled)
