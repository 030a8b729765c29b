from __future__ import annotations

import math
import weakref

import numpy as np
import pytest
from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_blindsound.gui.curve import LossCurve, Series


@pytest.fixture
def curve(qtbot):
    made = LossCurve()
    qtbot.addWidget(made)
    made.resize(360, made.height())
    made.show()
    qtbot.waitExposed(made)
    return made


def drawn(curve):
    """Steps and losses on the screen, taken back from the logarithm."""
    x, y = curve._plot.line.getData()
    return ([], []) if x is None else (x, 10**y if curve.is_log else y)


def redrawn(qtbot, curve):
    qtbot.waitUntil(lambda: not curve._timer.isActive(), timeout=20000)


def test_few_values_are_kept_as_they_are():
    series = Series(8)
    for step in range(5):
        series.add(step, step**2)
    np.testing.assert_array_equal(series.points(), [range(5), *2 * [[0, 1, 4, 9, 16]]])


@pytest.mark.parametrize("count", [8, 100, 1001, 20_000])
def test_many_values_take_no_more_room(count):
    series = Series(16)
    for step in range(count):
        series.add(step, float(step))
    steps, values, means = series.points()
    assert len(steps) == len(series) <= 17
    assert steps[-1] == count - 1
    assert (np.diff(steps) > 0).all()
    np.testing.assert_array_equal(steps, values)
    starts = np.concatenate([[0], steps[:-1] + 1])
    np.testing.assert_allclose(means, (starts + steps) / 2)


def test_losses_are_drawn_smoothly_with_a_logarithmic_axis(curve, qtbot):
    random = np.random.default_rng(0)
    for step in range(400):
        curve.add(step, float(np.exp(random.normal() * 0.3)))
    redrawn(qtbot, curve)
    steps, losses = drawn(curve)
    np.testing.assert_array_equal(steps, range(400))
    assert np.log(losses).std() < 0.1
    assert curve._plot.points.getData()[1].std() > 0.1
    assert curve.grab().toImage().pixelColor(1, 1) == curve.palette().color(
        QPalette.ColorRole.Window
    )


def test_a_loss_below_zero_makes_the_axis_linear(curve, qtbot):
    curve.add(0, 1.0)
    curve.add(10, -1.0)
    redrawn(qtbot, curve)
    assert not curve.is_log
    np.testing.assert_array_equal(drawn(curve)[1], [1, -1])
    curve.clear()
    assert curve.is_log


def test_what_is_not_finite_is_left_out(curve, qtbot):
    curve.add(0, math.nan)
    curve.add(1, math.inf, quality=math.nan)
    curve.add(2, 0.5)
    redrawn(qtbot, curve)
    np.testing.assert_allclose(drawn(curve), [[2], [0.5]])
    assert not curve._plot.item.getAxis("right").isVisible()


def test_quality_has_an_axis_of_its_own(curve, qtbot):
    curve.add(0, 0.01)
    curve.add(10, 0.005, quality=3.0)
    curve.add_quality(20, 6.0)
    redrawn(qtbot, curve)
    np.testing.assert_array_equal(curve._plot.quality.getData(), [[10, 20], [3, 6]])
    right = curve._plot.item.getAxis("right")
    assert right.isVisible()
    assert not right.logMode
    # Ranges follow when it is painted.
    qtbot.waitUntil(lambda: curve._plot.second.viewRange()[1][1] >= 6, timeout=20000)
    low, high = curve._plot.second.viewRange()[1]
    assert low <= 3 < 6 <= high < 10


def test_the_best_is_marked_until_there_is_a_better_one(curve, qtbot):
    curve.add(10, 0.005, quality=3.0)
    curve.mark_best(10, 3.0)
    curve.add(20, 0.004, quality=6.0)
    curve.mark_best(20, 6.0)
    curve.mark_best(30, math.nan)
    redrawn(qtbot, curve)
    np.testing.assert_array_equal(curve._plot.best.getData(), [[20], [6]])
    curve.clear()
    steps, _ = curve._plot.best.getData()
    assert steps is None or not len(steps)


def test_it_is_drawn_four_times_a_second_at_most(curve, qtbot):
    draws = []
    draw = curve._plot.draw
    curve._plot.draw = lambda *values, log: (draws.append(1), draw(*values, log=log))
    for step in range(1000):
        curve.add(step, 1.0)
    assert not draws
    assert curve._timer.interval() == 250
    redrawn(qtbot, curve)
    assert len(draws) == 1


def test_nothing_is_drawn_where_nobody_sees_it(curve, qtbot):
    curve.hide()
    curve.add(0, 1.0)
    assert not curve._timer.isActive()
    curve.show()
    np.testing.assert_array_equal(drawn(curve), [[0], [1]])


def test_clearing_forgets_all(curve, qtbot):
    curve.add(0, 1.0, quality=3.0)
    curve.clear()
    assert not curve._timer.isActive()
    assert len(drawn(curve)[0]) == 0
    assert not curve._plot.item.getAxis("right").isVisible()


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.5, 0.5), (0.5, 0.52), (0.5, 0.8), (0.1, 1), (0.01, 0.4), (1e-6, 2e3)],
)
def test_labels_of_the_logarithmic_axis_do_not_overlap(curve, low, high, qtbot):
    curve.add(0, low)
    curve.add(10, high)
    redrawn(qtbot, curve)
    curve.grab()
    [ticks] = curve._plot.item.getAxis("left")._tickLevels or [[]]
    assert len(ticks) <= 5
    for place, label in ticks:
        assert float(label) == pytest.approx(10**place, rel=1e-2)


def test_it_follows_the_palette(qtbot):
    outer = QWidget()
    qtbot.addWidget(outer)
    curve = LossCurve()
    QVBoxLayout(outer).addWidget(curve)
    outer.show()
    curve.add(0, 1.0)
    lines = set()
    for ground, text in (("#111111", "#eeeeee"), ("#fafafa", "#101010")):
        palette = QPalette(outer.palette())
        palette.setColor(QPalette.ColorRole.Window, QColor(ground))
        palette.setColor(QPalette.ColorRole.WindowText, QColor(text))
        outer.setPalette(palette)
        image = curve.grab().toImage()
        assert image.pixelColor(2, 2) == QColor(ground)
        axis = curve._plot.item.getAxis("bottom")
        assert axis.textPen().color() == QColor(text)
        lines.add(curve._plot.line.opts["pen"].color().name())
    assert len(lines) == 2


def test_it_is_freed(qtbot):
    curve = LossCurve()
    curve.add(0, 1.0)
    gone = weakref.ref(curve)
    with qtbot.waitSignal(curve.destroyed):
        curve.deleteLater()
    del curve
    qtbot.waitUntil(lambda: gone() is None, timeout=20000)
