"""A run is told in one line and in a file, and either repeats it to the byte."""

from __future__ import annotations

import json
import shlex
import signal
import threading
import tomllib

import pytest
import tifffile
import tomli_w
import yaml
from tests.cli.conftest import pixels

from napari_blindsound import load
from napari_blindsound.cli import app, jobs
from napari_blindsound.cli.options import IMAGES
from napari_blindsound.cli.options import PART as WHOLE
from napari_blindsound.cli.spans import counts, region, span
from napari_blindsound.job import Job
from napari_blindsound.recipe import Training
from napari_blindsound.training.events import Judged

JUDGED = (
    *("--ending", "auto", "--threads", "1"),
    *("--width", "4", "--depth", "1", "--patch", "32", "--batch", "1"),
)
PART = ("--train-times", "1:3", "--train-region", "0:64,8:72", "--threads", "1")


@pytest.fixture
def done(cli, recording, small, tmp_path):
    """A run with all that decides the bits, its files, and what it said."""
    out, model = tmp_path / "out.ome.zarr", tmp_path / "m.blindsound"
    words = ("run", recording, "-o", out, "-m", model, *PART, "--blend", "0.83")
    said = cli(*words, *small, "--save-recipe", tmp_path / "r.toml", "--json")
    assert said.code == 0, said.err
    return out, model, tmp_path / "r.toml", json.loads(said.out)


def test_a_recipe_file_repeats_a_run(cli, done, tmp_path):
    out, model, recipe, said = done
    again = tmp_path / "again.ome.zarr"
    assert "--overwrite" in cli("repeat", recipe).complaints[0]
    assert "--overwrite" in cli("repeat", recipe, "-o", again).complaints[0]
    revision = load(model).revision
    assert cli("repeat", recipe, "-o", again, "--overwrite").code == 0
    assert pixels(again) == pixels(out)
    assert load(model).revision == revision
    assert load(model).blend == 0.83
    assert said["repeat"] in recipe.read_text()


def test_the_line_that_was_told_repeats_a_run(cli, done):
    out, model, _, said = done
    before, revision = pixels(out), load(model).revision
    program, *words = shlex.split(said["repeat"])
    assert program == "blindsound"
    assert cli(*words, "--overwrite").code == 0
    assert pixels(out) == before
    assert load(model).revision == revision


def test_python_makes_the_same_of_a_recipe(done, tmp_path):
    out, model, recipe, _ = done
    job = Job.load(recipe)
    volumes = job.volumes()
    training = Training(job.training_volumes(volumes), job.recipe)
    assert [image.shape for image in training.images] == [(2, 64, 64)]
    list(training.run())
    denoiser = job.estimated(training.denoiser())
    training.close()
    assert denoiser.revision == load(model).revision
    *_, last = job.write(denoiser, volumes[0], tmp_path / "python.ome.zarr")
    assert last.path == tmp_path / "python.ome.zarr"
    assert pixels(last.path) == pixels(out)


def test_a_model_is_trained_again(cli, recording, small, tmp_path):
    first, second = tmp_path / "a.blindsound", tmp_path / "b.blindsound"
    recipe = tmp_path / "r.yaml"
    words = ("train", recording, "-o", first, "--save-recipe", recipe, *small)
    assert cli(*words).code == 0
    assert cli("repeat", recipe, "-o", second).code == 0
    assert load(first).revision == load(second).revision


def test_a_model_is_applied_again(cli, recording, model, tmp_path):
    out = tmp_path / "out.ome.zarr"
    words = ("denoise", recording, "-m", model, "-o", out, "--blend", "0.25", "--json")
    kept = tmp_path / "kept.toml"
    said = cli(*words, "--threads", "1", "--save-recipe", kept)
    assert said.code == 0, said.err
    _, *words = shlex.split(json.loads(said.out)["repeat"])
    before = pixels(out)
    assert cli(*words, "--overwrite").code == 0
    assert pixels(out) == before
    again = tmp_path / "again.ome.zarr"
    assert cli("repeat", kept, "-o", again).code == 0
    assert pixels(again) == before
    job = Job(inputs=(str(recording),), model_in=str(model), blend=0.25)
    recipe = job.save(tmp_path / "r.yaml")
    assert "give one with -o" in cli("repeat", recipe).complaints[0]
    assert cli("repeat", recipe, "-o", again, "--overwrite").code == 0
    assert pixels(again) == before


def test_an_interrupted_training_is_repeated(spawn, cli, recording, tmp_path):
    out, recipe = tmp_path / "m.blindsound", tmp_path / "r.yaml"
    size = ("--width", "4", "--depth", "2", "--steps", "100000")
    process = spawn("train", recording, "-o", out, "--save-recipe", recipe, *size)
    process.wait_for("training")
    process.signal(signal.SIGINT)
    assert process.done().code == 130
    steps = load(out).provenance["steps"]
    assert list(Job.load(recipe).recipe.stop_after) == steps
    again = tmp_path / "again.blindsound"
    said = cli("repeat", recipe, "-o", again, "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["steps"] == steps
    assert load(again).revision == load(out).revision


def test_a_training_that_judges_itself_is_repeated(cli, recording, tmp_path):
    first, recipe = tmp_path / "a.blindsound", tmp_path / "r.yaml"
    words = ("train", recording, "-o", first, "--save-recipe", recipe, "--json")
    said = cli(*words, *JUDGED, "--steps", "160")
    assert said.code == 0, said.err
    assert yaml.safe_load(recipe.read_text())["recipe"]["train"]["ending"] == "auto"
    told = json.loads(said.out)
    assert "--ending auto" in told["repeat"]
    again = tmp_path / "b.blindsound"
    repeated = json.loads(cli("repeat", recipe, "-o", again, "--json").out)
    assert repeated["judged"] == told["judged"]
    assert load(again).revision == load(first).revision


def test_one_that_was_stopped_while_it_judges_itself_is_repeated(
    cli, recording, tmp_path
):
    job = _job_of("train", recording, "-o", "x.blindsound", *JUDGED, "--steps", 2000)
    training, stop = Training(job.training_volumes(), job.recipe), threading.Event()
    for event in training.run(stop):
        if isinstance(event, Judged):
            stop.set()
    denoiser = training.denoiser()
    training.close()
    assert event.reason == "stopped"
    recipe = job.settled(denoiser).save(tmp_path / "r.yaml")
    assert Job.load(recipe).recipe.stop_after == (event.step,)
    again = tmp_path / "again.blindsound"
    assert cli("repeat", recipe, "-o", again).code == 0
    assert load(again).revision == denoiser.revision


def test_files_are_frames_of_one_stack_when_asked(cli, recording, small, tmp_path):
    frames = tifffile.imread(recording)
    paths = [tmp_path / f"{name}.tif" for name in "bac"]
    for path, frame in zip(paths, frames, strict=False):
        tifffile.imwrite(path, frame)
    out = tmp_path / "out.ome.tif"
    said = cli("run", *paths, "--stack", "-o", out, "--json", *small)
    assert said.code == 0, said.err
    assert tifffile.imread(out).shape == (3, 72, 80)
    assert "--stack" in json.loads(said.out)["repeat"]


def test_what_a_recipe_file_has_wrong_is_named(refused, done, tmp_path):
    _, _, recipe, _ = done
    data = tomllib.loads(recipe.read_text())
    data["recipe"]["train"]["steps"] = -1
    recipe.write_text(tomli_w.dumps(data))
    assert "recipe.train.steps is -1: " in refused("repeat", recipe)
    data["recipe"]["train"] = {"stpes": 1}
    recipe.write_text(tomli_w.dumps(data))
    assert "no field recipe.train.stpes" in refused("repeat", recipe)
    assert "check the path" in refused("repeat", tmp_path / "none.yaml")
    assert "not a recipe file" in refused("repeat", tmp_path / "m.blindsound")
    recipe.write_text('inputs = ["x.tif"]\n')
    assert "give one with -o" in refused("repeat", recipe)
    told = refused("repeat", recipe, "-o", tmp_path / "x.ome.zarr")
    assert str(tmp_path / "x.tif") in told


def test_parts_that_are_not_there_are_refused(refused, recording, tmp_path):
    words = ("train", recording, "-o", tmp_path / "m.blindsound", "--steps", "1")
    assert "no axis Z" in refused(*words, "--train-slices", "0:3")
    assert "ends at T=3" in refused(*words, "--train-times", "4:9")
    assert "0:10" in refused(*words, "--train-times", "4", code=2)
    assert "ROWS,COLUMNS" in refused(*words, "--train-region", "0:9", code=2)
    assert "120,118" in refused(*words, "--stop-after", "few", code=2)
    assert "2 steps, but 1 network" in refused(*words, "--stop-after", "1,1")
    assert "--blend 2" in refused(*words, "--blend", "2")
    told = refused(*words, "--blend", "0.5", "--estimate", "blind")
    assert "exclude each other" in told
    assert ".toml" in refused(*words, "--save-recipe", tmp_path / "r.txt")


def test_several_numbers_in_one_option():
    assert span("0:10") == (0, 10)
    assert region("3:4,:") == ((3, 4), None)
    assert counts("120,0") == (120, 0)
    for bad in ("", "1", "2:1", "-1:3", "a:b", "1:2:3", ":"):
        with pytest.raises(ValueError, match="no range"):
            span(bad)


def _job_of(*words):
    """The job that a command would do."""
    words = [str(word) for word in words]
    _, bound, _ = app.build(words).parse_args(words)
    given = dict(bound.arguments)
    return jobs.of_train(
        given["images"],
        given["output"],
        IMAGES,
        WHOLE,
        given["training"],
        overwrite=False,
    )
