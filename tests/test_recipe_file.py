"""Recipe files, written and read: TOML, and the YAML of earlier versions."""

from __future__ import annotations

import tomllib

import pytest

from napari_blindsound.errors import OutputError, RecipeError
from napari_blindsound.recipe_file import read_recipe, write_recipe

DATA = {
    "inputs": ["/data/a b.tif", 'C:\\data\\"x".tif', "/data/µm.tif"],
    "axes": "TZYX",
    "times": [0, 10],
    "overwrite": False,
    "blend": 0.25,
    "recipe": {"train": {"steps": 12, "seconds": 1e-05}, "settings": {"width": 4}},
}


@pytest.mark.parametrize("name", ["r.toml", "r.yaml", "r.yml", "R.TOML"])
def test_what_is_written_is_read(tmp_path, name):
    path = write_recipe(tmp_path / name, DATA, "blindsound run 'a b.tif'")
    assert read_recipe(path) == DATA
    assert "#   blindsound run 'a b.tif'" in path.read_text(encoding="utf-8")


def test_toml_is_toml_and_has_no_word_for_none(tmp_path):
    data = {**DATA, "model": None, "deep": {"a": None, "b": [1, None]}}
    path = write_recipe(tmp_path / "r.toml", data, "two\nlines")
    assert tomllib.loads(path.read_text()) == {**DATA, "deep": {"b": [1]}}
    assert "two" not in path.read_text()


@pytest.mark.parametrize("text", ["", "just words", "a: [", "[a\n", "a = 1 2", "- 3"])
@pytest.mark.parametrize("name", ["r.toml", "r.yaml"])
def test_what_is_no_recipe_is_refused(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"r\.\w+ is not a recipe file") as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read_or_written_is_said(tmp_path):
    path = tmp_path / "none" / "r.toml"
    with pytest.raises(RecipeError, match="check the path"):
        read_recipe(path)
    with pytest.raises(OutputError, match=r"cannot write .*r.toml"):
        write_recipe(path, DATA, "")
    path = tmp_path / "bytes.toml"
    path.write_bytes(b"\xff\xfe\0")
    with pytest.raises(RecipeError, match="not a recipe file"):
        read_recipe(path)
