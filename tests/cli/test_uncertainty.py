"""``--uncertainty``: standard deviations beside the results."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tifffile

from napari_blindsound.api import load
from napari_blindsound.cli import main
from napari_blindsound.images.open import open_volume
from napari_blindsound.inference.destination import Destination, deviation_place
from napari_blindsound.inference.store import write
from napari_blindsound.job import Job

METHOD = ("--method", "blind2sound")


@pytest.fixture(scope="module")
def sure(session_folder, recording):
    """A model that says how sure it is, trained a little."""
    path = session_folder / "sure.blindsound"
    words = ["train", recording, "-o", path, "-q", *METHOD]
    small = ["--steps", "20", "--width", "4", "--depth", "2"]
    assert main([str(word) for word in [*words, *small]]) == 0
    return path


def read(path):
    volume = open_volume(path)
    return volume, volume.read(tuple(slice(0, size) for size in volume.shape))


def test_run_writes_both_and_says_what_they_are(cli, tmp_path, recording, small):
    place, kept = tmp_path / "cells.ome.zarr", tmp_path / "kept.blindsound"
    recipe = tmp_path / "cells.yaml"
    words = [recording, "-o", place, "-m", kept, *METHOD, *small, "--save-recipe"]
    said = cli("run", *words, recipe, "--uncertainty", "--dtype", "source", "--json")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    [result], [deviation] = told["outputs"], told["deviations"]
    assert result["path"] == str(place)
    assert deviation["path"] == str(tmp_path / "cells_deviation.ome.zarr")
    assert "deviation" in deviation["meaning"]
    (denoised, _), (found, pixels) = read(place), read(deviation["path"])
    assert denoised.dtype == np.uint16
    assert found.dtype == np.float32
    assert (found.axes, found.shape) == (denoised.axes, denoised.shape)
    assert deviation["mean"] == pytest.approx(pixels.mean(), rel=1e-5)
    whole = open_volume(recording).read(tuple(slice(0, n) for n in found.shape))
    expected = load(kept, "cpu").deviation()(whole)
    np.testing.assert_allclose(pixels, expected, rtol=1e-3)
    assert "--uncertainty" in told["repeat"]
    job = Job.load(recipe)
    assert job.uncertainty
    assert "--uncertainty" in job.command_line()
    other = tmp_path / "again.ome.zarr"
    assert cli("repeat", recipe, "-o", other, "--overwrite", "-q").code == 0
    np.testing.assert_array_equal(read(deviation_place(other))[1], pixels)


def test_an_ome_tiff_lies_beside_an_ome_tiff(cli, tmp_path, recording, sure):
    place = tmp_path / "cells.ome.tif"
    said = cli("denoise", recording, "-m", sure, "-o", place, "--uncertainty")
    assert said.code == 0
    assert "standard deviation" in said.out
    found, _ = read(tmp_path / "cells_deviation.ome.tif")
    source = open_volume(recording)
    assert found.axes.names == source.axes.names
    for axis, other in zip(found.axes, source.axes, strict=True):
        assert axis.scale == pytest.approx(other.scale)


def test_without_the_switch_there_is_none(cli, tmp_path, recording, sure):
    assert (
        cli("denoise", recording, "-m", sure, "-o", tmp_path / "a.ome.zarr").code == 0
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.ome.zarr"]


def test_methods_without_one_are_refused_before_any_work(
    refused, tmp_path, recording, model, sure, small
):
    place, more = tmp_path / "a.ome.zarr", ("--uncertainty",)
    for words in (
        ("run", recording, "-o", place, *small, "--method", "blind2unblind"),
        ("denoise", recording, "-m", model, "-o", place),
        ("batch", recording, "-o", tmp_path, *small, "--method", "blind2unblind"),
    ):
        assert "train with method blind2sound" in refused(*words, *more)
    for words in (
        ("run", recording, "-o", place, *small, *METHOD, "--estimate", "blind"),
        ("denoise", recording, "-m", sure, "-o", place, "--blend", "0.5"),
    ):
        assert "choose visible" in refused(*words, *more)
    refused("run", recording, "-o", place, "--estimate", "deviation", *METHOD, code=2)


def test_an_existing_one_is_not_replaced_unasked(
    cli, refused, tmp_path, recording, sure
):
    place = tmp_path / "a.ome.zarr"
    words = ("denoise", recording, "-m", sure, "-o", place, "--uncertainty")
    assert cli(*words, "-q").code == 0
    shutil.rmtree(place)
    assert "a_deviation.ome.zarr exists" in refused(*words)
    assert cli(*words, "-q", "--overwrite").code == 0


def test_resume_goes_on_with_a_deviation_that_was_stopped(cli, tmp_path, sure):
    # Of three shards, so that one is finished before the stop.
    tall = np.random.default_rng(0).poisson(100, (4200, 40)).astype(np.uint16)
    place, source = tmp_path / "a.ome.zarr", tmp_path / "tall.tif"
    tifffile.imwrite(source, tall)
    words = ("denoise", source, "-m", sure, "-o", place)
    assert cli(*words, "-q").code == 0
    stamp = (place / "zarr.json").stat().st_mtime_ns
    leave_half(load(sure, "cpu").deviation(), source, deviation_place(place))
    assert cli(*words, "--uncertainty", "--restart").code == 1
    said = cli(*words, "--uncertainty", "--resume", "--json")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert told["outputs"] == []
    assert len(told["deviations"]) == 1
    assert (place / "zarr.json").stat().st_mtime_ns == stamp


def leave_half(deviation, source, place):
    """What a run leaves that was stopped when most tiles were done."""

    class Later:
        asked = 0

        def is_set(self):
            self.asked += 1
            return self.asked > 3

    *_, event = write(deviation, open_volume(source), place, stop=Later())
    assert event.stopped
    assert Destination(place).partial.exists()


def test_a_batch_has_them_too_and_makes_them_once(cli, tmp_path, recording, sure):
    folder, words = tmp_path / "out", ("--uncertainty", "--json")
    batch = ("batch", recording, "-o", folder, "-m", sure)
    assert cli(*batch, "-q").code == 0
    [first] = [path for path in folder.iterdir() if path.suffix == ".zarr"]
    stamp = (first / "zarr.json").stat().st_mtime_ns
    told = json.loads(cli(*batch, *words).out)
    assert told["images"][0]["state"] == "done"
    assert (first / "zarr.json").stat().st_mtime_ns == stamp
    found, pixels = read(deviation_place(first))
    assert found.dtype == np.float32
    assert (pixels > 0).all()
    assert json.loads(cli(*batch, *words).out)["images"][0]["state"] == "skipped"
    # Results are no images for the next batch.
    again = cli("batch", folder, "-o", tmp_path / "other", "-m", sure)
    assert "no image" in again.err


def test_methods_say_whether_they_know_it(cli):
    told = {
        one["name"]: one for one in json.loads(cli("methods", "--json").out)["methods"]
    }
    assert told["blind2sound"]["uncertainty"]
    assert "deviation" not in told["blind2sound"]["estimates"]
    assert not told["blind2unblind"]["uncertainty"]
