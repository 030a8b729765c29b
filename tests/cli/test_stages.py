from __future__ import annotations

import json

from napari_blindsound import load

SMALL = (
    "--method", "dbsn", "--steps", "20", "--width", "4", "--blocks", "1",
    "--patch", "32", "--student-width", "4", "--student-depth", "2",
)  # fmt: skip


def test_the_bar_tells_the_stage_and_the_student_is_kept(cli, recording, tmp_path):
    path = tmp_path / "m.blindsound"
    said = cli("train", recording, "-o", path, *SMALL)
    assert said.code == 0, said.err
    assert "stage 3 of 3: distillation" in said.err
    assert bool(load(path).methods[0].distilled)


def test_an_open_end_is_no_end_for_stages_and_that_is_said(cli, recording, tmp_path):
    path = tmp_path / "m.blindsound"
    said = cli("train", recording, "-o", path, "--ending", "auto", "--json", *SMALL)
    assert said.code == 0, said.err
    data = json.loads(said.out)
    assert data["steps"] == [20]
    assert "stages" in data["judged"]["words"]


def test_clean_images_that_are_not_there_are_told(refused, recording, tmp_path):
    missing = tmp_path / "nowhere.tif"
    said = refused(
        "train", recording, "-o", tmp_path / "m.blindsound", "--clean", missing, *SMALL
    )
    assert "nowhere.tif" in str(said)
