from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaozarrs

from napari_blindsound import plugin
from napari_blindsound.errors import (
    ImageFormatError,
    OutputError,
    OutputExistsError,
)
from napari_blindsound.images.open import open_volume

npe2 = pytest.importorskip("npe2")

NAME = "napari-blindsound"
META = {
    "name": "cells",
    "scale": (0.5, 0.1, 0.1),
    "units": ("micrometer",) * 3,
    "axis_labels": ("z", "y", "x"),
    "contrast_limits": (95.0, 800.0),
}


@pytest.fixture
def manifest():
    return npe2.PluginManifest.from_distribution(NAME)


@pytest.fixture
def discovered():
    manager = npe2.PluginManager.instance()
    manager.discover()
    assert NAME in manager
    return manager


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(90, 900, (3, 40, 48), np.uint16)


def write_tiff(path, pixels):
    tifffile.imwrite(path, pixels, ome=True, metadata={"axes": "ZYX"})


def write_zarr(path, pixels):
    plugin.write_ome_zarr(str(path), [(pixels, META, "image")])


def test_the_package_ships_the_manifest_that_lies_at_the_top(manifest):
    shipped = files("napari_blindsound") / "napari.yaml"
    assert manifest.name == NAME
    top = Path(__file__).parents[1] / "napari.yaml"
    assert top.read_text() == shipped.read_text()


def test_every_command_of_this_module_is_there(manifest):
    commands = manifest.contributions.commands
    targets = [command.python_name.split(":") for command in commands]
    ours = [name for module, name in targets if module == plugin.__name__]
    assert ours
    assert all(callable(getattr(plugin, name)) for name in ours)


def test_every_reader_pattern_is_read_back(manifest, discovered, tmp_path, pixels):
    readers = manifest.contributions.readers
    [reader] = [one for one in readers if one.command == f"{NAME}.read"]
    for pattern in reader.filename_patterns:
        path = tmp_path / pattern.replace("*", "cells")
        write = write_zarr if pattern.endswith(".zarr") else write_tiff
        write(path, pixels)
        [(data, meta, kind)] = npe2.read([str(path)], stack=False, plugin_name=NAME)
        assert kind == "image"
        assert meta["axis_labels"] == ("z", "y", "x")
        np.testing.assert_array_equal(data.compute(), pixels)


def test_every_sample_opens(manifest, discovered):
    labels = []
    for sample in manifest.contributions.sample_data:
        clean, noisy = discovered.commands.execute(sample.command)
        assert clean[0].shape == noisy[0].shape
        assert clean[1]["scale"] == noisy[1]["scale"]
        assert clean[1]["contrast_limits"] == noisy[1]["contrast_limits"]
        error = noisy[0].astype(float) - clean[0]
        assert abs(error.mean()) < 0.5, "the noise has no bias"
        assert error.std() > 5
        labels.append(noisy[1]["axis_labels"])
    assert labels == [("y", "x"), ("z", "y", "x"), ("t", "y", "x")]


def test_saving_through_npe2_is_a_valid_ome_zarr(discovered, tmp_path, pixels):
    path = tmp_path / "out.ome.zarr"
    written = npe2.write(str(path), [(pixels, META, "image")], plugin_name=NAME)
    assert written == [str(path)]
    yaozarrs.validate_zarr_store(path)
    back = open_volume(path)
    assert back.axes.names == "ZYX"
    assert [axis.scale for axis in back.axes] == [0.5, 0.1, 0.1]
    assert {axis.unit for axis in back.axes} == {"micrometer"}
    assert back.dtype == np.uint16
    np.testing.assert_array_equal(back.levels[0][...], pixels)


def test_saving_channels_keeps_their_names_and_display(tmp_path, pixels):
    meta = {**META, "colormap": "green"}
    layers = [
        (pixels, {**meta, "name": "cells DAPI"}, "image"),
        (pixels + 1, {**meta, "name": "cells GFP", "visible": False}, "image"),
    ]
    path = str(tmp_path / "out.zarr")
    plugin.write_ome_zarr(path, layers)
    back = plugin.read_layers(path)
    assert [meta["name"] for _, meta, _ in back] == ["out.zarr DAPI", "out.zarr GFP"]
    assert [meta["visible"] for _, meta, _ in back] == [True, False]
    assert back[0][1]["contrast_limits"] == (95.0, 800.0)
    np.testing.assert_array_equal(back[1][0].compute(), pixels + 1)


def test_axes_are_put_into_the_order_of_the_standard(tmp_path, pixels):
    meta = {**META, "axis_labels": ("y", "t", "x"), "scale": (0.1, 2.0, 0.2)}
    path = tmp_path / "out.zarr"
    plugin.write_ome_zarr(str(path), [(pixels, meta, "image")])
    back = open_volume(path)
    assert back.axes.names == "TYX"
    assert [axis.scale for axis in back.axes] == [2.0, 0.1, 0.2]
    np.testing.assert_array_equal(back.levels[0][...], pixels.transpose(1, 0, 2))


def test_nothing_is_overwritten_or_left_half_written(tmp_path, pixels):
    path = tmp_path / "out.zarr"
    write_zarr(path, pixels)
    with pytest.raises(OutputExistsError, match="exists"):
        write_zarr(path, pixels)
    with pytest.raises(OutputError, match=r"\.ome\.zarr"):
        write_zarr(tmp_path / "out.png", pixels)
    with pytest.raises(OutputError, match="OME-Zarr"):
        write_zarr(tmp_path / "out.tif", pixels)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.zarr"]


def test_napari_is_told_why_layers_cannot_be_saved(tmp_path, pixels):
    """It takes a ValueError for "no such writer" and drops the sentence."""
    layers = [(pixels, META, "image"), (pixels[:2], META, "image")]
    with pytest.raises(OutputError, match="not channels of one image") as raised:
        plugin.write_ome_zarr(str(tmp_path / "out.zarr"), layers)
    assert not isinstance(raised.value, ValueError)


def test_only_what_may_be_ours_is_taken(tmp_path, pixels):
    write_tiff(tmp_path / "a.ome.tif", pixels)
    write_tiff(tmp_path / "a.tif", pixels)
    (tmp_path / "empty.zarr").mkdir()
    assert plugin.get_reader(str(tmp_path / "a.ome.tif")) is plugin.read_layers
    assert plugin.get_reader([str(tmp_path / "a.ome.tif")]) is plugin.read_layers
    assert plugin.get_reader("s3://bucket/image.zarr") is plugin.read_layers
    for other in ("a.tif", "empty.zarr", "missing.ome.tif", "missing.zarr"):
        assert plugin.get_reader(str(tmp_path / other)) is None
    assert plugin.get_reader([]) is None


def test_files_chosen_together_are_one_stack(tmp_path, pixels):
    paths = [str(tmp_path / f"{number}.ome.tif") for number in range(3)]
    for path, plane in zip(paths, pixels, strict=True):
        tifffile.imwrite(path, plane, ome=True, metadata={"axes": "YX"})
    [(data, meta, _)] = plugin.get_reader(paths)(paths)
    assert meta["axis_labels"] == ("t", "y", "x")
    np.testing.assert_array_equal(data.compute(), pixels)


def test_a_broken_file_is_said_to_be_broken(tmp_path):
    path = tmp_path / "a.ome.tif"
    path.write_bytes(b"II*\0 and no more")
    with pytest.raises(ImageFormatError, match=r"a\.ome\.tif"):
        plugin.get_reader(str(path))(str(path))


def test_import_is_quick_and_light(run):
    code = """
import json, sys, time
start = time.perf_counter()
import napari_blindsound.plugin
seconds = time.perf_counter() - start
heavy = {"napari", "torch", "numpy", "dask", "zarr", "tifffile", "pydantic"}
print(json.dumps([seconds, sorted(heavy & sys.modules.keys())]))
"""
    runs = [run(code) for _ in range(3)]
    assert min(seconds for seconds, _ in runs) < 0.1
    assert runs[0][1] == []


def test_neither_napari_nor_torch_is_needed_to_read_and_write(run, tmp_path, pixels):
    path = tmp_path / "a.ome.tif"
    write_tiff(path, pixels)
    code = f"""
import json, sys
sys.modules |= {{"napari": None, "torch": None}}
from napari_blindsound import plugin
layers = plugin.get_reader({str(path)!r})({str(path)!r})
print(json.dumps(plugin.write_ome_zarr({str(tmp_path / "out.zarr")!r}, layers)))
"""
    assert run(code) == [str(tmp_path / "out.zarr")]
