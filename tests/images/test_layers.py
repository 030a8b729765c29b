from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

from napari_blindsound.errors import AxesError, DataError, ImageFormatError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.layers import layers_to_volume, volume_to_layers
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.volume import Volume

SCALE = {"T": 2.0, "Z": 0.5, "Y": 0.1, "X": 0.1}
UNIT = {"T": "second", "Z": "micrometer", "Y": "micrometer", "X": "micrometer"}


def counts(*shape):
    return np.random.default_rng(0).integers(90, 900, shape, np.uint16)


def volume(names, *shape, **more):
    here = [n for n in names if n != "C"]
    axes = Axes.parse(
        names, scale={n: SCALE[n] for n in here}, unit={n: UNIT[n] for n in here}
    )
    return Volume((counts(*shape),), axes, "cells", **more)


def test_a_layer_says_what_the_volume_says():
    [(data, meta, kind)] = volume_to_layers(volume("TZYX", 3, 4, 20, 24))
    assert kind == "image"
    assert data.shape == (3, 4, 20, 24)
    assert meta["name"] == "cells"
    assert meta["scale"] == (2.0, 0.5, 0.1, 0.1)
    assert meta["translate"] == (0, 0, 0, 0)
    assert meta["units"] == ("second", "micrometer", "micrometer", "micrometer")
    assert meta["axis_labels"] == ("t", "z", "y", "x")
    saved = meta["metadata"]["napari_blindsound"]["axes"]
    assert Axes.from_json(saved).names == "TZYX"


def test_unknown_units_are_pixels():
    [(_, meta, _)] = volume_to_layers(open_volume(counts(20, 24)))
    assert meta["units"] == ("pixel", "pixel")


@pytest.mark.parametrize("names", ["CZYX", "ZCYX", "ZYXC"])
def test_one_layer_a_channel_wherever_that_axis_is(names):
    shape = [{"C": 2, "Z": 3, "Y": 20, "X": 24}[name] for name in names]
    image = volume(names, *shape, channel_names=("DAPI", "GFP"))
    layers = volume_to_layers(image)
    assert [meta["name"] for _, meta, _ in layers] == ["cells DAPI", "cells GFP"]
    assert [meta["blending"] for _, meta, _ in layers] == ["additive"] * 2
    assert len({meta["colormap"] for _, meta, _ in layers}) == 2
    for number, (data, meta, _) in enumerate(layers):
        assert meta["axis_labels"] == ("z", "y", "x")
        assert len(meta["scale"]) == len(meta["units"]) == data.ndim == 3
        expected = image.levels[0].take(number, axis=names.index("C"))
        np.testing.assert_array_equal(np.asarray(data), expected)


def test_colors_and_ranges_of_the_file_are_kept():
    window = {"start": 120, "end": 240, "min": 0, "max": 4095}
    settings = [
        {"color": "00FF00", "window": window, "active": True},
        {"color": "FF0000", "window": window, "active": False},
    ]
    image = volume("CYX", 2, 20, 24, omero={"channels": settings})
    green, red = (meta for _, meta, _ in volume_to_layers(image))
    assert (green["colormap"], red["colormap"]) == ("#00FF00", "#FF0000")
    assert green["contrast_limits"] == (120.0, 240.0)
    assert (green["visible"], red["visible"]) == (True, False)


def test_equal_colors_would_hide_one_another():
    settings = [{"color": "FFFFFF"}, {"color": "FFFFFF"}]
    image = volume("CYX", 2, 20, 24, omero={"channels": settings})
    assert len({meta["colormap"] for _, meta, _ in volume_to_layers(image)}) == 2


@pytest.mark.parametrize("value", [7, np.nan])
def test_a_flat_or_empty_image_still_has_a_range(value):
    [(_, meta, _)] = volume_to_layers(open_volume(np.full((20, 24), value, np.float32)))
    low, high = meta["contrast_limits"]
    assert low < high


def test_a_pyramid_is_a_list_and_files_stay_lazy(tmp_path):
    group = zarr.create_group(tmp_path / "p.zarr")
    levels = tuple(
        group.create_array(str(i), shape=(9, 600 >> i, 400 >> i), dtype="u2")
        for i in range(2)
    )
    [(data, _, _)] = volume_to_layers(Volume(levels, Axes.parse("ZYX"), "p"))
    assert [type(level) for level in data] == [da.Array] * 2
    assert [level.shape for level in data] == [(9, 600, 400), (9, 300, 200)]


def test_blocks_join_small_chunks_of_a_plane():
    store = zarr.create_array(
        {}, shape=(8, 3000, 2500), chunks=(2, 100, 128), dtype="u1"
    )
    [(data, _, _)] = volume_to_layers(Volume((store,), Axes.parse("ZYX"), "p"))
    assert data.chunksize == (2, 1000, 1024)
    assert data.blocks.shape == (4, 3, 3)


def test_strips_of_a_tiff_are_read_as_planes(tmp_path):
    pixels = counts(3, 200, 100)
    path = tmp_path / "z.ome.tif"
    tifffile.imwrite(path, pixels, ome=True, metadata={"axes": "ZYX"}, rowsperstrip=1)
    [(data, _, _)] = volume_to_layers(open_volume(path))
    assert data.chunksize == (1, 200, 100)
    np.testing.assert_array_equal(data.compute(), pixels)


def test_only_a_sample_is_read_for_the_range(tmp_path):
    store = zarr.create_array(
        tmp_path / "z.zarr", shape=(3, 4096, 4096), chunks=(1, 512, 512), dtype="u2"
    )
    store[1, 1792:2304, 1792:2304] = 50
    store[1, 2048:2304, 2048:2304] = 70
    [(_, meta, _)] = volume_to_layers(Volume((store,), Axes.parse("ZYX"), "big"))
    assert meta["contrast_limits"] == (50, 70)


@pytest.mark.parametrize("names", ["YX", "ZYX", "TZYX", "CYX", "TCYX"])
def test_there_and_back(names):
    shape = [{"T": 2, "C": 2, "Z": 3, "Y": 20, "X": 24}[name] for name in names]
    channels = ("DAPI", "GFP stain") if "C" in names else ()
    image = volume(names, *shape, channel_names=channels)
    back = layers_to_volume(volume_to_layers(image))
    if "C" in names:
        back_pixels = np.moveaxis(np.asarray(back.levels[0]), 0, names.index("C"))
        assert back.axes.names == "C" + names.replace("C", "")
    else:
        back_pixels = back.levels[0]
        assert back.axes == image.axes
    np.testing.assert_array_equal(back_pixels, image.levels[0])
    assert (back.name, back.channel_names) == ("cells", channels)


def test_napari_describes_colormaps_by_their_colors():
    colors = np.array([[0, 0, 0, 1], [1, 0.5, 0, 1]])
    meta = {"colormap": {"name": "x", "colors": colors}, "contrast_limits": [3, 9]}
    image = layers_to_volume([(counts(20, 24), meta, "image")])
    [setting] = image.omero["channels"]
    assert setting["color"] == "FF8000"
    assert setting["window"] == {"start": 3.0, "end": 9.0}


def test_the_finest_level_of_a_pyramid_counts():
    levels = [counts(40, 48), counts(20, 24)]
    assert layers_to_volume([(levels, {}, "image")]).shape == (40, 48)


def test_axes_are_asked_for():
    meta = {"name": "cells", "axis_labels": ("-3", "-2", "-1")}
    with pytest.raises(AxesError, match=r"cells.*axis_labels"):
        layers_to_volume([(counts(3, 20, 24), meta, "image")])


def test_layers_that_are_no_channels_of_one_image():
    small, large = counts(20, 24), counts(40, 48)
    with pytest.raises(AxesError, match="not channels"):
        layers_to_volume([(small, {}, "image"), (large, {}, "image")])


def test_pictures_and_complex_numbers():
    with pytest.raises(ImageFormatError, match="RGB"):
        layers_to_volume([(counts(20, 24, 3), {"rgb": True}, "image")])
    with pytest.raises(DataError):
        layers_to_volume([(np.zeros((20, 24), complex), {}, "image")])
