"""Five axes go through the command whole, and other people's readers open the result.

The sources are written as microscopes and converters do: an OME-TIFF of one file a
channel, each with the metadata of all, and OME-Zarr 0.4 and 0.5 by hand.
"""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from yaozarrs import validate_zarr_store

from napari_blindsound import load, open_volume, train

SIZES = {"T": 2, "C": 2, "Z": 3, "Y": 48, "X": 40}
SCALE = {"T": 2.5, "Z": 0.8, "Y": 0.2, "X": 0.1}
NAMES, COLORS = ("DAPI", "GFP"), ("0000FF", "00FF00")
AXES = [
    {"name": "t", "type": "time", "unit": "second"},
    {"name": "c", "type": "channel"},
    *({"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"),
]
OMERO = {
    "channels": [
        {
            "label": NAMES[0],
            "color": COLORS[0],
            "active": True,
            "window": {"min": 0, "start": 90, "end": 500, "max": 4095},
        },
        {
            "label": NAMES[1],
            "color": COLORS[1],
            "active": False,
            "window": {"min": 0, "start": 95, "end": 700, "max": 4095},
        },
    ],
    "rdefs": {"model": "color", "defaultZ": 1, "defaultT": 0},
}


@pytest.fixture(scope="module")
def counts():
    """TCZYX; every plane has a brightness of its own, in every pixel of it."""
    rng = np.random.default_rng(0)
    order = np.arange(12).reshape(2, 2, 3, 1, 1)
    return rng.poisson(100 + 60 * order, tuple(SIZES.values())).astype(np.uint16)


@pytest.fixture(scope="module")
def model(counts, tmp_path_factory):
    settings = {"width": 4, "depth": 1, "patch": 32}
    pixels = counts.astype(np.float32)
    made = train(pixels, axes="TCZYX", steps=2, settings=settings)
    return made.save(tmp_path_factory.mktemp("model") / "m.blindsound")


def write_multifile(folder, counts):
    """One file a channel with all its planes; the last one is what is opened."""
    names = [f"run_C{c}.ome.tif" for c in range(2)]
    uuids = [f"urn:uuid:00000000-0000-0000-0000-00000000000{c}" for c in range(2)]
    data = "".join(
        f'<TiffData FirstT="{t}" FirstC="{c}" FirstZ="{z}" IFD="{3 * t + z}" '
        f'PlaneCount="1"><UUID FileName="{names[c]}">{uuids[c]}</UUID></TiffData>'
        for t in range(2)
        for c in range(2)
        for z in range(3)
    )
    # Red, green, blue and opacity as one signed number, as OME has it.
    signed = [int.from_bytes(bytes.fromhex(f"{c}FF"), signed=True) for c in COLORS]
    channels = "".join(
        f'<Channel ID="Channel:0:{c}" Name="{NAMES[c]}" Color="{signed[c]}" '
        'SamplesPerPixel="1"/>'
        for c in range(2)
    )
    for c, name in enumerate(names):
        xml = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="{uuids[c]}"><Image ID="Image:0" Name="run"><Pixels ID="Pixels:0" '
            'DimensionOrder="XYZTC" Type="uint16" SizeX="40" SizeY="48" SizeZ="3" '
            'SizeC="2" SizeT="2" PhysicalSizeX="100" PhysicalSizeXUnit="nm" '
            'PhysicalSizeY="0.2" PhysicalSizeZ="0.8" TimeIncrement="2.5">'
            f"{channels}{data}</Pixels></Image></OME>"
        )
        planes = counts[:, c].reshape(-1, 48, 40)
        with tifffile.TiffWriter(folder / name) as file:
            for number, plane in enumerate(planes):
                words = {"description": xml} if number == 0 else {}
                file.write(plane, metadata=None, contiguous=False, **words)
    return folder / names[1]


def write_zarr(path, counts, version):
    form = 3 if version == "0.5" else 2
    group = zarr.create_group(path, zarr_format=form)
    zarr.create_array(
        path / "0", data=counts, chunks=(1, 1, 2, 32, 32), zarr_format=form
    )
    steps = [
        {"type": "scale", "scale": [2.5, 1.0, 0.8, 0.2, 0.1]},
        {"type": "translation", "translation": [0.0, 0.0, 4.0, 5.0, 6.0]},
    ]
    multiscale = {
        "axes": AXES,
        "datasets": [{"path": "0", "coordinateTransformations": steps}],
        "name": "cells",
    }
    if version == "0.5":
        ome = {"version": "0.5", "multiscales": [multiscale], "omero": OMERO}
        group.attrs["ome"] = ome
    else:
        group.attrs["multiscales"] = [{**multiscale, "version": "0.4"}]
        group.attrs["omero"] = OMERO
    return path


@pytest.fixture(params=["multi-file OME-TIFF", "OME-Zarr 0.4", "OME-Zarr 0.5"])
def source(request, tmp_path, counts):
    if request.param.startswith("multi"):
        return write_multifile(tmp_path, counts)
    return write_zarr(tmp_path / "in.ome.zarr", counts, request.param[-3:])


def in_micrometers(axis):
    return axis.scale / 1000 if axis.unit == "nanometer" else axis.scale


def check(volume, counts):
    """What was known of the source, by our own reader."""
    sizes = dict(zip(volume.axes.names, volume.shape, strict=True))
    assert sizes == dict(zip("TCZYX", counts.shape, strict=True))
    for axis in volume.axes:
        if axis.name != "C":
            assert in_micrometers(axis) == pytest.approx(SCALE[axis.name])
    assert volume.axes[volume.axes.index("T")].unit == "second"
    assert volume.channel_names == NAMES


@pytest.fixture(scope="module")
def expected(model, counts):
    """What the model makes of the planes in memory, TCZYX; each its own."""
    denoised = load(model)(np.moveaxis(counts, 1, 2))
    return np.moveaxis(denoised, 2, 1)


def test_to_ome_zarr(cli, source, counts, expected, model, tmp_path):
    check(open_volume(source), counts)
    before = {p: p.read_bytes() for p in source.parent.rglob("*") if p.is_file()}
    out = tmp_path / "out" / "out.ome.zarr"
    said = cli("denoise", source, "-m", model, "-o", out)
    assert said.code == 0, said.err
    check(open_volume(out), counts)
    assert all(path.read_bytes() == content for path, content in before.items())

    # ome-zarr-py and yaozarrs are other people's.
    validate_zarr_store(str(out))
    (node,) = Reader(parse_url(str(out)))()
    assert [axis["name"] for axis in node.metadata["axes"]] == list("tczyx")
    assert node.metadata["axes"][0]["unit"] == "second"
    assert node.metadata["channel_names"] == list(NAMES)
    np.testing.assert_allclose(node.data[0].compute(), expected, atol=0.01)
    scale = node.metadata["coordinateTransformations"][0][0]["scale"]
    unit = zarr.open_group(out).attrs["ome"]["multiscales"][0]["axes"][4]["unit"]
    assert scale[:4] == [2.5, 1.0, 0.8, 0.2]
    assert scale[4] == {"micrometer": 0.1, "nanometer": 100}[unit]
    stored = zarr.open_group(out).attrs["ome"]["omero"]
    assert [channel["color"] for channel in stored["channels"]] == list(COLORS)
    if source.suffix == ".zarr":
        assert stored["channels"] == OMERO["channels"]
        assert stored["rdefs"] == OMERO["rdefs"]
        translation = open_volume(out).axes
        assert [axis.translate for axis in translation] == [0, 0, 4, 5, 6]


def test_to_ome_tiff(cli, source, counts, expected, model, tmp_path):
    out = tmp_path / "out" / "out.ome.tif"
    said = cli("denoise", source, "-m", model, "-o", out, "--dtype", "source")
    assert said.code == 0, said.err
    check(open_volume(out), counts)
    with tifffile.TiffFile(out) as tiff:
        [series] = tiff.series
        assert series.axes == "TCZYX"
        pixels = series.asarray()
        xml = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
    assert pixels.dtype == np.uint16
    np.testing.assert_allclose(pixels, expected.clip(0), atol=0.51)
    assert [channel["Name"] for channel in xml["Channel"]] == list(NAMES)
    assert xml["TimeIncrement"] == 2.5


@pytest.mark.parametrize("number", [0, 1])
def test_no_file_of_the_source_is_replaced(cli, counts, model, tmp_path, number):
    source = write_multifile(tmp_path, counts)
    out = tmp_path / f"run_C{number}.ome.tif"
    content = out.read_bytes()
    said = cli("denoise", source, "-m", model, "-o", out, "--overwrite")
    assert said.code == 1
    assert "source itself" in said.complaints[0]
    frames = [tmp_path / f"t{number}.tif" for number in range(3)]
    for frame in frames:
        tifffile.imwrite(frame, counts[0, 0, 0])
    words = ("--stack", *frames, "-m", model, "-o", frames[1], "--overwrite")
    said = cli("denoise", *words)
    assert said.code == 1
    assert "source itself" in said.complaints[0]
    assert out.read_bytes() == content
