from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

import napari_blindsound


def test_importing_the_package_loads_nothing_heavy(run):
    code = """
import json, sys, time
start = time.perf_counter()
import napari_blindsound
seconds = time.perf_counter() - start
heavy = {"torch", "zarr", "tifffile", "dask", "numpy", "pydantic", "scipy", "napari"}
print(json.dumps([seconds, sorted(heavy & sys.modules.keys())]))
"""
    runs = [run(code) for _ in range(3)]
    assert runs[0][1] == []
    assert min(seconds for seconds, _ in runs) < 0.1


def test_opening_an_image_needs_no_torch(run):
    code = """
import json, sys
sys.modules["torch"] = None
import numpy as np
import napari_blindsound as nb
print(json.dumps(nb.open_volume(np.zeros((8, 9))).shape))
"""
    assert run(code) == [8, 9]


@pytest.mark.parametrize("name", napari_blindsound.__all__)
def test_public_names_are_there(name):
    assert name in dir(napari_blindsound)
    assert getattr(napari_blindsound, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'denoiser'"):
        _ = napari_blindsound.denoiser


def test_the_version_is_said_once():
    assert version("napari-blindsound") == napari_blindsound.__version__


def test_types_are_shipped():
    assert (Path(napari_blindsound.__file__).parent / "py.typed").exists()
