"""Numbers that a training finds of the noise, wherever they are told."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from napari_blindsound.api import train
from napari_blindsound.cli import main
from napari_blindsound.images.phantom import phantom
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.quality.report import report
from napari_blindsound.quality.trust import trust
from napari_blindsound.wording import found

SMALL = {"width": 4, "depth": 1, "patch": 32}
NAME = "noise, at most"


@pytest.fixture(scope="module")
def volume():
    return phantom("2d", size=96, channels=2, photons=20, seed=3).volume()


@pytest.fixture(scope="module")
def model(volume):
    """One network for each of two channels."""
    return train(volume, method="noise2info", steps=40, settings=SMALL, device="cpu")


@pytest.mark.parametrize(
    ("numbers", "channels", "words"),
    [
        ([], ["DNA"], ""),
        ([{}], ["DNA"], ""),
        ([{NAME: 12.34}], [], "noise, at most 12.3 (in counts)"),
        ([{"gain": 2, "b": 3.1}], ["DNA"], "gain 2, b 3.1 (in counts)"),
        ([{"a": 1}, {"a": 2}], ["DNA", "actin"], "DNA: a 1; actin: a 2 (in counts)"),
        ([{}, {"a": 2}], [], "1: a 2 (in counts)"),
    ],
)
def test_in_words(numbers, channels, words):
    origin = {"found": numbers, "trained_on": [{"channels": channels}]}
    assert found(origin) == words
    if not numbers:
        assert found({}) == words


def test_a_model_keeps_them_for_each_network(model, volume, tmp_path):
    clean = phantom("2d", size=96, channels=2, photons=20, seed=3).clean
    true = np.sqrt(((volume.levels[0] - clean.astype(float)) ** 2).mean((1, 2)))
    numbers = model.provenance["found"]
    assert [list(one) for one in numbers] == [[NAME], [NAME]]
    for one, level in zip(numbers, true, strict=True):
        assert 0.9 * level < one[NAME] < 5 * level
    again = Denoiser.load(model.save(tmp_path / "a.blindsound"))
    assert again.provenance["found"] == numbers


def test_methods_that_find_nothing_have_the_provenance_they_had(volume):
    made = train(volume, steps=1, settings=SMALL, device="cpu")
    assert not {"found", "package"} & set(made.provenance)


def test_the_command_line_tells_them(tmp_path, capsys):
    image, size = tmp_path / "a.tif", ["--width", "4", "--depth", "1", "--patch", "32"]
    tifffile.imwrite(image, phantom("2d", size=64).noisy)
    words = ["train", str(image), "--method", "noise2info", "--steps", "40", *size]
    assert main([*words, "-o", str(tmp_path / "a.blindsound")]) == 0
    lines = capsys.readouterr().out.splitlines()
    [row] = [line.split(None, 1)[1] for line in lines if line.strip()[:5] == "found"]
    assert main([*words, "-o", str(tmp_path / "b.blindsound"), "--json"]) == 0
    [numbers] = json.loads(capsys.readouterr().out)["found"]
    assert row == f"{NAME} {numbers[NAME]:.3g} (in counts)"


def test_the_report_tells_them(model, volume, tmp_path):
    path = report(trust(model, volume), model, volume, tmp_path / "page.html")
    assert f"found in training: {found(model.provenance)}" in path.read_text()
