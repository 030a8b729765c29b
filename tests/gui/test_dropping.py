from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import tifffile
from imagecodecs import png_encode
from qtpy.QtCore import QMimeData, QUrl

from napari_blindsound.errors import DataError, ImageFormatError, ImageNotFoundError
from napari_blindsound.gui.dropping import (
    Opened,
    Several,
    model_of,
    open_dropped,
    paths_of,
)
from napari_blindsound.images.layers import KEY
from napari_blindsound.images.open import open_volume
from napari_blindsound.inference.convert import convert


def counts(shape, seed=0):
    return np.random.default_rng(seed).poisson(20, shape).astype(np.uint16)


def opened(*paths, number=None):
    [event] = open_dropped(list(paths), number, threading.Event())
    return event


def write_frames(folder, number, shape=(16, 16)):
    folder.mkdir(exist_ok=True)
    pixels = counts((number, *shape))
    paths = [folder / f"t{index}.tif" for index in range(number)]
    for path, plane in zip(paths, pixels, strict=True):
        tifffile.imwrite(path, plane)
    return paths, pixels


def write_views(root, *kinds):
    for kind in kinds:
        folder = root / kind / "raw" / "1"
        folder.mkdir(parents=True)
        for number in range(2):
            (folder / f"{number}.png").write_bytes(
                png_encode(counts((16, 16)).astype(np.uint8))
            )


def test_dragged_files_come_in_the_order_of_their_names(tmp_path):
    mime = QMimeData()
    names = ["t10.tif", "t2.tif", "t1.tif"]
    urls = [QUrl.fromLocalFile(str(tmp_path / name)) for name in names]
    mime.setUrls([*urls, QUrl("https://example.org/t0.tif")])
    assert [path.name for path in paths_of(mime)] == ["t1.tif", "t2.tif", "t10.tif"]


def test_a_thousand_frames_are_one_lazy_layer_within_seconds(tmp_path):
    paths, pixels = write_frames(tmp_path / "frames", 1000)
    started = time.perf_counter()
    event = opened(*paths[:-1])
    assert time.perf_counter() - started < 2
    assert isinstance(event, Opened)
    [(data, meta, kind)] = event.layer_data
    assert (data.shape, kind) == ((999, 16, 16), "image")
    assert np.array_equal(np.asarray(data[500]), pixels[500])
    assert (event.axes, meta["axis_labels"]) == ("TYX", ("t", "y", "x"))
    assert list(event.paths) == [str(path) for path in paths[:-1]]
    assert meta["metadata"][KEY]["paths"] == list(event.paths)


def test_all_frames_of_a_folder_are_that_folder(tmp_path):
    paths, _ = write_frames(tmp_path / "frames", 3)
    folder = str(tmp_path / "frames")
    assert opened(*paths).paths == (folder,)
    assert opened(tmp_path / "frames").paths == (folder,)
    assert opened(tmp_path / "frames").volume.shape == (3, 16, 16)


def test_one_file_is_opened_with_what_it_says(tmp_path):
    path = tmp_path / "cells.ome.tif"
    tifffile.imwrite(path, counts((2, 3, 32, 32)), metadata={"axes": "TCYX"})
    event = opened(path)
    assert (event.axes, event.paths) == ("TCYX", (str(path),))
    assert [meta["metadata"][KEY]["channel"] for _, meta, _ in event.layer_data] == [
        0,
        1,
        2,
    ]


def test_a_folder_with_one_stack_is_that_stack(tmp_path):
    path = tmp_path / "cells.ome.tif"
    tifffile.imwrite(path, counts((2, 32, 32)), metadata={"axes": "ZYX"})
    assert opened(tmp_path).axes == "ZYX"
    assert opened(tmp_path).paths == (str(path),)


def test_an_image_that_does_not_name_its_axes_is_shown_without(tmp_path):
    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, counts((5, 32, 32)), metadata=None, photometric="minisblack")
    event = opened(path)
    assert event.axes is None
    [(_, meta, _)] = event.layer_data
    assert "axis_labels" not in meta
    assert "axes" not in meta["metadata"][KEY]
    np.save(tmp_path / "five.npy", counts((2, 2, 2, 16, 16)))
    assert len(opened(tmp_path / "five.npy").layer_data) == 1
    np.save(tmp_path / "six.npy", counts((2, 2, 2, 2, 16, 16)))
    with pytest.raises(ValueError, match="axes"):
        opened(tmp_path / "six.npy")


def test_zarr_opens_as_a_pyramid(tmp_path):
    volume = open_volume(counts((3, 300, 300)), axes="ZYX")
    path = convert(volume, tmp_path / "cells.ome.zarr")
    event = opened(path)
    assert event.axes == "ZYX"
    assert event.volume.shape == (3, 300, 300)


def test_of_several_kinds_of_images_one_is_to_be_chosen(tmp_path):
    write_views(tmp_path, "Confocal_FISH", "TwoPhoton_MICE")
    event = opened(tmp_path)
    assert isinstance(event, Several)
    labels = [option.label for option in event.options]
    assert labels == ["Confocal_FISH", "TwoPhoton_MICE"]
    chosen = opened(event.options[1].path)
    assert chosen.volume.shape == (2, 16, 16)


def test_of_several_images_in_a_file_one_is_to_be_chosen(tmp_path):
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for side in (16, 24):
            file.write(counts((side, side)), metadata={"axes": "YX"})
    event = opened(path)
    assert isinstance(event, Several)
    assert [option.number for option in event.options] == [0, 1]
    assert "(24, 24)" in event.options[1].label
    chosen = opened(path, number=1)
    assert (chosen.volume.shape, chosen.number) == ((24, 24), 1)
    [(_, meta, _)] = chosen.layer_data
    assert meta["metadata"][KEY]["image"] == 1


def test_a_root_with_one_kind_opens(tmp_path):
    write_views(tmp_path, "Confocal_FISH")
    assert opened(tmp_path).volume.name == "Confocal_FISH 1"


def test_models_come_alone(tmp_path):
    model, image = tmp_path / "a.blindsound", tmp_path / "a.tif"
    assert model_of([model]) == model
    assert model_of([image]) is None
    with pytest.raises(ImageFormatError, match="drop it alone"):
        model_of([image, model])


def test_many_images_belong_in_the_batch_dock(tmp_path):
    paths = [tmp_path / f"{name}.tif" for name in "ab"]
    for path in paths:
        tifffile.imwrite(
            path, counts((4, 16, 16)), metadata=None, photometric="minisblack"
        )
    with pytest.raises(ImageFormatError, match="dock Batch denoise"):
        opened(*paths)
    with pytest.raises(ImageFormatError, match="dock Batch denoise"):
        opened(tmp_path)
    with pytest.raises(ImageFormatError, match="dock Batch denoise"):
        opened(tmp_path / "a.ome.zarr", tmp_path / "b.ome.zarr")
    tifffile.imwrite(paths[0], counts((16, 16)))
    tifffile.imwrite(paths[1], counts((16, 24)))
    with pytest.raises(DataError, match="dock Batch denoise"):
        opened(*paths)


def test_what_is_no_image_is_said_as_it_is(tmp_path):
    with pytest.raises(ImageNotFoundError):
        opened(tmp_path / "gone.tif")
    (tmp_path / "text.tif").write_text("no image")
    with pytest.raises(ImageFormatError, match="not a readable TIFF"):
        opened(tmp_path / "text.tif")
    with pytest.raises(ImageFormatError, match="not a readable TIFF"):
        opened(tmp_path / "text.tif", tmp_path / "text.tif")
    np.save(tmp_path / "line.npy", counts((16,)))
    np.save(tmp_path / "waves.npy", np.zeros((16, 16), complex))
    np.save(tmp_path / "empty.npy", np.zeros((0, 16)))
    for name, words in (("line", "two dim"), ("waves", "complex"), ("empty", "no pix")):
        with pytest.raises(DataError, match=words):
            opened(tmp_path / f"{name}.npy")


def test_nothing_is_told_once_stopped(tmp_path):
    paths, _ = write_frames(tmp_path / "frames", 3)
    stop = threading.Event()
    stop.set()
    assert list(open_dropped(paths, None, stop)) == []
