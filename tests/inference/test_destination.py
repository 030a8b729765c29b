from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_blindsound.errors import OutputError, OutputExistsError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.destination import Destination, output_errors
from napari_blindsound.inference.ledger import Header


def volume(source=None):
    array = np.zeros((8, 8), np.uint16)
    text = None if source is None else str(source)
    return Volume((array,), Axes.parse("YX"), "noisy", source=text)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.ome.zarr", "OME-Zarr"),
        ("a.ZARR", "OME-Zarr"),
        ("a.ome.tif", "OME-TIFF"),
        ("a.b.OME.TIFF", "OME-TIFF"),
        ("a.tif", "OME-TIFF"),
    ],
)
def test_the_format_follows_from_the_name(name, kind):
    assert Destination(Path(name)).format == kind


@pytest.mark.parametrize("name", ["a.png", "a", "zarr", "a.zarr.zip"])
def test_unknown_formats_are_refused(name, tmp_path):
    with pytest.raises(OutputError, match=r"\.ome\.zarr .* \.ome\.tif"):
        Destination(tmp_path / name).check(volume(), needed=0)


def test_an_existing_result_is_kept_unless_said(tmp_path):
    path = tmp_path / "a.ome.tif"
    path.write_bytes(b"old")
    with pytest.raises(OutputExistsError, match="overwrite"):
        Destination(path).check(volume(), needed=0)
    Destination(path, overwrite=True).check(volume(), needed=0)


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tif"])
def test_what_is_no_result_is_never_replaced(name, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "thesis.tex").touch()
    with pytest.raises(OutputExistsError, match="not overwritten"):
        Destination(folder, overwrite=True).check(volume(), needed=0)


def test_the_source_is_never_written_into(tmp_path):
    store = tmp_path / "in.zarr"
    zarr.create_array(store, shape=(8, 8), dtype="u2")
    (tmp_path / "link.zarr").symlink_to(store)
    for name, what in (
        ("in.zarr", "is the source itself"),
        ("link.zarr", "is the source itself"),
        ("in.zarr/out.ome.zarr", "inside the source"),
        ("../{0}/in.zarr/x/out.ome.tif", "inside the source"),
    ):
        path = tmp_path / name.format(tmp_path.name)
        with pytest.raises(OutputError, match=what):
            Destination(path, overwrite=True).check(volume(store), needed=0)
    Destination(tmp_path / "out.ome.zarr").check(volume(store), needed=0)


def test_an_image_within_a_larger_store_protects_all_of_it(tmp_path):
    zarr.create_group(tmp_path / "plate.zarr")
    well = tmp_path / "plate.zarr" / "A" / "1"
    zarr.create_array(well, shape=(8, 8), dtype="u2")
    beside = tmp_path / "plate.zarr" / "out.ome.zarr"
    with pytest.raises(OutputError, match="inside the source"):
        Destination(beside).check(volume(well), needed=0)
    whole = Destination(tmp_path / "plate.zarr", overwrite=True)
    with pytest.raises(OutputError, match="source"):
        whole.check(volume(well), needed=0)


def test_a_result_that_holds_the_source_is_not_replaced(tmp_path):
    zarr.create_group(tmp_path / "out.ome.zarr")
    frames = tmp_path / "out.ome.zarr" / "frames.tif"
    frames.touch()
    with pytest.raises(OutputError, match="source"):
        Destination(tmp_path / "out.ome.zarr", overwrite=True).check(
            volume(frames), needed=0
        )


def test_urls_are_refused():
    with pytest.raises(OutputError, match="local folder"):
        Destination(Path("s3://bucket/out.ome.zarr")).check(volume(), needed=0)


def test_too_small_a_disk_is_refused(tmp_path):
    needed = shutil.disk_usage(tmp_path).free + 10**12
    place = tmp_path / "new" / "folder" / "a.ome.zarr"
    with pytest.raises(OutputError, match=r"not enough space .* TB are needed"):
        Destination(place).check(volume(), needed=needed)
    assert not (tmp_path / "new").exists()


def test_nothing_stays_without_commit(tmp_path):
    destination = Destination(tmp_path / "new" / "a.ome.tif")
    with destination.writing("noisy") as partial:
        partial.write_bytes(b"half")
    assert list((tmp_path / "new").iterdir()) == []
    with destination.writing("noisy") as partial:
        partial.mkdir()
        (partial / "zarr.json").touch()
    assert list((tmp_path / "new").iterdir()) == []


def test_commit_replaces_the_old_one(tmp_path):
    for name in ("a.ome.zarr", "a.ome.tif"):
        destination = Destination(tmp_path / name, overwrite=True)
        for content in ("old", "new"):
            with destination.writing("noisy") as partial:
                if name.endswith("zarr"):
                    partial.mkdir()
                    (partial / content).write_text(content)
                else:
                    partial.write_text(content)
                destination.commit()
    assert [p.name for p in (tmp_path / "a.ome.zarr").iterdir()] == ["new"]
    assert (tmp_path / "a.ome.tif").read_text() == "new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ome.tif", "a.ome.zarr"]


def test_leftovers_of_a_killed_run_are_cleared(tmp_path):
    destination = Destination(tmp_path / "a.ome.zarr")
    destination.ledger.write_text('{"blindsound": 1')  # torn
    destination.partial.mkdir()
    (destination.partial / "0").touch()
    destination.check(volume(), needed=0)
    with destination.writing("noisy") as partial:
        assert not partial.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ledger", [None, "thoughts", '{"my": "data"}'])
def test_what_may_be_anybodys_is_not_removed(ledger, tmp_path):
    destination = Destination(tmp_path / "a.ome.zarr")
    destination.partial.mkdir()
    (destination.partial / "thesis.tex").touch()
    if ledger is not None:
        destination.ledger.write_text(ledger)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match="is in the way"):
        destination.check(volume(), needed=0)
    with (
        pytest.raises(OutputError, match="is in the way"),
        destination.writing("noisy"),
    ):
        pass
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_there_already_needs_no_space(tmp_path, monkeypatch):
    destination = Destination(tmp_path / "a.ome.tif")
    with destination.claimed():
        destination.begin(Header("noisy", 64)).close()
        destination.partial.write_bytes(bytes(10**6))
    free = shutil.disk_usage(tmp_path)._replace(free=10**5)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    destination.check(volume(), needed=10**6)
    with pytest.raises(OutputError, match="not enough space"):
        destination.check(volume(), needed=2 * 10**6)


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").touch()
    destination = Destination(tmp_path / "file" / "a.ome.zarr")
    with pytest.raises(OutputError, match="cannot write"), destination.writing("noisy"):
        pass


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_is_not_ours_is_told(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o500)
    destination = Destination(folder / "new" / "a.ome.zarr")
    with (
        pytest.raises(OutputError, match="you may write to"),
        destination.writing("noisy"),
    ):
        pass


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EACCES, "you may write to"),
        (errno.EROFS, "you may write to"),
        (errno.EIO, "another place"),
    ],
)
def test_what_the_system_says_gets_a_remedy(number, remedy, tmp_path):
    with pytest.raises(OutputError, match=remedy), output_errors(tmp_path):
        raise OSError(number, os.strerror(number))
