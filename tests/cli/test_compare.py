from __future__ import annotations

import json
import signal

import numpy as np
import pytest
import tifffile

from napari_blindsound.images.phantom import phantom

FEW = ("--methods", "blind2unblind", "--references", "noisy,median", "--threads", "1")


@pytest.fixture
def truth(tmp_path):
    path = tmp_path / "truth.tif"
    clean = phantom("timelapse", size=80, frames=4, seed=1).clean[:, :72]
    tifffile.imwrite(
        path, clean.astype(np.float32), imagej=True, metadata={"axes": "TYX"}
    )
    return path


def test_a_table_on_the_terminal_and_all_in_a_folder(cli, recording, truth, tmp_path):
    folder = tmp_path / "out"
    words = ("compare", recording, *FEW, "--steps", 15, "--truth", truth, "-o", folder)
    said = cli(*words, "--save-results", "ome.tif")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0].split()[:3] == ["method", "gain,", "dB"]
    assert [line.split("  ")[0] for line in lines[1:4]] == [
        "Noisy image",
        "Median 3 × 3",
        "Blind2Unblind",
    ]
    assert "data range of" in said.out
    assert lines[-1] == f"report {folder / 'comparison.html'}"
    assert "Median 3 × 3: estimated +" in said.err
    results = sorted(path.name for path in (folder / "results").iterdir())
    assert results == ["blind2unblind.ome.tif", "median.ome.tif"]
    made = tifffile.imread(folder / "results" / "median.ome.tif")
    assert made.shape == (4, 72, 80)
    # What is there is not replaced by chance.
    again = cli(*words)
    assert again.code == 1
    assert "--overwrite" in again.err
    assert cli(*words, "--overwrite", "--save-results", "ome.tif", "-q").code == 0


def test_json_has_every_row(cli, recording):
    said = cli("compare", recording, *FEW, "--steps", 10, "--json", "-q")
    data = json.loads(said.out)
    assert data["command"] == "compare"
    assert data["ended"] == "done"
    assert data["report"] is None
    assert [row["name"] for row in data["rows"]] == ["noisy", "median", "blind2unblind"]
    assert data["rows"][1]["gain"] > 3
    assert data["rows"][1]["psnr"] is None
    assert data["versions"]["torch"]


def test_the_budget_is_each_methods(cli, recording):
    words = ("compare", recording, "--methods", "blind2unblind", "--references", "none")
    said = cli(*words, "--budget", 1.5, "--threads", 1, "--json", "-q")
    [row] = json.loads(said.out)["rows"]
    assert row["state"] == "done"
    assert 1 < row["train_seconds"] < 10


def test_what_cannot_be_is_refused_before_any_work(refused, recording, tmp_path):
    words = ("compare", recording)
    assert "there are blind2unblind" in refused(*words, "--methods", "n2v")
    assert "there are noisy" in refused(*words, "--references", "wiener")
    assert "-o" in refused(*words, "--save-results", "ome.tif")
    assert "nothing is chosen" in refused(
        *words, "--methods", "none", "--references", "none"
    )
    assert "--steps 0" in refused(*words, "--steps", 0)
    small = tmp_path / "small.tif"
    tifffile.imwrite(small, np.zeros((8, 8), np.float32) + np.arange(8))
    assert "same size" in refused(*words, "--truth", small)
    assert "none.tif" in refused(*words, "--truth", tmp_path / "none.tif")


def test_only_failures_are_an_exit_code_of_1(cli, recording):
    said = cli("compare", recording, "--methods", "none", "--references", "bm3d", "-q")
    installed = "done" in said.err or said.code == 0
    assert said.code == (0 if installed else 1)


def test_ctrl_c_keeps_the_rows_so_far(spawn, recording, tmp_path):
    process = spawn(
        "compare", recording, *FEW, "--steps", 1_000_000, "-o", tmp_path / "out"
    )
    process.wait_for("Median 3 × 3: estimated")
    process.wait_for("training")
    process.signal(signal.SIGINT)
    said = process.done()
    assert said.code == 130
    assert "stopped" in said.out
    rows = json.loads((tmp_path / "out" / "table.json").read_text())["rows"]
    assert [row["state"] for row in rows] == ["done", "done", "stopped"]


def test_help(cli):
    said = " ".join(cli("compare", "--help").out.split())
    assert "Train every method on one image, and compare what they make of it" in said
    assert "compare" in cli("--help").out
