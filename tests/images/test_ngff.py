from __future__ import annotations

import json
import pickle
import shutil
import warnings

import numpy as np
import pytest
import zarr

from napari_blindsound.errors import (
    AxesError,
    DataError,
    ImageFormatError,
    ImageNotFoundError,
)
from napari_blindsound.images.open import open_volume


def everything(volume):
    return volume.read(tuple(slice(0, n) for n in volume.shape))


def save(path, array, *, version=3, **options):
    stored = zarr.create_array(
        path,
        shape=array.shape,
        chunks=tuple(min(16, n) for n in array.shape),
        dtype=array.dtype,
        zarr_format=version,
        **options,
    )
    stored[...] = array
    return stored


AXES = [
    {"name": "t", "type": "time", "unit": "second"},
    {"name": "c", "type": "channel"},
    {"name": "z", "type": "space", "unit": "micrometer"},
    {"name": "y", "type": "space", "unit": "micrometer"},
    {"name": "x", "type": "space", "unit": "micrometer"},
]
OMERO = {"channels": [{"label": "DAPI", "color": "0000FF"}, {"label": "GFP"}]}


def save_image(path, levels, version, *, axes=AXES, datasets=None, **more):
    """Write an OME-Zarr image by hand, as the standard says it."""
    form = 3 if version == "0.5" else 2
    group = zarr.create_group(path, zarr_format=form)
    for i, level in enumerate(levels):
        save(path / str(i), level, version=form)
    multiscale = {
        "axes": axes,
        "datasets": datasets or [{"path": str(i)} for i in range(len(levels))],
        **more.pop("multiscale", {}),
    }
    metadata = {"multiscales": [multiscale], **more}
    if version == "0.5":
        metadata = {"ome": {"version": "0.5", **metadata}}
    else:
        multiscale["version"] = version
    group.attrs.update(metadata)
    return group


@pytest.fixture
def movie(hyperstack):
    """TCZYX, (3, 2, 4, 30, 45)."""
    return np.ascontiguousarray(hyperstack.swapaxes(1, 2))


@pytest.mark.parametrize("version", [2, 3])
def test_arrays(tmp_path, hyperstack, version):
    save(tmp_path / "a.zarr", hyperstack, version=version)
    with pytest.raises(AxesError, match="does not say what its axes mean"):
        open_volume(tmp_path / "a.zarr")
    volume = open_volume(tmp_path / "a.zarr", axes="TZCYX")
    assert volume.axes.names == "TZCYX"
    assert volume.name == "a.zarr"
    assert volume.source == str(tmp_path / "a.zarr")
    assert volume.chunks == (3, 4, 2, 16, 16)
    assert np.array_equal(everything(volume), hyperstack)
    copy = pickle.loads(pickle.dumps(volume))
    assert np.array_equal(everything(copy), hyperstack)


def test_dimensions_name_the_axes(tmp_path, rng):
    array = rng.random((3, 8, 9))
    save(tmp_path / "a", array, dimension_names=("time", "y", "x"))
    assert open_volume(tmp_path / "a").axes.names == "TYX"
    save(tmp_path / "b", array, version=2).attrs["_ARRAY_DIMENSIONS"] = ["z", "y", "x"]
    assert open_volume(tmp_path / "b").axes.names == "ZYX"
    save(tmp_path / "c", array, dimension_names=("lambda", "y", "x"))
    with pytest.raises(AxesError, match="does not say what its axes mean"):
        open_volume(tmp_path / "c")
    save(tmp_path / "d", array[0])
    assert open_volume(tmp_path / "d").axes.names == "YX"


def test_sharded_and_big_endian_arrays(tmp_path, rng):
    array = rng.integers(0, 999, (64, 64)).astype(np.uint16)
    save(tmp_path / "a", array, shards=(32, 32))
    volume = open_volume(tmp_path / "a")
    assert volume.chunks == (16, 16)
    assert np.array_equal(everything(volume), array)
    save(tmp_path / "b", array.astype(">u2"), version=2)
    block = everything(open_volume(tmp_path / "b"))
    assert block.dtype.isnative
    assert np.array_equal(block, array)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_images_bring_levels_sizes_units_and_channels(tmp_path, movie, version):
    levels = [movie, movie[..., ::2, ::2]]
    datasets = [
        {
            "path": str(i),
            "coordinateTransformations": [
                {"type": "scale", "scale": [1.0, 1.0, 0.5, 0.1 * 2**i, 0.2 * 2**i]},
                {"type": "translation", "translation": [0.0, 0.0, 1.0, 2.0, 3.0]},
            ],
        }
        for i in range(2)
    ]
    whole = [
        {"type": "scale", "scale": [30.0, 1.0, 2.0, 1.0, 1.0]},
        {"type": "translation", "translation": [5.0, 0.0, 0.0, 0.25, 0.0]},
    ]
    save_image(
        tmp_path / "a.ome.zarr",
        levels,
        version,
        datasets=datasets,
        multiscale={"coordinateTransformations": whole},
        omero=OMERO,
    )
    volume = open_volume(tmp_path / "a.ome.zarr")
    assert volume.axes.names == "TCZYX"
    assert [axis.scale for axis in volume.axes] == [30.0, 1.0, 1.0, 0.1, 0.2]
    assert [axis.translate for axis in volume.axes] == [5.0, 0.0, 2.0, 2.25, 3.0]
    assert [axis.unit for axis in volume.axes] == [
        "second",
        None,
        "micrometer",
        "micrometer",
        "micrometer",
    ]
    assert volume.channel_names == ("DAPI", "GFP")
    assert volume.omero == OMERO
    assert volume.select(C=1).omero == {"channels": [{"label": "GFP"}]}
    assert [level.shape for level in volume.levels] == [x.shape for x in levels]
    assert np.array_equal(everything(volume), movie)
    assert np.array_equal(volume.levels[1][...], levels[1])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_what_ome_zarr_writes_is_read(tmp_path, movie, version):
    write_with_ome_zarr(tmp_path / "a.ome.zarr", movie[:, 0, 0], version)
    volume = open_volume(tmp_path / "a.ome.zarr")
    assert volume.axes.names == "TYX"
    assert [axis.scale for axis in volume.axes] == [2.0, 0.3, 0.3]
    assert [axis.unit for axis in volume.axes] == ["second", "micrometer", "micrometer"]
    assert np.array_equal(everything(volume), movie[:, 0, 0])
    assert len(volume.levels) == 2


def write_with_ome_zarr(path, array, version):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the writer's own deprecations
        from ome_zarr.format import format_from_version
        from ome_zarr.io import parse_url
        from ome_zarr.writer import write_image

        form = format_from_version(version)
        write_image(
            array,
            zarr.group(parse_url(path, mode="w", fmt=form).store),
            axes=[AXES[0], *AXES[3:]],
            fmt=form,
            scale={"t": 2.0, "y": 0.3, "x": 0.3},
            axes_units={"t": "second", "y": "micrometer", "x": "micrometer"},
            scale_factors=[2],
        )


def test_older_images_have_fixed_axes(tmp_path, movie):
    group = save_image(tmp_path / "a", [movie], "0.2")
    multiscale = dict(group.attrs["multiscales"][0])
    del multiscale["axes"]
    group.attrs["multiscales"] = [multiscale]
    assert open_volume(tmp_path / "a").axes.names == "TCZYX"
    multiscale["axes"] = ["t", "c", "z", "y", "x"]
    group.attrs["multiscales"] = [multiscale]
    assert open_volume(tmp_path / "a").axes.names == "TCZYX"


def test_free_names_of_axes_are_told_by_their_type(tmp_path, movie):
    axes = [{"name": "cycle", "type": "time"}, *AXES[1:]]
    save_image(tmp_path / "a", [movie], "0.5", axes=axes)
    assert open_volume(tmp_path / "a").axes.names == "TCZYX"
    axes = [{"name": "angle", "type": "space"}, *AXES[1:]]
    save_image(tmp_path / "b", [movie], "0.5", axes=axes)
    with pytest.raises(AxesError, match="does not say what its axes mean"):
        open_volume(tmp_path / "b")
    assert open_volume(tmp_path / "b", axes="TCZYX").axes[3].unit is None


def test_sloppy_metadata_do_not_stop_the_image(tmp_path, movie):
    omero = {"channels": [{"label": "one of three"}, {}, {}]}
    datasets = [
        {
            "path": "0",
            "coordinateTransformations": [
                {"type": "scale", "scale": [1.0, 1.0, 0.0, 0.1, 0.1]}
            ],
        }
    ]
    save_image(tmp_path / "a", [movie], "0.4", omero=omero, datasets=datasets)
    volume = open_volume(tmp_path / "a")
    assert volume.channel_names == ()
    assert volume.axes[2].scale == 1.0


def test_groups_of_one_array_and_of_several(tmp_path, rng):
    array = rng.random((8, 9))
    zarr.create_group(tmp_path / "a")
    save(tmp_path / "a" / "raw", array)
    (tmp_path / "a" / "notes.txt").write_text("laser at 3 %")
    volume = open_volume(tmp_path / "a")
    assert volume.name == "raw"
    assert volume.source == f"{tmp_path}/a/raw"
    save(tmp_path / "a" / "mask2", array)
    save(tmp_path / "a" / "mask10", array + 1)
    with pytest.raises(
        ImageFormatError, match=r"3 images.*0: mask2; 1: mask10; 2: raw"
    ):
        open_volume(tmp_path / "a")
    assert np.array_equal(everything(open_volume(tmp_path / "a", image=1)), array + 1)
    assert np.array_equal(everything(open_volume(tmp_path / "a" / "raw")), array)


def test_groups_of_one_image_and_of_several(tmp_path, movie):
    group = zarr.create_group(tmp_path / "a")
    group.attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    save_image(tmp_path / "a" / "0", [movie], "0.5")
    zarr.create_group(tmp_path / "a" / "OME")
    assert open_volume(tmp_path / "a").axes.names == "TCZYX"
    save_image(tmp_path / "a" / "1", [movie + 1], "0.5")
    with pytest.raises(ImageFormatError, match=r"2 images.*0: 0; 1: 1"):
        open_volume(tmp_path / "a")
    assert np.array_equal(everything(open_volume(tmp_path / "a", image=1)), movie + 1)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_plates_and_wells(tmp_path, movie, version):
    form = 3 if version == "0.5" else 2
    plate = zarr.create_group(tmp_path / "p.zarr", zarr_format=form)
    well = zarr.create_group(tmp_path / "p.zarr" / "A" / "1", zarr_format=form)
    wells = {"plate": {"wells": [{"path": "A/1"}, {"path": "B/7"}]}}
    fields = {"well": {"images": [{"path": "0"}, {"path": "1"}]}}
    plate.attrs.update({"ome": wells} if form == 3 else wells)
    well.attrs.update({"ome": fields} if form == 3 else fields)
    for i in range(2):
        save_image(tmp_path / "p.zarr" / "A" / "1" / str(i), [movie + i], version)
    with pytest.raises(ImageFormatError, match=r"plate of 2 wells.*A/1.*B/7"):
        open_volume(tmp_path / "p.zarr")
    with pytest.raises(ImageFormatError, match=r"A/1 holds 2 images"):
        open_volume(tmp_path / "p.zarr" / "A" / "1")
    volume = open_volume(tmp_path / "p.zarr" / "A" / "1", image=1)
    assert np.array_equal(everything(volume), movie + 1)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_only_the_chunks_that_meet_a_region_are_read(tmp_path, rng, version):
    array = rng.random((64, 64))
    save_image(tmp_path / "a", [array], version, axes=AXES[3:])
    kept = "c/1/2" if version == "0.5" else "1.2"
    for chunk in (tmp_path / "a" / "0").rglob("*"):
        is_chunk = chunk.is_file() and not chunk.name.startswith((".", "zarr"))
        if is_chunk and not chunk.as_posix().endswith(kept):
            chunk.write_bytes(b"no chunk")
    volume = open_volume(tmp_path / "a")
    region = (slice(16, 32), slice(32, 48))
    assert np.array_equal(volume.read(region), array[region])
    with pytest.raises(ImageFormatError, match="cannot be read"):
        volume.read(region, 1)


def test_urls(tmp_path, movie):
    save_image(tmp_path / "a", [movie], "0.5")
    assert open_volume((tmp_path / "a").as_uri()).shape == movie.shape


def test_nothing_there(tmp_path):
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(ImageNotFoundError, match=r"empty.zarr holds no zarr array"):
        open_volume(tmp_path / "empty.zarr")
    zarr.create_group(tmp_path / "group.zarr")
    with pytest.raises(ImageNotFoundError, match="group without an image"):
        open_volume(tmp_path / "group.zarr")


def damaged():
    group = {"zarr_format": 3, "node_type": "group"}
    array = {"zarr_format": 3, "node_type": "array"}
    yield "{"
    yield json.dumps(array)
    yield json.dumps({**array, "data_type": "u99", "shape": [3]})
    for multiscales in (1, [], [{}], [{"datasets": []}], [{"datasets": [{}]}]):
        ome = {"multiscales": multiscales}
        yield json.dumps({**group, "attributes": {"ome": ome}})


@pytest.mark.parametrize("content", list(damaged()))
def test_damaged_metadata_are_named(tmp_path, content):
    (tmp_path / "zarr.json").write_text(content)
    with pytest.raises(ImageFormatError, match=r"metadata of .* cannot be read"):
        open_volume(tmp_path)


def test_damaged_version_2_metadata_are_named(tmp_path, rng):
    save(tmp_path / "a", rng.random((4, 4)), version=2)
    (tmp_path / "a" / ".zarray").write_text('{"zarr_format": 2, "shape": [3')
    with pytest.raises(ImageFormatError, match=r"metadata of .* cannot be read"):
        open_volume(tmp_path / "a")


def test_a_level_that_is_gone_is_named(tmp_path, movie):
    save_image(tmp_path / "a", [movie, movie[..., ::2, ::2]], "0.5")
    shutil.rmtree(tmp_path / "a" / "1")
    with pytest.raises(ImageFormatError, match="lists the resolution '1'"):
        open_volume(tmp_path / "a")


def test_complex_and_empty_arrays_are_refused(tmp_path):
    save(tmp_path / "a", np.zeros((4, 4), np.complex64))
    with pytest.raises(DataError, match="complex64"):
        open_volume(tmp_path / "a")
    zarr.create_array(tmp_path / "b", shape=(0, 4), chunks=(1, 4), dtype="u2")
    with pytest.raises(DataError, match="holds no pixels"):
        open_volume(tmp_path / "b")
