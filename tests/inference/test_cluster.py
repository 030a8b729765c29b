"""Real processes: a local cluster of two, killed, lost and misfitting ones."""

from __future__ import annotations

import logging
import os
import platform
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest

from napari_blindsound.errors import ClusterError, OutputError
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import phantom
from napari_blindsound.inference import dealing
from napari_blindsound.inference.cluster import Cluster, started
from napari_blindsound.inference.resume import resumable
from napari_blindsound.inference.store import WriteConfig, write
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.threads import each_fixed
from napari_blindsound.training.trainer import TrainConfig

pytest.importorskip("distributed")

SMALL = WriteConfig(chunk=32, shard=64)
FORMATS = ["out.ome.zarr", "out.ome.tif"]


def contents(path):
    """All files of a result, byte by byte."""
    if path.is_file():
        return path.read_bytes()
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return {str(p.relative_to(path)): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "cells.npy"
    np.save(path, np.random.default_rng(0).poisson(90, (24, 150, 130)).astype("u2"))
    return path


@pytest.fixture
def volume(source):
    return open_volume(source, axes="ZYX")


@pytest.fixture(scope="module")
def denoiser():
    """A real model, of which processes of their own can make a copy."""
    settings = {"width": 4, "depth": 2}
    recipe = Recipe(settings=settings, train=TrainConfig(steps=2, threads=1))
    training = Training([phantom("2d", size=64, seed=1).volume()], recipe)
    for _ in training.run():
        pass
    training.close()
    return training.denoiser()


@pytest.fixture(scope="module")
def workers():
    with started(Cluster(workers=2)) as found:
        yield found


@pytest.fixture(scope="module")
def alone(source, denoiser, tmp_path_factory):
    """What one process writes with one thread."""
    folder = tmp_path_factory.mktemp("alone")
    image, made = open_volume(source, axes="ZYX"), {}
    for name in FORMATS:
        events = write(denoiser, image, folder / name, SMALL)
        *_, made[name] = each_fixed(events, 1)
    return {name: (event, contents(event.path)) for name, event in made.items()}


@pytest.mark.parametrize("name", FORMATS)
def test_two_workers_give_the_same_bytes(
    name, workers, denoiser, volume, alone, tmp_path
):
    first, *_, last = write(
        denoiser, volume, tmp_path / name, SMALL, scheduler=workers
    )
    assert first.message == "denoising"
    reference, expected = alone[name]
    assert contents(last.path) == expected
    assert (last.mean_in, last.mean_out) == (reference.mean_in, reference.mean_out)
    assert [p.name for p in tmp_path.iterdir()] == [name]
