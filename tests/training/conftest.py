from __future__ import annotations

import numpy as np
import pytest

from napari_blindsound.images.axes import Axes
from napari_blindsound.images.volume import Volume


def make_volume(array: np.ndarray, axes: str) -> Volume:
    return Volume((array,), Axes.parse(axes), "test")


@pytest.fixture
def stack() -> Volume:
    """Five smooth frames with Poisson noise, uint16."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :80]
    clean = [200 + 100 * np.sin(y / 9 + t) * np.cos(x / 7) for t in range(5)]
    return make_volume(rng.poisson(clean).astype(np.uint16), "TYX")
