"""Several processes, and parts of a result, from the command line."""

from __future__ import annotations

import json
import os
import signal
import sys

import numpy as np
import pytest
import tifffile
from tests.cli.conftest import pixels, tree

from napari_blindsound.cli import messages

pytest.importorskip("distributed")


@pytest.fixture
def tall(tmp_path):
    """Three shards, small ones."""
    path = tmp_path / "tall.tif"
    noisy = np.random.default_rng(0).poisson(100, (4200, 40)).astype(np.uint16)
    tifffile.imwrite(path, noisy, metadata={"axes": "YX"})
    return path


def test_workers_parts_and_one_process_give_the_same_pixels(cli, model, tall, tmp_path):
    words = ("denoise", tall, "-m", model, "--json", "--overwrite")
    said = cli(*words, "-o", tmp_path / "two.ome.zarr", "--workers", "2")
    assert said.code == 0, said.err
    assert said.err.startswith("denoising with 2 workers")
    repeat = json.loads(said.out)["repeat"].split()
    assert repeat[-3:] == ["--threads", "1", "--overwrite"]
    repeat[repeat.index("-o") + 1] = str(tmp_path / "one.ome.zarr")
    assert cli(*repeat[1:]).code == 0
    expected = pixels(tmp_path / "one.ome.zarr")
    assert pixels(tmp_path / "two.ome.zarr") == expected

    words = ("denoise", tall, "-m", model, "--json", "--threads", "1")
    for number in (2, 1, 3):
        place = tmp_path / "parts.ome.zarr"
        said = cli(*words, "-o", place, "--part", f"{number}/3")
        assert said.code == 0, said.err
        data = json.loads(said.out)
        assert data["ended"] == ("done" if number == 3 else "part")
        assert bool(data["outputs"]) == (number == 3)
    assert pixels(place) == expected


def test_a_part_says_how_far_the_whole_is(cli, model, tall, tmp_path):
    words = ("denoise", tall, "-m", model, "-o", tmp_path / "a.ome.zarr")
    said = cli(*words, "--part", "1/3")
    assert said.out == "part 1/3 is done, 33% of the result is finished\n"


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups here")
def test_ctrl_c_in_a_terminal_stops_all_and_is_continued(spawn, cli, model, tmp_path):
    movie = np.random.default_rng(0).poisson(90, (150, 256, 256)).astype(np.uint16)
    source, out = tmp_path / "movie.tif", tmp_path / "out.ome.zarr"
    tifffile.imwrite(source, movie, metadata={"axes": "TYX"})
    words = ("denoise", source, "-m", model, "-o", out, "--workers", "2")
    process = spawn(*words, prefix=("setsid",))
    process.wait_for("2 workers")
    process.wait_for("left")
    # A terminal sends it to the workers, too.
    os.killpg(process._process.pid, signal.SIGINT)
    said = process.done()
    assert said.code == 130, said.err
    assert "the same command goes on" in said.out
    assert "Traceback" not in said.err
    ledger = tmp_path / "out.ome.zarr.partial.jsonl"
    begun = ledger.read_text().count('"shard"')
    assert begun >= 1
    said = cli("denoise", source, "-m", model, "-o", out, "--threads", "1", "--json")
    assert said.code == 0, said.err
    assert "continuing" in said.err
    assert "movie.tif" in tree(tmp_path)


def test_what_excludes_each_other(refused, model, tall, tmp_path):
    words = ("denoise", tall, "-m", model, "-o", tmp_path / "a.ome.zarr")
    said = refused(*words, "--workers", "2", "--part", "1/2", code=2)
    assert "--workers and --part exclude each other" in said
    assert "there is no part 3/2" in refused(*words, "--part", "3/2", code=2)
    assert "3/16" in refused(*words, "--part", "third", code=2)
    assert "--workers" in refused(*words, "--workers", "0", code=2)
    said = refused(
        "run", tall, "-o", tmp_path / "a.ome.zarr", "--steps", "2", "--part", "1/2"
    )
    assert "train it once" in said
    said = refused(*words[:-1], tmp_path / "a.ome.tif", "--part", "1/2")
    assert "write an OME-Zarr" in said
    assert "leave --overwrite out" in refused(*words, "--overwrite", "--part", "1/2")


def test_what_is_not_installed(refused, model, tall, tmp_path, monkeypatch):
    words = ("denoise", tall, "-m", model, "-o", tmp_path / "a.ome.zarr")
    for name, option in (("distributed", "--workers"), ("dask_jobqueue", "--slurm")):
        monkeypatch.setattr(
            "napari_blindsound.inference.cluster.find_spec",
            lambda asked, name=name: None if asked == name else sys,
        )
        said = refused(*words, option, "2")
        assert "pip install 'napari-blindsound[cluster]'" in said


def test_another_model_into_what_was_begun(refused, cli, model, tall, tmp_path):
    place = tmp_path / "a.ome.zarr"
    assert cli("denoise", tall, "-m", model, "-o", place, "--part", "1/3").code == 0
    other = tmp_path / "other.blindsound"
    small = ("--steps", "1", "--width", "4", "--depth", "2", "-q")
    assert cli("train", tall, "-o", other, *small).code == 0
    said = refused("denoise", tall, "-m", other, "-o", place)
    assert "another model" in said
    assert "give --restart" in said
    said = refused("run", tall, "-o", place, "--seconds", "1")
    assert "begun with another model" in said
    assert cli("denoise", tall, "-m", other, "-o", place, "--restart").code == 0


def test_remedies_are_options():
    told = messages.in_options("give the same as then, or ask to start it anew")
    assert told.endswith("or give --restart")
