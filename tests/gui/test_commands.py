from __future__ import annotations

import napari
import numpy as np
import pytest
from npe2 import PluginManifest
from qtpy.QtWidgets import QDockWidget

import napari_blindsound
from napari_blindsound.errors import ModelError
from napari_blindsound.gui.commands import (
    DOCK,
    denoise_layer,
    get_model_reader,
    open_dock,
    open_model,
)

NAME = "napari-blindsound"


@pytest.fixture
def viewer(make_napari_viewer_proxy, plugin_settings, npe2pm):
    npe2pm.register(PluginManifest.from_distribution(NAME))
    return make_napari_viewer_proxy()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that has learned next to nothing, on disk."""
    image = np.random.default_rng(0).poisson(50, (64, 64)).astype(np.uint16)
    path = tmp_path_factory.mktemp("model") / "cells.blindsound"
    napari_blindsound.train(image, axes="YX", steps=2, device="cpu").save(path)
    return path


def docked(viewer):
    return [dock for name, dock in viewer.window.dock_widgets.items() if name == DOCK]


def frame_of(dock):
    while not isinstance(dock, QDockWidget):
        dock = dock.parentWidget()
    return dock


def test_there_is_one_dock_in_a_viewer(viewer):
    dock = open_dock(viewer)
    assert open_dock(viewer) is dock
    assert docked(viewer) == [dock]
    frame_of(dock).hide()
    open_dock(viewer)
    assert not frame_of(dock).isHidden()


def test_a_closed_dock_is_made_anew(viewer):
    closed = open_dock(viewer)
    viewer.window.remove_dock_widget(closed)
    assert docked(viewer) == []
    dock = open_dock(viewer)
    assert dock is not closed
    assert docked(viewer) == [dock]


def test_a_dock_that_a_script_added_is_found(viewer):
    _, dock = viewer.window.add_plugin_dock_widget(NAME, "Denoise")
    assert open_dock(viewer) is dock


def test_the_selected_layer_is_chosen(viewer):
    random = np.random.default_rng(0)
    layers = [viewer.add_image(random.poisson(50, (64, 64))) for _ in range(3)]
    for layer in layers[1], layers[0]:
        viewer.layers.selection.active = layer
        denoise_layer()
        [dock] = docked(viewer)
        assert dock.data.layer.name == layer.name


def test_without_a_selected_layer_it_says_what_to_do(viewer):
    shown = []
    manager = napari.utils.notifications.notification_manager
    manager.notification_ready.connect(lambda notice: shown.append(notice.message))
    denoise_layer()
    assert shown == ["Select one image layer to denoise, then try again."]
    assert docked(viewer) == []


def test_a_model_opens_the_last_step(viewer, model, qtbot):
    assert viewer.open(model, plugin=None) == []
    [dock] = docked(viewer)
    assert len(viewer.layers) == 0
    qtbot.waitUntil(lambda: dock.session.denoiser is not None, timeout=20000)
    assert dock.session.model_path == model
    assert dock.apply.isVisibleTo(dock)


def test_only_a_model_is_taken(model, tmp_path):
    assert get_model_reader(str(model)) is open_model
    assert get_model_reader([str(model)]) is open_model
    (tmp_path / "folder.blindsound").mkdir()
    for other in ("missing.blindsound", "folder.blindsound", "a.tif"):
        assert get_model_reader(str(tmp_path / other)) is None
    assert get_model_reader([str(model), str(model)]) is None
    assert get_model_reader([]) is None


def test_a_model_without_a_window_is_said_to_need_one(model, monkeypatch):
    monkeypatch.setattr("napari.current_viewer", lambda: None)
    with pytest.raises(ModelError, match=r"napari_blindsound\.load"):
        open_model(str(model))


def test_napari_offers_it_in_its_menus(run):
    """In a new interpreter: the viewers of tests have an application of their own."""
    code = f"""
import json, os, sys
import napari, numpy as np
from app_model import Application
from napari._app_model.context import get_context
from napari._qt._qapp_model import build_qmodel_menu

viewer = napari.Viewer(show=False)
image = viewer.add_image(np.random.default_rng(0).poisson(50, (64, 64)), name="a")
viewer.add_image(np.zeros((8, 8, 3), np.uint8), name="rgb", rgb=True)
viewer.add_labels(np.zeros((8, 8), int), name="labels")
app = Application.get_app("napari")

def items(menu):
    menu = build_qmodel_menu(menu)
    menu.update_from_context(get_context(viewer.layers))
    found = [action for action in menu.actions() if "Blindsound" in action.text()]
    return {{action.text(): action for action in found if action.isVisible()}}

out = [list(items("napari/layers/filter"))]
items("napari/layers/filter")["{DOCK}"].trigger()
for names in (["a"], ["rgb"], ["labels"], ["a", "rgb"]):
    viewer.layers.selection = {{viewer.layers[name] for name in names}}
    if len(names) == 1:
        viewer.layers.selection.active = viewer.layers[names[0]]
    out.append(list(items("napari/layers/context")))
viewer.layers.selection = {{image}}
viewer.layers.selection.active = image
items("napari/layers/context")["{DOCK}"].trigger()
docks = viewer.window.dock_widgets
out.append([name for name in docks if "Blindsound" in name])
out.append(docks["{DOCK}"].data.layer.name)
viewer.close()
print(json.dumps(out))
"""
    menu, one, rgb, labels, two, docks, layer = run(code)
    assert menu == [DOCK, "Batch denoise (Blindsound)", "Compare methods (Blindsound)"]
    assert one == [DOCK]
    assert rgb == labels == two == []
    assert docks == [DOCK]
    assert layer == "a"
