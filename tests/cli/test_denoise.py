from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

from napari_blindsound import open_volume

# Slices 0.4 um, frames 2.5 s, pixels 0.108 x 0.216 um.
SCALE = {"T": 2.5, "Z": 0.4, "Y": 0.216, "X": 0.108}


@pytest.fixture
def stack(plane):
    """Counts of a small stack over time, TZYX."""
    rng = np.random.default_rng(0)
    return rng.poisson(np.broadcast_to(plane, (2, 3, *plane.shape))).astype(np.uint16)


@pytest.fixture
def hyperstack(stack, tmp_path):
    path = tmp_path / "imagej.tif"
    metadata = {"axes": "TZYX", "unit": "um", "spacing": 0.4, "finterval": 2.5}
    resolution = (1 / 0.108, 1 / 0.216)
    tifffile.imwrite(path, stack, imagej=True, resolution=resolution, metadata=metadata)
    return path


@pytest.fixture
def ome_tiff(stack, tmp_path):
    path = tmp_path / "ome.ome.tif"
    metadata = {"axes": "TZYX", "TimeIncrement": 2.5, "TimeIncrementUnit": "s"}
    for name in "ZYX":
        metadata[f"PhysicalSize{name}"] = SCALE[name]
        metadata[f"PhysicalSize{name}Unit"] = "µm"
    tifffile.imwrite(path, stack, ome=True, metadata=metadata)
    return path


@pytest.mark.parametrize("source", ["hyperstack", "ome_tiff"])
def test_ome_zarr_keeps_scale_units_and_axes(cli, model, source, tmp_path, request):
    out = tmp_path / "out.ome.zarr"
    said = cli("denoise", request.getfixturevalue(source), "-m", model, "-o", out)
    assert said.code == 0, said.err
    node = next(iter(Reader(parse_url(out))()))
    axes = [(axis["name"], axis.get("unit")) for axis in node.metadata["axes"]]
    lengths = [(name, "micrometer") for name in "zyx"]
    assert axes == [("t", "second"), *lengths]
    scale = node.metadata["coordinateTransformations"][0][0]["scale"]
    np.testing.assert_allclose(scale, list(SCALE.values()), rtol=1e-5)
    assert node.data[0].shape == (2, 3, 72, 80)
    assert node.data[0].dtype == np.float32
    assert float(np.asarray(node.data[0]).std()) > 0


@pytest.mark.parametrize("source", ["hyperstack", "ome_tiff"])
def test_ome_tiff_keeps_scale_units_and_axes(cli, model, source, tmp_path, request):
    out = tmp_path / "out.ome.tif"
    said = cli("denoise", request.getfixturevalue(source), "-m", model, "-o", out)
    assert said.code == 0, said.err
    with tifffile.TiffFile(out) as tiff:
        assert tiff.series[0].axes == "TZYX"
        assert tiff.series[0].shape == (2, 3, 72, 80)
        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
    assert pixels["PhysicalSizeX"] == pytest.approx(0.108, rel=1e-5)
    assert pixels["PhysicalSizeXUnit"] == "µm"
    assert pixels["PhysicalSizeZ"] == pytest.approx(0.4)
    assert pixels["TimeIncrement"] == pytest.approx(2.5)


def test_source_type_is_kept_on_request(cli, model, recording, tmp_path):
    out = tmp_path / "out.ome.tif"
    said = cli(
        "denoise", recording, "-m", model, "-o", out, "--dtype", "source", "--json"
    )
    assert tifffile.imread(out).dtype == np.uint16
    assert json.loads(said.out)["outputs"][0]["clipped"] >= 0


def test_another_estimate(cli, model, recording, tmp_path):
    results = []
    for estimate in ("visible", "blind"):
        out = tmp_path / f"{estimate}.ome.tif"
        cli("denoise", recording, "-m", model, "-o", out, "--estimate", estimate)
        results.append(tifffile.imread(out))
    assert not np.allclose(*results)


def test_overwrite_replaces_the_result_when_asked(cli, model, recording, tmp_path):
    out = tmp_path / "out.ome.zarr"
    for words in ((), ("--overwrite",)):
        said = cli("denoise", recording, "-m", model, "-o", out, *words)
        assert said.code == 0, said.err
    assert zarr.open_group(out, mode="r").attrs["blindsound"]["complete"] is True
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.ome.zarr"]


def test_axes_and_image_are_taken_from_the_options(cli, model, stack, tmp_path):
    np.save(tmp_path / "raw.npy", stack)
    out = tmp_path / "out.ome.zarr"
    words = ("denoise", tmp_path / "raw.npy", "-m", model, "-o", out)
    assert cli(*words, "--axes", "TZYX").code == 0
    assert open_volume(out).axes.names == "TZYX"
    with tifffile.TiffWriter(tmp_path / "two.tif") as tiff:
        tiff.write(stack[0], photometric="minisblack", metadata={"axes": "ZYX"})
        tiff.write(stack[0, 0, :40])
    out = tmp_path / "second.ome.zarr"
    said = cli("denoise", tmp_path / "two.tif", "-m", model, "-o", out, "--image", "1")
    assert said.code == 0, said.err
    assert open_volume(out).shape == (40, 80)
