"""Clean scenes of many kinds, drawn at random, that networks are trained on beforehand.

What a fluorescence image may hold: nuclei, filaments, puncta, membranes, tissue, haze
and flat fields, in any mixture, sharpness and brightness. Nothing in them was measured.
The cells of :mod:`napari_blindsound.images.phantom` are one kind among the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from napari_blindsound.images.phantom import phantom

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Plane = NDArray[np.float32]
    Random = np.random.Generator


def draw_scene(rng: Random, size: int) -> Plane:
    """One scene of light, (size, size) float32, at least 0 and about 1 where bright."""
    count = rng.integers(1, 4)
    chosen = rng.choice(len(KINDS), size=count, replace=False, p=CHANCES)
    kinds = list(KINDS.values())
    weights = rng.dirichlet(np.ones(count))
    light = sum(
        weight * unit(kinds[kind](rng, size))
        for kind, weight in zip(chosen, weights, strict=True)
    )
    if rng.random() < 0.5:
        light = light * (1 - rng.uniform(0, 0.8) * unit(haze(rng, size)))
    light = light + rng.uniform(0, 0.4) * rng.random() * unit(haze(rng, size))
    if rng.random() < 0.85:
        light = gaussian_filter(light, rng.uniform(0.4, 1.8))
    light = unit(light) ** rng.uniform(0.7, 1.8)
    dark = 10 ** rng.uniform(-2.5, -0.5)
    return np.float32(dark + (1 - dark) * light)


def unit(light: NDArray[np.floating]) -> Plane:
    """From 0 to about 1."""
    low, high = np.percentile(light, [0.1, 99.9])
    return np.float32(np.maximum(light - low, 0) / max(high - low, 1e-6))


def grain(rng: Random, size: int, scale: float) -> Plane:
    """Smooth random field of mean 0 and deviation 1, with a correlation length."""
    field = gaussian_filter(rng.standard_normal((size, size)), scale, mode="wrap")
    return np.float32(field / field.std())


def haze(rng: Random, size: int) -> Plane:
    """Light from out of focus: smooth over a tenth of the field and more."""
    return grain(rng, size, size * rng.uniform(0.06, 0.3))


def flat(rng: Random, size: int) -> Plane:
    """Areas of even light with straight borders, on a slope."""
    row, column = np.mgrid[:size, :size] / size - 0.5
    light = rng.normal() * row + rng.normal() * column
    for _ in range(rng.integers(0, 6)):
        angle, at = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5)
        side = np.cos(angle) * row + np.sin(angle) * column > at
        light = light + side * rng.lognormal(0, 0.7)
    return np.float32(light)


def puncta(rng: Random, size: int) -> Plane:
    """Small bodies of all brightnesses, some of them gathered."""
    count = int(10 ** rng.uniform(1.3, 3.2))
    at = rng.uniform(0, size, (count, 2))
    if rng.random() < 0.5:
        homes = rng.uniform(0, size, (rng.integers(2, 20), 2))
        near = rng.integers(len(homes), size=count)
        at = (homes[near] + rng.normal(0, size * 0.07, (count, 2))) % size
    light = splat(at, rng.lognormal(0, 0.8, count), size)
    return gaussian_filter(light, rng.uniform(0.6, 2.5))


def filaments(rng: Random, size: int) -> Plane:
    """Curves that bend slowly, alone or in bundles."""
    count, steps = int(10 ** rng.uniform(0.7, 2.1)), 2 * size
    bend = rng.uniform(0.01, 0.12)
    common = rng.uniform(0, 2 * np.pi)
    spread = rng.choice([0.2, np.pi])
    angle = common + rng.uniform(-spread, spread, count)[:, None]
    angle = angle + np.cumsum(rng.normal(0, bend, (count, steps)), axis=1)
    start = rng.uniform(0, size, (count, 1, 2))
    moves = 0.5 * np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    path = start + np.cumsum(moves, axis=1)
    bright = np.repeat(rng.lognormal(0, 0.6, count), steps)
    light = splat(path.reshape(-1, 2), bright, size)
    return gaussian_filter(light, rng.uniform(0.6, 1.8))


def membranes(rng: Random, size: int) -> Plane:
    """Cells side by side: bright borders, and insides of different brightness."""
    count = int(10 ** rng.uniform(0.8, 2.5))
    centers = rng.uniform(-0.1 * size, 1.1 * size, (count, 2))
    grid = np.stack(np.mgrid[:size, :size], axis=-1).astype(float)
    warp = [grain(rng, size, size / 16) * rng.uniform(0, 0.03) * size for _ in "yx"]
    near, cell = cKDTree(centers).query(grid + np.stack(warp, axis=-1), k=2)
    border = np.exp(-(((near[..., 1] - near[..., 0]) / rng.uniform(1, 4)) ** 2))
    inside = rng.lognormal(0, 0.8, count)[cell[..., 0]]
    return np.float32(border + rng.uniform(0, 0.8) * unit(inside))


def nuclei(rng: Random, size: int) -> Plane:
    """Ellipses with a soft rim, grainy inside; or dark ones in bright tissue."""
    radius = size * 10 ** rng.uniform(-1.6, -0.6)
    count = int(np.clip(rng.uniform(0.1, 0.7) * size**2 / (4 * radius**2), 1, 300))
    row, column = np.mgrid[:size, :size]
    light = np.zeros((size, size))
    for _ in range(count):
        y, x, angle = *rng.uniform(0, size, 2), rng.uniform(0, np.pi)
        long, short = radius * rng.uniform(0.7, 1.4, 2)
        u = (row - y) * np.cos(angle) + (column - x) * np.sin(angle)
        v = (column - x) * np.cos(angle) - (row - y) * np.sin(angle)
        away = (1 - np.hypot(u / long, v / short)) * min(long, short)
        body = 1 / (1 + np.exp(-2 * np.clip(away, -20, 20)))
        light = np.maximum(light, rng.lognormal(0, 0.5) * body)
    rough = np.exp(rng.uniform(0, 0.7) * grain(rng, size, rng.uniform(1, 5)))
    if rng.random() < 0.25:
        light = np.maximum(1 - light, 0)
    return np.float32(light * rough)


def tissue(rng: Random, size: int) -> Plane:
    """Structure at all lengths, as dense tissue has it, of any contrast."""
    row, column = np.meshgrid(
        np.fft.fftfreq(size), np.fft.rfftfreq(size), indexing="ij"
    )
    length = np.hypot(row, column)
    length[0, 0] = 1
    white = np.fft.rfft2(rng.standard_normal((size, size)))
    field = np.fft.irfft2(white / length ** rng.uniform(0.8, 2.0), s=(size, size))
    field = field / field.std()
    if rng.random() < 0.4:
        return np.float32(np.abs(field) ** rng.uniform(0.5, 1.5))
    return np.float32(np.exp(rng.uniform(0.3, 1.3) * field))


def fibers(rng: Random, size: int) -> Plane:
    """Walls and threads: where smooth fields cross zero."""
    scale = size * 10 ** rng.uniform(-1.8, -0.8)
    field = np.abs(grain(rng, size, scale)) / rng.uniform(0.05, 0.4)
    return np.float32(np.exp(-(field**2)) * np.exp(0.5 * grain(rng, size, 3 * scale)))


def cells(rng: Random, size: int) -> Plane:
    """The package's own phantom, enlarged or not."""
    small = max(64, int(size * rng.choice([0.5, 0.75, 1.0])))
    seed = int(rng.integers(2**31))
    made = phantom("2d", size=small, channels=3, photons=1000.0, seed=seed).clean
    light = np.tensordot(rng.dirichlet(np.ones(3)), made - made.min(), axes=1)
    if small == size:
        return np.float32(light)
    at = np.mgrid[:size, :size] * (small - 1) / (size - 1)
    return np.float32(map_coordinates(light, at, order=1))


def splat(at: NDArray[np.float64], bright: NDArray[np.float64], size: int) -> Plane:
    """Light of points that lie between pixels, shared by the four around each."""
    inside = np.all((at >= 0) & (at < size - 1), axis=1)
    at, bright = at[inside], bright[inside]
    low = np.floor(at).astype(int)
    part = at - low
    light = np.zeros(size * size)
    for row in (0, 1):
        for column in (0, 1):
            share = np.abs(1 - row - part[:, 0]) * np.abs(1 - column - part[:, 1])
            number = (low[:, 0] + row) * size + low[:, 1] + column
            light += np.bincount(number, share * bright, minlength=size * size)
    return np.float32(light.reshape(size, size))


KINDS: dict[str, Callable[[Random, int], Plane]] = {
    "nuclei": nuclei,
    "filaments": filaments,
    "puncta": puncta,
    "membranes": membranes,
    "tissue": tissue,
    "fibers": fibers,
    "flat": flat,
    "haze": haze,
    "cells": cells,
}
"""What a scene is mixed of."""
CHANCES = np.array([3, 3, 3, 3, 4, 3, 1, 1, 1]) / 22
"""How likely each is; the phantom's cells are slow to draw."""
