"""The command line, in this process or another, and small images for it."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass

import numpy as np
import pytest
import tifffile
import torch

from napari_blindsound.cli import main
from napari_blindsound.images.phantom import phantom

SMALL = ("--steps", "20", "--width", "4", "--depth", "2")


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def complaints(self):
        """Lines on stderr that are not progress."""
        return [line for line in self.err.splitlines() if line.startswith("blindsound")]


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Threads of a small network mostly wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cli(capsys):
    """Run the command in this process."""

    def run(*words):
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run


def tree(folder):
    """All files below a folder, and what is in them."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else ""
        for path in folder.rglob("*")
    }


def pixels(store):
    """All files of an OME-Zarr that hold pixels, and what is in them."""
    files = {name: what for name, what in tree(store).items() if "/c" in name and what}
    assert files
    return files


@pytest.fixture
def refused(cli, tmp_path):
    """Run the command, which must fail in one sentence and change no file."""

    def run(*words, code=1):
        before = tree(tmp_path)
        said = cli(*words)
        assert said.code == code, said.err
        assert said.out == ""
        assert len(said.complaints) == 1, said.err
        assert "Traceback" not in said.err
        assert tree(tmp_path) == before
        return said.complaints[0]

    return run


class Process:
    """The command in a process of its own, with its stderr read as it comes."""

    def __init__(self, words, folder, prefix=()):
        command = [sys.executable, "-m", "napari_blindsound.cli", *map(str, words)]
        self._process = subprocess.Popen(
            [*prefix, *command],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self._lines, self._came = [], threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._process.stderr:
            with self._came:
                self._lines.append(line)
                self._came.notify_all()

    def wait_for(self, text, seconds=60):
        with self._came:
            assert self._came.wait_for(
                lambda: any(text in line for line in self._lines), seconds
            ), self._lines

    def signal(self, number=signal.SIGINT):
        self._process.send_signal(number)

    def done(self, seconds=60):
        out = self._process.stdout.read()
        code = self._process.wait(seconds)
        self._reader.join(seconds)
        self._process.stdout.close()
        self._process.stderr.close()
        return Said(code, out, "".join(self._lines))


@pytest.fixture
def spawn(tmp_path):
    """Start the command in a process of its own."""
    started = []

    def start(*words, prefix=()):
        started.append(Process(words, tmp_path, prefix))
        return started[-1]

    yield start
    for process in started:
        process._process.kill()


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="session")
def recording(session_folder):
    """An ImageJ hyperstack, TYX, 4 frames of 72 x 80 pixels, with scale and units."""
    path = session_folder / "cells.tif"
    noisy = phantom("timelapse", size=80, frames=4, seed=1).noisy[:, :72]
    tifffile.imwrite(
        path,
        noisy,
        imagej=True,
        resolution=(1 / 0.108, 1 / 0.216),
        metadata={"axes": "TYX", "unit": "um", "finterval": 2.5},
    )
    return path


@pytest.fixture(scope="session")
def model(session_folder, recording):
    """A model of one channel, trained a little."""
    path = session_folder / "cells.blindsound"
    assert main(["train", str(recording), "-o", str(path), "-q", *SMALL]) == 0
    return path


@pytest.fixture
def small():
    """Options of a training that takes no time."""
    return SMALL


@pytest.fixture
def plane(recording):
    """One frame of the recording, uint16 (72, 80)."""
    return np.array(tifffile.imread(recording)[0])
