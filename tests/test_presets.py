"""Presets that say how long they train, wherever they are chosen; and none at all."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from scipy.ndimage import convolve, gaussian_filter
from tests.networks.filters import BINOMIAL, member, save

import napari_blindsound as nb
from napari_blindsound import methods
from napari_blindsound.batch import BatchConfig, find_images, run_batch
from napari_blindsound.cli import main
from napari_blindsound.errors import RecipeError
from napari_blindsound.gui.batch_choice import Choice
from napari_blindsound.gui.plan import Plan
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import phantom
from napari_blindsound.job import Job
from napari_blindsound.networks.family import family
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training import start
from napari_blindsound.training.events import Finished, Judged, Progress
from napari_blindsound.training.stopping import LEAST_GAIN
from napari_blindsound.training.trainer import TrainConfig

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"width": 4, "depth": 2, "patch": 32, "batch": 1}
INSTANT = ["blind2unblind", "blind2sound", "noise2info"]
MINUTE, STEPS = (None, 60.0, "auto"), 40


@pytest.fixture(scope="module")
def cells():
    """Soft enough that a filter knows them."""
    clean = gaussian_filter(phantom("2d", size=192, seed=4).clean, 2.0)
    return np.random.default_rng(5).poisson(clean).astype(np.uint16)


@pytest.fixture
def volume(cells):
    return open_volume(cells, axes="YX")


@pytest.fixture
def known(tmp_path, monkeypatch):
    """A family of one filter, small enough for a test."""
    folder = tmp_path / "family"
    folder.mkdir()
    save(member(BINOMIAL), folder)
    monkeypatch.setattr(start, "family", lambda _: family(folder))
    return member(BINOMIAL)


def length(recipe):
    train = recipe.settled().train
    return train.steps, train.seconds, train.ending


@pytest.mark.parametrize(
    ("preset", "given", "expected"),
    [
        ("fast", {}, MINUTE),
        ("fast", {"seed": 3, "device": "cpu"}, MINUTE),
        ("fast", {"steps": STEPS}, (STEPS, None, "last")),
        ("fast", {"seconds": 5.0}, (None, 5.0, "last")),
        ("fast", {"seconds": 5.0, "ending": "auto"}, (None, 5.0, "auto")),
        ("fast", {"ending": "last"}, (None, None, "last")),
        ("fast", {"ending": "auto"}, (None, None, "auto")),
        ("best", {}, (None, None, "auto")),
        ("best", {"seconds": 5.0}, (None, 5.0, "auto")),
        ("best", {"steps": STEPS, "ending": "last"}, (STEPS, None, "last")),
        ("instant", {}, (None, None, "last")),
        ("instant", {"steps": STEPS}, (STEPS, None, "last")),
        ("paper", {}, (None, None, "last")),
        ("paper", {"steps": STEPS}, (STEPS, None, "last")),
    ],
)
def test_what_is_given_counts_and_the_preset_says_the_rest(preset, given, expected):
    recipe = Recipe(preset=preset, train=TrainConfig(**given))
    assert length(recipe) == expected
    assert recipe.settled() == recipe.settled().settled()


def test_the_best_goes_on_for_less():
    def gain(preset, **given):
        return Recipe(preset=preset, train=TrainConfig(**given)).settled().train

    assert gain("best").least_gain < LEAST_GAIN
    assert gain("best", ending="auto").least_gain == gain("best").least_gain
    assert gain("best", least_gain=0.1).least_gain == 0.1
    assert gain("fast").least_gain is None


def test_steps_among_the_settings_are_given_too():
    assert length(Recipe(settings={"steps": 7})) == (None, None, "last")


def test_stages_need_a_length():
    assert length(Recipe(method="dbsn")) == (None, 240.0, "last")
    assert length(Recipe(method="dbsn", preset="best")) == (None, None, "last")
    assert "cannot be ended" in methods.find("dbsn").limits


@pytest.mark.parametrize("name", methods.available())
def test_every_preset_is_explained(name):
    config = methods.find(name).Config
    words = {preset: config.length_in_words(preset) for preset in config.presets}
    assert words["paper"] == f"{config.preset('paper').steps} steps"
    assert ("instant" in words) == (name in INSTANT)
    assert words.get("instant", "no training") == "no training"
    if name != "dbsn":
        assert words["fast"] == "until it stops improving, at most 60 s"
        most = config.preset("best").steps
        assert words["best"] == f"until it stops improving, at most {most} steps"


def test_a_training_is_as_long_as_its_preset_says(volume):
    for preset, steps, ending in [("best", 60_000, "auto"), ("paper", 23_700, "last")]:
        small = {"width": 2, "depth": 1, "patch": 16, "phases": 1, "start": "cold"}
        training = Training([volume], Recipe(preset=preset, settings=small))
        [trainer] = training._trainers
        assert (trainer.budget_steps, trainer.config.seconds) == (steps, None)
        assert training.recipe.train.ending == ending
        assert bool(trainer.stopping) == (ending == "auto")
        training.close()


def test_a_file_of_an_earlier_version_is_what_it_was(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(
        '[recipe]\nmethod = "blind2unblind"\npreset = "fast"\nchannels = "each"\n'
        '[recipe.settings]\n[recipe.train]\nending = "last"\nseed = 0\n'
        'device = "auto"\nthreads = 2\n'
    )
    recipe = Job.load(path).recipe
    assert length(recipe) == (None, None, "last")
    assert recipe.config().steps == 4000


def test_a_preset_alone_stands_in_line_and_file(tmp_path):
    job = Job(inputs=("/a.tif",), output="/o.ome.zarr", recipe=Recipe(preset="best"))
    assert job.command_line() == "blindsound run /a.tif -o /o.ome.zarr --preset best"
    loaded = Job.load(job.save(tmp_path / "r.toml"))
    assert loaded == job
    assert length(loaded.recipe) == (None, None, "auto")


def test_a_batch_follows_its_preset():
    kind = methods.find("blind2unblind")
    choice = Choice(output="/o").with_recipe(
        Recipe(train=TrainConfig(steps=STEPS, ending="auto"))
    )
    assert length(choice.config().recipe) == (STEPS, None, "auto")
    assert "--steps 40 --ending auto" in choice.command_line([])
    best = choice.as_preset(kind.name, "best")
    assert length(best.config().recipe) == (None, None, "auto")
    assert "--preset best" in best.command_line([])
    assert "--ending" not in best.command_line([])


def test_the_dock_begins_with_the_default_preset():
    kind = methods.find(methods.DEFAULT)
    first = next(iter(kind.Config.presets))
    assert Plan().as_preset(kind, first) == Plan()


def test_results_of_an_earlier_batch_are_found_again():
    """What is not said has the name that it had when it was said."""
    said = Recipe(train=TrainConfig(steps=12, ending="last"))
    unsaid = Recipe(train=TrainConfig(steps=12))
    keys = {BatchConfig(output="/o", recipe=r).training_key for r in (said, unsaid)}
    assert len(keys) == 1


@pytest.mark.parametrize("method", INSTANT)
def test_instant_is_what_phantoms_taught(known, volume, method, tmp_path):
    names = methods.find(method).Config.model_fields
    settings = {name: v for name, v in SMALL.items() if name in names}
    told = []
    model = nb.train(
        volume,
        method=method,
        preset="instant",
        settings=settings,
        device="cpu",
        on_event=told.append,
    )
    assert [type(event) for event in told[-2:]] == [Progress, Finished]
    assert (told[-1].reason, told[-1].step) == ("done", 0)
    assert told[-2].fraction == 1
    assert model.provenance["steps"] == [0]
    assert model.provenance["ended"] == "done"
    assert model.provenance["started_from"] == ["width4"]
    noisy = volume.levels[0]
    made = nb.load(model.save(tmp_path / "m.blindsound"))(noisy)
    # The filter of the family, which is applied twice.
    once = convolve(noisy.astype(np.float32), BINOMIAL.numpy())
    inner = slice(8, -8), slice(8, -8)
    np.testing.assert_allclose(
        made[inner], convolve(once, BINOMIAL.numpy())[inner], rtol=0.01
    )


def test_instant_may_judge_itself(known, volume):
    train = TrainConfig(ending="best", device="cpu")
    recipe = Recipe(preset="instant", settings=SMALL, train=train)
    training = Training([volume], recipe)
    events = list(training.run())
    training.close()
    assert any(isinstance(event, Judged) for event in events)
    assert events[-1].best_step == 0
    auto = recipe.model_copy(update={"train": TrainConfig(ending="auto", device="cpu")})
    training = Training([volume], auto)
    assert list(training.run())[-1].step == 0
    training.close()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"settings": {**SMALL, "width": 5}}, "plain U-Net of width 4"),
        ({"settings": {**SMALL, "start": "cold"}}, "random weights"),
        (
            {"method": "score", "preset": "fast", "train": TrainConfig(steps=0)},
            "random weights",
        ),
    ],
)
def test_nothing_is_not_trained_from_nothing(known, volume, changes, told):
    fields = {"preset": "instant", "settings": SMALL, **changes}
    if fields.get("method") == "score":
        fields["settings"] = {"width": 4, "depth": 2, "patch": 32}
    with pytest.raises(RecipeError, match=f"{told}.*choose the preset fast"):
        Training([volume], Recipe(**fields))


def test_instant_from_the_command_line_and_in_a_batch(known, cells, tmp_path, capsys):
    source, out = tmp_path / "cells.tif", tmp_path / "out.ome.zarr"
    tifffile.imwrite(source, cells, metadata={"axes": "YX"})
    words = ["--preset", "instant", "--width", "4", "--depth", "2", "--json"]
    kept = ["--save-recipe", tmp_path / "r.toml"]
    code = main([str(w) for w in ["run", source, "-o", out, *words, *kept]])
    said = json.loads(capsys.readouterr().out)
    assert (code, said["steps"], said["ended"]) == (0, [0], "done")
    assert "--preset instant" in said["repeat"]
    first = open_volume(out)
    words = ["repeat", tmp_path / "r.toml", "-o", tmp_path / "again.ome.zarr"]
    assert main([str(word) for word in words]) == 0
    again = open_volume(tmp_path / "again.ome.zarr")
    whole = first.plane(0)
    assert np.array_equal(first.read(whole), again.read(whole))

    recipe = Recipe(preset="instant", settings={"width": 4, "depth": 2})
    config = BatchConfig(output=tmp_path / "batch", recipe=recipe)
    rows = [e.state for e in run_batch(find_images([source]), config) if e.is_final]
    assert rows == ["done", "done"]
