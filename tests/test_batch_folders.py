"""Batches by folder, by pattern and from a recipe file."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest
import tifffile

from napari_blindsound.batch import BatchConfig, find_images, run_batch
from napari_blindsound.batch.recipe import read_batch, write_batch
from napari_blindsound.errors import ImageNotFoundError, RecipeError
from napari_blindsound.images.phantom import phantom
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = Recipe(settings={"width": 4, "depth": 2}, train={"steps": 12})


@pytest.fixture(scope="module")
def noisy():
    return phantom("timelapse", size=64, frames=3, seed=1).noisy


def stack(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "TYX"})
    return path


@pytest.fixture
def days(tmp_path, noisy):
    """Two folders of stacks, and one in which nothing can be trained on."""
    folder = tmp_path / "in"
    for number, name in enumerate(("day1/a", "day1/b", "day2/a")):
        stack(folder / f"{name}.tif", noisy + number)
    stack(folder / "flat" / "x.tif", np.full_like(noisy, 7))
    stack(folder / "flat" / "y.tif", np.full_like(noisy, 7))
    return folder


def last(told):
    return {event.row: event for event in told if event.row is not None}


def test_each_folder_has_a_model_and_one_without_stops_no_other(tmp_path, days):
    found = find_images([days])
    config = BatchConfig(output=tmp_path / "out", model="folder", recipe=QUICK)
    told = list(run_batch(found, config))
    states = {found[row].name: event.state for row, event in last(told).items()}
    assert states == {
        **dict.fromkeys(("in/day1/a.tif", "in/day1/b.tif", "in/day2/a.tif"), "done"),
        **dict.fromkeys(("in/flat/x.tif", "in/flat/y.tif"), "failed"),
    }
    models = sorted((tmp_path / "out").rglob("*.blindsound"))
    assert [str(path.relative_to(tmp_path / "out")) for path in models] == [
        "in/day1/folder.blindsound",
        "in/day2/folder.blindsound",
    ]
    trained = [Denoiser.load(path).provenance["trained_on"] for path in models]
    assert [len(images) for images in trained] == [2, 1]
    titles = [event.message for event in told if event.row is None]
    assert "the model for day1, on 2 of 2 images" in titles

    again = list(run_batch(found, config))
    assert [event.state for event in last(again).values()].count("skipped") == 3
    done = {event.message for event in again if event.row is None}
    assert not any("day" in message for message in done)


def test_folders_of_one_name_do_not_share_a_model(tmp_path, noisy):
    paths = [stack(tmp_path / p / "s" / f"{p}.tif", noisy) for p in ("a", "b")]
    config = BatchConfig(output=tmp_path / "out", model="folder", recipe=QUICK)
    found = find_images(paths)
    ended = last(run_batch(found, config))
    assert [event.state for event in ended.values()] == ["done", "done"]
    assert len(list((tmp_path / "out").glob("folder*.blindsound"))) == 2
    again = last(run_batch(found, config))
    assert [event.state for event in again.values()] == ["skipped", "skipped"]


def test_patterns_stand_for_images_of_all_folders(days, noisy):
    def names(*patterns):
        found = find_images([str(days / pattern) for pattern in patterns])
        return [image.title for image in found]

    assert names("day*/*.tif") == ["in/day1/a.tif", "in/day1/b.tif", "in/day2/a.tif"]
    assert names("**/a.tif") == ["in/day1/a.tif", "in/day2/a.tif"]
    assert names("day[12]") == ["in/day1/a.tif", "in/day1/b.tif", "in/day2/a.tif"]
    assert names("day*", "**/*.tif")[:3] == names("day*")
    for number in range(3):
        tifffile.imwrite(days / "day2" / f"t{number}.tif", noisy[number])
        tifffile.imwrite(days / "day2" / f"u{number}.tif", noisy[number])
    assert names("day2/t*.tif") == ["day2 (3 frames)"]
    frames = find_images([str(days / "d*2" / "t[01].tif")])
    assert [image.open().shape for image in frames] == [(2, 64, 64)]
    with pytest.raises(ImageNotFoundError, match="nothing matches"):
        find_images([str(days / "*.lsm")])
    (days / "day1" / "a_denoised.ome.zarr").mkdir()
    assert names("day1/*") == ["day1/a.tif", "day1/b.tif"]


def test_a_recipe_file_says_all_of_a_batch(tmp_path):
    config = BatchConfig(
        output=tmp_path / "out",
        model=tmp_path / "m.blindsound",
        recipe=QUICK,
        format=".ome.tif",
        dtype="source",
        turns=True,
        blend=0.5,
        axes="TYX",
        channel="1",
    )
    inputs = [str(tmp_path / "in"), str(tmp_path / "day*" / "*.tif")]
    path = write_batch(tmp_path / "b.toml", inputs, config, "blindsound batch in")
    read, found = read_batch(path)
    assert read == inputs
    assert found.recipe.train.threads == 1
    assert found.result_key == config.result_key
    assert found.model == config.model
    assert found.output == config.output
    assert found.format == ".ome.tif"


def test_its_paths_may_be_relative_and_its_mistakes_are_named(tmp_path):
    path = tmp_path / "b.toml"
    path.write_text('[batch]\ninputs = ["in"]\noutput = "out"\nmodel = "folder"\n')
    inputs, config = read_batch(path)
    assert inputs == [str(tmp_path / "in")]
    assert (config.output, config.model) == (tmp_path / "out", "folder")
    for text, said in {
        'output = "out"': "batch.inputs is not there",
        'inputs = ["in"]': "batch.output",
        'inputs = ["in"]\noutput = "o"\nformt = 1': "no field batch.formt",
        'inputs = 3\noutput = "o"': "saved by batch",
        'inputs = ["a"]\noutput = "o"\n[batch.recipe.settings]\nwidth = -1': "width",
    }.items():
        path.write_text(f"[batch]\n{text}\n")
        with pytest.raises(RecipeError, match=said):
            read_batch(path)
    path.write_text('inputs = ["x.tif"]\n')
    assert read_batch(path) is None
    assert tomllib.loads(path.read_text())
