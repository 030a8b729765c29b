"""Pictures that all tests of the room share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def real_data():
    if "BLINDSOUND_DATA" not in os.environ:
        pytest.skip("BLINDSOUND_DATA does not name the folder of real images")
    return Path(os.environ["BLINDSOUND_DATA"])


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def hyperstack(rng):
    """Counts of a small two-channel movie of stacks, TZCYX."""
    return rng.integers(0, 60_000, (3, 4, 2, 30, 45)).astype(np.uint16)
