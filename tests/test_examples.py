from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name, *words, folder):
    """Run an example in this process, which has imported most of it already."""
    before, told = sys.argv, io.StringIO()
    sys.argv = [name, *map(str, words)]
    try:
        with contextlib.chdir(folder), contextlib.redirect_stdout(told):
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    finally:
        sys.argv = before
    return told.getvalue()


def process(name, *words, folder, warnings="error"):
    """Run one that would leave something behind, or starts processes itself."""
    done = subprocess.run(
        [sys.executable, "-W", warnings, EXAMPLES / name, *map(str, words)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    length = ("--steps", 200, "--size", 96, "--seconds", 1000)
    told = example("train_and_apply.py", *length, folder=folder)
    return folder, told


def frames(path):
    """Two, as the model may look at the frames before and after."""
    pixels = np.full((2, 64, 48), 120, np.uint16)
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "TYX"})


def test_train_and_apply(trained):
    folder, told = trained
    noisy, denoised = (float(line.split()[1]) for line in told.splitlines()[:2])
    assert denoised > noisy + 8
    picture = np.asarray(Image.open(folder / "before_after.png"))
    assert picture.shape == (96, 3 * 96)
    assert picture.std() > 20


def test_lazy_zarr(tmp_path):
    told = example("lazy_zarr.py", "--steps", 10, "--size", 64, folder=tmp_path)
    everything, plane = told.splitlines()
    assert everything == "ZYX (16, 64, 64): 16 blocks"
    assert plane.startswith("middle plane: 1 blocks")
    assert list(tmp_path.iterdir()) == []


def test_lazy_with_a_model_that_was_saved(trained, tmp_path):
    folder, _ = trained
    frames(tmp_path / "frames.tif")
    model = folder / "before_after.blindsound"
    told = example("lazy_zarr.py", "frames.tif", "--model", model, folder=tmp_path)
    assert told.startswith("TYX (2, 64, 48): 2 blocks")


def test_neighbor2neighbor(tmp_path):
    # By steps alone, or a slow machine would end elsewhere.
    length = ("--steps", 200, "--size", 96, "--seconds", 1000)
    told = process("neighbor2neighbor.py", *length, folder=tmp_path)
    noisy, denoised = (float(line.split()[1]) for line in told.splitlines())
    assert denoised > noisy + 4
    assert list(tmp_path.iterdir()) == []


def test_batch(tmp_path):
    told = example("batch.py", "--steps", 3, "--size", 64, folder=tmp_path)
    assert [line.split()[0] for line in told.splitlines()[:4]] == [
        *("failed", "done", "done", "done")
    ]
    assert list(tmp_path.iterdir()) == []


def test_cluster(tmp_path):
    pytest.importorskip("distributed")
    told = process("cluster.py", folder=tmp_path)
    *steps, last = told.splitlines()
    assert last == "2 workers: (8, 96, 96)"
    assert steps[-1] == "100%  complete"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ),
    reason="no display, and Xvfb is not installed",
)
def test_lazy_layer_in_napari(trained, tmp_path):
    pytest.importorskip("napari")
    frames(tmp_path / "frames.tif")
    words = ["--model", trained[0] / "before_after.blindsound", "--close-after", 5]
    words = ["frames.tif", *words]
    # napari and what it brings along warn when they are imported.
    options = {"folder": tmp_path, "warnings": "default"}
    told = process("lazy_layer_in_napari.py", *words, **options)
    assert "frames.tif denoised: dask.array<blindsound-" in told
    assert told.splitlines()[-1] == "0 tiles left"


def test_every_example_is_run():
    tests = Path(__file__).read_text()
    for script in EXAMPLES.glob("*.py"):
        assert re.search(rf'(example|process)\("{script.name}"', tests)
