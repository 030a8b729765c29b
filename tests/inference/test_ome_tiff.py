from __future__ import annotations

import json
import os
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

from napari_blindsound.errors import OutputError
from napari_blindsound.images.axes import Axes, Axis
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference import ome_tiff
from napari_blindsound.inference.ledger import Ledger
from napari_blindsound.inference.store import WriteConfig, write
from napari_blindsound.inference.tiling import denoise_region

SMALL = WriteConfig(chunk=16, shard=32)


@pytest.fixture
def written(tmp_path, pyramid):
    def run(array, axes, config=SMALL, **facts):
        volume = Volume((array,), axes, "cells", **facts)
        operator = pyramid(n_channels=volume.n_channels)
        path = tmp_path / "out.ome.tif"
        *_, last = write(operator, volume, path, config)
        assert last.path == path
        order = [axes.index(n) for n in "TCZYX" if n in axes]
        whole = tuple(slice(0, n) for n in array.shape)
        return path, denoise_region(operator, volume, whole).transpose(order)

    return run


def test_what_the_ledger_calls_finished_is_on_the_disk(written, noisy, monkeypatch):
    order = []
    fsync, add = os.fsync, Ledger.add

    def synced(file):
        order.append("on the disk")
        fsync(file)

    def added(self, record):
        order.append("finished")
        add(self, record)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Ledger, "add", added)
    written(noisy((2, 64, 40)), Axes.parse("ZYX"))
    assert order.count("finished") >= 4
    for end in range(1, len(order) + 1):
        seen = order[:end]
        assert seen.count("on the disk") >= seen.count("finished")


@pytest.mark.parametrize("names", ["YX", "XY", "ZYX", "TZCYX", "CZYXT", "YXC"])
def test_planes_lie_where_they_belong(names, written, noisy):
    sizes = {"T": 3, "C": 2, "Z": 4, "Y": 50, "X": 71}
    array = noisy([sizes[n] for n in names])
    path, reference = written(array, Axes.parse(names))
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_ome
        assert not tiff.is_bigtiff
        assert tiff.series[0].axes == "".join(n for n in "TCZYX" if n in names)
        np.testing.assert_allclose(tiff.asarray(), reference, rtol=1e-6)


def test_scale_units_and_names(written, noisy):
    axes = Axes(
        (
            Axis("T", 0.5, "minute"),
            Axis("C"),
            Axis("Z", 900.0, "nanometer"),
            Axis("Y", 0.2, "micrometer"),
            Axis("X", 0.25, "micrometer"),
        )
    )
    path, _ = written(
        noisy((2, 2, 3, 40, 40)), axes, channel_names=("núcleos", "actin <2>")
    )
    with tifffile.TiffFile(path) as tiff:
        image = ElementTree.fromstring(tiff.ome_metadata).find("{*}Image")
    pixels = image.find("{*}Pixels")
    assert image.get("Name") == "cells"
    assert pixels.get("PhysicalSizeX") == "0.25"
    assert pixels.get("PhysicalSizeXUnit") == "µm"
    assert pixels.get("PhysicalSizeZ") == "900.0"
    assert pixels.get("PhysicalSizeZUnit") == "nm"
    assert pixels.get("TimeIncrement") == "0.5"
    assert pixels.get("TimeIncrementUnit") == "min"
    volume = open_volume(path)
    assert volume.axes == axes
    assert volume.channel_names == ("núcleos", "actin <2>")


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_no_unit_is_made_up(scale, written, noisy):
    axes = Axes((Axis("T", scale), Axis("Y", scale), Axis("X", scale)))
    path, _ = written(noisy((2, 40, 40)), axes)
    volume = open_volume(path)
    assert [axis.unit for axis in volume.axes] == [None, None, None]
    assert [axis.scale for axis in volume.axes] == [1.0, scale, scale]


def test_provenance(tmp_path, pyramid, noisy):
    volume = Volume((noisy((40, 40)),), Axes.parse("YX"), "cells")
    path = tmp_path / "out.ome.tif"
    list(write(pyramid(), volume, path, provenance={"note": '<&>"{}µ'}))
    with tifffile.TiffFile(path) as tiff:
        xml = ElementTree.fromstring(tiff.ome_metadata)
    note = xml.find(".//{*}MapAnnotation")
    assert note.get("Namespace") == "napari-blindsound"
    stored = json.loads(note.find(".//{*}M[@K='blindsound']").text)
    assert stored["revision"] == "pyramid-1"
    assert stored["note"] == '<&>"{}µ'


@pytest.mark.parametrize("dtype", ["u1", "i1", ">u2", "i2", "u4", "f4", "f8"])
def test_types(dtype, written, noisy):
    array = noisy((2, 40, 40), dtype="f8").clip(0, 100).astype(dtype)
    config = SMALL.model_copy(update={"dtype": "source"})
    path, reference = written(array, Axes.parse("ZYX"), config)
    result = tifffile.imread(path)
    assert result.dtype == np.dtype(dtype).newbyteorder("=")
    if result.dtype.kind != "f":
        limits = np.iinfo(result.dtype)
        reference = np.rint(reference).clip(limits.min, limits.max)
    np.testing.assert_allclose(result, reference, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["u8", "f2"])
def test_types_that_tiff_has_not_are_refused(dtype, tmp_path, pyramid, noisy):
    volume = Volume((noisy((40, 40), dtype=dtype),), Axes.parse("YX"), "cells")
    config = WriteConfig(dtype="source")
    path = tmp_path / "out.ome.tif"
    with pytest.raises(OutputError, match="float32"):
        list(write(pyramid(), volume, path, config))
    assert list(tmp_path.iterdir()) == []


def test_large_files_are_big_tiffs_in_strips(tmp_path, noisy, written, monkeypatch):
    monkeypatch.setattr(ome_tiff, "_CLASSIC", 10_000)
    monkeypatch.setattr(ome_tiff, "_STRIP", 7 * 71 * 4)
    path, reference = written(noisy((3, 50, 71)), Axes.parse("ZYX"))
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_bigtiff
        assert tiff.pages[0].rowsperstrip == 7
        np.testing.assert_allclose(tiff.asarray(), reference, rtol=1e-6)


def test_a_stack_larger_than_4_gb_is_planned_as_such(tmp_path):
    volume = Volume(
        (np.broadcast_to(np.uint16(0), (3000, 1024, 1024)),), Axes.parse("ZYX"), "huge"
    )
    path = tmp_path / "huge.ome.tif"
    metadata = ome_tiff._metadata(volume, volume.axes, {})
    ome_tiff._make_empty(path, volume.shape, np.dtype("<u2"), metadata)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_bigtiff
        assert tiff.series[0].shape == (3000, 1024, 1024)
    assert path.stat().st_size > 3000 * 1024 * 1024 * 2
    assert path.stat().st_blocks * 512 < 2**24  # nothing but the headers
