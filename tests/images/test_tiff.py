from __future__ import annotations

import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile

from napari_blindsound.errors import (
    AxesError,
    DataError,
    ImageFormatError,
    ImageNotFoundError,
)
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.units import unit_word


def write(path, array, *, photometric="minisblack", **options):
    tifffile.imwrite(path, array, photometric=photometric, **options)


def everything(volume):
    return volume.read(tuple(slice(0, n) for n in volume.shape))


def calibration(volume):
    return {axis.name: (axis.scale, axis.unit) for axis in volume.axes}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "image.tif"


LAYOUTS = {
    "plain": {},
    "big": {"bigtiff": True},
    "big-endian": {"byteorder": ">"},
    "zlib": {"compression": "zlib"},
    "strips": {"rowsperstrip": 7},
    "zlib strips": {"compression": "zlib", "rowsperstrip": 7},
    "zstd predictor": {"compression": "zstd", "predictor": True, "rowsperstrip": 16},
    "big-endian lzw": {"byteorder": ">", "compression": "lzw", "rowsperstrip": 4},
    "tiles": {"tile": (16, 32)},
    "zlib tiles": {"tile": (16, 32), "compression": "zlib"},
    "imagej": {"imagej": True},
    "ome": {"ome": True},
    "ome zlib": {"ome": True, "compression": "zlib"},
    "ome tiles": {"ome": True, "tile": (16, 16), "byteorder": ">"},
    "ome big": {"ome": True, "bigtiff": True},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_layout_is_read_by_region(path, hyperstack, layout):
    metadata = {"axes": "TZCYX"}
    write(path, hyperstack, metadata=metadata, **layout)
    volume = open_volume(path)
    assert volume.axes.names == "TZCYX"
    assert volume.dtype == np.uint16
    assert np.array_equal(everything(volume), hyperstack)
    for region in (
        (slice(1, 2), slice(0, 1), slice(1, 2), slice(6, 23), slice(14, 40)),
        (slice(0, 3), slice(2, 4), slice(0, 2), slice(29, 30), slice(44, 45)),
    ):
        block = volume.read(region)
        assert block.dtype.isnative
        assert np.array_equal(block, hyperstack[region])
    copy = pickle.loads(pickle.dumps(volume))
    assert np.array_equal(copy.read(region), hyperstack[region])
    assert copy.axes == volume.axes


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "f2", "f4", "f8"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_every_type_is_kept(path, rng, dtype, compression):
    array = (100 * rng.random((3, 20, 21))).astype(dtype)
    write(path, array, compression=compression, metadata={"axes": "ZYX"})
    volume = open_volume(path)
    assert volume.dtype == array.dtype
    assert np.array_equal(everything(volume), array)


def test_threads_read_at_once(path, rng):
    array = rng.integers(0, 999, (8, 100, 120)).astype(np.uint16)
    write(path, array, tile=(32, 32), compression="zlib")
    volume = open_volume(path, axes="TYX")
    corners = rng.integers(0, 80, (200, 2))

    def is_exact(numbered):
        i, (y, x) = numbered
        region = (slice(i % 8, i % 8 + 1), slice(y, y + 20), slice(x, x + 40))
        return np.array_equal(volume.read(region), array[region])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(is_exact, enumerate(corners)))


def test_imagej_says_size_unit_spacing_and_interval(path, hyperstack):
    write(
        path,
        hyperstack,
        imagej=True,
        resolution=(1 / 0.16, 1 / 0.2),
        metadata={"axes": "TZCYX", "spacing": -0.5, "unit": "um", "finterval": 2.5},
    )
    volume = open_volume(path)
    found = calibration(volume)
    assert found["X"] == (pytest.approx(0.16), "micrometer")
    assert found["Y"] == (pytest.approx(0.2), "micrometer")
    assert found["Z"] == (0.5, "micrometer")
    assert found["T"] == (2.5, "second")
    assert found["C"] == (1.0, None)
    assert volume.source == str(path)
    assert volume.name == "image.tif"


@pytest.mark.parametrize("unit", ["micron", "\\u00B5m", "um", "nm", "inch"])
def test_imagej_units(path, unit):
    write(
        path,
        np.zeros((4, 9, 9), np.uint8),
        imagej=True,
        resolution=(4, 4),
        metadata={"axes": "ZYX", "unit": unit},
    )
    word = unit_word(unit)
    assert word is not None
    # ImageJ leaves a spacing of 1 out.
    assert calibration(open_volume(path)) == {
        "Z": (1.0, word),
        "Y": (0.25, word),
        "X": (0.25, word),
    }


def test_imagej_without_unit_is_uncalibrated(path):
    array = np.zeros((4, 9, 9), np.uint8)
    write(path, array, imagej=True, resolution=(72, 72), metadata={"axes": "TYX"})
    assert set(calibration(open_volume(path)).values()) == {(1.0, None)}


def test_imagej_frames_per_second(path):
    array = np.zeros((4, 9, 9), np.uint8)
    write(path, array, imagej=True, metadata={"axes": "TYX", "fps": 20.0})
    assert calibration(open_volume(path))["T"] == (0.05, "second")


OME = {
    "axes": "TZCYX",
    "PhysicalSizeX": 130.0,
    "PhysicalSizeXUnit": "nm",
    "PhysicalSizeY": 0.13,
    "PhysicalSizeYUnit": "µm",
    "PhysicalSizeZ": 0.3,
    "TimeIncrement": 40.0,
    "TimeIncrementUnit": "ms",
    "Channel": {"Name": ["DAPI", "GFP"]},
}


def test_ome_says_sizes_units_and_channels(path, hyperstack):
    write(path, hyperstack, ome=True, metadata=OME)
    volume = open_volume(path)
    assert calibration(volume) == {
        "T": (40.0, "millisecond"),
        "Z": (0.3, "micrometer"),
        "C": (1.0, None),
        "Y": (0.13, "micrometer"),
        "X": (130.0, "nanometer"),
    }
    assert volume.channel_names == ("DAPI", "GFP")


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_ome_in_several_files(tmp_path, hyperstack, compression):
    names = write_multifile_ome(tmp_path, hyperstack[:, 0, 0], compression)
    for name in names:
        volume = open_volume(tmp_path / name)
        assert volume.axes.names == "TYX"
        assert np.array_equal(everything(volume), hyperstack[:, 0, 0])
        assert calibration(volume)["X"] == (0.5, "micrometer")
    (tmp_path / names[1]).unlink()
    with pytest.raises(ImageFormatError, match="lists 3 planes, of which 1 are not"):
        open_volume(tmp_path / names[0])


def write_multifile_ome(folder, frames, compression):
    """One file a frame, each with the OME-XML of all."""
    names = [f"frame{i}.ome.tif" for i in range(len(frames))]
    uuids = [f"urn:uuid:00000000-0000-0000-0000-00000000000{i}" for i in range(9)]
    data = "".join(
        f'<TiffData FirstT="{i}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{name}">{uuids[i]}</UUID></TiffData>'
        for i, name in enumerate(names)
    )
    height, width = frames[0].shape
    for i, name in enumerate(names):
        xml = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="{uuids[i]}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
            f'DimensionOrder="XYZCT" Type="uint16" SizeX="{width}" SizeY="{height}" '
            f'SizeZ="1" SizeC="1" SizeT="{len(frames)}" PhysicalSizeX="0.5">'
            f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}</Pixels></Image>'
            "</OME>"
        )
        write(
            folder / name,
            frames[i],
            description=xml,
            metadata=None,
            compression=compression,
        )
    return names


def test_a_pyramid_gives_levels(path, rng):
    levels = [
        rng.integers(0, 999, (3, 64 >> i, 96 >> i)).astype(np.uint16) for i in range(3)
    ]
    with tifffile.TiffWriter(path, ome=True) as file:
        options = {"tile": (16, 16), "compression": "zlib"}
        file.write(levels[0], subifds=2, metadata={"axes": "ZYX"}, **options)
        for level in levels[1:]:
            file.write(level, subfiletype=1, **options)
    volume = open_volume(path)
    assert volume.axes.names == "ZYX"
    assert volume.chunks == (1, 16, 16)
    for found, level in zip(volume.levels, levels, strict=True):
        assert np.array_equal(found[...], level)
        assert np.array_equal(pickle.loads(pickle.dumps(found))[1], level[1])


def test_gray_samples_are_channels(path, rng):
    array = rng.integers(0, 99, (2, 20, 30)).astype(np.uint8)
    write(path, array, planarconfig="separate")
    volume = open_volume(path)
    assert volume.axes.names == "CYX"
    assert np.array_equal(everything(volume), array)
    mixed = np.moveaxis(array, 0, -1)
    write(
        path,
        mixed,
        planarconfig="contig",
        compression="zlib",
        rowsperstrip=8,
    )
    volume = open_volume(path)
    assert volume.axes.names == "YXC"
    region = (slice(5, 13), slice(20, 30), slice(1, 2))
    assert np.array_equal(volume.read(region), mixed[region])


def test_nothing_is_read_on_opening(path):
    """A stack of 8 GB that is a hole in the file system."""
    tifffile.memmap(path, shape=(256, 4096, 4096), dtype="u2", bigtiff=True)
    tracemalloc.start()
    volume = open_volume(path, axes="ZYX")
    block = volume.read((slice(200, 201), slice(4000, 4032), slice(0, 64)), 32)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert volume.nbytes == 2**33
    assert block.shape == (1, 96, 128)
    assert peak < 2**21


def test_only_the_strips_that_meet_a_region_are_decoded(path, rng):
    array = rng.integers(0, 999, (4, 64, 64)).astype(np.uint16)
    write(path, array, compression="zlib", rowsperstrip=16)
    with tifffile.TiffFile(path) as file:
        kept = file.pages[2].dataoffsets[1]
        spans = [
            span
            for page in file.pages
            for span in zip(page.dataoffsets, page.databytecounts, strict=True)
            if span[0] != kept
        ]
    with path.open("r+b") as file:
        for offset, size in spans:
            file.seek(offset)
            file.write(b"?" * size)
    volume = open_volume(path, axes="TYX")
    region = (slice(2, 3), slice(17, 30), slice(0, 64))
    assert np.array_equal(volume.read(region), array[region])
    with pytest.raises(ImageFormatError, match=r"image.tif is damaged"):
        volume.read((slice(0, 1), slice(0, 64), slice(0, 64)))


def test_several_pages_without_a_word_are_asked_for(path, rng):
    frames = rng.integers(0, 99, (5, 20, 30)).astype(np.uint8)
    write(path, frames)
    with pytest.raises(AxesError, match="pass axes='TYX' or axes='ZYX'"):
        open_volume(path)
    with tifffile.TiffWriter(path) as file:
        for frame in frames:
            file.write(frame, metadata=None, contiguous=False)
    with pytest.raises(AxesError, match="pass axes='TYX' or axes='ZYX'"):
        open_volume(path)
    volume = open_volume(path, axes="ZYX")
    assert volume.axes.names == "ZYX"
    assert np.array_equal(everything(volume), frames)


def test_one_page_is_a_plane(path):
    write(path, np.zeros((20, 3), np.uint8))
    assert open_volume(path).axes.names == "YX"


def test_the_users_axes_go_before_the_files(path, hyperstack):
    stack = hyperstack[:, 0, 0]
    write(
        path,
        stack,
        imagej=True,
        resolution=(2, 2),
        metadata={"axes": "ZYX", "unit": "um"},
    )
    volume = open_volume(path, axes="TYX", scale={"T": 3.0}, unit={"T": "s"})
    assert calibration(volume) == {
        "T": (3.0, "second"),
        "Y": (0.5, "micrometer"),
        "X": (0.5, "micrometer"),
    }
    with pytest.raises(AxesError, match=r"name 4 dimensions, but .* has 3"):
        open_volume(path, axes="TZYX")


def test_several_images_must_be_chosen_from(path, rng):
    first, second = rng.random((2, 8, 9)), rng.random((4, 5))
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(first, metadata={"axes": "ZYX", "Name": "cells"})
        file.write(
            second, metadata={"axes": "YX", "Name": "overview", "PhysicalSizeX": 9.0}
        )
    with pytest.raises(
        ImageFormatError, match=r"holds 2 images.* 0: cells \(2, 8, 9\)"
    ):
        open_volume(path)
    volume = open_volume(path, image=1)
    assert np.array_equal(everything(volume), second)
    assert calibration(volume)["X"] == (9.0, "micrometer")
    assert np.array_equal(pickle.loads(pickle.dumps(volume)).levels[0], second)
    with pytest.raises(ImageFormatError, match="none of them number 2"):
        open_volume(path, image=2)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_photographs_are_refused(path, compression):
    array = np.zeros((20, 30, 3), np.uint8)
    write(path, array, photometric="rgb", compression=compression)
    with pytest.raises(ImageFormatError, match=r"image.tif is an RGB photograph"):
        open_volume(path)


def test_complex_and_masks_are_refused(path):
    write(path, np.zeros((8, 8), np.complex64))
    with pytest.raises(DataError, match="complex64"):
        open_volume(path)
    write(path, np.zeros((8, 8), bool))
    with pytest.raises(DataError, match="this is a mask"):
        open_volume(path)


@pytest.mark.parametrize(
    "layout",
    [{}, {"compression": "zlib"}, {"imagej": True}, {"ome": True}, {"tile": (16, 16)}],
    ids=str,
)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_truncated_files_are_named(path, hyperstack, layout, part):
    stack = hyperstack[:, 0, 0]
    write(path, stack, metadata={"axes": "ZYX"}, **layout)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(
        ImageFormatError, match=r"image.tif is (truncated|not a readable)"
    ):
        everything(open_volume(path))


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_truncated_pages_without_metadata_are_named(path, hyperstack, part):
    with tifffile.TiffWriter(path) as file:
        for frame in hyperstack[:, 0, 0]:
            file.write(frame, metadata=None, contiguous=False)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(ImageFormatError, match=r"image.tif is truncated"):
        open_volume(path, axes="TYX")


def test_a_file_that_shrinks_after_opening_is_named(path, hyperstack):
    stack = hyperstack[:, 0, 0]
    for compression in (None, "zlib"):
        write(path, stack, compression=compression)
        volume = open_volume(path, axes="TYX")
        path.write_bytes(path.read_bytes()[:1200])
        with pytest.raises(ImageFormatError, match=r"image.tif is damaged"):
            everything(volume)
        path.unlink()
        with pytest.raises(ImageNotFoundError, match=r"image.tif has gone"):
            everything(volume)


@pytest.mark.parametrize("content", [b"", b"II*\0", b"just text\n" * 50, b"II*\0" * 9])
def test_what_is_no_tiff_is_named(path, content):
    path.write_bytes(content)
    with pytest.raises(ImageFormatError, match=r"image.tif is not a readable TIFF"):
        open_volume(path)


REAL = {
    "avg20_f32.tif": ("YX", {}),
    "example_20x128x256_u16.tif": ("TYX", {}),
    "frames_20x512x512_u8.tif": ("TYX", {}),
    "low_512_u16.tif": ("YX", {}),
    "xy_calibrated_16bit__cells_eres_noisy.tif": ("YX", {"X": 0.229674}),
    "xyz_8bit__chromosomes.tif": ("ZYX", {"Z": 0.15, "Y": 0.0338542, "X": 0.0338542}),
    "xyz_8bit__nucleus.tif": ("ZYX", {}),
    "xyz_nuclear_envelope_drosophila.tif": ("ZYX", {"Z": 1.0, "X": 0.24165}),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(real_data, name):
    axes, sizes = REAL[name]
    volume = open_volume(real_data / "stacks" / name)
    expected = tifffile.imread(real_data / "stacks" / name)
    assert volume.axes.names == axes
    assert np.array_equal(everything(volume), expected)
    for letter, size in sizes.items():
        assert calibration(volume)[letter] == (
            pytest.approx(size, rel=1e-5),
            "micrometer",
        )
