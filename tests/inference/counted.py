"""A denoiser that takes note of each time it is unpickled; processes import it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np


class Counted:
    halo, stride, n_channels, bytes_per_pixel, device = 4, 2, 1, 8, "cpu"

    def __init__(self, notes, revision="counted-1"):
        self.notes, self.revision = notes, revision

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._note("unpickled")

    def core(self, padded, halo):
        self._note("core")
        time.sleep(0.002)
        core = padded[..., halo:-halo, halo:-halo]
        return (2 * core + len(self.revision)).astype(np.float32)

    def _note(self, what):
        name = f"{what}-{os.getpid()}-{threading.get_ident()}-{time.monotonic_ns()}"
        (Path(self.notes) / name).touch()


def noted(folder, what):
    """How often in each process."""
    counts = {}
    for note in Path(folder).iterdir():
        kind, process, *_ = note.name.split("-")
        if kind == what and int(process) != os.getpid():
            counts[process] = counts.get(process, 0) + 1
    return counts


def plus(block, number):
    return block + number
