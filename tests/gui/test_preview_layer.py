from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.settings import get_settings

from napari_blindsound.gui.live import Preview
from napari_blindsound.gui.preview_layer import Blend, PreviewLayer
from napari_blindsound.gui.view import Look, looked_at

NOISE = np.random.default_rng(7)


def preview_of(source, *parts, ends=1):
    """A preview of the source's own pixels, brighter by 1 (and 2) counts."""
    data = source.data[0] if source.multiscale else source.data
    look = Look(tuple(slice(*part) for part in parts))
    noisy = np.asarray(data[look.region], np.float32)
    estimates = tuple(noisy + number + 1 for number in range(ends))
    return Preview(look, estimates, noisy, 0.1)


def first_pixels(layer):
    return np.asarray(layer.data_to_world((0,) * layer.ndim))


PLANE = {"data": NOISE.random((96, 128)) * 100}
STACK = {
    "data": NOISE.random((5, 64, 80)) * 100,
    "scale": (2.5, 0.4, 0.4),
    "translate": (10, -3, 7),
    "units": "micrometer",
    "axis_labels": ("z", "y", "x"),
}
TURNED = {
    **STACK,
    "rotate": [[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]],
    "shear": (0, 0, 0.3),
    "affine": np.diag([1, 2, 2, 1.0]) + np.eye(4, k=3),
}
PYRAMID = {
    "data": [PLANE["data"], PLANE["data"][::2, ::2], PLANE["data"][::4, ::4]],
    "multiscale": True,
    "scale": (0.5, 0.7),
}
PARTS = {2: ((20, 70), (31, 111)), 3: ((3, 4), (10, 50), (21, 71))}


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture(params=["plane", "stack", "turned", "pyramid"])
def source(request, viewer):
    settings = {"plane": PLANE, "stack": STACK, "turned": TURNED, "pyramid": PYRAMID}
    return viewer.add_image(**settings[request.param], name="cells")


@pytest.fixture
def shown(qtbot, viewer, source):
    return PreviewLayer(viewer, source)


def test_each_pixel_lies_on_the_pixel_that_it_denoises(viewer, source, shown):
    look = preview_of(source, *PARTS[source.ndim])
    viewer.dims.set_point(0, first_pixels(source)[0] + 3 * source.scale[0])
    shown.show(look)
    layer = shown.layer
    for place in (0, 7):
        here = [place if size > 1 else 0 for size in layer.data.shape]
        there = np.add(look.look.offset, here)
        np.testing.assert_allclose(
            layer.data_to_world(here), source.data_to_world(there)
        )
    np.testing.assert_array_equal(layer.data, look.estimates[0])


def test_it_looks_like_its_source_and_lies_above_it(viewer, source, shown):
    source.colormap = "magma"
    source.contrast_limits = (3, 60)
    source.gamma = 0.7
    above = viewer.add_points(np.zeros((1, source.ndim)), units=source.units)
    shown.show(preview_of(source, *PARTS[source.ndim]))
    layer = shown.layer
    assert list(viewer.layers) == [source, layer, above]
    assert layer.name == "cells · preview"
    assert layer.colormap.name == "magma"
    assert layer.contrast_limits == [3, 60]
    assert layer.contrast_limits_range == source.contrast_limits_range
    assert layer.gamma == 0.7
    assert layer.units == source.units
    assert layer.axis_labels == source.axis_labels


def test_nothing_moves_when_it_comes_or_changes(viewer, source, shown):
    points = viewer.add_points(np.zeros((1, source.ndim)), units=source.units)
    viewer.layers.selection = {points, source}
    steps = list(viewer.dims.current_step)
    steps[0] = 1
    viewer.dims.current_step = steps

    def state():
        camera = viewer.scene.camera
        ranges = np.round(np.array(viewer.dims.range), 9).tolist()
        return (
            (camera.center, camera.zoom, viewer.dims.current_step, ranges),
            set(viewer.layers.selection),
        )

    before, moves = state(), []
    viewer.dims.events.current_step.connect(moves.append)
    parts = PARTS[source.ndim]
    shown.show(preview_of(source, *parts))
    assert state() == before
    # The whole plane after a part of it: it would reach out of the image for a moment.
    sizes = (source.data[0] if source.multiscale else source.data).shape
    shown.show(preview_of(source, *parts[:-2], (0, sizes[-2]), (0, sizes[-1])))
    assert state() == before
    shown.set_curtain(40.2)
    assert state() == before
    shown.remove()
    assert state() == before
    assert moves == []
    assert shown.layer is None


def test_the_viewer_never_hears_of_pixels_at_the_wrong_place(viewer, qtbot):
    source = viewer.add_image(**PLANE)
    shown = PreviewLayer(viewer, source)
    shown.show(preview_of(source, (50, 60), (100, 110)))
    ranges = []
    viewer.dims.events.range.connect(lambda event: ranges.append(event.value))
    shown.show(preview_of(source, (0, 96), (0, 128)))
    shown.show(preview_of(source, (90, 96), (0, 20)))
    assert ranges == []


def test_it_follows_its_source(viewer, source, shown):
    look = preview_of(source, *PARTS[source.ndim])
    shown.show(look)
    source.contrast_limits = (10, 5000)
    assert shown.layer.contrast_limits == [10, 5000]
    assert shown.layer.contrast_limits_range == source.contrast_limits_range
    source.contrast_limits = (20, 30)
    source.colormap = "green"
    source.gamma = 1.5
    source.name = "nuclei"
    source.units = ["nanometer"] * source.ndim
    source.translate = [5] * source.ndim
    source.scale = [3] * source.ndim
    layer = shown.layer
    assert layer.contrast_limits == [20, 30]
    assert layer.colormap.name == "green"
    assert layer.gamma == 1.5
    assert layer.name == "nuclei · preview"
    assert layer.units == source.units
    np.testing.assert_allclose(
        first_pixels(layer), source.data_to_world(look.look.offset)
    )


def test_contrast_may_be_set_on_either(viewer, source, shown):
    source.contrast_limits_range = (0, 100)
    source.contrast_limits = (0, 100)
    shown.show(preview_of(source, *PARTS[source.ndim]))
    shown.layer.contrast_limits = (5, 900)
    assert source.contrast_limits == [5, 900]
    source.contrast_limits = (6, 2000)
    assert shown.layer.contrast_limits == [6, 2000]
    shown.layer.colormap = "red"
    assert source.colormap.name == "gray"


def test_an_additive_channel_is_not_added_to_its_own_preview(viewer, qtbot):
    source = viewer.add_image(**PLANE, blending="additive", colormap="green")
    shown = PreviewLayer(viewer, source)
    shown.show(preview_of(source, (0, 50), (0, 50)))
    assert shown.layer.blending == "translucent_no_depth"


def test_three_columns_are_no_colors(viewer, qtbot):
    source = viewer.add_image(NOISE.integers(0, 255, (64, 64), np.uint8))
    shown = PreviewLayer(viewer, source)
    shown.show(preview_of(source, (0, 64), (10, 13)))
    assert not shown.layer.rgb
    assert shown.layer.ndim == 2


@pytest.mark.parametrize("beta", [1.0, 2.0, 20.0])
def test_the_blend_is_that_of_the_training(beta):
    blind, visible = NOISE.random((2, 300, 200)).astype(np.float32) * 4000 + 100
    blended = Blend(blind, visible)(beta / (1 + beta))
    exact = (blind.astype(float) + beta * visible.astype(float)) / (1 + beta)
    np.testing.assert_allclose(blended, exact, rtol=1e-6)
    assert blended.dtype == np.float32


def test_the_ends_of_the_blend_are_the_estimates():
    blind, visible = np.zeros((4, 4), np.float32), np.ones((4, 4), np.float32)
    blend = Blend(blind, visible)
    assert blend(0) is blind
    assert blend(1) is visible
    assert Blend(blind)(0.7) is blind


def test_blending_shows_new_arrays_and_leaves_the_old_alone(viewer, source, shown):
    shown.set_blend(0.25)
    look = preview_of(source, *PARTS[source.ndim], ends=2)
    shown.show(look)
    first = shown.layer.data
    kept = first.copy()
    np.testing.assert_allclose(first, look.noisy + 1.25, rtol=1e-6)
    shown.set_blend(0.75)
    np.testing.assert_allclose(shown.layer.data, look.noisy + 1.75, rtol=1e-6)
    shown.set_blend(1)
    np.testing.assert_allclose(shown.layer.data, look.noisy + 2, rtol=1e-6)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(look.estimates[0], look.noisy + 1)


def test_one_estimate_cannot_be_blended(viewer, source, shown):
    shown.show(preview_of(source, *PARTS[source.ndim]))
    before = shown.layer.data
    shown.set_blend(0.5)
    assert shown.layer.data is before


def test_the_curtain_cuts_at_the_nearest_border_of_pixels(viewer, source, shown):
    look = preview_of(source, *PARTS[source.ndim])
    start, stop = PARTS[source.ndim][-1]
    shown.set_curtain(0)
    assert shown.edge is None
    shown.show(look)
    assert shown.edge == start - 0.5
    for x, first in ((40.2, 41), (39.8, 40), (0, start), (900, stop - 1)):
        shown.set_curtain(x)
        assert shown.edge == first - 0.5
        layer, offset = shown.layer, [*look.look.offset[:-1], first]
        assert layer.data.shape[-1] == stop - first
        np.testing.assert_array_equal(
            layer.data, look.estimates[0][..., first - start :]
        )
        np.testing.assert_allclose(first_pixels(layer), source.data_to_world(offset))
    assert shown.layer.bounding_box.visible
    shown.set_curtain(None)
    assert shown.edge is None
    assert shown.layer.data.shape == look.noisy.shape
    assert not shown.layer.bounding_box.visible


def test_deleted_by_the_user_it_stays_away_until_it_is_wanted(viewer, source, shown):
    told = []
    shown.removed.connect(lambda: told.append(1))
    look = preview_of(source, *PARTS[source.ndim])
    shown.show(look)
    viewer.layers.remove(shown.layer)
    assert told == [1]
    assert shown.layer is None
    assert not shown.visible
    shown.show(look)
    assert list(viewer.layers) == [source]
    shown.visible = True
    assert list(viewer.layers) == [source, shown.layer]
    shown.remove()
    assert told == [1]


def test_it_can_be_hidden_before_and_after_it_comes(viewer, source, shown):
    look = preview_of(source, *PARTS[source.ndim])
    shown.visible = False
    shown.show(look)
    assert shown.layer is None
    shown.visible = True
    shown.visible = False
    assert not shown.layer.visible
    shown.layer.visible = True
    assert shown.visible


@pytest.mark.parametrize("delete", ["one", "selected", "all"])
def test_it_goes_with_its_source(qtbot, viewer, source, shown, delete):
    look = preview_of(source, *PARTS[source.ndim])
    shown.show(look)
    if delete == "one":
        viewer.layers.remove(source)
    elif delete == "all":
        viewer.layers.clear()
    else:
        viewer.layers.select_all()
        viewer.layers.remove_selected()
    qtbot.waitUntil(lambda: len(viewer.layers) == 0, timeout=20000)
    assert shown.source is None
    shown.show(look)
    shown.set_curtain(3)
    assert shown.layer is None
    assert len(viewer.layers) == 0


def test_nothing_holds_a_preview_that_nobody_needs(viewer, source, qtbot):
    shown = PreviewLayer(viewer, source)
    shown.show(preview_of(source, *PARTS[source.ndim]))
    shown.remove()
    held = weakref.ref(shown)
    del shown
    gc.collect()
    assert held() is None
    source.contrast_limits = (0, 1)


def test_a_proxy_of_the_source_will_do(make_napari_viewer_proxy):
    viewer = make_napari_viewer_proxy()
    source = viewer.add_image(**STACK, name="cells")
    shown = PreviewLayer(viewer, source)
    shown.show(preview_of(source, *PARTS[3]))
    assert [layer.name for layer in viewer.layers] == ["cells", "cells · preview"]
    assert viewer.layers.selection.active == source
    source.colormap = "magma"
    assert shown.layer.colormap.name == "magma"
    viewer.layers.remove(shown.layer)
    assert shown.layer is None


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def slicing(request, monkeypatch):
    monkeypatch.setattr(get_settings().experimental, "async_", request.param)


def test_on_screen_the_pixels_are_where_they_belong(
    slicing, make_napari_viewer_proxy, qtbot
):
    viewer = make_napari_viewer_proxy(show=True)
    data = np.zeros((3, 64, 64), np.float32)
    source = viewer.add_image(data, contrast_limits=(0, 3), scale=(2, 0.5, 0.5))
    shown = PreviewLayer(viewer, source)
    viewer.dims.set_point(0, 2)

    def bright():
        """Rows and columns of the source that are bright on screen."""
        gray = viewer.screenshot(flash=False)[..., 0].astype(int)
        rows, columns = np.nonzero(gray > 60)
        if not len(rows):
            return None
        zoom, center = viewer.scene.camera.zoom, viewer.scene.camera.center[-2:]
        middle = np.array(gray.shape) / 2
        ends = np.array(
            [[rows.min(), columns.min()], [rows.max() + 1, columns.max() + 1]]
        )
        return np.round((((ends - middle) / zoom + center) / 0.5 + 0.5), 0).tolist()

    for parts in (((10, 30), (40, 60)), ((0, 64), (20, 30)), ((50, 60), (3, 9))):
        shown.show(preview_of(source, (1, 2), *parts))
        wanted = np.transpose(parts).tolist()
        qtbot.waitUntil(lambda wanted=wanted: bright() == wanted, timeout=20000)
    viewer.dims.set_point(0, 4)
    qtbot.waitUntil(lambda: bright() is None, timeout=20000)
    assert looked_at(viewer, source, "ZYX") is not None
