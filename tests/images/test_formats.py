from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

from napari_blindsound.errors import ImageFormatError, MissingExtraError
from napari_blindsound.images.open import open_volume


@pytest.fixture(autouse=True)
def _plugins_may_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def stack(rng):
    """TCZYX, with a single time."""
    return rng.integers(0, 60_000, (1, 2, 3, 40, 50)).astype(np.uint16)


@pytest.fixture
def czi(tmp_path, stack):
    """A CZI file written by Zeiss' own library."""
    pytest.importorskip("bioio_czi", reason="the extra `formats` is not installed")
    from pylibCZIrw.czi import create_czi

    path = tmp_path / "cells.czi"
    with create_czi(str(path)) as file:
        for t, c, z in np.ndindex(stack.shape[:3]):
            plane = np.ascontiguousarray(stack[t, c, z][..., None])
            file.write(data=plane, plane={"T": t, "C": c, "Z": z})
        file.write_metadata(
            "cells",
            channel_names={0: "DAPI", 1: "GFP"},
            scale_x=0.1e-6,
            scale_y=0.2e-6,
            scale_z=0.5e-6,
        )
    return path


@pytest.mark.parametrize("suffix", [".czi", ".nd2", ".lif", ".CZI"])
def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch, suffix):
    monkeypatch.setitem(sys.modules, "bioio", None)  # as where it is not installed
    path = tmp_path / f"cells{suffix}"
    path.write_bytes(b"anything")
    with pytest.raises(MissingExtraError, match=r'install "napari-blindsound\[formats'):
        open_volume(path)


def test_czi_is_read_lazily_with_sizes_and_channels(czi, stack):
    volume = open_volume(czi)
    assert volume.axes.names == "CZYX"
    assert volume.channel_names == ("DAPI", "GFP")
    assert [(a.name, pytest.approx(a.scale), a.unit) for a in volume.axes] == [
        ("C", 1.0, None),
        ("Z", 0.5, "micrometer"),
        ("Y", 0.2, "micrometer"),
        ("X", 0.1, "micrometer"),
    ]
    assert hasattr(volume.levels[0], "dask")
    region = (slice(1, 2), slice(0, 2), slice(3, 20), slice(10, 50))
    assert np.array_equal(volume.read(region), stack[0][region])
    assert open_volume(czi, axes="CTYX").axes.names == "CTYX"


def test_damaged_files_are_named(czi):
    czi.write_bytes(czi.read_bytes()[:300])
    with pytest.raises(ImageFormatError, match=r"bioio cannot read .*cells.czi"):
        open_volume(czi)
    text = czi.with_name("text.czi")
    text.write_text("text")
    with pytest.raises(ImageFormatError, match=r"bioio cannot read .*text.czi"):
        open_volume(text)
