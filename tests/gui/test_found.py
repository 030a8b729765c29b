"""What a training has found of the noise, in the dock."""

from __future__ import annotations

import pytest

from napari_blindsound.gui.data import Data
from napari_blindsound.gui.outcome import Outcome
from napari_blindsound.gui.plan import Plan
from napari_blindsound.gui.session import Session, State
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import phantom

SMALL = {"width": 4, "depth": 1, "patch": 32}
LONG = 60_000  # ms


@pytest.fixture
def session(qtbot):
    made = Session()
    yield made
    made.close(5)


def test_it_is_told_once_the_training_is_over(session, qtbot):
    outcome = Outcome(session)
    qtbot.addWidget(outcome)
    session.events.changed.connect(outcome.refresh)
    outcome.refresh()
    assert outcome.found.isHidden()
    data = Data(open_volume(phantom("2d", size=96).noisy, axes="YX"), "YX")
    session.choose(data)
    for method in ("noise2info", "blind2unblind"):
        plan = Plan(method=method, settings=SMALL, unit="steps", amount=40)
        session.set_plan(plan)
        session.start()
        assert outcome.found.isHidden()
        qtbot.waitUntil(lambda: session.state is State.TRAINED, timeout=LONG)
        if method == "noise2info":
            [numbers] = session.denoiser.provenance["found"]
            told = f"Found: noise, at most {numbers['noise, at most']:.3g} (in counts)."
            assert outcome.found.text() == told
            assert not outcome.found.isHidden()
        else:
            assert outcome.found.isHidden()
