from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from napari_blindsound import load, open_volume
from napari_blindsound.cli import picture


@pytest.fixture(scope="module")
def demo_folder(session_folder):
    return session_folder / "demo"


def test_demo_gains_and_says_where_things_lie(cli, demo_folder):
    # A second one replaces the first.
    words = ("--steps", "120", "--size", "96", "--json")
    for _ in range(2):
        said = cli("demo", "-o", demo_folder, *words)
        assert said.code == 0, said.err
    data = json.loads(said.out)
    assert data["psnr_denoised"] > data["psnr_noisy"] + 3
    assert {path.name for path in demo_folder.iterdir()} == {
        "noisy.ome.tif",
        "truth.ome.tif",
        "model.blindsound",
        "denoised.ome.zarr",
        "before_after.png",
    }
    volumes = [open_volume(data["files"][name]) for name in ("noisy", "denoised")]
    assert volumes[0].axes == volumes[1].axes
    assert volumes[0].axes[0].unit == "second"
    assert load(data["files"]["model"]).provenance["steps"] == [120]
    assert str(demo_folder) in said.err
    with Image.open(data["files"]["picture"]) as drawn:
        pixels = np.asarray(drawn.convert("L"))
    assert pixels.shape[0] > 1000
    assert pixels.shape[1] > 1500
    thirds = np.array_split(pixels[70:570], 3, axis=1)
    assert all(third.std() > 10 for third in thirds)


def test_demo_tells_people_the_gain(cli, tmp_path):
    words = ("--steps", "2", "--size", "64")
    said = cli("demo", "-o", tmp_path / "demo", *words)
    assert "compared with the truth" in said.out
    assert "dB" in said.out
    assert "before_after.png" in said.out


def test_demo_leaves_the_folders_of_others_alone(refused, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    assert "thesis.tex" in refused("demo", "-o", tmp_path)


def test_panels_share_the_contrast_of_the_reference():
    reference = np.tile(np.linspace(100, 200, 64), (64, 1))
    dark = picture.Panel("a", "", np.zeros((64, 64)))
    bright = picture.Panel("b", "", np.full((64, 64), 1000))
    drawn = picture.draw([dark, bright], reference, 0.1, "caption")
    pixels = np.asarray(drawn.convert("L"))
    assert pixels[700:720, 30:500].max() == 0
    assert pixels[700:720, 560:1000].min() == 255


def test_doctor_really_runs(cli):
    said = cli("doctor", "--json")
    data = json.loads(said.out)
    assert said.code == 0, said.out
    assert data["ready"] is True
    assert data["trial"]["error_after"] < data["trial"]["error_before"]
    assert {"python", "torch", "napari", "Qt", "devices", "memory"} <= data[
        "facts"
    ].keys()


def test_doctor_says_what_is_wrong(cli):
    said = cli("doctor", "--device", "cuda:99")
    assert said.code == 1
    assert "NOT READY" in said.out
    assert "no device 'cuda:99'" in said.out
