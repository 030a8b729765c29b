from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from qtpy.QtWidgets import QFileDialog, QLabel

from napari_blindsound.gui.data import Data
from napari_blindsound.gui.plan import Plan
from napari_blindsound.gui.session import Session, State
from napari_blindsound.gui.trust_box import TrustBox
from napari_blindsound.gui.trust_check import TrustCheck
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import phantom

SMALL = {"width": 4, "depth": 1, "patch": 32, "batch": 1}
LONG = 60_000  # ms


@pytest.fixture
def data():
    return Data(open_volume(phantom("2d", size=96).noisy, axes="YX"), "YX")


@pytest.fixture
def box(qtbot):
    session = Session()
    session.set_plan(Plan(settings=SMALL, unit="steps", amount=40))
    made = TrustBox(TrustCheck(session))
    qtbot.addWidget(made)
    made.resize(340, 500)
    made.show()
    yield made
    session.close(5)


def train(box, qtbot, data):
    session = box.check.session
    if session.data is not data:
        session.choose(data)
    session.start()
    qtbot.waitUntil(lambda: session.state is State.TRAINED, timeout=LONG)


def lines(box):
    return [label.text() for label in box._findings.findChildren(QLabel)]


def examined(box, qtbot):
    box.test.click()
    assert box.test.text() == "Stop testing"
    assert "testing" in box.verdict.text()
    qtbot.waitUntil(lambda: box.check.work is None, timeout=LONG)
    return box.check.tested


def test_a_verdict_with_findings_and_a_report(box, qtbot, data, tmp_path, monkeypatch):
    assert not box.test.isEnabled()
    train(box, qtbot, data)
    assert not box.save.isVisible()
    found = examined(box, qtbot).trust
    assert found.verdict in {"warn", "fail"}  # 40 steps are no training
    assert box.verdict.text().endswith(found.summary)
    assert box.fold.is_open
    [channel] = found.channels
    qtbot.waitUntil(lambda: len(lines(box)) == len(channel.findings), timeout=LONG)
    for finding, line in zip(channel.findings, lines(box), strict=True):
        assert f"<b>{finding.test}</b>" in line
    assert all("Expected: " in w.toolTip() for w in box._findings.findChildren(QLabel))

    for chosen, written in (("page.html", "page.html"), ("page", "page.png")):
        answer = str(tmp_path / chosen), "Picture (*.png)"
        monkeypatch.setattr(
            QFileDialog, "getSaveFileName", lambda *_, answer=answer: answer
        )
        box.save.click()
        assert "writing" in box.verdict.text()
        qtbot.waitUntil(lambda: box.check.work is None, timeout=LONG)
        assert (tmp_path / written).stat().st_size > 10_000
    assert box.verdict.text().endswith(found.summary)


@pytest.mark.once
def test_a_verdict_is_forgotten_with_what_it_is_about(box, qtbot, data):
    train(box, qtbot, data)
    session = box.check.session
    first = examined(box, qtbot)
    session.set_blend(0.5)
    assert box.check.tested is None
    assert not lines(box) or not box.fold.isVisible()
    assert examined(box, qtbot).model.blend == 0.5
    session.choose(replace(data))
    assert box.check.tested is not None  # the same image
    session.reset()
    assert box.check.tested is None
    assert not box.test.isEnabled()
    assert first.trust.channels


@pytest.mark.once
def test_tests_end_when_they_are_stopped_or_a_training_begins(box, qtbot, data):
    train(box, qtbot, data)
    box.test.click()
    box.test.click()
    assert box.test.text() == "Test the result"
    assert box.verdict.text() == ""
    box.test.click()
    box.check.session.start()
    assert box.check.work is None
    assert not box.test.isEnabled()
    qtbot.waitUntil(
        lambda: box.check.session.state is State.TRAINED and not _threads(),
        timeout=LONG,
    )
    assert box.check.tested is None
    assert box.check.session.failure is None


def test_what_goes_wrong_is_told_and_can_be_put_right(box, qtbot, data, tmp_path):
    train(box, qtbot, data)
    session = box.check.session
    assert examined(box, qtbot) is not None
    (tmp_path / "file").write_text("no folder")
    box.check.save(tmp_path / "file" / "page.html")
    qtbot.waitUntil(lambda: session.failure is not None, timeout=LONG)
    assert session.failure.step == "apply"
    qtbot.waitUntil(lambda: box.save.isEnabled(), timeout=LONG)
    box.check.save(tmp_path / "page.html")
    qtbot.waitUntil(lambda: (tmp_path / "page.html").exists(), timeout=LONG)
    assert session.failure is None

    two = phantom("2d", size=96, channels=2).noisy
    session.choose(Data(open_volume(two, axes="CYX"), "CYX"))
    box.test.click()
    qtbot.waitUntil(lambda: session.failure is not None, timeout=LONG)
    assert "channel" in session.failure.message
    assert session.state is State.TRAINED


@pytest.mark.once
def test_each_channel_has_its_findings(box, qtbot):
    two = phantom("2d", size=96, channels=2).noisy
    image = open_volume(two, axes="CYX")
    train(box, qtbot, Data(image, "CYX", joint=True))
    assert len(examined(box, qtbot).trust.channels) == 2
    titles = [line for line in lines(box) if line in _titles()]
    assert titles == _titles()


def _titles():
    return ["<b>channel 0</b>", "<b>channel 1</b>"]


def _threads():
    return [t for t in threading.enumerate() if t.name == "blindsound-work"]
