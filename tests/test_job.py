from __future__ import annotations

import shlex
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_blindsound import methods, open_volume
from napari_blindsound.cli import app, jobs
from napari_blindsound.cli.settings import TailoredOptions
from napari_blindsound.errors import OutputError, RecipeError
from napari_blindsound.job import Job, frames_as_inputs
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig

CONFIG = methods.find(methods.DEFAULT).Config
TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="/"),
    min_size=1,
    max_size=8,
).filter(lambda text: text not in {".", "..", "~"} and not text.startswith("~"))
PLACE = TEXT.map(lambda name: f"/data/a folder/{name}")
SPAN = st.tuples(st.integers(0, 50), st.integers(1, 50)).map(
    lambda pair: (pair[0], pair[0] + pair[1])
)
SIZE = st.integers(1, 1000)
FRACTION = st.floats(0, 1)
SETTINGS = {
    "width": SIZE,
    "depth": st.integers(1, 7),
    "augment": st.booleans(),
    "eta": st.floats(0, 1e6),
    "learning_rate": st.floats(1e-9, 1e3),
    "schedule": st.sampled_from(["one-cycle", "halving"]),
}


def maybe(strategy):
    return st.none() | strategy


def trains(**more):
    return st.builds(
        TrainConfig,
        device=st.sampled_from(["auto", "cpu", "cuda:1"]),
        threads=maybe(st.integers(1, 64)),
        **more,
    )


RECIPES = st.builds(
    Recipe,
    preset=st.sampled_from(list(CONFIG.presets)),
    settings=st.fixed_dictionaries({}, optional=SETTINGS),
    channels=st.sampled_from(["each", "joint"]),
    stop_after=maybe(st.lists(st.integers(0, 99), min_size=1, max_size=3).map(tuple)),
    one_thread_after=maybe(st.lists(st.integers(0, 99), min_size=1).map(tuple)),
    train=trains(
        steps=maybe(SIZE),
        seconds=maybe(st.floats(1e-3, 1e9)),
        ending=maybe(st.sampled_from(["last", "best", "auto"])),
        seed=st.integers(0, 99),
    ),
)


def estimates():
    """Estimate and blend, of which there is one at most."""
    words = st.sampled_from(["visible", "blind", "blended"])
    return st.one_of(
        st.fixed_dictionaries({"estimate": maybe(words)}),
        st.fixed_dictionaries({"blend": maybe(FRACTION)}),
    )


def fields(**some):
    several = st.lists(PLACE, min_size=1, max_size=3).map(tuple)
    always = {"inputs": several, "stack": st.booleans(), "overwrite": st.booleans()}
    opening = {
        "axes": st.sampled_from(["TZYX", "CYX"]),
        "image": st.integers(0, 9),
        "channel": TEXT,
    }
    return st.tuples(
        st.fixed_dictionaries({**always, **some}, optional=opening), estimates()
    ).map(lambda pair: pair[0] | pair[1])


RESULT = {
    "output": PLACE,
    "dtype": st.sampled_from(["float32", "source"]),
    "turns": st.booleans(),
}
LEARNING = {
    "recipe": RECIPES,
    **dict.fromkeys(("times", "slices", "rows", "columns"), maybe(SPAN)),
}
JOBS = st.one_of(
    fields(**LEARNING, **RESULT, model_out=maybe(PLACE)),
    fields(**LEARNING, model_out=PLACE),
    fields(**RESULT, model_in=PLACE, recipe=st.builds(Recipe, train=trains())),
).map(Job.model_validate)


def read_back(line):
    """The job that a command line is understood as."""
    program, *words = shlex.split(line)
    assert program == "blindsound"
    _, bound, _ = app.build(words).parse_args(words)
    given = bound.arguments
    [images] = [given.pop("images")]
    taken = {name: given[name] for name in given if name not in {"console", "resume"}}
    options = {
        "run": {"model": None, "result": app_default("ResultOptions")},
        "train": {"overwrite": False},
        "denoise": {
            "result": app_default("ResultOptions"),
            "applied": app_default("ModelOptions"),
        },
    }[words[0]]
    options |= {"image": app_default("ImagesOptions")}
    if words[0] != "denoise":
        options |= {"part": app_default("PartOptions"), "training": TailoredOptions()}
    make = getattr(jobs, f"of_{words[0]}")
    return make(images, **{**options, **taken})


def app_default(name):
    from napari_blindsound.cli import options

    return getattr(options, name)()


@settings(max_examples=150, deadline=None)
@given(JOBS)
def test_the_line_of_a_job_is_read_as_that_job(job):
    assert read_back(job.command_line()) == job


@settings(max_examples=60, deadline=None)
@given(JOBS)
def test_the_file_of_a_job_is_read_as_that_job(tmp_path_factory, job):
    path = tmp_path_factory.getbasetemp() / "job.yaml"
    assert Job.load(job.save(path)) == job
    assert path.read_text().startswith("# A recipe of napari-blindsound")


def test_only_what_is_not_the_default_is_said():
    job = Job(inputs=("/a b.tif",), output="/out.ome.zarr")
    assert job.command_line() == "blindsound run '/a b.tif' -o /out.ome.zarr"
    applied = Job(inputs=("/a.tif",), model_in="/m.blindsound", output="/o.ome.zarr")
    assert applied.command_line() == (
        "blindsound denoise /a.tif -m /m.blindsound -o /o.ome.zarr"
    )
    trained = Job(inputs=("/a.tif",), model_out="/m.blindsound")
    assert trained.command_line() == "blindsound train /a.tif -o /m.blindsound"


def test_what_has_no_place_on_disk_is_named_so():
    assert Job().command_line() == "blindsound run IMAGE.ome.zarr -o RESULT.ome.zarr"
    with pytest.raises(RecipeError, match="save it to a file first"):
        Job().volumes()


def test_paths_are_absolute_and_urls_are_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = Job(inputs=("a.tif", "t*.png", "https://host/x.zarr"), output="~/o.ome.zarr")
    files = [str(tmp_path / "a.tif"), str(tmp_path / "t*.png")]
    assert list(job.inputs) == [*files, "https://host/x.zarr"]
    assert job.output == str(Path.home() / "o.ome.zarr")


def test_paths_in_a_file_are_relative_to_it(tmp_path):
    (tmp_path / "below").mkdir()
    path = tmp_path / "below" / "r.yaml"
    path.write_text("inputs: [../a.tif]\noutput: o.ome.zarr\nchannel: 0\n")
    job = Job.load(path)
    assert Path(job.inputs[0]).resolve() == tmp_path.resolve() / "a.tif"
    assert job.output == str(tmp_path / "below" / "o.ome.zarr")
    assert job.channel == "0"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("foo: 1", "no field foo"),
        ("times: [3, 2]", r"times is \[3, 2\]: 3:2 is empty"),
        ("recipe: {settings: {width: 0}}", "recipe.settings.width is 0: "),
        ("recipe: {settings: {widht: 8}}", "no field recipe.settings.widht"),
        ("recipe: {settings: {cell: 2, phases: 9}}", "recipe.settings: phases is 9"),
        ("recipe: {method: magic}", "no method 'magic'"),
        ("recipe: {preset: slow}", "no preset 'slow'"),
        ("estimate: blind\nblend: 0.5", "exclude each other"),
        ("inputs: a.tif", "inputs is 'a.tif': .* list"),
        ("- 1", "not a recipe file"),
        ("a: [", "not a recipe file"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_sentence(tmp_path, text, told):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=told) as caught:
        Job.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unwritable_place_is_told(tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        Job().save(tmp_path / "none" / "r.yaml")


def test_frames_are_named_as_shortly_as_can_be(tmp_path):
    frames = [tmp_path / f"t{i}.tif" for i in (1, 2, 10)]
    for path in frames:
        tifffile.imwrite(path, np.zeros((4, 5), np.uint8))
    assert frames_as_inputs(frames) == ((str(tmp_path),), False)
    (tmp_path / "note.png").write_bytes(b"")
    assert frames_as_inputs(frames) == ((str(tmp_path / "*.tif"),), False)
    some, backwards = frames[:2], frames[::-1]
    assert frames_as_inputs(some) == (tuple(map(str, some)), True)
    assert frames_as_inputs(backwards) == (tuple(map(str, backwards)), True)
    stack = Job(inputs=tuple(map(str, some)), stack=True)
    assert [volume.shape for volume in stack.volumes()] == [(2, 4, 5)]


def test_what_was_done_is_told_so_that_it_can_be_repeated():
    small = {"width": 2, "depth": 1, "patch": 16, "batch": 1}
    noisy = np.random.default_rng(0).poisson(50, (40, 40)).astype(np.uint16)
    train = TrainConfig(steps=30, device="cpu", threads=1)
    job = Job(model_out="m.blindsound", recipe=Recipe(settings=small, train=train))
    training, stop = Training([open_volume(noisy)], job.recipe), threading.Event()
    stop.set()
    list(training.run(stop))
    assert job.settled(training.denoiser()).recipe.stop_after == (0,)
    *_, last = training.run()
    assert last.reason == "done"
    assert job.settled(training.denoiser()) == job
    converged = training.denoiser()
    converged.provenance["ended"] = "converged"
    assert job.settled(converged) == job
    training.close()

    free = job.changed(recipe=Recipe(settings={**small, "steps": 30}))
    settled = free.settled(training.denoiser())
    assert settled.recipe.train.threads == torch.get_num_threads()
    by_clock = job.changed(recipe=Recipe(train=TrainConfig(seconds=1)))
    assert by_clock.settled(training.denoiser()) is by_clock
    a_minute = job.changed(recipe=Recipe(settings=small))
    assert a_minute.settled(training.denoiser()) is a_minute
    applied = Job(model_in="m.blindsound").settled(training.denoiser())
    assert applied.recipe.stop_after is None


def test_every_field_is_explained():
    assert all(info.description for info in Job.model_fields.values())
