from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_blindsound import open_volume
from napari_blindsound.errors import (
    AxesError,
    BlindsoundError,
    DataError,
    ImageFormatError,
    ImageNotFoundError,
)
from napari_blindsound.images.intensity import Intensity


def everything(volume):
    return volume.read(tuple(slice(0, n) for n in volume.shape))


def test_paths_may_be_text_relative_or_home(tmp_path, monkeypatch, rng):
    array = rng.random((8, 9))
    tifffile.imwrite(tmp_path / "a.tif", array)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for source in ("a.tif", tmp_path / "a.tif", "~/a.tif", "./a.tif", "*.tif"):
        volume = open_volume(source)
        assert volume.source.startswith(str(tmp_path))
        assert np.array_equal(np.squeeze(everything(volume)), array)


def test_brackets_in_names_are_no_pattern(tmp_path, rng):
    array = rng.random((8, 9))
    tifffile.imwrite(tmp_path / "cells[1].tif", array)
    assert np.array_equal(everything(open_volume(tmp_path / "cells[1].tif")), array)


def test_tiff_files_are_known_by_their_first_bytes(tmp_path, rng):
    array = rng.random((8, 9))
    tifffile.imwrite(tmp_path / "cells.lsm", array, bigtiff=True)
    assert np.array_equal(everything(open_volume(tmp_path / "cells.lsm")), array)


def test_npy_files_are_mapped(tmp_path, rng):
    array = rng.random((3, 8, 9))
    path = tmp_path / "a.npy"
    np.save(path, array)
    with pytest.raises(
        AxesError, match=r"a.npy has shape \(3, 8, 9\) and does not say"
    ):
        open_volume(path)
    volume = open_volume(path, axes="TYX")
    assert isinstance(volume.levels[0], np.memmap)
    assert np.array_equal(everything(volume), array)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ImageFormatError, match=r"a.npy is not a readable"):
        open_volume(path, axes="TYX")


def test_name_scale_and_unit_can_be_given(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 9)))
    volume = open_volume(
        tmp_path / "a.tif", name="cells", scale={"Y": 0.2}, unit={"Y": "µm"}
    )
    assert volume.name == "cells"
    assert (volume.axes[0].scale, volume.axes[0].unit) == (0.2, "micrometer")
    with pytest.raises(AxesError, match="no axis 'Z'"):
        open_volume(tmp_path / "a.tif", scale={"Z": 0.2})


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(ImageNotFoundError, match=r"nothing.tif is not there"):
        open_volume(tmp_path / "nothing.tif")
    with pytest.raises(FileNotFoundError):
        open_volume(tmp_path / "nothing.tif")
    with pytest.raises(ImageNotFoundError, match="holds no image"):
        open_volume(tmp_path)


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(ImageFormatError, match=r"notes.txt is of no kind"):
        open_volume(tmp_path / "notes.txt")
    (tmp_path / "notes.tif").write_text("text")
    with pytest.raises(ImageFormatError, match=r"notes.tif is not a readable TIFF"):
        open_volume(tmp_path / "notes.tif")
    (tmp_path / "notes.png").write_text("text")
    with pytest.raises(ImageFormatError, match=r"notes.png is not a PNG"):
        open_volume(tmp_path / "notes.png")


def test_jpeg_is_refused_with_the_reason(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.jpg")
    with pytest.raises(ImageFormatError, match=r"a.jpg is a JPEG file"):
        open_volume(tmp_path / "a.jpg")


def test_nan_is_found_when_pixels_are_first_read(tmp_path):
    array = np.ones((3, 8, 9), np.float32)
    array[2, 5, 6] = np.nan
    tifffile.imwrite(
        tmp_path / "a.tif", array, metadata={"axes": "TYX"}, photometric="minisblack"
    )
    volume = open_volume(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a.tif holds nan at T=2, Y=5, X=6"):
        Intensity.fit(volume)


def test_every_refusal_is_one_line(tmp_path):
    (tmp_path / "a.tif").write_text("text\n\nmore\n")
    (tmp_path / "zarr.json").write_text("{\n")
    sources = [tmp_path / "a.tif", tmp_path, tmp_path / "none", [], 3, np.zeros(4)]
    for source in sources:
        with pytest.raises(BlindsoundError) as caught:
            open_volume(source)
        assert "\n" not in str(caught.value)


def test_opening_does_not_import_torch():
    code = (
        "import sys, numpy as np; from napari_blindsound import open_volume; "
        "open_volume(np.zeros((4, 4))); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
