from __future__ import annotations

import json

import pytest
from tests.networks.filters import member, save

from napari_blindsound import load
from napari_blindsound.networks.family import family
from napari_blindsound.training import start

SMALL = ("--steps", "4", "--width", "4", "--depth", "2", "--patch", "32")


@pytest.fixture
def known(tmp_path_factory, monkeypatch):
    """A family that fits small networks."""
    folder = tmp_path_factory.mktemp("family")
    save(member(), folder)
    monkeypatch.setattr(start, "family", lambda _: family(folder))


def test_tells_what_it_started_from(cli, known, recording, tmp_path):
    path = tmp_path / "m.blindsound"
    said = cli("train", recording, "-o", path, "--start", "warm", *SMALL)
    assert said.code == 0, said.err
    line = next(
        line for line in said.out.splitlines() if line.strip().startswith("start")
    )
    assert "from weights that synthetic images taught (width4)" in line
    origin = load(path).provenance
    assert origin["started_from"] == ["width4"]
    assert origin["recipe"]["settings"]["start"] == "warm"


def test_a_cold_start_is_asked_for_and_repeated(cli, known, recording, tmp_path):
    path = tmp_path / "m.blindsound"
    said = cli("train", recording, "-o", path, "--start", "cold", "--json", *SMALL)
    assert said.code == 0, said.err
    data = json.loads(said.out)
    assert data["started_from"] == []
    assert "--start cold" in data["repeat"]


def test_says_why_there_is_no_better_start(cli, recording, tmp_path):
    path = tmp_path / "m.blindsound"
    said = cli("train", recording, "-o", path, "--json", *SMALL)
    [words] = json.loads(said.out)["start"]
    assert words.startswith("the training starts from random weights")
