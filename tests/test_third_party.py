"""A method of somebody else: one file, by entry point or in the folder of methods."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

import napari_blindsound
from napari_blindsound import methods
from napari_blindsound.errors import ModelError
from napari_blindsound.images.phantom import phantom
from napari_blindsound.inference.denoiser import Denoiser

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "neighbor2neighbor.py"
GROUP = "napari_blindsound.methods"

BROKEN = """
from napari_blindsound.methods.base import Method
from neighbor2neighbor import Neighbor2Neighbor as Good

class Abstract(Method):
    name = "abstract"

class Taken(Good):
    name = "blind2unblind"

class NoPresets(Good):
    name = "no_presets"
    class Config(Good.Config):
        presets = {}

class Mute(Method):
    name = "mute"
    halo = stride = bytes_per_pixel = 1
    losses = denoise = None

number = 3
"""


def package(folder, name, points, **files):
    """Install a package by hand: its files, and the entry points it has."""
    info = folder / f"{name}-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1")
    lines = [f"{key} = {value}" for key, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines]))
    for file, text in files.items():
        (folder / f"{file}.py").write_text(text)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of packages with the example in it, as it stands."""
    return package(
        tmp_path_factory.mktemp("site"),
        "their-methods",
        {"n2n": "neighbor2neighbor:Neighbor2Neighbor"},
        neighbor2neighbor=EXAMPLE.read_text(),
    )


def python(*words, path, folder=ROOT):
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def commands(*lines, path, folder):
    """Run commands in one process, and return what each wrote, and all warnings."""
    code = (
        "import sys, json; from napari_blindsound.cli import main\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    assert main(words) == 0, words\n"
        "    print(chr(0))\n"
    )
    words = json.dumps([line.split() for line in lines])
    done = python("-W", "error", "-c", code, words, path=path, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\0\n")[:-1], done.stderr


@pytest.fixture(scope="module")
def used(site, tmp_path_factory):
    """What the command line did with it."""
    folder = tmp_path_factory.mktemp("used")
    tifffile.imwrite(folder / "a.tif", phantom("2d", size=64).noisy)
    size = "--steps 20 --width 4 --depth 1 --patch 32 --quiet"
    told, warnings = commands(
        "methods --json",
        "methods --markdown",
        "train --method neighbor2neighbor --help",
        f"train a.tif -o m.blindsound --method neighbor2neighbor {size}",
        "denoise a.tif -m m.blindsound -o out.ome.tif --json --quiet",
        path=site,
        folder=folder,
    )
    assert "blindsound: " not in warnings
    return folder, told


def test_the_command_line_offers_it(used):
    _, (listed, table, options, *_) = used
    names = {one["name"]: one for one in json.loads(listed)["methods"]}
    assert names["neighbor2neighbor"]["package"] == "their-methods 0.1"
    assert next(iter(names)) == methods.DEFAULT
    assert set(names) == {*methods.available(), "neighbor2neighbor"}
    assert "| Neighbor2Neighbor (`neighbor2neighbor`; Huang et al." in table
    assert "--gamma" in options


def test_it_trains_and_denoises(used):
    folder, told = used
    assert json.loads(told[-1])["outputs"][0]["path"].endswith("out.ome.tif")
    denoised = tifffile.imread(folder / "out.ome.tif")
    assert denoised.shape == (64, 64)
    assert np.isfinite(denoised).all()


def test_its_model_says_what_is_missing_where_it_is_not_installed(used):
    path = used[0] / "m.blindsound"
    assert "neighbor2neighbor" not in methods.available()
    with pytest.raises(ModelError) as caught:
        Denoiser.load(path)
    assert str(caught.value) == (
        f"{path} was trained with the method neighbor2neighbor, which is not here: "
        f"install their-methods 0.1, or train again with "
        f"{' or '.join(methods.available())}"
    )


def test_it_keeps_the_contract_of_all_methods(site):
    words = ("tests/methods/test_contract.py", "-k", "neighbor2neighbor", "-q")
    done = python("-m", "pytest", "-p", "no:cacheprovider", *words, path=site)
    assert done.returncode == 0, done.stdout
    assert "test_stops_within_a_second" not in done.stdout.partition("short test")[2]
    assert int(done.stdout.split(" passed")[0].split()[-1]) >= 20


def test_in_the_folder_of_methods_it_needs_no_entry_point(tmp_path):
    source = Path(napari_blindsound.__file__).parent
    copy = tmp_path / "napari_blindsound"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(EXAMPLE, copy / "methods")
    [listed], warnings = commands("methods --json", path=tmp_path, folder=tmp_path)
    names = {one["name"]: one for one in json.loads(listed)["methods"]}
    assert names["neighbor2neighbor"]["package"] == ""
    assert warnings == ""


def test_what_is_broken_is_said_once_and_the_rest_works(site, tmp_path):
    others = package(
        tmp_path,
        "broken",
        {
            "gone": "no_such_module:Gone",
            "torn": "torn:Torn",
            "number": "broken:number",
            "abstract": "broken:Abstract",
            "taken": "broken:Taken",
            "mute": "broken:Mute",
            "empty": "broken:NoPresets",
        },
        broken=BROKEN,
        torn="1 / 0",
    )
    path = os.pathsep.join([str(site), str(others)])
    told, warnings = commands("methods --json", "methods --json", path=path, folder=".")
    assert told[0] == told[1]
    names = {one["name"] for one in json.loads(told[0])["methods"]}
    assert names == {*methods.available(), "neighbor2neighbor"}
    lines = dict(
        line.removeprefix("blindsound: the method ").split(" ", 1)
        for line in warnings.splitlines()
    )
    assert len(warnings.splitlines()) == len(lines) == 7
    assert all("of broken (" in line and "left out" in line for line in lines.values())
    assert "No module named 'no_such_module'" in lines["gone"]
    assert "ZeroDivisionError" in lines["torn"]
    assert "no class derived from" in lines["number"]
    assert "does not define bytes_per_pixel" in lines["abstract"]
    assert "blind2unblind is taken by napari_blindsound." in lines["taken"]
    assert "does not say its title, reference, assumes" in lines["mute"]
    assert "no preset" in lines["empty"]


def test_a_class_of_this_process_can_be_added():
    with pytest.raises(ValueError, match="no class derived from"):
        methods.add(int)
    with pytest.raises(ValueError, match="is taken by"):
        methods.add(methods.find(methods.DEFAULT))
