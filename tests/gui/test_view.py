from __future__ import annotations

import numpy as np
import pytest

from napari_blindsound.gui.view import Look, looked_at


@pytest.fixture
def viewer(make_napari_viewer_proxy):
    return make_napari_viewer_proxy(show=True)


def test_the_whole_of_a_small_image(viewer, qtbot):
    layer = viewer.add_image(np.zeros((5, 60, 80)), scale=(2, 0.5, 0.5))
    viewer.dims.set_current_step(0, 3)
    qtbot.waitUntil(lambda: layer.corner_pixels.any(), timeout=5000)
    look = looked_at(viewer, layer, "ZYX")
    assert look.region == (slice(3, 4), slice(0, 60), slice(0, 80))
    assert look.offset == (3, 0, 0)
    assert look.shape == (1, 60, 80)


def test_zoomed_in_it_is_what_the_canvas_shows(viewer, qtbot):
    layer = viewer.add_image(np.zeros((4000, 4000)))
    viewer.scene.camera.center = (0, 1000, 3000)
    viewer.scene.camera.zoom = 4
    qtbot.waitUntil(lambda: layer.corner_pixels[0, 0] > 0, timeout=5000)
    _, (rows, columns) = None, looked_at(viewer, layer, "YX").region
    assert rows.start < 1000 < rows.stop
    assert columns.start < 3000 < columns.stop
    assert rows.stop - rows.start < 1000


def test_levels_are_counted_at_full_resolution(viewer, qtbot):
    levels = [np.zeros((2, 4096, 4096), "u1"), np.zeros((2, 1024, 1024), "u1")]
    layer = viewer.add_image(levels, multiscale=True, contrast_limits=(0, 1))
    qtbot.waitUntil(lambda: layer.data_level == 1, timeout=5000)
    rows = looked_at(viewer, layer, "ZYX").region[1]
    assert rows.stop > 2048


@pytest.mark.parametrize("change", ["3d", "order"])
def test_nothing_where_other_planes_are_shown(viewer, change):
    layer = viewer.add_image(np.zeros((5, 60, 80)))
    if change == "3d":
        viewer.dims.ndisplay = 3
    else:
        viewer.dims.order = (1, 0, 2)
    assert looked_at(viewer, layer, "ZYX") is None


def test_nothing_beyond_the_layer(viewer):
    layer = viewer.add_image(np.zeros((5, 60, 80)))
    viewer.add_image(np.zeros((9, 60, 80)))
    viewer.dims.set_current_step(0, 7)
    assert looked_at(viewer, layer, "ZYX") is None


def test_within_takes_the_middle():
    look = Look((slice(3, 4), slice(100, 300), slice(0, 400)))
    assert look.within(80_000) is look
    small = look.within(20_000)
    assert small.shape == (1, 100, 200)
    assert small.offset == (3, 150, 100)
