"""Deviations in the docks: a check box, a second layer, the same bytes."""

from __future__ import annotations

import shlex

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt

from napari_blindsound.api import train
from napari_blindsound.cli import main
from napari_blindsound.gui.dock import DenoiseDock
from napari_blindsound.gui.layers import role_of
from napari_blindsound.gui.session import State
from napari_blindsound.images.layers import KEY
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import phantom

SMALL = {"width": 4, "depth": 1, "patch": 32, "batch": 1}
LONG = 60_000  # ms


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A file, and a model of either method."""
    place = tmp_path_factory.mktemp("sure")
    made = phantom("timelapse", size=96, frames=3)
    tifffile.imwrite(
        place / "movie.tif",
        made.noisy,
        imagej=True,
        resolution=(2, 2),
        metadata={"axes": "TYX"},
    )
    for method in ("blind2sound", "blind2unblind"):
        model = train(
            made.volume(), method=method, steps=20, settings=SMALL, device="cpu"
        )
        model.save(place / f"{method}.blindsound")
    return place


@pytest.fixture
def viewer(make_napari_viewer_proxy):
    return make_napari_viewer_proxy(show=True)


@pytest.fixture
def dock(viewer, qtbot, folder):
    made = DenoiseDock(viewer)
    viewer.window.add_dock_widget(made, name="Denoise")
    qtbot.waitUntil(lambda: bool(made.session.methods), timeout=LONG)
    made.data.open_paths([folder / "movie.tif"])
    qtbot.waitUntil(lambda: made.session.pace is not None, timeout=LONG)
    yield made
    made.session.close(5)


def load(dock, qtbot, path):
    before = dock.session.denoiser
    dock.session.load_model(path)
    qtbot.waitUntil(
        lambda: dock.session.denoiser is not before and not dock.session.is_busy,
        timeout=LONG,
    )


def shown(viewer):
    """Layers but for the preview."""
    return [layer for layer in viewer.layers if role_of(layer) != "preview"]


def roles(viewer):
    return [role_of(layer) for layer in shown(viewer)]


def test_only_models_that_know_it_offer_it(dock, qtbot, folder):
    box = dock.apply.uncertainty
    assert not box.isEnabled()
    load(dock, qtbot, folder / "blind2unblind.blindsound")
    assert not box.isEnabled()
    assert "does not say how uncertain" in box.toolTip()
    load(dock, qtbot, folder / "blind2sound.blindsound")
    assert box.isEnabled()
    assert box.focusPolicy() & Qt.FocusPolicy.TabFocus
    assert "standard deviation" in box.toolTip()
    assert "--uncertainty" not in dock.bar.command.text()
    box.click()
    assert "--uncertainty" in dock.bar.command.text()
    # A mixture's deviation is not known, so that it is not promised.
    dock.session.set_blend(0.5)
    assert not box.isEnabled()
    dock.applying.refresh()
    assert "--uncertainty" not in dock.bar.command.text()
    dock.session.set_blend(None)
    assert box.isEnabled()
    assert box.isChecked()


def test_written_as_the_command_line_does_and_shown_beside(
    dock, viewer, qtbot, folder, tmp_path
):
    load(dock, qtbot, folder / "blind2sound.blindsound")
    dock.apply.place.setText(str(tmp_path / "dock.ome.zarr"))
    dock.apply.uncertainty.click()
    words = shlex.split(dock.bar.command.text())
    dock.apply.write.click()
    qtbot.waitUntil(lambda: dock.session.state is State.DONE, timeout=LONG)
    assert roles(viewer) == [None, "denoised", "deviation"]
    source, result, deviation = shown(viewer)
    assert deviation.name == "movie.tif · deviation (Blind2Sound)"
    assert deviation.colormap.name == "magma"
    assert deviation.contrast_limits[0] == 0
    assert deviation.contrast_limits[1] < source.contrast_limits[1] / 2
    np.testing.assert_allclose(deviation.scale, source.scale)
    assert (deviation.units, deviation.axis_labels) == (
        source.units,
        source.axis_labels,
    )
    assert deviation.metadata[KEY]["model"]["deviation"]["words"]

    place = str(tmp_path / "dock.ome.zarr")
    words[words.index(place)] = str(tmp_path / "cli.ome.zarr")
    assert main([*words[1:], "-q"]) == 0
    for name in ("", "_deviation"):
        mine, theirs = (
            open_volume(tmp_path / f"{who}{name}.ome.zarr") for who in ("dock", "cli")
        )
        whole = tuple(slice(0, size) for size in mine.shape)
        np.testing.assert_array_equal(mine.read(whole), theirs.read(whole))

    viewer.layers.remove(result)
    qtbot.waitUntil(lambda: roles(viewer) == [None], timeout=LONG)


def test_a_lazy_one_is_computed_where_somebody_looks(dock, viewer, qtbot, folder):
    load(dock, qtbot, folder / "blind2sound.blindsound")
    dock.apply.uncertainty.click()
    dock.apply.lazy.click()
    assert roles(viewer) == [None, "denoised", "deviation"]
    source, result, deviation = shown(viewer)
    assert deviation.name == "movie.tif · deviation (Blind2Sound, lazy)"
    np.testing.assert_allclose(deviation.scale, source.scale)
    made = deviation.metadata[KEY]["lazy"]
    at = viewer.dims.current_step[0]
    qtbot.waitUntil(lambda: np.isfinite(deviation.data[at]).all(), timeout=LONG)
    noisy = source.data[0] if source.multiscale else source.data
    expected = dock.session.denoiser.deviation()(np.asarray(noisy[at]))
    np.testing.assert_allclose(deviation.data[at], expected, rtol=1e-3)
    assert deviation.contrast_limits[0] == 0
    # The dock offers neither of them as an image to denoise.
    assert dock.apply.target.findText(f"layer: {deviation.name}") < 0
    viewer.layers.selection = {result, deviation}
    viewer.layers.remove_selected()
    assert made.is_closed
    dock.apply.lazy.click()
    viewer.layers.remove(shown(viewer)[1])
    qtbot.waitUntil(lambda: roles(viewer) == [None], timeout=LONG)
