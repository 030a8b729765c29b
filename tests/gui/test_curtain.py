from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from napari_blindsound.gui.curtain import Curtain
from napari_blindsound.gui.live import Preview
from napari_blindsound.gui.preview_layer import PreviewLayer
from napari_blindsound.gui.view import Look

LEFT, NO_BUTTON = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
NO_KEY = Qt.KeyboardModifier.NoModifier
SCALE = np.array([2.0, 0.5, 0.5])


class Scene:
    """A viewer with a noisy stack, its preview and a curtain, and a mouse."""

    def __init__(self, viewer, qtbot, **placed):
        data = np.zeros((3, 64, 96), np.float32)
        self.viewer, self.qtbot = viewer, qtbot
        self.source = viewer.add_image(data, contrast_limits=(0, 1), **placed)
        viewer.dims.set_point(0, 2)
        self.preview = PreviewLayer(viewer, self.source)
        self.curtain = Curtain(viewer, self.preview)
        self.moves = []
        self.curtain.moved.connect(self.moves.append)
        look = Look((slice(1, 2), slice(4, 60), slice(8, 90)))
        pixels = np.ones(look.shape, np.float32)
        self.preview.show(Preview(look, (pixels,), pixels, 0.1))
        self.canvas = next(
            widget
            for widget in QApplication.allWidgets()
            if type(widget).__name__ == "CanvasBackendDesktop" and widget.isVisible()
        )

    def on_canvas(self, y, x):
        """Where a pixel of the source lies on the canvas."""
        world = np.array(self.source.data_to_world((1, y, x)))[1:]
        camera = self.viewer.scene.camera
        row, column = (world - camera.center[-2:]) * camera.zoom + self.middle
        return QPoint(round(column), round(row))

    def in_world(self, place):
        camera = self.viewer.scene.camera
        away = (place.y(), place.x()) - self.middle
        return away / camera.zoom + camera.center[-2:]

    @property
    def middle(self):
        return np.array([self.canvas.height(), self.canvas.width()]) / 2

    def send(self, kind, place, button=NO_BUTTON, buttons=NO_BUTTON):
        here = QPointF(place)
        there = QPointF(self.canvas.mapToGlobal(place))
        event = QMouseEvent(kind, here, there, button, buttons, NO_KEY)
        QApplication.sendEvent(self.canvas, event)

    def move(self, place, buttons=NO_BUTTON):
        def has_moved():
            # The canvas leaves out moves that come too soon after the last one.
            self.send(QEvent.Type.MouseMove, place, buttons=buttons)
            away = self.viewer.cursor.position[-2:] - self.in_world(place)
            return np.abs(away).max() * self.viewer.scene.camera.zoom < 0.5

        self.qtbot.waitUntil(has_moved, timeout=20000)

    def press(self, place):
        self.move(place + QPoint(0, 1))
        self.move(place)
        self.send(QEvent.Type.MouseButtonPress, place, LEFT, LEFT)

    def drag(self, start, *places):
        self.press(start)
        for place in places:
            self.move(place, LEFT)
        self.send(QEvent.Type.MouseButtonRelease, places[-1], LEFT)


@pytest.fixture
def scene(make_napari_viewer_proxy, qtbot):
    def of(**placed):
        viewer = make_napari_viewer_proxy(show=True)
        made = Scene(viewer, qtbot, **{"scale": SCALE, **placed})
        qtbot.waitExposed(made.canvas)
        viewer.screenshot(flash=False)
        return made

    yield of
    # The last move may still be under way to the canvas.
    qtbot.wait(20)


def test_the_line_is_dragged(scene):
    scene = scene()
    scene.preview.set_curtain(40)
    center = scene.viewer.scene.camera.center
    scene.drag(*(scene.on_canvas(30, x) for x in (39.5, 45, 61.3)))
    assert scene.moves[-1] == pytest.approx(61.3, abs=0.2)
    assert any(abs(x - 45) < 0.2 for x in scene.moves)
    assert scene.preview.edge == pytest.approx(61.5)
    assert scene.preview.layer.data.shape == (1, 56, 90 - 62)
    scene.viewer.screenshot(flash=False)  # the camera is told of a pan as it draws
    assert scene.viewer.scene.camera.center == center
    assert scene.viewer.scene.camera.mouse_pan


def test_other_drags_pan(scene):
    scene = scene()
    scene.preview.set_curtain(40)
    center = scene.viewer.scene.camera.center
    scene.drag(*(scene.on_canvas(30, x) for x in (60, 70, 75, 80)))
    assert scene.moves == []
    camera = scene.viewer.scene.camera
    scene.qtbot.waitUntil(lambda: camera.center != center, timeout=20000)
    before = scene.preview.edge
    scene.preview.set_curtain(None)
    scene.drag(scene.on_canvas(30, before), scene.on_canvas(30, 50))
    assert scene.moves == []


def test_it_is_caught_zoomed_in_and_after_panning(scene):
    scene = scene(translate=(0, 30, -20))
    camera = scene.viewer.scene.camera
    camera.zoom *= 4
    camera.center = scene.source.data_to_world((1, 20, 50))
    scene.preview.set_curtain(48)
    scene.drag(*(scene.on_canvas(22, x) for x in (47.6, 52.2)))
    assert scene.moves[-1] == pytest.approx(52.1, abs=0.2)


def test_caught_beside_the_line_it_does_not_jump(scene):
    scene = scene()
    scene.preview.set_curtain(40)
    start = scene.on_canvas(30, 39.5)
    scene.drag(start + QPoint(4, 0), start + QPoint(5, 0), start + QPoint(4, 0))
    assert scene.moves[-1] == pytest.approx(39.5, abs=0.1)


@pytest.mark.parametrize("turn", ["turned", "sheared"])
def test_a_turned_layer(scene, turn):
    placed = {
        "turned": {"rotate": [[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]]},
        "sheared": {"shear": (0, 0, 0.5)},
    }
    scene = scene(**placed[turn])
    scene.preview.set_curtain(40)
    scene.drag(*(scene.on_canvas(y, x) for y, x in ((30, 39.5), (20, 45), (35, 61.3))))
    assert scene.moves[-1] == pytest.approx(61.3, abs=0.3)


def test_the_viewer_may_count_in_other_units(scene):
    scene = scene(units=("um", "um", "um"))
    line = np.array(scene.source.data_to_world((1, 30, 39.5)))
    scene.viewer.layers.units = ("nm", "nm", "nm")
    scene.preview.set_curtain(40)
    assert scene.curtain.is_near(line * 1000)
    assert not scene.curtain.is_near(line)


def test_the_cursor_says_what_can_be_caught(scene):
    scene = scene()
    scene.preview.set_curtain(40)
    cursor = scene.viewer.cursor
    usual = cursor.style
    for place, style in (
        ((30, 39.5), "pointing"),
        ((30, 50), usual),
        ((30, 39.4), "pointing"),
        ((2, 39.5), usual),
    ):
        scene.move(scene.on_canvas(*place))
        assert cursor.style == style, place


def test_a_layer_that_draws_keeps_its_mouse(scene):
    scene = scene()
    scene.preview.set_curtain(40)
    labels = scene.viewer.add_labels(np.zeros((3, 64, 96), int), scale=SCALE)
    labels.mode = "paint"
    scene.drag(scene.on_canvas(30, 39.5), scene.on_canvas(30, 45))
    assert scene.moves == []
    assert labels.data.any()


def test_nothing_is_caught_where_no_line_is_seen(scene):
    scene = scene()
    scene.preview.set_curtain(40)
    line = scene.source.data_to_world((1, 30, 39.5))
    assert scene.curtain.is_near(line)
    scene.viewer.dims.set_point(0, 4)
    assert not scene.curtain.is_near((4, *line[1:]))
    scene.viewer.dims.ndisplay = 3
    assert not scene.curtain.is_near(line)
    scene.viewer.dims.ndisplay = 2
    scene.preview.remove()
    assert not scene.curtain.is_near(line)


def test_removed_it_leaves_nothing(scene):
    scene = scene()
    scene.preview.set_curtain(40)
    scene.move(scene.on_canvas(30, 39.5))
    callbacks = scene.viewer.mouse_drag_callbacks, scene.viewer.mouse_move_callbacks
    counts = [len(those) for those in callbacks]
    scene.curtain.remove()
    scene.curtain.remove()
    assert [len(those) for those in callbacks] == [count - 1 for count in counts]
    assert scene.viewer.cursor.style == "standard"
    scene.drag(scene.on_canvas(30, 39.5), scene.on_canvas(30, 45))
    assert scene.moves == []


def test_the_source_is_deleted_under_the_hand(scene):
    scene = scene()
    scene.preview.set_curtain(40)
    start, end = scene.on_canvas(30, 39.5), scene.on_canvas(30, 45)
    scene.press(start)
    scene.viewer.layers.clear()
    scene.move(end, LEFT)
    scene.send(QEvent.Type.MouseButtonRelease, end, LEFT)
    assert scene.moves == []
    assert scene.viewer.scene.camera.mouse_pan
