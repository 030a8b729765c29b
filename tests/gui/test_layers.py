from __future__ import annotations

import gc
import weakref

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from napari.components import ViewerModel
from napari.layers import Image

from napari_blindsound.errors import AxesError, DataError, ImageFormatError
from napari_blindsound.gui.data import Data
from napari_blindsound.gui.layers import (
    axes_of,
    channel_of,
    file_of,
    files_of,
    like,
    position,
    reopened,
    role_of,
    volume_of,
)
from napari_blindsound.gui.view import Look
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.layers import KEY, volume_to_layers
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.volume import Volume


def counts(shape, seed=0):
    return np.random.default_rng(seed).poisson(20, shape).astype(np.uint16)


def layers_of(volume):
    viewer = ViewerModel()
    for data, meta, _ in volume_to_layers(volume):
        viewer.add_image(data, multiscale=isinstance(data, list), **meta)
    return list(viewer.layers)


def test_axes_are_read_from_labels_and_not_guessed():
    assert axes_of(Image(counts((3, 8, 8)))) is None
    assert axes_of(Image(counts((8, 8)))) == "YX"
    assert axes_of(Image(counts((3, 8, 8)), axis_labels=("time", "y", "x"))) == "TYX"
    assert axes_of(Image(counts((3, 8, 8)), axis_labels=("t", "t", "x"))) is None


@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr", "xarray"])
def test_pixels_of_any_array_are_read(kind):
    pixels = counts((3, 32, 40))
    made = {
        "numpy": lambda: pixels,
        "dask": lambda: da.from_array(pixels, chunks=(1, 16, 16)),
        "zarr": lambda: zarr.array(pixels, chunks=(1, 16, 16)),
        "xarray": lambda: pytest.importorskip("xarray").DataArray(
            pixels, dims=("z", "y", "x")
        ),
    }[kind]()
    layer = Image(made, contrast_limits=(0, 50), scale=(2, 0.5, 0.5))
    volume = volume_of(layer, "ZYX")
    region = (slice(1, 2), slice(0, 9), slice(3, 7))
    assert np.array_equal(volume.read(region), pixels[region])
    assert [axis.scale for axis in volume.axes] == [2, 0.5, 0.5]
    assert volume.dtype == np.uint16


def test_all_levels_of_a_pyramid_are_kept():
    levels = [counts((64, 64)), counts((32, 32))]
    volume = volume_of(Image(levels, multiscale=True), "YX")
    assert [level.shape for level in volume.levels] == [(64, 64), (32, 32)]


def test_what_is_no_image_is_refused_in_words():
    photo = Image(np.zeros((16, 16, 3), np.uint8), rgb=True, name="photo")
    with pytest.raises(ImageFormatError, match="the layer photo is an RGB picture"):
        volume_of(photo, "YX")
    with pytest.raises(AxesError, match="choose a letter for each"):
        volume_of(Image(counts((3, 16, 16))), "TZYX")
    with pytest.raises(DataError, match="mask"):
        volume_of(Image(np.eye(16, dtype=bool)), "YX")


def test_a_layer_like_another_lies_where_it_does():
    source = Image(
        counts((4, 32, 32)),
        name="source",
        scale=(2, 0.5, 0.5),
        translate=(1, 2, 3),
        rotate=[0, 0, 30],
        units=("second", "micrometer", "micrometer"),
        axis_labels=("t", "y", "x"),
        colormap="magma",
        contrast_limits=(3, 44),
    )
    other = Image(counts((4, 32, 32)), **like(source, name="other"))
    assert (other.name, other.colormap.name) == ("other", "magma")
    assert other.contrast_limits == [3, 44]
    assert other.units == source.units
    assert other.axis_labels == source.axis_labels
    point = (3, 7, 9)
    assert np.allclose(other.data_to_world(point), source.data_to_world(point))
    part = Image(counts((1, 8, 8)), **like(source, name="part", offset=(2, 5, 6)))
    assert np.allclose(part.data_to_world((0, 0, 0)), source.data_to_world((2, 5, 6)))
    assert np.allclose(position(source, (2, 5, 6)), part.translate)


def test_files_channels_and_roles_are_remembered():
    plain = Image(counts((8, 8)))
    assert (file_of(plain), files_of(plain), channel_of(plain)) == (None, (), None)
    assert role_of(plain) is None
    ours = {"source": "/a.tif", "channel": 1, "role": "denoised"}
    layer = Image(counts((8, 8)), metadata={KEY: ours})
    assert files_of(layer) == ("/a.tif",)
    assert (channel_of(layer), role_of(layer)) == (1, "denoised")
    frames = Image(counts((8, 8)), metadata={KEY: {"paths": ["/a.tif", "/b.tif"]}})
    assert files_of(frames) == ("/a.tif", "/b.tif")


def test_a_file_is_found_again_only_if_it_is_the_same(tmp_path):
    path = tmp_path / "movie.ome.tif"
    pixels = counts((3, 80, 80))
    tifffile.imwrite(path, pixels, metadata={"axes": "TYX"})
    shown = volume_of(Image(pixels), "TYX")
    found = reopened(shown, [str(path)])
    assert found is not None
    assert (found.volume.source, found.axes) == (str(path), None)
    changed = pixels.copy()
    changed[0] += 1
    assert reopened(volume_of(Image(changed), "TYX"), [str(path)]) is None
    assert reopened(volume_of(Image(pixels[:2]), "TYX"), [str(path)]) is None
    path.unlink()
    assert reopened(shown, [str(path)]) is None


def test_what_the_user_says_of_the_axes_is_kept(tmp_path):
    path = tmp_path / "stack.tif"
    pixels = counts((3, 80, 80))
    tifffile.imwrite(path, pixels, metadata=None, photometric="minisblack")
    found = reopened(volume_of(Image(pixels), "ZYX"), [str(path)])
    assert found is not None
    assert (found.volume.axes.names, found.axes) == ("ZYX", "ZYX")
    named = tmp_path / "movie.ome.tif"
    tifffile.imwrite(named, pixels, metadata={"axes": "TYX"})
    found = reopened(volume_of(Image(pixels), "ZYX"), [str(named)])
    assert found is not None
    assert (found.volume.axes.names, found.axes) == ("ZYX", "ZYX")


def test_frames_are_found_again_as_one_stack(tmp_path):
    pixels = counts((3, 70, 70))
    paths = [str(tmp_path / f"t{n}.tif") for n in range(3)]
    for path, plane in zip(paths, pixels, strict=True):
        tifffile.imwrite(path, plane)
    found = reopened(volume_of(Image(pixels), "TYX"), paths)
    assert found is not None
    assert found.volume.shape == (3, 70, 70)


def test_all_channels_are_found_of_a_layer_that_shows_one(tmp_path):
    path = tmp_path / "two.ome.tif"
    pixels = counts((4, 2, 70, 70))
    tifffile.imwrite(path, pixels, metadata={"axes": "TCYX"})
    layers = layers_of(open_volume(path))
    assert [channel_of(layer) for layer in layers] == [0, 1]
    shown = volume_of(layers[1], "TYX")
    found = reopened(shown, files_of(layers[1]), 1)
    assert found is not None
    assert (found.volume.axes.names, found.axes) == ("TCYX", None)
    assert reopened(shown, files_of(layers[1]), 0) is None
    swapped = reopened(volume_of(layers[1], "ZYX"), files_of(layers[1]), 1)
    assert swapped is not None
    assert swapped.axes == "ZCYX"


def test_a_look_at_a_layer_is_a_region_of_the_image():
    image = Volume((counts((3, 2, 64, 64)),), Axes.parse("TCYX"), "image")
    look = Look((slice(1, 2), slice(8, 24), slice(0, 10)))
    whole = Data(image, "TYX", shown_channel=1)
    region = whole.region(look)
    assert region == (slice(1, 2), slice(0, 2), slice(8, 24), slice(0, 10))
    assert np.array_equal(
        whole.on_layer(image.read(region).astype(np.float32), look),
        image.read((slice(1, 2), slice(1, 2), slice(8, 24), slice(0, 10)))[:, 0],
    )
    one = Data(image, "TYX", shown_channel=1, channel=1, ranges={"T": slice(0, 2)})
    assert one.region(look) == look.region
    assert (one.volume.shape, one.training.shape) == ((3, 64, 64), (2, 64, 64))
    assert Data(image, "TYX", shown_channel=1, channel=0).region(look) is None
    slider = Data(image, "TCYX")
    at = Look((slice(1, 2), slice(0, 1), slice(8, 24), slice(0, 10)))
    assert slider.region(at) == region
    assert slider.on_layer(image.read(region).astype(np.float32), at).shape == at.shape


def test_volumes_keep_no_layer_alive():
    layer = Image(counts((16, 16)))
    volume = volume_of(layer, "YX")
    gone = weakref.ref(layer)
    del layer
    gc.collect()
    assert gone() is None
    assert volume.shape == (16, 16)
