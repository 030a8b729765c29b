"""The phantom's nuclei: shape, chromatin, motion.

A nucleus is drawn once in a frame of its own and turned and moved into the specimen,
which is a pile of thin slabs. Lengths are pixels, depths are slabs, times are frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Slabs = NDArray[np.float32]

SLABS = 17
MIDDLE = (SLABS - 1) / 2
USUAL_RADIUS = 45.0
_MITOTIC = 0.06


@dataclass(frozen=True)
class Nucleus:
    """Density of a nucleus in its own frame, and how it moves."""

    voxels: Slabs
    center: Floats
    angle: float
    velocity: Floats
    spin: float


def make_nucleus(rng: np.random.Generator, center: Floats, radius: float) -> Nucleus:
    """Draw a nucleus: an uneven ellipsoid with chromatin, nucleoli and bright spots.

    Parameters
    ----------
    rng
        Where shape and texture come from. A few nuclei are in mitosis: a bright plate.
    center
        Row and column at frame 0, pixels.
    radius
        Typical radius, pixels.
    """
    mitotic = bool(rng.random() < _MITOTIC)
    long, short = radius * rng.uniform(0.85, 1.15), rng.uniform(0.68, 0.95)
    thick = rng.uniform(4.0, 5.5)
    if mitotic:
        long, short, thick = 0.85 * radius, rng.uniform(0.25, 0.35), 3.5
    reach = int(1.35 * radius) + 2
    grid = np.arange(-reach, reach + 1, dtype=np.float64)
    y, x = np.meshgrid(grid / (long * short), grid / long, indexing="ij")
    z = (np.arange(SLABS) - MIDDLE - rng.normal(0, 0.8)) / thick
    theta = np.arctan2(y, x)
    outline = np.ones_like(theta)
    for order in (2, 3, 4, 5):
        bump = rng.normal(0, 0.09 / order)
        outline += bump * np.cos(order * theta + rng.uniform(0, 2 * np.pi))
    depth = np.hypot(np.hypot(y, x) / outline, z[:, None, None])
    inside = 0.5 - 0.5 * np.tanh((depth - 1) * radius / 4)
    texture = _chromatin(rng, inside.shape, radius, mitotic=mitotic)
    rim = 1 + 0.45 * np.exp(-(((depth - 0.93) / 0.07) ** 2))
    voxels = inside * texture * (1.0 if mitotic else rim)
    voxels *= rng.lognormal(0.0, 0.22) * (2.6 if mitotic else 1.0)
    return Nucleus(
        voxels.astype(np.float32),
        center,
        float(rng.uniform(0, 2 * np.pi)),
        rng.normal(0, 0.35, 2) * radius / USUAL_RADIUS,
        float(rng.normal(0, 0.012)),
    )


def _chromatin(
    rng: np.random.Generator, shape: tuple[int, ...], radius: float, *, mitotic: bool
) -> Floats:
    unit = radius / USUAL_RADIUS
    fine = _grain(rng, shape, (0.8, 1.9 * unit, 1.9 * unit))
    coarse = _grain(rng, shape, (1.6, 6.5 * unit, 6.5 * unit))
    texture = np.exp(0.55 * fine + 0.30 * coarse)
    for spot in range(0 if mitotic else int(rng.integers(9, 17))):
        at = rng.normal(0, 0.36, 2) * radius + shape[1] // 2
        height = MIDDLE + rng.normal(0, 2.0)
        if spot < 3:
            width = radius * rng.uniform(0.11, 0.17)
            window, blob = _blob(shape, (height, *at), (3.0, width, width))
            texture[window] *= 1 - 0.8 * np.minimum(1.0, 1.6 * blob)
        else:
            width = radius * rng.uniform(0.035, 0.07)
            window, blob = _blob(shape, (height, *at), (1.2, width, width))
            texture[window] += rng.uniform(0.7, 2.2) * blob
    return texture


def _blob(
    shape: tuple[int, ...], center: Sequence[float], widths: Sequence[float]
) -> tuple[tuple[slice, ...], Floats]:
    """Gaussian of height 1, and the window of the array that it fills."""
    window, profiles = [], []
    for size, middle, width in zip(shape, center, widths, strict=True):
        low = min(max(0, int(middle - 3.5 * width)), size)
        high = max(min(size, int(middle + 3.5 * width) + 2), low)
        window.append(slice(low, high))
        profiles.append(np.exp(-(((np.arange(low, high) - middle) / width) ** 2) / 2))
    z, y, x = profiles
    return tuple(window), z[:, None, None] * y[:, None] * x


def _grain(
    rng: np.random.Generator, shape: tuple[int, ...], sigma: tuple[float, ...]
) -> Floats:
    """Smooth random field of unit variance."""
    noise = rng.normal(size=shape)
    field: Floats = gaussian_filter(noise, sigma, mode="wrap", truncate=3.0)
    field /= field.std()
    return field


def paint_nucleus(slabs: Slabs, nucleus: Nucleus, frame: int, weight: float) -> None:
    """Add a nucleus to slabs, moved and turned, where it lies inside the field."""
    size, reach = slabs.shape[-1], nucleus.voxels.shape[-1] // 2
    center = nucleus.center + frame * nucleus.velocity
    low = np.maximum(0, np.floor(center - reach)).astype(int)
    high = np.minimum(size, np.ceil(center + reach)).astype(int)
    if (low >= high).any():
        return
    angle = nucleus.angle + frame * nucleus.spin
    y = np.arange(low[0], high[0])[:, None] - center[0]
    x = np.arange(low[1], high[1])[None] - center[1]
    turned = (
        np.cos(angle) * y - np.sin(angle) * x + reach,
        np.sin(angle) * y + np.cos(angle) * x + reach,
    )
    for slab, voxels in zip(slabs, nucleus.voxels, strict=True):
        if voxels.max() > 1e-3:
            light = map_coordinates(voxels, turned, order=1)
            slab[low[0] : high[0], low[1] : high[1]] += np.float32(weight) * light
