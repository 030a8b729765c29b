from __future__ import annotations

import inspect
import json
import pkgutil
from importlib import import_module

import numpy as np
import pytest
from npe2 import PluginManifest
from qtpy.QtWidgets import QWidget

from napari_blindsound import gui

NAME = "napari-blindsound"
MANIFEST = PluginManifest.from_distribution(NAME)
MODULES = [
    f"{gui.__name__}.{found.name}" for found in pkgutil.iter_modules(gui.__path__)
]


def resolved(python_name):
    module, name = python_name.split(":")
    return getattr(import_module(module), name)


@pytest.fixture
def viewer(make_napari_viewer_proxy, plugin_settings, npe2pm):
    """Viewer with this plugin and napari's own, stored settings left alone."""
    npe2pm.register(PluginManifest.from_distribution(NAME))
    return make_napari_viewer_proxy()


@pytest.mark.parametrize("command", MANIFEST.contributions.commands, ids=lambda c: c.id)
def test_every_command_is_there(command):
    assert callable(resolved(command.python_name))
    assert callable(resolved(MANIFEST.on_activate))


def test_every_command_is_used():
    told = MANIFEST.contributions
    parts = (*told.widgets, *told.readers, *told.writers, *told.sample_data)
    used = {part.command for part in parts}
    known = {command.id for command in told.commands}
    assert known - used == {"napari-blindsound.denoise_layer"}
    in_menus = {item.command for items in told.menus.values() for item in items}
    assert used | in_menus <= known


def test_napari_takes_every_menu():
    from napari._app_model.constants._menus import is_menu_contributable

    assert MANIFEST.contributions.menus
    for menu in MANIFEST.contributions.menus:
        assert is_menu_contributable(menu)


def test_widgets_are_given_the_viewer():
    """napari gives it to the parameter of this name, or leaves it out."""
    for widget in MANIFEST.contributions.widgets:
        commands = {command.id: command for command in MANIFEST.contributions.commands}
        found = resolved(commands[widget.command].python_name)
        assert issubclass(found, QWidget)
        assert "napari_viewer" in inspect.signature(found).parameters


def test_torch_is_not_imported_before_work_starts(run):
    targets = [command.python_name for command in MANIFEST.contributions.commands]
    code = f"""
import json, sys
from importlib import import_module
for target in {targets!r}:
    module, name = target.split(":")
    getattr(import_module(module), name)
for module in {MODULES!r}:
    import_module(module)
print(json.dumps(sorted({{"torch"}} & sys.modules.keys())))
"""
    assert run(code) == []


@pytest.mark.parametrize("name", ["read", "write", "open_model", "denoise_layer"])
def test_neither_qt_nor_napari_is_imported_for_files(name, run):
    [command] = [c for c in MANIFEST.contributions.commands if c.id == f"{NAME}.{name}"]
    code = f"""
import json, sys
from importlib import import_module
import_module({command.python_name.split(":")[0]!r})
import_module({MANIFEST.on_activate.split(":")[0]!r})
heavy = {{"napari", "qtpy", "PyQt6", "PySide6", "pyqtgraph", "torch", "numpy"}}
print(json.dumps(sorted(heavy & sys.modules.keys())))
"""
    assert run(code) == []


def test_plugin_works_where_there_is_no_napari(run):
    code = f"""
import json, sys
sys.modules |= {{"napari": None, "qtpy": None, "app_model": None}}
import npe2
manager = npe2.PluginManager.instance()
manager.discover()
print(json.dumps(len(manager.commands.execute("{NAME}.sample_image"))))
"""
    assert run(code) == 2


def test_a_sample_opens_in_the_viewer(viewer):
    clean, noisy = viewer.open_sample(NAME, "image")
    assert clean.data.shape == noisy.data.shape
    assert noisy.name.endswith("noisy")
    assert {str(unit) for unit in noisy.units} == {"micrometer"}
    assert tuple(clean.contrast_limits) == tuple(noisy.contrast_limits)


@pytest.mark.parametrize("name", ["cells.ome.tif", "cells.ome.zarr"])
def test_dropped_images_are_lazy_and_carry_what_the_file_says(name, viewer, tmp_path):
    import dask.array
    import tifffile

    from napari_blindsound.plugin import write_ome_zarr

    pixels = np.random.default_rng(0).integers(90, 900, (3, 40, 48), np.uint16)
    path = str(tmp_path / name)
    if name.endswith("tif"):
        metadata = {"axes": "ZYX"}
        for axis, size in zip("ZYX", (0.5, 0.1, 0.2), strict=True):
            metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
        tifffile.imwrite(path, pixels, ome=True, metadata=metadata)
    else:
        meta = {
            "name": "cells",
            "scale": (0.5, 0.1, 0.2),
            "units": ("micrometer",) * 3,
            "axis_labels": ("z", "y", "x"),
        }
        write_ome_zarr(path, [(pixels, meta, "image")])
    [layer] = viewer.open(path, plugin=NAME)
    level = layer.data[0] if layer.multiscale else layer.data
    assert isinstance(level, dask.array.Array)
    np.testing.assert_array_equal(level.compute(), pixels)
    assert layer.axis_labels == ("z", "y", "x")
    np.testing.assert_allclose(layer.scale, (0.5, 0.1, 0.2))
    assert {str(unit) for unit in layer.units} == {"micrometer"}
    assert layer.source.path == path


def test_names_of_menus_are_unique_and_say_whose_they_are():
    shown = [widget.display_name for widget in MANIFEST.contributions.widgets]
    assert json.dumps(shown) == '["Denoise", "Batch denoise", "Compare methods"]'
    assert MANIFEST.display_name == "Blindsound"
