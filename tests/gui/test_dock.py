from __future__ import annotations

import gc
import shlex
import threading
import weakref

import numpy as np
import pytest
import tifffile
import zarr
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent

from napari_blindsound.cli import main
from napari_blindsound.gui.dock import DenoiseDock
from napari_blindsound.gui.layers import role_of
from napari_blindsound.gui.session import State
from napari_blindsound.images.phantom import phantom
from napari_blindsound.inference.denoiser import Denoiser

SMALL = {"width": 4, "depth": 1, "patch": 32, "batch": 1}
LONG = 60_000  # ms


@pytest.fixture
def viewer(make_napari_viewer_proxy):
    return make_napari_viewer_proxy(show=True)


@pytest.fixture
def dock(viewer, qtbot):
    made = DenoiseDock(viewer)
    viewer.window.add_dock_widget(made, name="Denoise")
    qtbot.waitUntil(lambda: bool(made.session.methods), timeout=LONG)
    yield made
    made.session.close(5)


@pytest.fixture
def movie(tmp_path):
    made = phantom("timelapse", size=96, frames=3)
    path = tmp_path / "movie.tif"
    tifffile.imwrite(
        path, made.noisy, imagej=True, resolution=(2, 2), metadata={"axes": "TYX"}
    )
    return path


def choose(dock, qtbot, layer):
    before = dock.session.data
    dock.use_layer(layer)
    qtbot.waitUntil(
        lambda: dock.session.data is not before and dock.session.pace is not None,
        timeout=LONG,
    )


def open_file(dock, qtbot, *paths):
    dock.data.open_paths(paths)
    qtbot.waitUntil(
        lambda: dock.session.data is not None and dock.session.pace is not None,
        timeout=LONG,
    )


def set_small(dock, steps=40):
    form = dock.train._form
    form.set_values({**form.values(), **SMALL})
    dock.train._on_settings()
    dock.train.unit.setCurrentIndex(dock.train.unit.findData("steps"))
    dock.train.amount.setValue(steps)


def train(dock, qtbot, steps=40):
    set_small(dock, steps)
    dock.bar.start.click()
    qtbot.waitUntil(lambda: dock.session.state is State.TRAINED, timeout=LONG)


def pick(combo, text):
    """Choose an entry, as a user does."""
    combo.setCurrentIndex(combo.findText(text))
    combo.activated.emit(combo.currentIndex())


def drop(dock, *paths):
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    dock.dropEvent(
        QDropEvent(
            QPointF(10, 10),
            Qt.DropAction.CopyAction,
            data,
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
    )


def test_drop_train_and_write_is_what_the_command_line_does(
    dock, viewer, qtbot, movie, tmp_path
):
    drop(dock, movie)
    qtbot.waitUntil(lambda: dock.session.pace is not None, timeout=LONG)
    assert [layer.name for layer in viewer.layers] == ["movie.tif"]
    assert viewer.layers[0].axis_labels == ("t", "y", "x")
    train(dock, qtbot)
    dock.apply.place.setText(str(tmp_path / "dock.ome.zarr"))
    words = shlex.split(dock.bar.command.text())
    dock.apply.write.click()
    qtbot.waitUntil(lambda: dock.session.state is State.DONE, timeout=LONG)
    result = viewer.layers[-1]
    assert result.name == "movie.tif · denoised (Blind2Unblind)"
    source = viewer.layers[0]
    np.testing.assert_allclose(result.scale, source.scale)
    assert result.units == source.units
    assert result.axis_labels == source.axis_labels
    np.testing.assert_allclose(result.contrast_limits, source.contrast_limits)

    assert words[:2] == ["blindsound", "run"]
    words[words.index(str(tmp_path / "dock.ome.zarr"))] = str(tmp_path / "cli.ome.zarr")
    model = tmp_path / "cli.blindsound"
    assert main([*words[1:], "-m", str(model), "-q"]) == 0
    assert Denoiser.load(model).revision == dock.session.denoiser.revision
    assert chunks(tmp_path / "dock.ome.zarr") == chunks(tmp_path / "cli.ome.zarr")


@pytest.mark.once
def test_the_saved_recipe_repeats_a_stopped_training(
    dock, viewer, qtbot, movie, tmp_path
):
    open_file(dock, qtbot, movie)
    set_small(dock, steps=100_000)
    dock.bar.start.click()
    qtbot.waitUntil(lambda: dock.session.training is not None, timeout=LONG)
    qtbot.waitUntil(lambda: len(dock.train.curve._loss) > 2, timeout=LONG)
    dock.bar.stop.click()
    qtbot.waitUntil(lambda: dock.session.state is State.TRAINED, timeout=LONG)
    dock.apply.place.setText(str(tmp_path / "dock.ome.zarr"))
    dock.applying.save_recipe(tmp_path / "recipe.yaml")
    dock.apply.write.click()
    qtbot.waitUntil(lambda: dock.session.state is State.DONE, timeout=LONG)
    out = tmp_path / "again.ome.zarr"
    assert main(["repeat", str(tmp_path / "recipe.yaml"), "-o", str(out), "-q"]) == 0
    assert chunks(tmp_path / "dock.ome.zarr") == chunks(out)


def test_preview_clears_up_what_is_looked_at(dock, viewer, qtbot):
    made = phantom("2d", size=128)
    layer = viewer.add_image(made.noisy, colormap="green", scale=(0.5, 0.5))
    choose(dock, qtbot, layer)
    set_small(dock, steps=10**6)
    dock.bar.start.click()
    qtbot.waitUntil(lambda: dock.looking.preview is not None, timeout=LONG)
    preview = dock.looking.preview.layer
    assert preview.name.endswith("· preview")
    assert preview.colormap.name == layer.colormap.name
    np.testing.assert_allclose(preview.contrast_limits, layer.contrast_limits)
    assert viewer.layers.index(preview) == viewer.layers.index(layer) + 1
    dock.train.seen.curtain.setChecked(True)
    assert preview.data.shape[1] < 128
    dock.train.seen.blend.setValue(0)
    qtbot.waitUntil(lambda: len(dock.looking._last.estimates) == 2, timeout=LONG)
    dock.bar.pause.click()
    assert dock.session.state is State.PAUSED
    dock.bar.pause.click()
    dock.bar.stop.click()
    qtbot.waitUntil(lambda: dock.session.state is State.TRAINED, timeout=LONG)
    assert dock.session.model().blend == 0
    dock.train.seen.preview.setChecked(False)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=5000)


@pytest.mark.once
def test_lazy_layer_of_the_model(dock, viewer, qtbot):
    made = phantom("zstack", size=96, planes=3)
    layer = viewer.add_image(made.noisy, axis_labels=("z", "y", "x"), scale=(2, 1, 1))
    choose(dock, qtbot, layer)
    train(dock, qtbot)
    dock.apply.lazy.click()
    lazy = viewer.layers[-1]
    assert lazy.name == f"{layer.name} · denoised (Blind2Unblind, lazy)"
    facts = lazy.metadata["napari_blindsound"]
    expected = dock.session.denoiser(made.noisy)
    np.testing.assert_allclose(facts["denoised"][0].compute(), expected, atol=1e-3)
    qtbot.waitUntil(lambda: dock.applying.lazy_layers[-1].pending == 0, timeout=LONG)
    dock.applying.lazy_layers[-1].close()


@pytest.mark.once
def test_each_channel_of_a_file_gets_its_lazy_layer(dock, viewer, qtbot, tmp_path):
    made = phantom("2d", size=96, channels=2)
    path = tmp_path / "two.ome.tif"
    tifffile.imwrite(path, made.noisy, metadata={"axes": "CYX"})
    open_file(dock, qtbot, path)
    assert len(viewer.layers) == 2
    pick(dock.data.channels, "all, one network each")
    qtbot.waitUntil(lambda: dock.session.data.channel is None, timeout=LONG)
    train(dock, qtbot)
    assert len(dock.session.denoiser.methods) == 2
    dock.apply.lazy.click()
    assert [role_of(layer) for layer in viewer.layers].count("denoised") == 2
    for lazy in dock.applying.lazy_layers:
        lazy.close()


@pytest.mark.once
def test_a_model_for_other_channels_is_refused(dock, viewer, qtbot, tmp_path):
    made = phantom("2d", size=96, channels=2)
    layer = viewer.add_image(made.noisy, axis_labels=("c", "y", "x"))
    choose(dock, qtbot, layer)
    pick(dock.data.channels, "all, jointly")
    qtbot.waitUntil(lambda: dock.session.data.joint, timeout=LONG)
    train(dock, qtbot)
    other = viewer.add_image(made.noisy[0])
    choose(dock, qtbot, other)
    dock.apply.lazy.click()
    assert dock.session.failure.step == "apply"
    assert "channel" in dock.session.failure.message
    assert dock.apply._complaint.isVisibleTo(dock.apply)


@pytest.mark.once
def test_unwritable_place_is_told_and_the_dock_goes_on(dock, viewer, qtbot, tmp_path):
    layer = viewer.add_image(phantom("2d", size=96).noisy)
    choose(dock, qtbot, layer)
    train(dock, qtbot)
    (tmp_path / "file").write_text("no folder")
    dock.apply.place.setText(str(tmp_path / "file" / "x.ome.zarr"))
    dock.apply.write.click()
    qtbot.waitUntil(lambda: dock.session.failure is not None, timeout=LONG)
    assert dock.session.failure.step == "apply"
    dock.apply.place.setText(str(tmp_path / "x.ome.zarr"))
    dock.apply.write.click()
    qtbot.waitUntil(lambda: dock.session.state is State.DONE, timeout=LONG)
    assert dock.session.failure is None


@pytest.mark.once
def test_stopped_result_is_continued(dock, viewer, qtbot, tmp_path):
    made = phantom("timelapse", size=96, frames=2).noisy
    layer = viewer.add_image(np.tile(made, (12, 8, 8)), axis_labels=("t", "y", "x"))
    choose(dock, qtbot, layer)
    train(dock, qtbot)
    place = tmp_path / "long.ome.zarr"
    dock.apply.place.setText(str(place))
    seen = []
    dock.session.events.written.connect(lambda event: seen.append(event.done))
    dock.apply.write.click()
    plane = layer.data[0].size
    qtbot.waitUntil(lambda: bool(seen) and seen[-1] > 9 * plane, timeout=LONG)
    dock.bar.stop.click()
    qtbot.waitUntil(lambda: not dock.session.is_busy, timeout=LONG)
    assert not place.exists()
    assert dock.apply.write.text().startswith("Continue")
    seen.clear()
    dock.apply.write.click()
    qtbot.waitUntil(lambda: dock.session.state is State.DONE, timeout=LONG)
    assert seen[0] > 0
    assert place.exists()


@pytest.mark.once
def test_the_line_for_another_layer_names_its_file(dock, viewer, qtbot, movie):
    open_file(dock, qtbot, movie)
    train(dock, qtbot)
    (movie.parent / "model.blindsound").unlink(missing_ok=True)
    dock.session.save_model(movie.parent / "model.blindsound")
    other = viewer.add_image(phantom("2d", size=96).noisy, name="other")
    pick(dock.apply.target, "layer: other")
    words = shlex.split(dock.bar.command.text())
    assert words[:3] == ["blindsound", "denoise", "IMAGE.ome.zarr"]
    assert str(movie.parent / "model.blindsound") in words
    viewer.layers.remove(other)


@pytest.mark.once
def test_the_line_while_training_again_is_that_of_the_new_training(
    dock, viewer, qtbot, movie
):
    open_file(dock, qtbot, movie)
    set_small(dock, steps=100_000)
    for _ in range(2):
        dock.bar.start.click()
        qtbot.waitUntil(lambda: len(dock.train.curve._loss) > 0, timeout=LONG)
        assert "--stop-after" not in dock.bar.command.text()
        dock.bar.stop.click()
        qtbot.waitUntil(lambda: dock.session.state is State.TRAINED, timeout=LONG)
        assert "--stop-after" in dock.bar.command.text()


def test_the_batch_dock_opens_with_the_same_recipe(dock, viewer, qtbot):
    choose(dock, qtbot, viewer.add_image(phantom("2d", size=96).noisy))
    train(dock, qtbot)
    dock.apply.batch.click()
    [batch] = [
        each
        for each in viewer.window.dock_widgets.values()
        if type(each).__name__ == "BatchDock"
    ]
    assert batch.session.choice.settings == SMALL
    assert batch.session.choice.steps == 40
    batch.session.close(5)


def test_layer_deleted_while_training(dock, viewer, qtbot):
    layer = viewer.add_image(phantom("2d", size=96).noisy)
    choose(dock, qtbot, layer)
    set_small(dock, steps=10**6)
    dock.bar.start.click()
    qtbot.waitUntil(lambda: dock.looking.preview is not None, timeout=LONG)
    viewer.layers.remove(layer)
    qtbot.waitUntil(lambda: len(viewer.layers) == 0, timeout=LONG)
    dock.bar.stop.click()
    qtbot.waitUntil(lambda: not dock.session.is_busy, timeout=LONG)
    assert dock.session.denoiser is not None
    again = viewer.add_image(phantom("2d", size=96).noisy)
    choose(dock, qtbot, again)
    train(dock, qtbot)


def test_closing_the_dock_while_training_frees_the_model(viewer, qtbot):
    dock = DenoiseDock(viewer)
    shown = viewer.window.add_dock_widget(dock, name="Denoise")
    qtbot.waitUntil(lambda: bool(dock.session.methods), timeout=LONG)
    choose(dock, qtbot, viewer.add_image(phantom("2d", size=96).noisy))
    set_small(dock, steps=10**6)
    dock.bar.start.click()
    qtbot.waitUntil(lambda: dock.session.training is not None, timeout=LONG)
    training = weakref.ref(dock.session.training)
    viewer.window.remove_dock_widget(shown)
    qtbot.waitUntil(lambda: not _threads(), timeout=5000)
    gc.collect()
    assert training() is None
    assert dock.session.state is State.EMPTY


def test_closing_the_viewer_while_training_ends_it(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    dock = DenoiseDock(viewer)
    viewer.window.add_dock_widget(dock, name="Denoise")
    qtbot.waitUntil(lambda: bool(dock.session.methods), timeout=LONG)
    choose(dock, qtbot, viewer.add_image(phantom("2d", size=96).noisy))
    set_small(dock, steps=10**6)
    dock.bar.start.click()
    qtbot.waitUntil(lambda: dock.session.training is not None, timeout=LONG)
    viewer.close()
    qtbot.waitUntil(lambda: not _threads(), timeout=5000)


def test_two_docks_in_two_viewers(make_napari_viewer_proxy, qtbot):
    docks = []
    for _ in range(2):
        viewer = make_napari_viewer_proxy(show=True)
        dock = DenoiseDock(viewer)
        viewer.window.add_dock_widget(dock, name="Denoise")
        qtbot.waitUntil(lambda dock=dock: bool(dock.session.methods), timeout=LONG)
        choose(dock, qtbot, viewer.add_image(phantom("2d", size=96).noisy))
        set_small(dock)
        docks.append(dock)
    first, second = docks
    first.bar.start.click()
    assert second.session.state is State.READY
    qtbot.waitUntil(lambda: first.session.state is State.TRAINED, timeout=LONG)
    assert second.session.denoiser is None
    assert all("preview" not in layer.name for layer in second.viewer.layers)
    for dock in docks:
        dock.session.close(5)


def test_everything_is_reached_by_keyboard_and_told(dock, viewer):
    from qtpy.QtWidgets import QAbstractButton, QComboBox, QSlider

    for panel in dock.panels:
        dock.open(panel)
        for kind in (QAbstractButton, QComboBox, QSlider):
            for control in panel.findChildren(kind):
                if control.isVisible() and control.isEnabled():
                    assert control.focusPolicy() & Qt.FocusPolicy.TabFocus, control
                    assert control.toolTip() or control.text(), control


def test_fits_a_small_screen(dock, viewer, qtbot):
    viewer.window.resize(1280, 900)
    for panel in dock.panels:
        dock.open(panel)
        assert dock.minimumSizeHint().width() <= 420
        assert panel.minimumSizeHint().width() <= 400, panel.title
        assert panel.sizeHint().height() <= 600, panel.title
    assert dock.bar.isVisible()


def chunks(path):
    """Bytes of all chunks, by place."""
    root = zarr.open_group(path, mode="r")
    assert root.members()
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != "zarr.json"
    }


def _threads():
    return [t for t in threading.enumerate() if t.name == "blindsound-work"]
