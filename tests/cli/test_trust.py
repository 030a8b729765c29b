from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

TESTS = ("blank test", "injection test", "dark regions", "intensities", "grid")


def test_verdicts_are_told_in_words_and_the_exit_code_is_0(cli, recording, model):
    said = cli("trust", recording, "--model", model)
    assert said.code == 0, said.err
    first = said.out.splitlines()[0]
    assert first.startswith(("FAIL: ", "WARN: "))  # 20 steps are no training
    assert all(f"  {test} " in said.out for test in TESTS)
    assert "Train longer" in said.out
    assert "testing cells.blindsound on cells" in said.err


def test_json_has_every_number(cli, recording, model):
    data = json.loads(cli("trust", recording, "-m", model, "--json", "-q").out)
    assert data["command"] == "trust"
    assert data["verdict"] in ("warn", "fail")
    [channel] = data["channels"]
    assert {f["test"] for f in channel["findings"]} >= set(TESTS)
    assert len(channel["blank"]["levels"]) == 5
    assert data["report"] is None
    assert data["ended"] == "done"


def test_the_seed_decides(cli, recording, model):
    words = ("trust", recording, "-m", model, "--json")
    first, same, other = (
        json.loads(cli(*words, "--seed", seed).out)["channels"] for seed in (1, 1, 2)
    )
    assert first == same
    assert first != other


@pytest.mark.parametrize("name", ["page.html", "page.png"])
def test_a_report_is_written_and_named(cli, recording, model, tmp_path, name):
    page = tmp_path / name
    said = cli("trust", recording, "--model", model, "-o", page)
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1] == f"report {page}"
    assert page.stat().st_size > 10_000
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_an_earlier_report_is_kept_unless_told(
    cli, refused, recording, model, tmp_path
):
    page = tmp_path / "page.html"
    page.write_text("mine")
    words = ("trust", recording, "-m", model, "-o", page)
    assert "--overwrite" in refused(*words)
    said = cli(*words, "--overwrite", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["report"] == str(page)
    assert page.read_text() != "mine"


def test_places_models_and_images_that_do_not_fit(
    refused, recording, model, plane, tmp_path
):
    words = ("trust", recording, "-m", model, "-o")
    assert ".html" in refused(*words, tmp_path / "page.txt")
    assert "make it first" in refused(*words, tmp_path / "none" / "page.html")
    assert "no model" in refused("trust", recording, "-m", tmp_path / "none.blindsound")
    assert "--seed -3" in refused("trust", recording, "-m", model, "--seed", "-3")
    two = tmp_path / "two.ome.tif"
    tifffile.imwrite(two, np.stack([plane] * 2), ome=True, metadata={"axes": "CYX"})
    assert "--channel" in refused("trust", two, "-m", model)
    tifffile.imwrite(tmp_path / "tiny.tif", plane[:10, :10])
    assert "10 x 10" in refused("trust", tmp_path / "tiny.tif", "-m", model)
    holed = plane.astype(np.float32)
    holed[40, 50] = np.nan
    tifffile.imwrite(tmp_path / "holed.tif", holed)
    assert "Y=40, X=50" in refused("trust", tmp_path / "holed.tif", "-m", model)


def test_another_estimate_is_another_result(cli, recording, model):
    ratios = []
    for words in ((), ("--estimate", "blind")):
        said = cli("trust", recording, "-m", model, "--json", *words)
        [channel] = json.loads(said.out)["channels"]
        ratios.append(channel["residual"]["identity_ratio"])
    assert ratios[0] > 0
    assert ratios[1] is None


def test_help(cli):
    said = cli("trust", "--help")
    assert "whether a model's results can be trusted" in " ".join(said.out.split())
    assert "trust" in cli("--help").out
