"""What README.md says is so."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tifffile

from napari_blindsound import methods
from napari_blindsound.cli import main
from napari_blindsound.images.phantom import phantom

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


@pytest.fixture
def cells(tmp_path):
    made = phantom("timelapse", size=64, frames=2)
    metadata = {"axes": "TYX"}
    tifffile.imwrite(
        tmp_path / "cells.ome.tif", made.noisy, ome=True, metadata=metadata
    )
    return tmp_path


def test_the_snippet_runs(cells, monkeypatch):
    [snippet] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    shortened = snippet.replace("seconds=60", "steps=5")
    assert shortened != snippet
    monkeypatch.chdir(cells)
    exec(shortened, {})
    made = {path.name for path in cells.iterdir()}
    written = {"cells.blindsound", "cells_denoised.ome.zarr", "report.html"}
    assert made == {"cells.ome.tif", *written}


def test_the_shell_lines_run(cells, monkeypatch):
    blindsound = shutil.which("blindsound", path=Path(sys.executable).parent)
    lines = re.findall(r"^\$ blindsound (.*)$", TEXT, re.MULTILINE)
    assert len(lines) == 2
    first, last = (line.replace("--seconds 60", "--steps 5").split() for line in lines)
    monkeypatch.chdir(cells)
    assert main([*first, "--quiet"]) == 0
    subprocess.run([blindsound, *last, "--quiet"], check=True)
    assert (cells / "cells_denoised.ome.zarr").is_dir()


def test_every_command_is_listed(capsys):
    for command in re.findall(r"^\| `blindsound (\w+)", TEXT, re.MULTILINE):
        assert main([command, "--help"]) == 0
        assert f"blindsound {command}" in capsys.readouterr().out
    main(["--help"])
    offered = re.findall(r"^│ ([a-z]+) ", capsys.readouterr().out, re.MULTILINE)
    assert set(offered) == set(re.findall(r"^\| `blindsound (\w+)", TEXT, re.MULTILINE))


def test_every_method_and_preset_is_in_the_table():
    for method in methods.available().values():
        assert f"[{method.title}]" in TEXT
        for preset in method.Config.presets:
            assert f"`{preset}`" in TEXT


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(name):
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / name).read_text())
    for link in links:
        assert "://" in link or (ROOT / link).exists(), link
