from __future__ import annotations

import pickle
import time

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_blindsound.errors import (
    AxesError,
    DataError,
    ImageFormatError,
    ImageNotFoundError,
)
from napari_blindsound.images.open import open_volume


def everything(volume):
    return volume.read(tuple(slice(0, n) for n in volume.shape))


def write(path, frame):
    if path.suffix == ".png":
        Image.fromarray(frame).save(path)
    else:
        tifffile.imwrite(path, frame, compression="zlib", rowsperstrip=5)


@pytest.fixture
def frames(rng):
    return rng.integers(0, 60_000, (12, 20, 31)).astype(np.uint16)


@pytest.fixture(params=[".png", ".tif"])
def folder(request, tmp_path, frames):
    """Frames t1 to t12, among files that are none."""
    for i, frame in enumerate(frames, start=1):
        write(tmp_path / f"t{i}{request.param}", frame)
    (tmp_path / "notes.txt").write_text("laser at 3 %")
    (tmp_path / f"._t1{request.param}").write_bytes(b"Finder was here")
    return tmp_path


def test_a_folder_is_a_stack_in_natural_order(folder, frames):
    volume = open_volume(folder)
    assert volume.axes.names == "TYX"
    assert volume.name == folder.name
    assert volume.source == str(folder)
    assert volume.chunks == (1, 20, 31)
    assert np.array_equal(everything(volume), frames)
    region = (slice(9, 11), slice(3, 14), slice(30, 31))
    assert np.array_equal(volume.read(region), frames[region])
    assert np.array_equal(pickle.loads(pickle.dumps(volume)).levels[0][11], frames[11])


def test_the_first_axis_may_be_another(folder):
    assert open_volume(folder, axes="ZYX").axes.names == "ZYX"
    with pytest.raises(AxesError, match="name 2 dimensions"):
        open_volume(folder, axes="YX")


def test_patterns_and_lists(folder, frames):
    volume = open_volume(f"{folder}/t?.*")
    assert volume.shape == (9, 20, 31)
    assert np.array_equal(everything(volume), frames[:9])
    listed = [str(p) for p in folder.glob("t1[0-2].*")][::-1]
    expected = [frames[int(p.rsplit("t1", 1)[1][0]) + 9] for p in listed]
    assert np.array_equal(everything(open_volume(listed)), expected)
    assert np.array_equal(everything(open_volume(tuple(listed))), expected)


def test_patterns_reach_across_folders(tmp_path, frames):
    for i in (2, 10, 1):
        (tmp_path / f"run{i}").mkdir()
        write(tmp_path / f"run{i}" / "a.png", frames[i])
    volume = open_volume(tmp_path / "*" / "a.png")
    assert np.array_equal(everything(volume), frames[[1, 2, 10]])


def test_only_the_frames_asked_for_are_read(folder, frames):
    volume = open_volume(folder)
    for path in folder.glob("t*"):
        if path.stem != "t4":
            path.unlink()
    region = (slice(3, 4), slice(0, 20), slice(0, 31))
    assert np.array_equal(volume.read(region)[0], frames[3])
    with pytest.raises(ImageNotFoundError, match=r"t5\..* has gone"):
        everything(volume.select(T=slice(3, 6)))


def test_a_thousand_frames_open_at_once(tmp_path):
    data = Image.fromarray(np.zeros((16, 16), np.uint8))
    data.save(tmp_path / "0.png")
    content = (tmp_path / "0.png").read_bytes()
    for i in range(1, 1000):
        (tmp_path / f"{i}.png").write_bytes(content)
    start = time.perf_counter()
    assert open_volume(tmp_path).shape == (1000, 16, 16)
    assert time.perf_counter() - start < 2


def test_a_thousand_tiff_frames_open_at_once(tmp_path):
    tifffile.imwrite(tmp_path / "0.tif", np.zeros((16, 16), np.uint8))
    content = (tmp_path / "0.tif").read_bytes()
    for i in range(1, 1000):
        (tmp_path / f"{i}.tif").write_bytes(content)
    start = time.perf_counter()
    assert open_volume(tmp_path).shape == (1000, 16, 16)
    assert time.perf_counter() - start < 2


def test_tiff_frames_bring_their_pixel_size(tmp_path):
    for i in range(3):
        tifffile.imwrite(
            tmp_path / f"{i}.tif",
            np.zeros((8, 8), np.uint8),
            imagej=True,
            resolution=(4, 5),
            metadata={"unit": "um"},
        )
    axes = open_volume(tmp_path).axes
    assert [(a.scale, a.unit) for a in axes] == [
        (1.0, None),
        (0.2, "micrometer"),
        (0.25, "micrometer"),
    ]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_one_png_is_a_plane(tmp_path, rng, dtype):
    array = rng.integers(0, np.iinfo(dtype).max, (20, 30)).astype(dtype)
    Image.fromarray(array).save(tmp_path / "a.png")
    volume = open_volume(tmp_path / "a.png")
    assert volume.axes.names == "YX"
    assert volume.dtype == dtype
    assert np.array_equal(everything(volume), array)
    assert open_volume(tmp_path / "a.png", axes="XY").axes.names == "XY"


def test_frames_that_differ_are_named(folder, frames):
    odd = next(folder.glob("t7.*"))
    write(odd, frames[6, :10])
    with pytest.raises(
        DataError, match=r"t1\.\w+ is \(20, 31\) uint16, .*t7\.\w+ is \(10, 31\)"
    ):
        open_volume(folder)
    write(odd, frames[6].astype(np.uint8))
    with pytest.raises(DataError, match=r"t7\.\w+ is \(20, 31\) uint8"):
        open_volume(folder)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA"])
@pytest.mark.parametrize("many", [True, False])
def test_colors_are_refused(tmp_path, mode, many):
    path = tmp_path / "a.png"
    Image.new(mode, (8, 8)).save(path)
    with pytest.raises(ImageFormatError, match=r"a.png is an RGB photograph or"):
        open_volume(tmp_path if many else path)


def test_color_tiff_frames_are_refused(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((8, 8, 3), np.uint8), photometric="rgb"
    )
    with pytest.raises(ImageFormatError, match=r"a.tif is an RGB photograph"):
        open_volume(tmp_path)


def test_masks_are_refused(tmp_path):
    Image.new("1", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a.png is black and white"):
        open_volume(tmp_path)


def test_stacks_among_frames_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 8, 8), np.uint8))
    with pytest.raises(ImageFormatError, match=r"a.tif is no single frame, .* 5 pages"):
        open_volume(tmp_path)


def test_two_kinds_of_files_are_refused(folder, frames):
    write(folder / "x.png", frames[0])
    write(folder / "x.tif", frames[0])
    with pytest.raises(ImageFormatError, match="holds PNG and TIFF files"):
        open_volume(folder)


def test_damaged_frames_are_named(folder):
    path = next(folder.glob("t3.*"))
    whole = path.read_bytes()
    volume = open_volume(folder)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageFormatError, match=r"t3\.\w+ is (damaged|not a readable)"):
        everything(volume)
    path.write_bytes(b"text")
    with pytest.raises(ImageFormatError, match=r"t3\.\w+ is not a"):
        open_volume(folder)


def test_a_frame_that_changes_after_opening_is_named(folder, frames):
    volume = open_volume(folder)
    write(next(folder.glob("t3.*")), frames[2, :, :16])
    with pytest.raises(ImageFormatError, match=r"t3\.\w+ is \(20, 16\) now"):
        volume.read((slice(2, 3), slice(0, 4), slice(0, 4)))


def test_nothing_there(tmp_path):
    with pytest.raises(ImageNotFoundError, match="no file matches"):
        open_volume(tmp_path / "*.png")
    with pytest.raises(ImageNotFoundError, match="list of frames is empty"):
        open_volume([])
    with pytest.raises(ImageNotFoundError, match=r"a.png is not there"):
        open_volume([tmp_path / "a.png"])
    (tmp_path / "a.doc").write_text("text")
    with pytest.raises(ImageFormatError, match=r"a.doc is no frame"):
        open_volume([tmp_path / "a.doc"])
