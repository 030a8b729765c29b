"""A small honest denoiser: local, pooled, non-linear, joint over channels.

It looks 13 pixels far and has a pooling grid of 4, so that a halo too small, a tile off
the grid or a border reflected wrongly changes the result.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy.ndimage import correlate

KERNEL = np.add.outer(np.arange(5.0), np.arange(5.0) ** 2 / 3)
KERNEL /= KERNEL.sum()


@dataclass
class Pyramid:
    n_channels: int = 1
    halo: int = 16
    stride: int = 4
    bytes_per_pixel: int = 64
    revision: str = "pyramid-1"
    device: str = "cpu"
    most_pixels: int | None = None  # more than this is "out of memory"
    error: type[Exception] = MemoryError
    message: str = "no more"
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def core(self, padded, halo):
        n, _, height, width = padded.shape
        self.shapes.append(padded.shape)
        self.threads.add(threading.get_ident())
        if self.most_pixels and n * height * width > self.most_pixels:
            raise self.error(self.message)
        counts = padded.astype(np.float64)
        fine = _filter(counts)
        coarse = fine.reshape(*fine.shape[:2], height // 4, 4, width // 4, 4)
        coarse = _filter(coarse.max(axis=(3, 5)))
        out = 0.5 * fine + 0.5 * coarse.repeat(4, axis=2).repeat(4, axis=3)
        out = 0.75 * out + 0.25 * out.mean(axis=1, keepdims=True)
        return out[..., halo : height - halo, halo : width - halo].astype(np.float32)


def _filter(counts):
    return correlate(counts, KERNEL[None, None], mode="constant")


def whole(operator, planes):
    """Denoise (N, C, h, w) in one piece, padded by numpy, not by the package."""
    halo, stride = operator.halo, operator.stride
    height, width = planes.shape[-2:]
    pad = [
        (0, 0),
        (0, 0),
        (halo, halo - height % -stride),
        (halo, halo - width % -stride),
    ]
    mode = ["reflect" if n > 1 else "edge" for n in (height, width)]
    padded = np.pad(planes, [*pad[:3], (0, 0)], mode=mode[0])
    padded = np.pad(padded, [(0, 0)] * 3 + [pad[3]], mode=mode[1])
    return operator.core(padded, halo)[..., :height, :width]


@pytest.fixture(scope="session")
def pyramid():
    """The class, to be made with other limits or channels."""
    return Pyramid


@pytest.fixture(scope="session")
def denoise_whole():
    return whole


@pytest.fixture(scope="session")
def noisy():
    """Counts of a Poisson camera on a ramp, with a hot pixel here and there."""

    def make(shape, seed=0, dtype=np.uint16):
        rng = np.random.default_rng(seed)
        counts = rng.poisson(50, shape) + 100 + 10 * np.arange(shape[-1])
        counts.flat[:: 1 + counts.size // 3] = 4000
        return counts.astype(dtype)

    return make
