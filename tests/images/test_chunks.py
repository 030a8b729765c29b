"""Chunks of stored arrays: missing, damaged, rewritten."""

from __future__ import annotations

import os

import numpy as np
import pytest
import zarr

from napari_blindsound.cli import main
from napari_blindsound.errors import ImageFormatError
from napari_blindsound.images.chunks import missing_chunks
from napari_blindsound.images.open import open_volume
from napari_blindsound.inference.lazy import source_token


def save(path, array, **options):
    return zarr.create_array(path, data=array, chunks=(1, 16, 16), **options)


@pytest.fixture
def stack(rng):
    return rng.integers(1, 999, (4, 64, 64)).astype(np.uint16)


LAYOUTS = [
    ({"zarr_format": 2}, "{}.{}.{}"),
    ({"zarr_format": 3}, "c/{}/{}/{}"),
    ({"shards": (1, 32, 32)}, "c/{}/{}/{}"),
]


@pytest.mark.parametrize(("layout", "name"), LAYOUTS)
def test_missing_ones_are_counted(tmp_path, stack, layout, name):
    save(tmp_path / "a", stack, **layout)
    volume = open_volume(tmp_path / "a", axes="ZYX")
    found = missing_chunks(volume.levels[0])
    total = 16 if "shards" in layout else 64
    assert (found.missing, found.looked, found.total) == (0, total, total)
    assert found.sentence == ""
    (tmp_path / "a" / name.format(2, 1, 0)).write_bytes(b"")
    assert missing_chunks(volume.levels[0]).missing == 1
    (tmp_path / "a" / name.format(2, 1, 0)).unlink()
    found = missing_chunks(volume.select(Z=slice(1, 3)).levels[0])
    assert (found.missing, found.looked) == (1, total)
    assert found.example == name.format(2, 1, 0)
    assert f"1 of {total} chunks" in found.sentence
    assert missing_chunks(stack) is None


def test_of_many_only_some_are_looked_for(tmp_path):
    shape, chunks = (500, 64, 64), (1, 16, 16)
    zarr.create_array(tmp_path / "a", shape=shape, chunks=chunks, dtype="u2")
    volume = open_volume(tmp_path / "a", axes="ZYX")
    found = missing_chunks(volume.levels[0], most=10)
    assert (found.missing, found.looked, found.total) == (10, 10, 8000)


def test_inspect_tells_of_them(tmp_path, stack, capsys):
    save(tmp_path / "a", stack, dimension_names=("z", "y", "x"))
    assert main(["inspect", str(tmp_path / "a")]) == 0
    assert "not there" not in capsys.readouterr().out
    (tmp_path / "a" / "c" / "1" / "0" / "3").unlink()
    assert main(["inspect", str(tmp_path / "a")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "1 of 64 chunks that were looked for are not there, or empty (such as c/1/0/3)"
        in said
    )


@pytest.mark.parametrize(("layout", "name"), LAYOUTS)
@pytest.mark.parametrize("content", [b"no chunk", b"\0" * 999])
def test_a_damaged_one_is_named(tmp_path, stack, layout, name, content):
    save(tmp_path / "a", stack, **layout)
    damaged = tmp_path / "a" / name.format(3, 0, 1)
    damaged.write_bytes(content)
    volume = open_volume(tmp_path / "a", axes="ZYX").select(Z=slice(1, 4))
    inside = (slice(0, 2), slice(0, 64), slice(0, 64))
    assert np.array_equal(volume.read(inside), stack[1:3])
    with pytest.raises(ImageFormatError) as caught:
        volume.read((slice(1, 3), slice(0, 64), slice(3, 64)))
    place = tmp_path / "a"
    assert f"chunk {name.format(3, 0, 1)} of {place} cannot" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert damaged.read_bytes() == content


@pytest.mark.parametrize("version", [2, 3])
def test_another_name_when_rewritten(tmp_path, stack, version):
    save(tmp_path / "a", stack, zarr_format=version)

    def token(**part):
        return source_token(open_volume(tmp_path / "a", axes="ZYX").select(**part))

    first, part = token(), token(Z=slice(0, 2))
    assert token() == first != part == token(Z=slice(0, 2))
    os.utime(tmp_path / "a" / {2: "3.3.3", 3: "c/3/3/3"}[version], (1e9, 1e9))
    assert token() != first
    assert token(Z=slice(0, 2)) != part
