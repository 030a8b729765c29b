"""Neighbors are chosen where they tell more, and never where they share the noise."""

from __future__ import annotations

import numpy as np
import pytest

from napari_blindsound.images.axes import Axes
from napari_blindsound.images.context import NO_CONTEXT
from napari_blindsound.images.phantom import phantom
from napari_blindsound.images.volume import Volume
from napari_blindsound.noise.neighbors import Choice, choose_context
from napari_blindsound.training.preprocessing import Preprocessing

SIZE = 160


def choose(volume: Volume) -> Choice:
    fitted = Preprocessing.fit([volume])
    return choose_context(
        [volume], fitted.noise, fitted.hot_pixels, region=fitted.region()
    )


def movie(seed: int, *, speed: int, frames: int = 8) -> Volume:
    """Every so many frames of a time-lapse: as much faster."""
    made = phantom("timelapse", size=SIZE, frames=frames * speed, photons=20, seed=seed)
    return Volume((made.noisy[::speed],), made.axes, made.name)


def stack(seed: int) -> Volume:
    return phantom("zstack", size=SIZE, planes=10, photons=20, seed=seed).volume()


def volume(pixels: np.ndarray, axes: str) -> Volume:
    return Volume((pixels,), Axes.parse(axes), "test")


@pytest.mark.parametrize("seed", [3, 4])
def test_a_stack_through_focus_pays(seed):
    choice = choose(stack(seed))
    assert choice.context.axis == "Z"
    assert choice.context.planes >= 1
    assert choice.gain > 0.3
    assert "along Z" in choice.words


def test_slow_motion_pays_and_fast_motion_does_not():
    slow = choose(movie(5, speed=1)).context
    assert slow.axis == "T"
    assert slow.planes >= 1
    choice = choose(movie(5, speed=10))
    assert choice.context == NO_CONTEXT
    assert "tell little" in choice.words


def test_of_two_axes_the_one_that_pays_more():
    # Two scenes that have nothing in common, as if one were above the other.
    pixels = np.stack([movie(seed, speed=1).levels[0] for seed in (6, 9)], axis=1)
    assert choose(volume(pixels, "TZYX")).context.axis == "T"


def test_shared_noise_is_refused():
    pixels = stack(7).levels[0].astype(np.float64)
    between = (pixels[:-1] + pixels[1:]) / 2
    for made in (between, np.repeat(pixels, 2, axis=0)):
        choice = choose(volume(made.round().astype(np.uint16), "ZYX"))
        assert choice.context == NO_CONTEXT
        assert "share" in choice.words
        assert choice.is_told


def test_what_is_unrelated_or_empty_is_left_alone():
    rng = np.random.default_rng(0)
    noise = rng.poisson(60, (6, 96, 96)).astype(np.uint16)
    assert choose(volume(noise, "TYX")).context == NO_CONTEXT
    others = [phantom("2d", size=96, photons=20, seed=s).noisy for s in range(5)]
    assert choose(volume(np.stack(others), "TYX")).context == NO_CONTEXT


@pytest.mark.parametrize("shape", [(96, 96), (1, 96, 96), (6, 40, 96)])
def test_too_little_to_tell(shape):
    rng = np.random.default_rng(0)
    pixels = rng.poisson(60, shape).astype(np.uint16)
    axes = "ZYX"[-len(shape) :]
    choice = choose(volume(pixels, axes))
    assert choice.context == NO_CONTEXT
    assert not choice.is_told


def test_the_same_seed_chooses_the_same():
    assert choose(stack(8)) == choose(stack(8))
