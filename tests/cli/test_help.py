from __future__ import annotations

import json
import subprocess
import sys

import pytest

from napari_blindsound import __version__, methods

HEAVY = ("torch", "zarr", "tifffile", "scipy", "dask", "numpy")
COMMANDS = (
    "demo", "run", "train", "denoise", "batch", "repeat", "inspect", "methods",
    "doctor", "trust",
)  # fmt: skip


def test_overview_names_every_command_and_imports_nothing_heavy():
    code = (
        "import sys; from napari_blindsound.cli import main; code = main(['--help']);"
        f"print(code, [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("0 []\n")
    assert all(f" {name} " in done.stdout for name in COMMANDS)
    assert done.stderr == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_explained(cli, command):
    said = cli(command, "--help")
    assert said.code == 0
    text = _unframed(said.out)
    assert f"Usage: blindsound {command}" in text
    assert "--json Write the results" in text
    assert "Options." not in text


@pytest.mark.parametrize("name", methods.available())
@pytest.mark.parametrize("command", ["run", "train"])
def test_a_method_lists_its_own_settings_bounds_and_presets(cli, command, name):
    said = cli(command, "--method", name, "--help")
    text = _unframed(said.out)
    config = methods.find(name).Config
    for field, info in config.model_fields.items():
        assert f"--{field.replace('_', '-')}" in text
        if field != "steps":
            start = info.description
            assert f"{start[:1].upper()}{start[1:]}"[:30] in text
    for preset in config.presets:
        assert f"{preset} {config.preset(preset).steps}" in text


def test_unknown_words_are_refused_with_code_2(refused):
    assert "Did you mean --width" in refused(
        "train", "x", "-o", "y", "--widht", "3", code=2
    )
    assert "Did you mean" in refused("trian", code=2)
    assert "blindsound train --help" in refused("train", "x", code=2)
    assert "Choose from" in refused("train", "x", "-o", "y", "--method", "z", code=2)
    assert "int" in refused("train", "x", "-o", "y", "--steps", "few", code=2)


def test_a_part_is_one_word(cli):
    text = _unframed(cli("denoise", "--help").out)
    assert "--part NUMBER/COUNT" in text
    assert "--part.number" not in text


def test_version(cli):
    assert cli("--version").out.strip() == __version__


def test_methods_are_listed_from_the_registry(cli):
    said = cli("methods")
    for name, method in methods.available().items():
        assert name in said.out
        assert method.reference in said.out
    listed = json.loads(cli("methods", "--json").out)["methods"]
    assert [entry["name"] for entry in listed] == list(methods.available())
    assert listed[0]["presets"]["fast"]["width"] == 8


def _unframed(text):
    """Help as running text, without the boxes around it."""
    return " ".join(text.replace("│", " ").split())
