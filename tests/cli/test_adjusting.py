from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from napari_blindsound import denoise, load
from napari_blindsound.batch.config import BatchConfig
from napari_blindsound.job import Job
from napari_blindsound.recipe import Recipe

GAMMA = ("--set", "noise=gamma", "--set", "alpha=12", "--set", "offset=80")
CHANGES = {"noise": "gamma", "alpha": 12, "offset": 80}


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    counts = np.random.default_rng(0).poisson(60, (64, 64)) + 100
    path = tmp_path_factory.mktemp("noisy") / "cells.tif"
    tifffile.imwrite(path, counts.astype(np.uint16), metadata={"axes": "YX"})
    return path


@pytest.fixture
def score(cli, noisy, tmp_path):
    """A little of the score method, with options of its own."""
    path = tmp_path / "score.blindsound"
    small = ("--width", 4, "--depth", 1, "--patch", 32, "--batch", 1, "--steps", 12)
    said = cli("train", noisy, "-o", path, "--method", "score", *small, "--lam", 0.5)
    assert said.code == 0, said.err
    return path


def test_noise_is_chosen_when_a_model_is_applied(cli, score, noisy, tmp_path):
    out, saved = tmp_path / "out.ome.tif", tmp_path / "job.toml"
    options = (*GAMMA, "--save-recipe", saved, "--json")
    said = cli("denoise", noisy, "-m", score, "-o", out, *options)
    assert said.code == 0, said.err
    found, model = tifffile.imread(out), load(score)
    np.testing.assert_array_equal(found, denoise(noisy, model.adjusted(CHANGES)))
    assert not np.array_equal(found, denoise(noisy, model))
    assert " ".join(GAMMA) in json.loads(said.out)["repeat"]
    assert Job.load(saved).adjust == {"noise": "gamma", "alpha": "12", "offset": "80"}
    again = tmp_path / "again.ome.tif"
    assert cli("repeat", saved, "-o", again).code == 0
    np.testing.assert_array_equal(tifffile.imread(again), found)


def test_a_setting_is_left_to_the_images_again(cli, score, noisy, tmp_path):
    paths = [tmp_path / f"{name}.ome.tif" for name in ("given", "not")]
    words = ("--set", "noise=poisson"), ("--set", "lam=estimated")
    for path, more in zip(paths, ((), words[1]), strict=True):
        said = cli("denoise", noisy, "-m", score, "-o", path, *words[0], *more)
        assert said.code == 0, said.err
    assert not np.array_equal(*map(tifffile.imread, paths))


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("alpha", "name=value"),
        ("alpha=1", "greater than 1"),
        ("alpha=much", "valid number"),
        ("width=9", "decides on what is learned"),
        ("noise=snow", "camera"),
    ],
)
def test_what_cannot_be_set_is_refused(cli, score, noisy, tmp_path, word, reason):
    out = tmp_path / "out.ome.tif"
    said = cli("denoise", noisy, "-m", score, "-o", out, "--set", word)
    assert said.code != 0
    assert reason in said.err
    assert "Traceback" not in said.err
    assert not out.exists()


def test_a_batch_changes_a_model_from_a_file_only(score, tmp_path):
    recipe = Recipe(method="score", settings={"noise": "gamma", "width": 3})
    batch = BatchConfig(output=tmp_path, model=score, recipe=recipe)
    assert batch.adjust == {"noise": "gamma"}
    model = load(score)
    assert batch.applied(model).methods[0].config.noise == "gamma"
    assert BatchConfig(output=tmp_path, recipe=recipe).applied(model) is model
    plain = BatchConfig(output=tmp_path, model=score)
    assert plain.result_key != batch.result_key
