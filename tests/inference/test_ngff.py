from __future__ import annotations

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from yaozarrs import validate_zarr_store

from napari_blindsound.images.axes import Axes, Axis
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.coarser import halved
from napari_blindsound.inference.store import WriteConfig, write
from napari_blindsound.inference.tiling import denoise_region

AXES = Axes(
    (
        Axis("T", 2.5, "second"),
        Axis("Z", 1.5, "micrometer", translate=10.0),
        Axis("C"),
        Axis("Y", 0.2, "micrometer", translate=3.0),
        Axis("X", 0.25, "micrometer"),
    )
)
SMALL = WriteConfig(chunk=32, shard=64, levels=3)


@pytest.fixture
def written(tmp_path, pyramid, noisy):
    """Write a small image, and read it back as zarr, with the denoised reference."""

    def run(config=SMALL, axes=AXES, shape=(2, 3, 2, 100, 71), **facts):
        volume = Volume((noisy(shape),), axes, "cells", **facts)
        operator = pyramid(n_channels=volume.n_channels)
        path = tmp_path / "out.ome.zarr"
        *_, last = write(operator, volume, path, config)
        assert last.path == path
        whole = tuple(slice(0, n) for n in shape)
        order = [axes.index(n) for n in "TCZYX" if n in axes]
        return (
            zarr.open_group(path, mode="r"),
            denoise_region(operator, volume, whole).transpose(order),
        )

    return run


def mean_by_hand(image):
    """2 x 2 means, one pixel at a time, the last row and column repeated."""
    *lead, height, width = image.shape
    out = np.empty((*lead, -(-height // 2), -(-width // 2)))
    for y in range(out.shape[-2]):
        for x in range(out.shape[-1]):
            rows = [2 * y, min(2 * y + 1, height - 1)]
            columns = [2 * x, min(2 * x + 1, width - 1)]
            out[..., y, x] = image[..., rows, :][..., columns].mean(axis=(-2, -1))
    return out


@settings(deadline=None, max_examples=50)
@given(
    image=hnp.arrays(
        st.sampled_from([np.uint8, np.int16, np.uint32, np.float32, np.float64]),
        hnp.array_shapes(min_dims=2, max_dims=3, max_side=7),
        elements=st.integers(0, 120),
    )
)
def test_halved_is_the_mean_of_two_by_two(image):
    expected = mean_by_hand(image.astype(np.float64))
    if image.dtype.kind in "iu":
        expected = np.rint(expected)
    coarse = halved(image)
    assert coarse.dtype == image.dtype
    np.testing.assert_allclose(coarse, expected, rtol=1e-6)


def test_large_integers_are_halved_exactly():
    image = np.full((2, 2), 2**32 - 1, np.uint32)
    assert halved(image).item() == 2**32 - 1


def test_pixels_and_pyramid(written):
    group, reference = written()
    np.testing.assert_allclose(group["0"][:], reference, rtol=1e-6)
    for level in ("1", "2"):
        reference = mean_by_hand(reference)
        np.testing.assert_allclose(group[level][:], reference, rtol=1e-5)
    assert [group[k].shape[-2:] for k in "012"] == [(100, 71), (50, 36), (25, 18)]
    assert group["0"].chunks == (1, 1, 1, 32, 32)
    assert group["0"].shards == (1, 2, 1, 64, 64)
    assert group.metadata.zarr_format == 3


def test_levels_end_at_256_pixels(written):
    config = WriteConfig(chunk=256, shard=1024)
    group, _ = written(config, Axes.parse("YX"), (1030, 600))
    assert [group[k].shape for k in sorted(group.array_keys())] == [
        (1030, 600),
        (515, 300),
        (258, 150),
    ]


def test_axes_scale_and_translation_of_every_level(written):
    group, _ = written()
    (image,) = group.attrs["ome"]["multiscales"]
    assert image["name"] == "cells"
    assert image["axes"] == [
        {"name": "t", "type": "time", "unit": "second"},
        {"name": "c", "type": "channel"},
        {"name": "z", "type": "space", "unit": "micrometer"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    for level, dataset in enumerate(image["datasets"]):
        scale, shift = dataset["coordinateTransformations"]
        f = 2**level
        assert scale["scale"] == [2.5, 1.0, 1.5, 0.2 * f, 0.25 * f]
        # Position of the middle of the first pixel: that of the f x f it is made of.
        expected = [0, 0, 10, 3 + 0.2 * (f - 1) / 2, 0.25 * (f - 1) / 2]
        np.testing.assert_allclose(shift["translation"], expected)


def test_independent_readers_accept_it(written, tmp_path):
    group, reference = written()
    path = tmp_path / "out.ome.zarr"
    validate_zarr_store(str(path))
    (node,) = Reader(parse_url(str(path)))()
    assert [axis["name"] for axis in node.metadata["axes"]] == list("tczyx")
    assert [d.shape for d in node.data] == [group[k].shape for k in "012"]
    np.testing.assert_allclose(node.data[0].compute(), reference, rtol=1e-6)
    volume = open_volume(path)
    assert volume.axes.names == "TCZYX"
    assert {a.name: a for a in volume.axes} == {a.name: a for a in AXES}


def test_provenance_and_completeness(tmp_path, pyramid, noisy):
    volume = Volume((noisy((80, 60)),), Axes.parse("YX"), "cells")
    path = tmp_path / "out.ome.zarr"
    events = write(pyramid(), volume, path, SMALL, provenance={"seed": 3})
    partial = tmp_path / "out.ome.zarr.partial"
    next(events)
    attributes = zarr.open_group(partial, mode="r").attrs
    assert "ome" not in attributes
    assert attributes["blindsound"]["complete"] is False
    *_, last = events
    stored = zarr.open_group(path, mode="r").attrs["blindsound"]
    assert stored["complete"] is True
    assert stored["source"] == "cells"
    assert stored["revision"] == "pyramid-1"
    assert stored["seed"] == 3
    assert stored["mean_out"] == last.mean_out
    assert stored["clipped"] == 0


def test_channel_names_and_measured_windows(written):
    group, reference = written(channel_names=("nuclei", "actin"))
    channels = group.attrs["ome"]["omero"]["channels"]
    assert [c["label"] for c in channels] == ["nuclei", "actin"]
    for number, channel in enumerate(channels):
        window, pixels = channel["window"], reference[:, number]
        assert window["min"] == pytest.approx(pixels.min())
        assert window["max"] == pytest.approx(pixels.max())
        assert window["min"] <= window["start"] <= np.quantile(pixels, 0.01)
        assert np.quantile(pixels, 0.99) <= window["end"] <= window["max"]


def test_display_settings_of_the_source_are_kept(written):
    omero = {
        "name": "theirs",
        "rdefs": {"model": "color", "defaultZ": 1},
        "channels": [
            {
                "label": "DAPI",
                "color": "0000FF",
                "active": True,
                "window": {"start": 90, "end": 500, "min": 0, "max": 4095},
            },
            {"label": "GFP", "color": "00FF00", "window": {"start": 95, "end": 700}},
        ],
    }
    group, _ = written(omero=omero)
    stored = group.attrs["ome"]["omero"]
    assert stored["rdefs"] == omero["rdefs"]
    assert stored["channels"][0] == omero["channels"][0]
    second = stored["channels"][1]
    assert second["color"] == "00FF00"
    assert second["window"]["end"] == 700
    assert {"min", "max"} <= second["window"].keys()  # measured, the source has none


def test_display_settings_that_make_no_sense_are_left_out(written, caplog):
    group, _ = written(omero={"channels": [{"color": "blue"}, {"color": 7}]})
    assert "omero" not in group.attrs["ome"]
    assert "left out" in caplog.text


def test_nothing_is_said_about_unknown_channels(written):
    group, _ = written()
    assert "omero" not in group.attrs["ome"]


@pytest.mark.parametrize("compression", [0, 5])
def test_compression(written, compression, tmp_path):
    config = WriteConfig(chunk=32, shard=64, compression=compression)
    group, reference = written(config)
    np.testing.assert_allclose(group["0"][:], reference, rtol=1e-6)
    stored = sum(p.stat().st_size for p in tmp_path.rglob("c/**/*") if p.is_file())
    assert (stored >= reference.nbytes) == (compression == 0)


def test_a_unit_that_the_standard_does_not_list_is_kept(written):
    axes = Axes((Axis("Y", 2.0, "furlong"), Axis("X", 2.0, "furlong")))
    group, _ = written(axes=axes, shape=(40, 40))
    (image,) = group.attrs["ome"]["multiscales"]
    assert image["axes"][0] == {"name": "y", "type": "space", "unit": "furlong"}
