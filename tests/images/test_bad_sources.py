"""Sources that may not, or cannot, be read: one clear sentence, nothing is changed."""

from __future__ import annotations

import os
from contextlib import contextmanager

import numpy as np
import pytest
import tifffile
import zarr

from napari_blindsound.cli import main
from napari_blindsound.errors import (
    DataError,
    ImageAccessError,
    ImageFormatError,
    ImageNotFoundError,
)
from napari_blindsound.images.intensity import Intensity
from napari_blindsound.images.open import open_volume
from napari_blindsound.inference.lazy import source_token


def everything(volume):
    return volume.read(tuple(slice(0, n) for n in volume.shape))


@contextmanager
def as_nobody():
    """Root may read everything; somebody else may not."""
    if os.name != "posix":
        pytest.skip("permissions are another matter here")
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.fixture
def plane(rng):
    return rng.integers(0, 999, (20, 30)).astype(np.uint16)


@pytest.mark.parametrize("kind", ["a.tif", "a.npy", "frames", "a.zarr", "s/a.tif"])
def test_without_permission(tmp_path, plane, kind):
    path = tmp_path / kind
    if path.suffix == ".zarr":
        zarr.create_array(path, data=plane, chunks=(10, 10))
        locked = path
    elif kind == "frames":
        path.mkdir()
        for number in range(3):
            tifffile.imwrite(path / f"t{number}.tif", plane)
        locked = path / "t1.tif"
    else:
        path.parent.mkdir(exist_ok=True)
        (np.save if path.suffix == ".npy" else tifffile.imwrite)(path, plane)
        locked = path if kind[0] == "a" else path.parent
    for folder in [tmp_path, *tmp_path.parents[:2]]:
        folder.chmod(0o755)
    locked.chmod(0)
    try:
        with as_nobody(), pytest.raises(ImageAccessError) as caught:
            open_volume(path)
    finally:
        locked.chmod(0o755)
    assert isinstance(caught.value, PermissionError)
    assert "may not be read by you" in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_nan_in_a_zarr_is_placed(tmp_path):
    pixels = np.ones((3, 20, 30), np.float32)
    pixels[1, 7, 9] = np.nan
    names = ("z", "y", "x")
    zarr.create_array(
        tmp_path / "a.zarr", data=pixels, chunks=(1, 10, 10), dimension_names=names
    )
    with pytest.raises(DataError, match=r"a.zarr holds nan at Z=1, Y=7, X=9"):
        Intensity.fit(open_volume(tmp_path / "a.zarr"))


def test_axes_of_length_zero(tmp_path):
    for number, shape in enumerate([(0, 8, 8), (3, 0, 8)]):
        path = tmp_path / f"{number}.zarr"
        zarr.create_array(path, shape=shape, chunks=(1, 8, 8), dtype="u2")
        with pytest.raises(DataError, match="holds no pixels"):
            open_volume(path, axes="ZYX")
        np.save(tmp_path / "a.npy", np.zeros(shape, np.uint16))
        with pytest.raises(DataError, match="holds no pixels"):
            open_volume(tmp_path / "a.npy", axes="ZYX")


def test_a_group_without_arrays(tmp_path):
    zarr.create_group(tmp_path / "g.zarr").create_group("below")
    with pytest.raises(ImageNotFoundError, match="group without an image"):
        open_volume(tmp_path / "g.zarr")


@pytest.mark.parametrize("content", [b"", b"text", b"II*\0\x08\0\0\0"])
def test_a_broken_frame_among_good_ones(tmp_path, plane, content):
    for number in range(4):
        tifffile.imwrite(tmp_path / f"t{number}.tif", plane)
    (tmp_path / "t2.tif").write_bytes(content)
    with pytest.raises(ImageFormatError, match=r"t2.tif is (not|truncated)"):
        open_volume(tmp_path)


def test_frames_and_files_written_again_have_other_names(tmp_path, plane):
    for number in range(3):
        tifffile.imwrite(tmp_path / f"t{number}.tif", plane)
    for source in (
        tmp_path,
        tmp_path / "t1.tif",
        [tmp_path / f"t{number}.tif" for number in range(3)],
    ):
        first = source_token(open_volume(source))
        assert first == source_token(open_volume(source))
        os.utime(tmp_path / "t1.tif", (1e9, 1e9))
        assert first != source_token(open_volume(source))
        os.utime(tmp_path / "t1.tif")


def test_the_command_says_it_in_a_sentence(tmp_path, plane, capsys):
    tifffile.imwrite(tmp_path / "a.tif", plane)
    for path in (tmp_path / "a.tif" / "below", "gopher://host/a.zarr"):
        assert main(["inspect", str(path)]) == 1
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert len(said.splitlines()) == 1
