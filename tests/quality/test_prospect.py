from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_blindsound.images.phantom import Camera, phantom
from napari_blindsound.noise.calibration import NoiseModel
from napari_blindsound.noise.correlation import measure_correlation
from napari_blindsound.noise.survey import survey
from napari_blindsound.quality.prospect import filter_gain, prospect

SIGMA = 5.0
NOISE = NoiseModel(0.0, 0.0, SIGMA**2)


def decibels(before, after):
    return 10 * np.log10(before / after)


def noise(shape=(256, 256), seed=0):
    return np.random.default_rng(seed).normal(0, SIGMA, shape)


def test_it_is_what_a_wiener_filter_gains():
    """Of white signal as strong as the noise, such a filter leaves half the error."""
    rng = np.random.default_rng(4)
    for strength, left in ((1.0, 0.5), (3.0, 0.9)):
        image = 300 + rng.normal(0, strength * SIGMA, (512, 512)) + noise((512, 512))
        found = filter_gain([image], NOISE)
        assert found == pytest.approx(decibels(1, left), abs=0.15)


def test_smooth_images_gain_more_than_rough_ones():
    rng = np.random.default_rng(2)
    texture = rng.normal(0, 1, (256, 256))
    found = [
        filter_gain([100 + 60 * gaussian_filter(texture, s) * s + noise()], NOISE)
        for s in (1.0, 2.0, 6.0)
    ]
    assert found[0] < found[1] < found[2]
    assert filter_gain([100 + noise()], NOISE) > 18


def test_shared_noise_is_harder_to_take_away():
    clean = 200 + 500 * gaussian_filter(noise((300, 300), 7), 6)
    shared = gaussian_filter(noise((300, 300)), 0.7)
    shared *= SIGMA / shared.std()
    correlation = measure_correlation([clean + shared])
    assert correlation.verdict == "filtered"
    white = filter_gain([clean + noise((300, 300))], NOISE)
    found = filter_gain([clean + shared], NOISE, correlation)
    assert found < white - 3
    # Taken for independent, the noise would seem to be image where there is none.
    blank = filter_gain([200 + shared], NOISE, correlation)
    assert filter_gain([200 + shared], NOISE) < blank - 3


@pytest.mark.parametrize("photons", [4.0, 40.0])
def test_less_noise_leaves_less_to_gain(photons):
    made = phantom("2d", size=256, photons=photons, camera=Camera(read_noise=1.0))
    less = phantom("2d", size=256, photons=8 * photons, camera=Camera(read_noise=1.0))
    low, high = (prospect([each.noisy], survey([each.noisy])) for each in (less, made))
    assert low.known
    assert high.known
    assert low.value < high.value - 2
    assert high.low <= high.value <= high.high


def test_where_nothing_can_be_told():
    ramp = np.add.outer(np.arange(64.0), 3 * np.arange(64.0))
    found = prospect([ramp], survey([ramp]))
    assert not found.known
    assert found.reason == "no noise was found"
    tiny = 100 + noise((6, 7))
    assert filter_gain([tiny], NOISE) is None
    assert not prospect([tiny], survey([tiny])).known


def test_planes_of_all_sizes_count():
    planes = [100 + noise((37, 120), 1), 100 + noise((9, 300), 2), noise((3, 3), 3)]
    assert filter_gain(planes, NOISE) > 5
