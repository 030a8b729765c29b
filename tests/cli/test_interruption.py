"""Real signals to real processes."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
import tifffile
from tests.cli.conftest import pixels

from napari_blindsound import load
from napari_blindsound.inference.destination import Destination
from napari_blindsound.inference.resume import leftover

LONG = ("--seconds", "100", "--width", "4", "--depth", "2")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_training_saves_a_usable_model(spawn, recording, number, tmp_path):
    path = tmp_path / "m.blindsound"
    process = spawn("train", recording, "-o", path, "--json", *LONG)
    process.wait_for("training")
    process.signal(number)
    said = process.done()
    assert said.code == 130, said.err
    assert "Traceback" not in said.err
    data = json.loads(said.out)
    assert data["ended"] == "stopped"
    assert data["steps"][0] >= 1
    denoised = load(path)(tifffile.imread(recording))
    assert np.isfinite(denoised).all()


def test_interrupted_run_saves_the_model_beside_the_result(spawn, recording, tmp_path):
    out = tmp_path / "out.ome.zarr"
    process = spawn("run", recording, "-o", out, "--checkpoint", "point", *LONG)
    process.wait_for("training")
    process.signal()
    said = process.done()
    assert said.code == 130, said.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.blindsound", "point"]
    assert str(tmp_path / "out.blindsound") in said.out
    assert load(tmp_path / "out.blindsound").provenance["ended"] == "stopped"


def test_interrupted_writing_is_continued(spawn, cli, model, tmp_path):
    rng = np.random.default_rng(0)
    movie = rng.poisson(90, (16, 256, 256)).astype(np.uint16)
    source, out = tmp_path / "movie.tif", tmp_path / "out.ome.zarr"
    tifffile.imwrite(source, movie, metadata={"axes": "TYX"})
    words = ("denoise", source, "-m", model, "--estimate", "blended", "--threads", "1")
    process = spawn(*words, "-o", out)
    process.wait_for("denoising")
    process.signal()
    said = process.done()
    assert said.code == 130, said.err
    assert "the same command goes on" in said.out
    assert not out.exists()
    assert cli(*words, "-o", out).code == 0
    assert cli(*words, "-o", tmp_path / "whole.ome.zarr").code == 0
    assert pixels(out) == pixels(tmp_path / "whole.ome.zarr")


def test_second_interruption_leaves_at_once(spawn, recording, tmp_path):
    # Part of a step takes so long that the first signal is not answered yet.
    path = tmp_path / "m.blindsound"
    slow = ("--phases", "16", "--batch", "16")
    process = spawn("train", recording, "-o", path, *slow)
    process.wait_for("training")
    process.signal()
    process.wait_for("again to leave at once")
    process.signal()
    said = process.done()
    assert said.code == 130
    assert "Traceback" not in said.err


def test_a_run_by_the_clock_that_was_killed_goes_on_with_its_model(
    spawn, cli, tmp_path
):
    rng = np.random.default_rng(0)
    movie = rng.poisson(90, (40, 256, 256)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "movie.tif", movie, metadata={"axes": "TYX"})
    out = tmp_path / "out.ome.zarr"
    words = ("run", tmp_path / "movie.tif", "-o", out, "--context", "none")
    length = ("--seconds", "1", "--width", "4", "--depth", "2", "--threads", "1")
    process = spawn(*words, *length)
    process.wait_for("denoising")
    while leftover(Destination(out)) is None:
        assert process._process.poll() is None
    process.signal(signal.SIGKILL)
    process.done()
    kept = tmp_path / "out.ome.zarr.partial.blindsound"
    steps = load(kept).provenance["steps"]
    other = cli(*words, *length[2:], "--seconds", "2")
    assert other.code == 1
    assert "begun with another model" in other.err
    said = cli(*words, *length, "--json")
    assert said.code == 0, said.err
    assert "going on with the model" in said.err
    assert json.loads(said.out)["steps"] == steps
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"movie.tif", "out.ome.zarr"}
    assert not any("partial" in name for name in names)
