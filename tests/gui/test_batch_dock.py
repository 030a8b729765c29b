"""The batch dock with real files: dropped, started, watched, stopped, closed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtTest import QAbstractItemModelTester
from qtpy.QtWidgets import QApplication

from napari_blindsound.batch import RowEvent
from napari_blindsound.gui.batch_dock import BatchDock
from napari_blindsound.gui.batch_work import _paced
from napari_blindsound.images.phantom import phantom
from napari_blindsound.inference.reader import THREAD as READER
from napari_blindsound.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = Recipe(settings={"width": 4, "depth": 2}, train={"steps": 12, "threads": 1})
LONG = Recipe(settings={"width": 4, "depth": 2}, train={"steps": 100_000, "threads": 1})
WAIT = 20000


@pytest.fixture
def recordings(tmp_path):
    """Two stacks, one of them below, and a broken file."""
    folder = tmp_path / "in"
    (folder / "day2").mkdir(parents=True)
    noisy = phantom("timelapse", size=64, frames=3, seed=1).noisy
    tifffile.imwrite(folder / "a.tif", noisy, imagej=True, metadata={"axes": "TYX"})
    (folder / "b.tif").write_text("no image at all")
    shutil.copy(folder / "a.tif", folder / "day2" / "a.tif")
    return folder


@pytest.fixture
def dock(qtbot):
    made = BatchDock(ViewerModel())
    qtbot.addWidget(made)
    made.resize(400, 800)
    made.show()
    qtbot.waitUntil(lambda: bool(made.session.methods), timeout=WAIT)
    yield made
    made.session.close(5)


def drop(dock, *paths):
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    button, key = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    action = Qt.DropAction.CopyAction
    enter = QDragEnterEvent(QPoint(20, 20), action, mime, button, key)
    QApplication.sendEvent(dock, enter)
    assert enter.isAccepted()
    QApplication.sendEvent(dock, QDropEvent(QPointF(20, 20), action, mime, button, key))


def dropped(dock, qtbot, *paths, count):
    drop(dock, *paths)
    qtbot.waitUntil(lambda: len(dock.session.rows) == count, timeout=WAIT)


def cells(dock, column):
    model = dock.table.model()
    return [model.index(row, column).data() for row in range(model.rowCount())]


def finish(dock, qtbot):
    qtbot.waitUntil(lambda: not dock.session.is_running, timeout=WAIT)


def test_dropped_started_done(dock, qtbot, recordings, tmp_path):
    QAbstractItemModelTester(dock.table.model())
    assert not dock.bar.start.isEnabled()
    dropped(dock, qtbot, recordings, count=3)
    assert cells(dock, 0) == ["in/a.tif", "in/b.tif", "in/day2/a.tif"]
    assert dock.panel.output.text() == str(tmp_path / "denoised")
    dock.use_recipe(QUICK)
    assert dock.panel.settings.text() == "width 4, depth 2"
    dock.bar.start.click()
    assert dock.bar.stop.isEnabled()
    assert not dock.panel.isEnabled()
    finish(dock, qtbot)
    assert cells(dock, 1) == ["done", "failed", "done"]
    assert "photons" in cells(dock, 2)[0]
    assert "b.tif is not a readable TIFF" in cells(dock, 7)[1]
    assert dock.bar.status.text().startswith("2 of 3 done · 1 failed")
    assert (tmp_path / "denoised" / "in" / "day2" / "a_denoised.ome.zarr").is_dir()

    dock.table.selectRow(1)
    assert "not a readable TIFF" in dock.detail.text()
    dock.bar.start.click()
    finish(dock, qtbot)
    assert cells(dock, 1) == ["skipped", "failed", "skipped"]


def test_the_columns_are_those_of_the_report(dock, qtbot, recordings):
    clean = phantom("timelapse", size=64, frames=3, seed=1).clean
    truth, words = clean.astype(np.float32), {"metadata": {"axes": "TYX"}}
    tifffile.imwrite(recordings / "a_gt.tif", truth, imagej=True, **words)
    dropped(dock, qtbot, recordings, count=3)
    dock.use_recipe(QUICK)
    assert dock.table.isColumnHidden(4)
    for _ in range(2):  # what is known of it is shown again when nothing is made
        dock.bar.start.click()
        finish(dock, qtbot)
        assert cells(dock, 4)[0].endswith(" dB")
        assert 0 < float(cells(dock, 5)[0]) < 1
        assert cells(dock, 4)[1:] == ["", ""]
        assert not dock.table.isColumnHidden(4)
        model = dock.table.model()
        tip = model.index(0, 4).data(Qt.ItemDataRole.ToolTipRole)
        assert "dB before, 3 planes compared" in tip
    assert cells(dock, 1)[0] == "skipped"


def test_a_result_opens_lazily_on_a_double_click(dock, qtbot, recordings):
    dropped(dock, qtbot, recordings / "a.tif", count=1)
    dock.use_recipe(QUICK)
    dock.bar.start.click()
    finish(dock, qtbot)
    place = dock.table.visualRect(dock.table.model().index(0, 0)).center()
    qtbot.mouseClick(dock.table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.mouseDClick(dock.table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    layers = dock.viewer.layers
    qtbot.waitUntil(lambda: len(layers) == 1, timeout=WAIT)
    assert not isinstance(layers[0].data, np.ndarray)
    assert layers[0].data.shape == (3, 64, 64)


@pytest.mark.once
def test_the_command_line_does_the_same(dock, qtbot, recordings, tmp_path):
    dropped(dock, qtbot, recordings, count=3)
    dock.use_recipe(QUICK)
    for kind in ("folder", "each"):
        dock.panel.model.setCurrentIndex(dock.panel.model.findData(kind))
        dock.panel.model.activated.emit(dock.panel.model.currentIndex())
        end = {"folder": "-folder", "each": ""}[kind]
        line = dock.bar.command.text()
        assert f"--each{end} --method" in line
    assert line.startswith(f"blindsound batch {recordings} --output ")
    assert "--each --method blind2unblind --preset fast --steps 12 --width 4" in line
    dock.bar.copy.click()
    assert QApplication.clipboard().text() == line
    dock.bar.start.click()
    finish(dock, qtbot)
    gui = tmp_path / "denoised" / "in" / "a_denoised.ome.zarr"
    words = [sys.executable, "-m", "napari_blindsound.cli", *line.split()[1:], "-q"]
    words[words.index("--output") + 1] = str(tmp_path / "again")
    assert (
        subprocess.run(words, check=False, env={"OMP_NUM_THREADS": "1"}).returncode == 1
    )
    shell = tmp_path / "again" / "in" / "a_denoised.ome.zarr"
    chunks = [path for path in gui.rglob("*") if path.is_file() and "c" in path.parts]
    assert chunks
    for chunk in chunks:
        other = shell / chunk.relative_to(gui)
        assert chunk.read_bytes() == other.read_bytes()
    # A part of a folder is named by its files.
    dock.table.selectRow(0)
    dock.remove.click()
    assert f"{recordings / 'b.tif'} {recordings / 'day2' / 'a.tif'}" in (
        dock.bar.command.text()
    )


@pytest.mark.once
def test_stop_ends_within_a_second_and_start_goes_on(dock, qtbot, recordings):
    dropped(dock, qtbot, recordings / "a.tif", count=1)
    dock.use_recipe(LONG)
    dock.bar.start.click()
    session = dock.session
    qtbot.waitUntil(
        lambda: session.shared is not None and session.shared.fraction > 0, timeout=WAIT
    )
    assert "training" in dock.bar.status.text()
    started = time.monotonic()
    dock.bar.stop.click()
    finish(dock, qtbot)
    assert time.monotonic() - started < 1
    assert dock.bar.status.text() == "stopped: Start goes on from here"
    assert dock.bar.start.isEnabled()
    assert list((recordings / "denoised").glob("*.checkpoint"))


def test_closing_ends_the_thread(qtbot, recordings):
    dock = BatchDock(ViewerModel())
    qtbot.addWidget(dock)
    dock.show()
    dropped(dock, qtbot, recordings / "a.tif", count=1)
    dock.use_recipe(LONG)
    dock.bar.start.click()
    qtbot.waitUntil(lambda: dock.session.shared is not None, timeout=WAIT)
    dock.close()
    qtbot.waitUntil(lambda: not _threads(), timeout=WAIT)


def test_a_dock_taken_out_of_a_viewer_ends_its_thread(
    make_napari_viewer_proxy, qtbot, recordings
):
    viewer = make_napari_viewer_proxy()
    dock = BatchDock(viewer)
    frame = viewer.window.add_dock_widget(dock, name="Batch denoise")
    dropped(dock, qtbot, recordings / "a.tif", count=1)
    dock.use_recipe(LONG)
    dock.bar.start.click()
    session = dock.session
    qtbot.waitUntil(lambda: session.shared is not None, timeout=WAIT)
    assert _threads()
    viewer.window.remove_dock_widget(frame)
    qtbot.waitUntil(lambda: not _threads(), timeout=WAIT)


@pytest.mark.once
def test_a_failed_run_is_told_and_a_good_one_follows(dock, qtbot, recordings, tmp_path):
    dropped(dock, qtbot, recordings / "a.tif", count=1)
    dock.use_recipe(QUICK)
    (tmp_path / "file").write_text("")
    dock.panel.output.setText("")
    qtbot.keyClicks(dock.panel.output, str(tmp_path / "file"))
    dock.bar.start.click()
    finish(dock, qtbot)
    assert dock.complaint.isVisible()
    assert "cannot write" in dock.complaint.label.text().lower()
    assert cells(dock, 1) == ["waiting"]
    dock.panel.output.setText("")
    qtbot.keyClicks(dock.panel.output, str(tmp_path / "good"))
    dock.bar.start.click()
    finish(dock, qtbot)
    assert not dock.complaint.isVisible()
    assert cells(dock, 1) == ["done"]


def test_rows_are_split_removed_and_cleared(dock, qtbot, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(3):
        tifffile.imwrite(folder / f"t{i}.tif", np.full((16, 16), i, np.uint16))
    dropped(dock, qtbot, folder, count=1)
    assert cells(dock, 0) == ["frames (3 frames)"]
    assert not dock.split.isEnabled()
    dock.table.selectRow(0)
    dock.split.click()
    assert cells(dock, 0) == [f"frames/t{i}.tif" for i in range(3)]
    dock.table.selectRow(1)
    qtbot.keyClick(dock.table, Qt.Key.Key_Delete)
    assert cells(dock, 0) == ["frames/t0.tif", "frames/t2.tif"]
    drop(dock, folder / "t0.tif", folder / "t1.tif")
    qtbot.waitUntil(lambda: len(dock.session.rows) == 3, timeout=WAIT)
    dock.clear.click()
    assert cells(dock, 0) == []
    assert not dock.bar.start.isEnabled()


def test_a_thousand_files_become_rows_at_once(dock, qtbot, tmp_path):
    files = [tmp_path / f"{i}.tif" for i in range(1000)]
    for file in files:
        file.write_bytes(b"")
    started = time.monotonic()
    dropped(dock, qtbot, *files, count=1000)
    assert time.monotonic() - started < 2
    # More than a field can hold, but not than the clipboard can.
    dock.bar.copy.click()
    assert all(str(file) in QApplication.clipboard().text() for file in files)
    assert len(dock.bar.command.text()) < 3000


@pytest.mark.once
def test_an_empty_folder_is_told(dock, qtbot, tmp_path):
    drop(dock, tmp_path)
    qtbot.waitUntil(lambda: dock.complaint.isVisible(), timeout=WAIT)
    assert "holds no image" in dock.complaint.label.text()


@pytest.mark.once
def test_a_model_that_is_dropped_is_applied(dock, qtbot, recordings, tmp_path):
    dropped(dock, qtbot, recordings / "a.tif", count=1)
    assert not dock.panel.model_file.isVisible()
    drop(dock, tmp_path / "mine.blindsound")
    assert dock.panel.model_file.text() == str(tmp_path / "mine.blindsound")
    assert dock.panel.model_file.isVisible()
    assert not dock.panel.method.isVisible()
    dock.bar.start.click()
    finish(dock, qtbot)
    assert "mine.blindsound" in dock.complaint.label.text()


def test_only_the_changed_row_is_told(dock, qtbot, recordings):
    dropped(dock, qtbot, recordings, count=3)
    told = []
    dock.table.model().dataChanged.connect(lambda a, b: told.append((a.row(), b.row())))
    dock.session._set(1, RowEvent(1, "training", 0.5))
    assert told == [(1, 1)]
    assert cells(dock, 1) == ["waiting", "training 50%", "waiting"]


@pytest.mark.once
def test_events_are_not_told_more_often_than_can_be_seen():
    fast = (RowEvent(i, "skipped") for i in range(1000))
    told = list(_paced(fast))
    assert len(told) < 20
    assert sum(map(len, told)) == 1000


@pytest.mark.once
def test_the_dock_is_imported_without_torch():
    code = (
        "import sys, napari_blindsound.gui.batch_dock; "
        "assert not {'torch', 'zarr', 'tifffile'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _threads():
    """Of a batch; readers of other tests of this process may live on."""
    names = [thread.name for thread in threading.enumerate()]
    return [n for n in names if n.startswith("blindsound") and n != READER]
