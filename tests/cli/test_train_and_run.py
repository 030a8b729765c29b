from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from napari_blindsound import load, open_volume
from napari_blindsound.training.checkpoint import load_tensors


def test_run_trains_applies_and_keeps_the_model(cli, recording, small, tmp_path):
    out, model = tmp_path / "out.ome.zarr", tmp_path / "kept.blindsound"
    said = cli("run", recording, "-o", out, "-m", model, "--json", *small)
    assert said.code == 0, said.err
    data = json.loads(said.out)
    assert data["steps"] == [20]
    assert data["ended"] == "done"
    assert data["noise"][0]["gain"] > 0
    assert data["recipe"]["settings"] == {"width": 4, "depth": 2}
    assert data["outputs"][0]["path"] == str(out)
    assert Path(data["model"]) == model
    result = open_volume(out)
    assert result.axes == open_volume(recording).axes
    whole = tuple(slice(0, n) for n in result.shape)
    noisy = np.asarray(tifffile.imread(recording))
    np.testing.assert_allclose(
        result.read(whole), load(model)(noisy), rtol=1e-4, atol=1e-2
    )
    origin = zarr.open_group(out, mode="r").attrs["blindsound"]
    assert origin["command"].startswith("blindsound")
    assert origin["model"]["steps"] == [20]


def test_summary_for_people_goes_to_stdout_and_progress_to_stderr(
    cli, recording, small, tmp_path
):
    said = cli("run", recording, "-o", tmp_path / "out.ome.tif", *small)
    assert "trained" in said.out
    assert f"denoised {tmp_path / 'out.ome.tif'}" in said.out
    assert "training 100%" in said.err
    assert "steps/s" in said.err
    assert len(said.err.splitlines()) < 12
    said = cli("run", recording, "-o", tmp_path / "b.ome.tif", "-q", *small)
    assert (said.out, said.err) == ("", "")


def test_3d_convolutions_need_planes(cli, refused, plane, recording, tmp_path):
    path, stack = tmp_path / "m.blindsound", tmp_path / "stack.tif"
    tifffile.imwrite(stack, np.stack([plane] * 5), metadata={"axes": "ZYX"})
    small = ("--steps", "2", "--width", "4", "--depth", "2", "--convolutions", "3d")
    said = cli("train", stack, "-o", path, "--context", "Z1", *small)
    assert said.code == 0, said.err
    assert load(path).methods[0].config.is_deep
    said = cli("train", recording, "-o", path, "--overwrite", *small)
    assert ", so that convolutions are 2d, not 3d" in said.out
    assert not load(path).methods[0].config.is_deep
    words = ("train", stack, "-o", tmp_path / "n.blindsound", "--context", "none")
    assert "choose neighboring planes" in refused(*words, *small)


def test_how_good_a_training_became_is_told(cli, recording, tmp_path):
    words = ("--steps", "130", "--width", "4", "--depth", "1", "--batch", "1")
    path = tmp_path / "m.blindsound"
    words = ("train", recording, "-o", path, "--patch", "32", *words)
    said = cli(*words, "--ending", "best")
    assert said.code == 0, said.err
    rows = dict(line.strip().split("  ", 1) for line in said.out.splitlines()[1:])
    assert "all 130 steps" in rows["ended"]
    assert "estimated gain" in rows["ended"]
    origin = load(path).provenance
    [gain] = origin["estimated_gain"]
    assert rows["quality"].strip().startswith(f"{gain:+.1f} dB by denoising")
    assert f"{gain:+.1f} dB, " in said.err.splitlines()[-1]
    data = json.loads(cli(*words, "--ending", "auto", "--overwrite", "--json").out)
    assert data["ended"] == "done"
    judged = data["judged"]
    assert judged["best_step"] == load(path).provenance["kept_steps"]
    assert judged["gain"] == load(path).provenance["estimated_gain"]
    assert judged["source"] in {"repeats", "stein", "blind error"}
    assert "130 steps" in judged["words"]
    data = json.loads(cli(*words, "--overwrite", "--json").out)
    assert data["judged"] is None


def test_same_seed_and_steps_give_the_same_weights(cli, recording, small, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        path = tmp_path / f"{name}.blindsound"
        cli("train", recording, "-o", path, "--seed", seed, *small)
    a, b, c = (load_tensors(tmp_path / f"{n}.blindsound")[0] for n in "abc")
    assert all(a[name].equal(b[name]) for name in a)
    assert not all(a[name].equal(c[name]) for name in a)


def test_settings_replace_those_of_the_preset(cli, recording, tmp_path):
    path = tmp_path / "model.blindsound"
    preset = ("--preset", "paper", "--steps", "1", "--phases", "1", "--batch", "1")
    cli("train", recording, "-o", path, *preset, "--width", "4", "--patch", "32")
    config = load(path).methods[0].config
    assert (config.width, config.depth, config.schedule) == (4, 5, "halving")


def test_checkpoint_is_written_and_continued(cli, recording, small, tmp_path):
    point, model = tmp_path / "half.checkpoint", tmp_path / "m.blindsound"
    words = ("train", recording, "-o", model, "--checkpoint", point, *small[2:])
    cli(*words, "--steps", "5")
    assert point.is_file()
    said = cli(*words, "--steps", "9", "--json", "--overwrite")
    assert json.loads(said.out)["steps"] == [9]
    assert "continuing" in said.err
    said = cli(*words, "--steps", "9", "--seed", "1", "--overwrite")
    assert said.code == 1
    assert "another training" in said.complaints[0]


def test_several_images_train_one_model_and_go_to_a_folder(cli, plane, small, tmp_path):
    for number in range(2):
        tifffile.imwrite(tmp_path / f"cell{number}.tif", plane[number:])
    images = sorted(tmp_path.glob("*.tif"))
    said = cli("run", *images, "-o", tmp_path / "results", "--json", *small)
    assert said.code == 0, said.err
    paths = [Path(entry["path"]).name for entry in json.loads(said.out)["outputs"]]
    assert paths == ["cell0_denoised.ome.zarr", "cell1_denoised.ome.zarr"]
    assert open_volume(tmp_path / "results" / paths[1]).shape == (71, 80)


def test_one_channel_by_number_or_name_and_all_of_them(cli, plane, small, tmp_path):
    path = tmp_path / "two.ome.tif"
    names = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(path, np.stack([plane, plane[::-1]]), ome=True, metadata=names)
    for number, channel in enumerate(("1", "GFP")):
        out = tmp_path / f"{number}.ome.zarr"
        said = cli("run", path, "-o", out, "--channel", channel, *small)
        assert said.code == 0, said.err
        assert open_volume(out).axes.names == "YX"
    for channels, networks in (("each", 2), ("joint", 1)):
        model = tmp_path / f"{channels}.blindsound"
        cli("train", path, "-o", model, "--channels", channels, *small)
        assert len(load(model).methods) == networks
        out = tmp_path / f"{channels}.ome.zarr"
        assert cli("denoise", path, "-m", model, "-o", out).code == 0
        assert open_volume(out).channel_names == ("DAPI", "GFP")


def test_the_estimate_asked_for_is_stored_with_the_model(
    cli, recording, small, tmp_path
):
    path = tmp_path / "model.blindsound"
    cli("train", recording, "-o", path, "--estimate", "blended", *small)
    assert load(path).output == "blended"


def test_mean_of_the_eight_orientations(cli, recording, small, tmp_path):
    model, results = tmp_path / "m.blindsound", []
    assert cli("train", recording, "-o", model, *small).code == 0
    for name, options in [("one", []), ("eight", ["--turns"])]:
        place = tmp_path / f"{name}.ome.zarr"
        said = cli("denoise", recording, "-m", model, "-o", place, *options)
        assert said.code == 0, said.err
        results.append(zarr.open_group(place)["0"][:])
    assert results[0].shape == results[1].shape
    assert not np.allclose(*results)


def test_there_is_always_a_step_of_training(cli, recording, tmp_path):
    model = tmp_path / "model.blindsound"
    assert cli("train", recording, "-o", model, "--seconds", "1e-9").code == 0
    assert load(model).provenance["steps"] == [1]


@pytest.mark.skipif("BLINDSOUND_DATA" not in os.environ, reason="needs real images")
def test_a_folder_of_the_fmdd_data_set_is_one_image(cli, small, tmp_path):
    folder = Path(os.environ["BLINDSOUND_DATA"]) / "fmdd" / "Confocal_FISH"
    model = tmp_path / "fish.blindsound"
    said = cli("train", folder, "-o", model, "--json", *small)
    assert said.code == 0, said.err
    assert load(model).provenance["trained_on"][0]["axes"] == "TYX"
