"""The dock of comparisons: ticked, started, seen side by side, one of them used."""

from __future__ import annotations

import shlex
import threading
import time

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QAbstractItemModelTester
from qtpy.QtWidgets import QApplication, QWidget

from napari_blindsound.gui.commands import open_dock
from napari_blindsound.gui.compare_dock import CompareDock
from napari_blindsound.gui.layers import role_of
from napari_blindsound.images.phantom import phantom

pytestmark = pytest.mark.usefixtures("one_thread")

WAIT = 60_000  # ms
TICKED = ("noisy", "median", "blind2unblind")


@pytest.fixture
def cells():
    return phantom("2d", size=96, seed=2)


def made_dock(viewer, qtbot):
    dock = CompareDock(viewer)
    qtbot.waitUntil(lambda: bool(dock.session.rows), timeout=WAIT)
    return dock


@pytest.fixture
def dock(qtbot, cells):
    """A dock without a window around it, on an image with its truth."""
    viewer = ViewerModel()
    viewer.add_image(cells.clean, name="clean")
    viewer.add_image(cells.noisy, name="cells")
    dock = made_dock(viewer, qtbot)
    qtbot.addWidget(dock)
    dock.resize(380, 860)
    dock.show()
    yield dock
    dock.end()
    dock.session.close(5)


def number_of(dock, name):
    return [one.name for one in dock.session.contestants].index(name)


def tick_only(dock, *names):
    model = dock.table.model()
    for number, one in enumerate(dock.session.contestants):
        state = Qt.CheckState.Checked if one.name in names else Qt.CheckState.Unchecked
        role = Qt.ItemDataRole.CheckStateRole
        model.setData(model.index(number, 0), state, role)


def set_steps(dock, steps):
    dock.unit.setCurrentIndex(dock.unit.findData("steps"))
    dock.amount.setValue(steps)


def compare(dock, qtbot, *names, steps=15):
    tick_only(dock, *names)
    set_steps(dock, steps)
    dock.bar.start.click()
    qtbot.waitUntil(lambda: not dock.session.is_running, timeout=WAIT)


def cells_of(dock, name):
    model, row = dock.table.model(), number_of(dock, name)
    return [model.index(row, column).data() for column in range(model.columnCount())]


def test_the_table_fills_and_every_result_is_a_layer(dock, qtbot, cells):
    QAbstractItemModelTester(dock.table.model())
    dock.image.choose(dock.viewer.layers["cells"])
    dock.has_truth.setChecked(True)
    dock.clean.choose(dock.viewer.layers["clean"])
    compare(dock, qtbot, *TICKED)
    rows = {row.name: row for row in dock.session.shown_rows}
    assert list(rows) == list(TICKED)
    assert {row.state for row in rows.values()} == {"done"}
    assert cells_of(dock, "median")[1].startswith("+")
    truth = cells.clean.astype(float)
    assert rows["median"].psnr > rows["noisy"].psnr
    assert not dock.table.isColumnHidden(2)
    names = [layer.name for layer in dock.viewer.layers]
    assert names == ["clean", "cells", "Median 3 × 3 · cells", "Blind2Unblind · cells"]
    layer = dock.viewer.layers[2]
    assert role_of(layer) == "denoised"
    lazily = np.asarray(layer.metadata["napari_blindsound"]["denoised"][0])
    noisy = cells.noisy.astype(float)
    assert np.mean((lazily - truth) ** 2) < np.mean((noisy - truth) ** 2) / 2
    assert dock.bar.status.text() == "3 of 3 done"
    # A second one takes the place of the first.
    compare(dock, qtbot, "median")
    assert [layer.name for layer in dock.viewer.layers][2:] == ["Median 3 × 3 · cells"]


@pytest.mark.once
def test_what_is_not_installed_or_fails_is_told_in_its_row(dock, qtbot, monkeypatch):
    from napari_blindsound.comparison import run

    def broken(volumes, recipe):
        msg = "too small for this network: give a larger image"
        raise ValueError(msg)

    monkeypatch.setattr(run, "Training", broken)
    dock.image.choose(dock.viewer.layers["cells"])
    compare(dock, qtbot, "blind2unblind", "median")
    text = cells_of(dock, "blind2unblind")[-1]
    assert text == "failed: too small for this network: give a larger image"
    assert dock.bar.status.text() == "1 of 2 done · 1 failed"
    assert dock.detail.text() == f"Blind2Unblind: {text}"
    assert dock.session.result(number_of(dock, "median")) is not None
    bm3d = number_of(dock, "bm3d")
    if not dock.session.contestants[bm3d].is_installed:
        dock.session.tick(bm3d, is_ticked=True)
        assert bm3d not in dock.session.ticked
        index = dock.table.model().index(bm3d, 0)
        assert not index.flags() & Qt.ItemFlag.ItemIsEnabled
        assert "pip install bm3d" in index.data(Qt.ItemDataRole.ToolTipRole)


@pytest.mark.once
def test_stop_ends_soon_and_the_window_stays_alive(dock, qtbot):
    dock.image.choose(dock.viewer.layers["cells"])
    tick_only(dock, "noisy", "blind2unblind", "blind2sound")
    set_steps(dock, 100_000)
    beats = []
    timer = QTimer()
    timer.timeout.connect(lambda: beats.append(time.monotonic()))
    timer.start(5)
    dock.bar.start.click()
    number = number_of(dock, "blind2unblind")
    qtbot.waitUntil(lambda: dock.session.rows[number].fraction > 0, timeout=WAIT)
    beats.clear()
    qtbot.wait(1000)
    assert len(beats) > 20
    assert np.median(np.diff(beats)) < 0.05
    started = time.monotonic()
    dock.bar.stop.click()
    qtbot.waitUntil(lambda: not dock.session.is_running, timeout=WAIT)
    assert time.monotonic() - started < 3
    states = [row.state for row in dock.session.shown_rows]
    assert states == ["done", "stopped", "stopped"]
    assert dock.bar.start.isEnabled()


def test_tables_are_copied_and_saved(dock, qtbot, tmp_path):
    dock.image.choose(dock.viewer.layers["cells"])
    assert not dock.copy.isEnabled()
    compare(dock, qtbot, "noisy", "median")
    dock.copy_table("Markdown")
    text = QApplication.clipboard().text()
    assert text.startswith("| method |")
    assert "Median 3 × 3" in text
    assert "15 steps" in text
    dock.copy_table("CSV")
    assert QApplication.clipboard().text().startswith("name,title,")
    dock.session.save(tmp_path / "out")
    qtbot.waitUntil(lambda: "saved" in dock.bar.status.text(), timeout=WAIT)
    assert (tmp_path / "out" / "comparison.html").is_file()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    dock.session.save(tmp_path / "mine")
    qtbot.waitUntil(dock.complaint.isVisible, timeout=WAIT)
    assert "other files" in dock.complaint.label.text()
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


@pytest.mark.once
def test_the_command_line_names_the_file(dock, qtbot, tmp_path, cells):
    path = tmp_path / "cells 1.tif"
    tifffile.imwrite(path, cells.noisy, metadata={"axes": "YX"})
    [layer] = dock.viewer.open(path, plugin="napari")
    dock.image.choose(layer)
    qtbot.waitUntil(lambda: dock.session.found is not None, timeout=WAIT)
    tick_only(dock, *TICKED)
    set_steps(dock, 20)
    words = shlex.split(dock.bar.command.text())
    assert words[:3] == ["blindsound", "compare", str(path)]
    text = " ".join(words)
    assert "--methods blind2unblind --references noisy,median --steps 20" in text


def test_everything_has_a_name_and_the_keyboard_ticks(dock, qtbot):
    for widget in (dock.table, dock.image, dock.clean, dock.amount, dock.unit):
        assert widget.accessibleName()
        assert widget.toolTip()
    number = number_of(dock, "median")
    dock.table.setCurrentIndex(dock.table.model().index(number, 3))
    assert number in dock.session.ticked
    qtbot.keyClick(dock.table, Qt.Key.Key_Space)
    assert number not in dock.session.ticked
    for number in range(len(dock.session.contestants)):
        dock.session.tick(number, is_ticked=False)
    assert not dock.bar.start.isEnabled()
    assert dock.minimumSizeHint().height() < 700


def views(viewer):
    """What each of napari's views of the grid shows."""
    canvas = viewer.__wrapped__.window._qt_viewer.canvas
    return canvas.grid_views


def test_side_by_side_with_one_camera_and_one_is_used(
    make_napari_viewer_proxy, qtbot, cells
):
    viewer = make_napari_viewer_proxy(show=True)
    viewer.add_image(cells.clean, name="other")
    source = viewer.add_image(cells.noisy, name="cells")
    dock = made_dock(viewer, qtbot)
    viewer.window.add_dock_widget(dock, name="Compare methods")
    dock.image.choose(source)
    dock.grid.setChecked(True)
    compare(dock, qtbot, *TICKED)
    assert viewer.canvas.grid.enabled
    assert [layer.visible for layer in viewer.layers] == [False, True, True, True]
    qtbot.waitUntil(lambda: len(views(viewer)) == 4, timeout=WAIT)  # 2 x 2, one empty
    first = viewer.canvas.grid.position(1, viewer.layers)
    assert first == (0, 0)
    height = cells.noisy.shape[0]
    qtbot.waitUntil(
        lambda: all(height < v.camera.rect.height < 2 * height for v in views(viewer)),
        timeout=WAIT,
    )
    viewer.scene.camera.zoom = 7.5
    viewer.scene.camera.center = (0, 40, 31)
    qtbot.wait(50)
    rects = [view.camera.rect for view in views(viewer)[:3]]
    for rect in rects[1:]:
        np.testing.assert_allclose(rect.center, rects[0].center)
        np.testing.assert_allclose(rect.size, rects[0].size, rtol=0.02)
    assert viewer.layers[2].name_overlay.visible

    number = number_of(dock, "blind2unblind")
    dock.table.selectRow(number)
    assert viewer.layers.selection.active.name == "Blind2Unblind · cells"
    assert dock.use.isEnabled()
    dock.use.click()
    denoise = open_dock(viewer)
    assert denoise.session.denoiser is dock.session.model(number)
    assert not viewer.canvas.grid.enabled
    assert viewer.layers["other"].visible
    assert not viewer.layers[2].name_overlay.visible
    # Without the grid, a click shows one of them.
    dock.table.selectRow(number_of(dock, "median"))
    assert viewer.layers[2].visible
    assert not viewer.layers[3].visible
    dock.end()
    assert not [t for t in threading.enumerate() if t.name == "blindsound-work"]
    assert isinstance(denoise, QWidget)
    qtbot.waitUntil(lambda: denoise.session.data is not None, timeout=WAIT)
    denoise.session.close(5)


@pytest.mark.once
def test_axes_are_asked_for_where_a_layer_does_not_say_them(dock, qtbot):
    movie = phantom("timelapse", size=64, frames=3, seed=1).noisy
    layer = dock.viewer.add_image(movie, name="movie")
    dock.image.choose(layer)
    assert dock.axes.isVisible()
    assert not dock.bar.start.isEnabled()
    assert dock.complaint.isVisible()
    dock.axes.combos[0].setCurrentText("T")
    dock.axes.combos[0].activated.emit(dock.axes.combos[0].currentIndex())
    assert dock.bar.start.isEnabled()
    assert not dock.complaint.isVisible()
    compare(dock, qtbot, "median")
    assert dock.viewer.layers["Median 3 × 3 · movie"].data.shape == movie.shape
