"""Each mistake gets one clear sentence, an exit code, and leaves every file alone."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
import tifffile

from napari_blindsound import load


@pytest.fixture
def trained_on(refused, tmp_path):
    """Sentence that training and running on an image end with."""

    def train(image, *words):
        model, out = tmp_path / "m.blindsound", tmp_path / "out.ome.zarr"
        told = refused("train", image, "-o", model, "--steps", "1", *words)
        assert refused("run", image, "-o", out, "--steps", "1", *words) == told
        assert "blindsound: " in told
        return told

    return train


def test_missing_file(trained_on, tmp_path):
    assert "check the path" in trained_on(tmp_path / "none.tif")


def test_empty_folder(trained_on, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no image" in trained_on(tmp_path / "empty")


def test_mixed_sizes(trained_on, plane, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    tifffile.imwrite(folder / "t0.tif", plane)
    tifffile.imwrite(folder / "t1.tif", plane[:60])
    assert "t1.tif" in trained_on(folder)


def test_unknown_axes_are_asked_for_in_the_words_of_the_command_line(
    trained_on, plane, tmp_path
):
    np.save(tmp_path / "raw.npy", np.stack([plane] * 3))
    assert "--axes" in trained_on(tmp_path / "raw.npy")
    assert "--axes" in trained_on(tmp_path / "raw.npy", "--axes", "TZYX")
    assert "Q" in trained_on(tmp_path / "raw.npy", "--axes", "QYX")


def test_several_images_in_one_file(trained_on, plane, tmp_path):
    with tifffile.TiffWriter(tmp_path / "two.tif") as tiff:
        tiff.write(plane)
        tiff.write(plane[:40])
    assert "--image" in trained_on(tmp_path / "two.tif")


def test_rgb_photograph(trained_on, plane, tmp_path):
    photo = np.stack([plane.astype(np.uint8)] * 3, axis=-1)
    tifffile.imwrite(tmp_path / "photo.tif", photo, photometric="rgb")
    trained_on(tmp_path / "photo.tif")


def test_complex_pixels(trained_on, plane, tmp_path):
    np.save(tmp_path / "field.npy", plane.astype(np.complex64))
    assert "magnitude" in trained_on(tmp_path / "field.npy")


def test_nan(trained_on, refused, model, plane, tmp_path):
    holed = plane.astype(np.float32)
    holed[40, 50] = np.nan
    tifffile.imwrite(tmp_path / "holed.tif", holed)
    assert "Y=40, X=50" in trained_on(tmp_path / "holed.tif")
    out = tmp_path / "out.ome.zarr"
    told = refused("denoise", tmp_path / "holed.tif", "-m", model, "-o", out)
    assert "Y=40, X=50" in told


def test_image_smaller_than_a_patch(trained_on, cli, plane, tmp_path):
    tifffile.imwrite(tmp_path / "tiny.tif", plane[:12, :12])
    trained_on(tmp_path / "tiny.tif")
    tifffile.imwrite(tmp_path / "small.tif", plane[:40, :30])
    model = tmp_path / "m.blindsound"
    said = cli("train", tmp_path / "small.tif", "-o", model, "--steps", "1")
    assert said.code == 0, said.err


def test_constant_image(trained_on, refused, tmp_path):
    tifffile.imwrite(tmp_path / "flat.tif", np.full((64, 64), 7, np.uint16))
    assert "constant" in trained_on(tmp_path / "flat.tif")
    assert "constant" in refused("inspect", tmp_path / "flat.tif")


def test_existing_output(cli, refused, model, recording, small, tmp_path):
    out, kept = tmp_path / "out.ome.zarr", tmp_path / "kept.blindsound"
    assert cli("run", recording, "-o", out, "-m", kept, *small).code == 0
    assert "--overwrite" in refused("run", recording, "-o", out, *small)
    assert "--overwrite" in refused("denoise", recording, "-m", model, "-o", out)
    assert "--overwrite" in refused("train", recording, "-o", kept, *small)
    other = tmp_path / "other.ome.zarr"
    assert "exists" in refused("run", recording, "-o", other, "-m", kept, *small)


def test_what_is_no_result_is_not_overwritten(refused, model, recording, tmp_path):
    (tmp_path / "data.zarr").mkdir()
    (tmp_path / "data.zarr" / "notes.txt").write_text("mine")
    words = ("-m", model, "-o", tmp_path / "data.zarr", "--overwrite")
    refused("denoise", recording, *words)


def test_the_source_is_not_overwritten(refused, model, recording, tmp_path):
    source = tmp_path / "cells.tif"
    shutil.copy(recording, source)
    told = refused("denoise", source, "-m", model, "-o", source, "--overwrite")
    assert "source" in told


def test_a_place_that_cannot_be(refused, model, recording, small, tmp_path):
    for name in ("out.png", "out"):
        told = refused("run", recording, "-o", tmp_path / name, *small)
        assert ".ome.zarr" in told
    (tmp_path / "file").write_text("in the way")
    below = tmp_path / "file" / "out.ome.zarr"
    refused("denoise", recording, "-m", model, "-o", below)
    assert ".blindsound" in refused("train", recording, "-o", tmp_path / "m.tif")
    nowhere = tmp_path / "nowhere" / "m.blindsound"
    assert "make it" in refused("train", recording, "-o", nowhere)


def test_several_images_and_one_file(refused, recording, small, tmp_path):
    out = tmp_path / "out.ome.zarr"
    assert "folder" in refused("run", recording, recording, "-o", out, *small)
    told = refused("run", recording, recording, "-o", tmp_path / "all", *small)
    assert "one by one" in told


def test_model_of_other_channels(refused, model, trained_on, plane, tmp_path):
    path, out = tmp_path / "two.ome.tif", tmp_path / "out.ome.zarr"
    axes = {"axes": "CYX"}
    tifffile.imwrite(path, np.stack([plane, plane]), ome=True, metadata=axes)
    told = refused("denoise", path, "-m", model, "-o", out)
    assert "--channel 0" in told
    told = refused("denoise", path, "-m", model, "-o", out, "--channel", "7")
    assert "from 0 to 1" in told
    tifffile.imwrite(tmp_path / "one.tif", plane)
    told = refused(
        "denoise", tmp_path / "one.tif", "-m", model, "-o", out, "--channel", "1"
    )
    assert "no channels" in told
    told = refused("train", path, tmp_path / "one.tif", "-o", tmp_path / "m.blindsound")
    assert "channel" in told


def test_truncated_or_missing_model(refused, model, recording, tmp_path):
    cut = tmp_path / "cut.blindsound"
    cut.write_bytes(model.read_bytes()[:-1000])
    out = tmp_path / "out.ome.zarr"
    assert "cut off" in refused("denoise", recording, "-m", cut, "-o", out)
    cut.write_bytes(b"nothing of the kind")
    refused("denoise", recording, "-m", cut, "-o", out)
    none = tmp_path / "none.blindsound"
    assert "no model" in refused("denoise", recording, "-m", none, "-o", out)
    told = refused("denoise", recording, "-m", model, "-o", out, "--estimate", "x")
    assert "blended" in told


def test_truncated_tiff(trained_on, refused, model, recording, tmp_path):
    cut = tmp_path / "cut.tif"
    cut.write_bytes(recording.read_bytes()[:-9000])
    trained_on(cut)
    refused("denoise", cut, "-m", model, "-o", tmp_path / "out.ome.zarr")


def test_settings_out_of_bounds(refused, recording, tmp_path):
    words = ("train", recording, "-o", tmp_path / "m.blindsound")
    assert "--width 0: " in refused(*words, "--width", "0")
    assert "--steps -1: " in refused(*words, "--steps", "-1")
    assert "phases" in refused(*words, "--cell", "2", "--phases", "5")
    assert "no device 'tpu'" in refused(*words, "--device", "tpu")


def test_full_disk_is_found_before_the_work(spawn, model, recording, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    prefix = _on_small_disk(disk)
    words = ("run", recording, "-o", disk / "out.ome.tif")
    said = spawn(*words, prefix=prefix).done()
    assert said.code == 1, said.err
    assert len(said.err.splitlines()) == 1
    assert "space" in said.complaints[0]


@pytest.mark.parametrize("name", ["out.ome.zarr", "out.ome.tif"])
def test_disk_that_fills_while_writing(spawn, model, recording, name, tmp_path):
    # No file may grow beyond 20 kB, which a write then reports as a full disk does.
    prefix = ("bash", "-c", 'ulimit -f 20; exec "$@"', "bash")
    words = ("denoise", recording, "-m", model, "-o", tmp_path / name)
    said = spawn(*words, prefix=prefix).done()
    assert said.code == 1, said.err
    assert len(said.complaints) == 1
    assert "free some space" in said.complaints[0]
    assert "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []


def test_what_was_learned_survives_a_failed_write(
    cli, recording, small, tmp_path, monkeypatch
):
    # The folder goes while training runs: a real failure of the last step.
    folder, kept = tmp_path / "gone", tmp_path / "kept"
    folder.mkdir()
    kept.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(kept))
    point = tmp_path / "point"
    words = ("train", recording, "-o", folder / "m.blindsound", "--checkpoint", point)
    monkeypatch.setattr(
        "napari_blindsound.api.Training.close", lambda _: shutil.rmtree(folder)
    )
    said = cli(*words, *small)
    assert said.code == 1
    assert load(kept / "m.blindsound").provenance["steps"] == [20]


def test_debug_shows_where_an_error_came_from(cli, tmp_path):
    said = cli("inspect", tmp_path / "none.tif", "--debug")
    assert said.code == 1
    assert "Traceback" in said.err
    assert said.complaints


def _on_small_disk(folder):
    """Words before a command that give it a disk of 64 kB at a folder."""
    mount = f'mount -t tmpfs -o size=64k none {folder} && exec "$@"'
    prefix = ("unshare", "-rm", "bash", "-c", mount, "bash")
    if not shutil.which("unshare"):
        pytest.skip("no unshare to mount a small disk with")
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a small disk may not be mounted here")
    return prefix
