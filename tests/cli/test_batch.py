"""``blindsound batch``: many real files, what is said, the exit codes."""

from __future__ import annotations

import json
import shutil
import tomllib

import pytest
import tomli_w
from tests.cli.conftest import pixels

from napari_blindsound.images.open import open_volume


@pytest.fixture
def many(tmp_path, recording):
    """Three recordings, one of them below, and a file that is none."""
    folder = tmp_path / "in"
    (folder / "day 2").mkdir(parents=True)
    for name in ("a.tif", "c.tif", "day 2/a.tif"):
        shutil.copy(recording, folder / name)
    (folder / "b.tif").write_text("no image at all")
    return folder


def test_failed_ones_are_told_and_the_rest_is_done(cli, many, tmp_path, small):
    out = tmp_path / "out"
    said = cli("batch", many, "-o", out, *small)
    assert said.code == 1
    assert "denoised       3" in said.out
    assert "failed         1" in said.out
    [complaint] = said.complaints
    assert "b.tif is not a readable TIFF" in complaint
    assert "4 of 4: in/day 2/a.tif 100%  done" in said.err
    assert (out / "batch.blindsound").is_file()
    assert (out / "batch.csv").is_file()
    result = open_volume(out / "in" / "day 2" / "a_denoised.ome.zarr")
    assert result.axes.names == "TYX"

    (many / "b.tif").unlink()
    again = cli("batch", many, "-o", out, *small)
    assert again.code == 0
    assert "already there  3" in again.out
    assert "training" not in again.err


def test_as_json_with_a_model(cli, many, tmp_path, model):
    out = tmp_path / "out"
    words = ["-o", out, "-m", model, "--format", ".ome.tif", "--dtype", "source"]
    said = cli("batch", many / "a.tif", many / "c.tif", *words, "--json", "-q")
    assert said.code == 0
    assert said.err == ""
    data = json.loads(said.out)
    assert data["ended"] == "done"
    assert [image["state"] for image in data["images"]] == ["done", "done"]
    assert data["images"][0]["result"] == str(out / "a_denoised.ome.tif")
    assert "photons" in data["images"][0]["noise"]


def test_a_model_for_each_is_kept_beside_its_result(cli, many, tmp_path, small):
    (many / "b.tif").unlink()
    said = cli("batch", many, "-o", tmp_path / "out", "--each", *small)
    assert said.code == 0
    kept = (tmp_path / "out").rglob("*.blindsound")
    assert sorted(path.name for path in kept) == ["a.blindsound"] * 2 + ["c.blindsound"]


def test_a_recipe_file_repeats_it_for_each_folder(cli, many, tmp_path, small):
    (many / "b.tif").unlink()
    out, recipe = tmp_path / "out", tmp_path / "batch.toml"
    words = ["batch", f"{many}/**/*.tif", "-o", out, "--each-folder", *small]
    said = cli(*words, "--save-recipe", recipe, "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["images"][0]["estimated_gain_db"] is not None
    assert "model for day 2" in said.err
    models = sorted(path.relative_to(out) for path in out.rglob("*.blindsound"))
    assert [str(path) for path in models] == [
        "in/day 2/folder.blindsound",
        "in/folder.blindsound",
    ]
    assert "already there  3" in cli("repeat", recipe).out
    again = tmp_path / "again"
    assert cli("repeat", recipe, "-o", again).code == 0
    for name in ("a", "c", "day 2/a"):
        result = f"in/{name}_denoised.ome.zarr"
        assert pixels(again / result) == pixels(out / result)
    data = tomllib.loads(recipe.read_text())
    data["batch"]["formt"] = ".ome.tif"
    recipe.write_text(tomli_w.dumps(data))
    assert "no field batch.formt" in cli("repeat", recipe).complaints[0]


def test_ctrl_c_ends_it_and_the_same_command_goes_on(cli, spawn, many, tmp_path):
    (many / "b.tif").unlink()
    size = ("--width", "4", "--depth", "2")
    words = ("batch", many, "-o", tmp_path / "out", "--each", *size, "--steps", "100")
    process = spawn(*words)
    process.wait_for("training")
    process.signal()
    said = process.done()
    assert said.code == 130
    assert "not done       3; the same command goes on" in said.out
    assert list((tmp_path / "out").rglob("*.checkpoint"))
    again = cli(*words)
    assert again.code == 0
    assert "denoised       3" in again.out
    assert not list((tmp_path / "out").rglob("*.checkpoint"))


def test_what_cannot_be_done_is_refused_in_a_sentence(refused, many, tmp_path, model):
    out = tmp_path / "out"
    assert "not there" in refused("batch", tmp_path / "none", "-o", out)
    (tmp_path / "empty").mkdir()
    assert "no image was found" in refused("batch", tmp_path / "empty", "-o", out)
    for words in (("-m", model, "--each"), ("--each-folder", "--each")):
        assert "--each-folder" in refused("batch", many, "-o", out, *words)
    assert ".toml" in refused("batch", many, "-o", out, "--save-recipe", "r.txt")
    assert "leave" in refused("batch", many, "-o", out, "--checkpoint", "x")
    assert "--steps -1" in refused("batch", many, "-o", out, "--steps", "-1")
    assert "--widht" in refused("batch", many, "-o", out, "--widht", "3", code=2)
