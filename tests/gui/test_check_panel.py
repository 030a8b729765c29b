from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QWidget

from napari_blindsound.gui.check_panel import CheckPanel
from napari_blindsound.gui.data import Data
from napari_blindsound.gui.plan import Plan
from napari_blindsound.gui.session import Session, State
from napari_blindsound.gui.themed import Colors
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import phantom
from napari_blindsound.quality import facts

SMALL = {"width": 4, "depth": 1, "patch": 32, "batch": 1}
LONG = 60_000  # ms


@pytest.fixture
def session(qtbot):
    made = Session()
    made.set_plan(Plan(settings=SMALL, unit="steps", amount=20))
    yield made
    made.close(5)


@pytest.fixture
def panel(session, qtbot):
    made = CheckPanel(session)
    qtbot.addWidget(made)
    session.events.changed.connect(made.refresh)
    session.events.failed.connect(made.complain)
    made.resize(360, 500)
    made.show()
    return made


def counts(shape, light=20.0, seed=0):
    rng = np.random.default_rng(seed)
    slope = np.linspace(0.1, 2, shape[-1])
    return (100 + 2 * rng.poisson(light * slope, shape)).astype(np.uint16)


def data_of(pixels, axes):
    return Data(open_volume(pixels, axes=axes, name="cells"), axes)


def measured(qtbot, session):
    qtbot.waitUntil(lambda: session.pace is not None, timeout=LONG)


def text(panel, row):
    return panel.values[row].text()


def test_before_any_data_it_says_what_to_do(panel):
    assert panel.status.text() == "Choose an image first."
    assert panel.summary() == ""
    assert not panel.again.isEnabled()
    assert not panel._found.isVisible()


def test_the_data_at_a_glance(panel, session, qtbot):
    noisy = phantom("2d", size=320).noisy
    session.choose(data_of(noisy, "YX"))
    assert panel.status.text() == "checking…"
    measured(qtbot, session)
    assert not panel.status.isVisible()
    glance = session.checked.glances[0]
    assert text(panel, "image") == "YX 320×320 · uint16 · 205 kB"
    assert text(panel, "photons").startswith("~")
    gain = glance.calibration.gain
    assert gain.known
    assert f"gain {facts.interval(gain)} · " in text(panel, "camera")
    assert text(panel, "neighbors") == "noise independent from pixel to pixel"
    assert text(panel, "expected").endswith(" dB less error")
    assert text(panel, "method") == "Blind2Sound, with error bars"
    assert "times the noise" in text(panel, "signal")
    assert "% saturated" in text(panel, "pixels")
    assert "steps/s" in text(panel, "training")
    assert "for the whole image" in text(panel, "applying")
    photons = glance.light(glance.median).value
    assert panel.summary() == f"~{photons:.2g} photons/px · noise independent"
    assert panel.told.words == session.checked.advice


@pytest.mark.once
def test_saturation_is_told_in_the_summary(panel, session, qtbot):
    pixels = counts((256, 256))
    pixels[:8, :] = 65535
    session.choose(data_of(pixels, "YX"))
    qtbot.waitUntil(lambda: session.checked is not None, timeout=LONG)
    assert panel.summary().endswith("· 3.1 % saturated")
    assert any("are saturated" in words for words in panel.told.words)
    assert panel.told.isVisible()


def test_channels_are_looked_at_one_by_one(panel, session, qtbot):
    pixels = np.stack([counts((128, 128)), 3 * counts((128, 128), seed=1)])
    session.choose(data_of(pixels, "CYX"))
    qtbot.waitUntil(lambda: session.checked is not None, timeout=LONG)
    assert panel.channels.isVisible()
    assert panel.channels.count() == 2
    first = text(panel, "camera")
    panel.channels.setCurrentIndex(1)
    assert text(panel, "camera") != first
    assert panel.plot._glance is session.checked.glances[1]
    assert panel.map._glance is session.checked.glances[1]


@pytest.mark.once
def test_one_channel_has_no_choice(panel, session, qtbot):
    session.choose(data_of(counts((128, 128)), "YX"))
    qtbot.waitUntil(lambda: session.checked is not None, timeout=LONG)
    assert not panel.channels.isVisible()


@pytest.mark.once
def test_what_is_trained_on_is_told(panel, session, qtbot):
    data = data_of(counts((4, 128, 128)), "TYX")
    session.choose(replace(data, ranges={"T": slice(0, 1)}))
    qtbot.waitUntil(lambda: session.checked is not None, timeout=LONG)
    assert text(panel, "image").endswith("· 25 % trained on")


@pytest.mark.once
def test_a_failed_check_is_told_and_can_be_done_again(panel, session, qtbot):
    pixels = counts((128, 128)).astype(np.float32)
    pixels[3, 5] = np.nan
    session.choose(data_of(pixels, "YX"))
    qtbot.waitUntil(lambda: session.failure is not None, timeout=LONG)
    assert panel._complaint.isVisible()
    assert "holds nan at Y=3, X=5" in panel._complaint.label.text()
    assert not panel._found.isVisible()
    pixels[3, 5] = 100
    panel.again.click()
    assert panel.status.text() == "checking…"
    qtbot.waitUntil(lambda: session.checked is not None, timeout=LONG)
    assert not panel._complaint.isVisible()
    assert panel._found.isVisible()


@pytest.mark.once
def test_a_check_cut_short_goes_on_after_the_training(panel, session, qtbot):
    session.choose(data_of(counts((128, 128)), "YX"))
    session.start()
    assert not panel.again.isEnabled()
    assert session.checked is None
    qtbot.waitUntil(lambda: session.state is State.TRAINED, timeout=LONG)
    qtbot.waitUntil(lambda: session.checked is not None, timeout=LONG)
    assert panel._found.isVisible()


@pytest.mark.once
def test_memory_that_is_not_there_is_told(panel, session, qtbot):
    session.choose(data_of(counts((128, 128)), "YX"))
    measured(qtbot, session)
    session.pace = replace(session.pace, memory=10**15)
    panel.refresh()
    assert "1e+03 TB of memory" in panel.told.words[-1]


def test_the_curve_has_error_bars_and_a_line(panel, session, qtbot):
    session.choose(data_of(counts((128, 128)), "YX"))
    qtbot.waitUntil(lambda: session.checked is not None, timeout=LONG)
    assert panel.plot.isVisible()
    [glance] = session.checked.glances
    x, y = panel.plot._plot.points.getData()
    mean, variance, error = zip(*glance.calibration.points, strict=True)
    assert list(zip(x, y, strict=True)) == list(zip(mean, variance, strict=True))
    np.testing.assert_allclose(panel.plot._plot.errors.opts["height"] / 2, error)
    at, line = panel.plot._plot.line.getData()
    np.testing.assert_allclose(line, glance.noise.variance(at))
    assert "groups of pixels, from single planes" in (
        panel.plot.accessibleDescription()
    )


@pytest.mark.parametrize("picture", ["plot", "map"])
def test_a_picture_is_enlarged_by_mouse_and_keyboard(panel, session, qtbot, picture):
    session.choose(data_of(counts((128, 128)), "YX"))
    qtbot.waitUntil(lambda: session.checked is not None, timeout=LONG)
    small = getattr(panel, picture)
    qtbot.mouseClick(small, Qt.MouseButton.LeftButton)
    window = small._window
    assert window.isVisible()
    assert window.isWindow()
    assert not window.isModal()
    qtbot.keyClick(window, Qt.Key.Key_Escape)
    assert not window.isVisible()
    qtbot.keyClick(small, Qt.Key.Key_Return)
    assert window.isVisible()


def test_shared_noise_is_told_in_a_picture_and_in_words(panel, session, qtbot):
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 12, (4, 160, 161))
    pixels = 200 + noise[..., 1:] + 0.8 * noise[..., :-1]
    session.choose(data_of(pixels.astype(np.float32), "TYX"))
    qtbot.waitUntil(lambda: session.checked is not None, timeout=LONG)
    [glance] = session.checked.glances
    assert glance.correlation.verdict == "rows"
    assert text(panel, "neighbors") == "noise shared along rows: 1 × 3 px are hidden"
    assert "· noise correlated" in panel.summary()
    assert any("training hides 1 x 3" in words for words in panel.told.words)
    np.testing.assert_allclose(
        panel.map._plot.image.image, glance.correlation.map, atol=1e-6
    )
    beside = glance.correlation.map[3, 4]
    assert f">{beside:.2f}&nbsp;<" in panel.map.toolTip()
    assert f"{beside:.2f} along x" in panel.map.accessibleDescription()
    panel.map.enlarge()
    numbers = [item.toPlainText() for item in panel.map._window._plot.numbers]
    assert numbers[3 * 7 + 3 : 3 * 7 + 5] == ["1.00", f"{beside:.2f}"]


def test_the_map_is_the_background_where_nothing_is_shared(panel, session, qtbot):
    session.choose(data_of(counts((128, 128)), "YX"))
    qtbot.waitUntil(lambda: session.checked is not None, timeout=LONG)
    panel.map.follow_theme()
    for colors in (panel.map.colors, Colors("#ffffff", "#000000", *["#0000ff"] * 3)):
        panel.map.recolor(colors)
        table = panel.map._plot.image.lut
        middle = QColor(*table[len(table) // 2]).name()
        assert middle == colors.ground
        assert QColor(*table[-1]).name() == colors.line


@pytest.mark.once
def test_what_cannot_be_known_is_said_without_an_error(panel, session, qtbot):
    session.choose(data_of(counts((20, 24)), "YX"))
    qtbot.waitUntil(lambda: session.checked is not None, timeout=LONG)
    assert session.failure is None
    assert text(panel, "photons") == "not known"
    assert "gain, offset and read noise not known" in text(panel, "camera")
    assert "not known" in panel.values["camera"].toolTip()
    assert text(panel, "neighbors") == "noise not known"
    assert panel.summary().startswith("photons unknown")


def test_it_fits_and_explains_itself(panel, session, qtbot):
    pixels = np.stack([counts((128, 128)), counts((128, 128), seed=1)])
    session.choose(data_of(pixels, "CYX"))
    measured(qtbot, session)
    assert panel.minimumSizeHint().width() <= 340
    assert panel.sizeHint().height() <= 500
    for label in panel.values.values():
        assert label.toolTip()
    reachable = [
        widget
        for widget in panel.findChildren(QWidget)
        if widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.isVisible()
    ]
    assert {panel.channels, panel.plot, panel.map, panel.again} <= set(reachable)
