"""What the phantom shows: cells with nuclei, filaments and puncta, in three dimensions.

A scene is a set of objects with known places and motions, drawn from a seed. Painting
it at a time adds the light of every object to thin slabs of the specimen; the optics
then make planes of the slabs. Lengths are pixels, depths are slabs, times are frames.
Every kind of object has a random stream of its own, so that one kind does not depend on
how another is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_blindsound.images.nucleus import (
    MIDDLE,
    SLABS,
    USUAL_RADIUS,
    Nucleus,
    make_nucleus,
    paint_nucleus,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Slabs = NDArray[np.float32]

_SMALLEST_RADIUS = 11.0
_SPACING = 3.1
_FILAMENTS = 30
_PUNCTA = 46
_GRAINS = 6
_HAZE_GRAINS = 1500
_KINDS = {"layout": 0, "nuclei": 1, "filaments": 2, "puncta": 3, "haze": 4}


class Points(NamedTuple):
    """Points of light: place, brightness and the cell they move with."""

    depth: Floats
    y: Floats
    x: Floats
    light: Floats
    cell: NDArray[np.intp]


@dataclass(frozen=True)
class Scene:
    """All objects of a phantom.

    Parameters
    ----------
    size
        Side of the square field, pixels.
    scale
        Size of the cells relative to that of a large field.
    nuclei
        One per cell.
    filaments, puncta, haze
        Points of light along curves, in small bodies, and spread through the cells.
    jitter
        Paths of the puncta relative to their cells, ``(frames, puncta, 2)``.
    wiggle
        Amplitude and phase of the sideways motion of every filament point.
    """

    size: int
    scale: float
    nuclei: tuple[Nucleus, ...]
    filaments: Points
    puncta: Points
    haze: Points
    jitter: Floats
    wiggle: tuple[Floats, Floats]

    def paint(
        self, frame: int, *, nuclei: float, filaments: float, puncta: float
    ) -> Slabs:
        """Light of the objects at a frame, each kind by its weight.

        Returns
        -------
        numpy.ndarray
            ``(SLABS, size, size)`` float32.
        """
        slabs = np.zeros((SLABS, self.size, self.size), dtype=np.float32)
        if nuclei:
            for nucleus in self.nuclei:
                paint_nucleus(slabs, nucleus, frame, nuclei)
        drift = np.array([nucleus.velocity for nucleus in self.nuclei]) * frame
        amplitude, phase = self.wiggle
        swing = amplitude * (np.sin(0.35 * frame + phase) - np.sin(phase))
        sway = np.stack([swing, -0.6 * swing], axis=1)
        steps = self.jitter[frame]
        for points, weight, offset in (
            (self.filaments, filaments, sway),
            (self.puncta, puncta, steps),
            (self.haze, 0.5 * (filaments + puncta), np.zeros((1, 2))),
        ):
            if weight:
                _splat(slabs, points, drift[points.cell] + offset, weight)
        return slabs


def make_scene(size: int, frames: int, seed: int) -> Scene:
    """Draw a scene from a seed.

    Parameters
    ----------
    size
        Side of the field, pixels. Below 320 pixels the cells shrink with it.
    frames
        Number of time points whose motion is drawn.
    seed
        Same seed, same scene.
    """
    streams = {
        name: np.random.default_rng([seed, number]) for name, number in _KINDS.items()
    }
    radius = max(_SMALLEST_RADIUS, USUAL_RADIUS * min(1.0, size / 320))
    scale = radius / USUAL_RADIUS
    centers = _layout(streams["layout"], size, radius)
    nuclei = tuple(make_nucleus(streams["nuclei"], at, radius) for at in centers)
    filaments, wiggle = _filaments(streams["filaments"], centers, scale)
    puncta = _puncta(streams["puncta"], centers, radius, scale)
    jitter = _jitter(streams["puncta"], frames, len(puncta.y) // _GRAINS, scale)
    haze = _haze(streams["haze"], centers, radius, scale)
    return Scene(size, scale, nuclei, filaments, puncta, haze, jitter, wiggle)


def _layout(rng: np.random.Generator, size: int, radius: float) -> Floats:
    """Cell centers well apart, some beyond the border so that it cuts cells."""
    margin = 1.4 * radius
    count = max(3, round(((size + 2 * margin) / (_SPACING * radius)) ** 2))
    centers = np.empty((0, 2))
    for _ in range(count):
        candidates = rng.uniform(-margin, size + margin, (30, 2))
        if len(centers):
            gaps = candidates[:, None] - centers[None]
            nearest = np.hypot(gaps[..., 0], gaps[..., 1]).min(axis=1)
        else:
            nearest = -np.hypot(*(candidates - 0.45 * size).T)
        centers = np.vstack([centers, candidates[np.argmax(nearest)]])
    return centers


def _filaments(
    rng: np.random.Generator, centers: Floats, scale: float
) -> tuple[Points, tuple[Floats, Floats]]:
    """Curves that leave a point beside the nucleus, bend slowly and rise and sink."""
    steps = int(330 * scale)
    count = len(centers) * _FILAMENTS
    cell = np.repeat(np.arange(len(centers)), _FILAMENTS)
    aside = rng.uniform(0, 2 * np.pi, len(centers))[cell]
    start = centers[cell] + 0.75 * USUAL_RADIUS * scale * np.stack(
        [np.sin(aside), np.cos(aside)], axis=1
    )
    start += rng.normal(0, 7 * scale, start.shape)
    heading = rng.uniform(0, 2 * np.pi, (count, 1)) + np.cumsum(
        rng.normal(0, 0.055 / np.sqrt(scale), (count, steps))
        + rng.normal(0, 0.006 / scale, (count, 1)),
        axis=1,
    )
    y = start[:, :1] + np.cumsum(np.sin(heading), axis=1)
    x = start[:, 1:] + np.cumsum(np.cos(heading), axis=1)
    depth = MIDDLE + rng.normal(0, 1.6, (count, 1))
    depth = depth + np.cumsum(rng.normal(0, 0.06, (count, steps)), axis=1)
    gap = np.hypot(y - centers[cell, :1], x - centers[cell, 1:])
    over = np.exp(-((gap / (0.8 * USUAL_RADIUS * scale)) ** 4))
    depth += 4.5 * over * rng.choice([-1.0, 1.0], (count, 1))
    length = np.clip(rng.lognormal(np.log(0.6), 0.45, (count, 1)), 0.15, 1.0) * steps
    along = np.arange(steps)
    light = rng.lognormal(0, 0.35, (count, 1)) * (along < length)
    light = light * np.minimum(1.0, (length - along) / (12 * scale)).clip(0.0)
    shown = light > 0
    amplitude = (2.2 * scale * rng.normal(0, 1, (count, 1)) * along / steps)[shown]
    phase = (rng.uniform(0, 2 * np.pi, (count, 1)) + along / (55 * scale))[shown]
    index = np.broadcast_to(cell[:, None], shown.shape)[shown]
    points = Points(depth[shown], y[shown], x[shown], light[shown], index)
    return points, (amplitude, phase)


def _puncta(
    rng: np.random.Generator, centers: Floats, radius: float, scale: float
) -> Points:
    """Small bodies around the nuclei; many are dim and a few are very bright.

    A body is a few grains, one after the other, so that some are wider than a point.
    """
    count = len(centers) * _PUNCTA
    cell = np.repeat(np.arange(len(centers)), _PUNCTA)
    angle = rng.uniform(0, 2 * np.pi, count)
    distance = radius * (0.8 + rng.gamma(2.0, 0.28, count))
    place = np.stack(
        [
            MIDDLE + rng.normal(0, 2.0, count),
            centers[cell, 0] + distance * np.sin(angle),
            centers[cell, 1] + distance * np.cos(angle),
        ]
    )
    width = scale * rng.gamma(1.0, 0.7, count)
    light = 15 * scale * rng.lognormal(0, 0.85, count) * (1 + 0.5 * width / scale)
    grains = rng.normal(0, 1, (3, count, _GRAINS)) * width[:, None]
    grains[0] /= 4
    depth, y, x = (place[:, :, None] + grains).reshape(3, -1)
    return Points(
        depth, y, x, np.repeat(light / _GRAINS, _GRAINS), np.repeat(cell, _GRAINS)
    )


def _jitter(rng: np.random.Generator, frames: int, bodies: int, scale: float) -> Floats:
    """Paths of the puncta: all diffuse, and three in ten travel."""
    walk = np.cumsum(rng.normal(0, 0.55 * scale, (frames, bodies, 2)), axis=0)
    angle = rng.uniform(0, 2 * np.pi, bodies)
    speed = rng.gamma(4.0, 0.4, bodies) * scale * (rng.random(bodies) < 0.3)
    travel = np.stack([speed * np.sin(angle), speed * np.cos(angle)], axis=1)
    paths = walk - walk[:1] + np.arange(frames)[:, None, None] * travel
    return np.repeat(paths, _GRAINS, axis=1)


def _haze(
    rng: np.random.Generator, centers: Floats, radius: float, scale: float
) -> Points:
    """Grains of the dye that fills the cells, too dense to be told apart."""
    count = len(centers) * _HAZE_GRAINS
    cell = np.repeat(np.arange(len(centers)), _HAZE_GRAINS)
    grains = rng.normal(0, 0.9, (count, 2))
    grains *= rng.uniform((0.9, 0.65), (1.5, 1.0), (len(centers), 2))[cell]
    angle = rng.uniform(0, 2 * np.pi, len(centers))[cell]
    along, across = grains.T
    offsets = np.stack(
        [
            np.cos(angle) * along - np.sin(angle) * across,
            np.sin(angle) * along + np.cos(angle) * across,
        ],
        axis=1,
    )
    # The dye stays out of the nuclei: nearer grains move outward, the nearest most.
    distance = np.hypot(offsets[:, 0], offsets[:, 1])[:, None]
    offsets *= np.hypot(distance, 0.8) / np.maximum(distance, 1e-6)
    place = centers[cell] + radius * offsets
    depth = MIDDLE + rng.normal(0, 3.0, count)
    light = np.full(count, 2.2 * scale**2)
    return Points(depth, place[:, 0], place[:, 1], light, cell)


def _splat(slabs: Slabs, points: Points, offset: Floats, weight: float) -> None:
    """Add points of light, shared between the eight nearest voxels."""
    place = np.stack(
        [
            np.clip(points.depth, 0, SLABS - 1.001),
            points.y + offset[:, 0],
            points.x + offset[:, 1],
        ]
    )
    corner = np.floor(place).astype(np.intp)
    last = np.array(slabs.shape)[:, None] - 1
    inside = ((corner >= 0) & (corner < last)).all(axis=0)
    corner, part = corner[:, inside], (place - corner)[:, inside]
    light = weight * points.light[inside]
    for dz, dy, dx in np.ndindex(2, 2, 2):
        shares = [
            part[axis] if step else 1 - part[axis]
            for axis, step in enumerate((dz, dy, dx))
        ]
        index = (corner[0] + dz, corner[1] + dy, corner[2] + dx)
        np.add.at(slabs, index, (light * shares[0] * shares[1] * shares[2]))
