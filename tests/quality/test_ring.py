from __future__ import annotations

import numpy as np
import pytest

from napari_blindsound.errors import DataError
from napari_blindsound.quality.ring import one_image_ring, ring_correlation

SIZE = 192


def band_limited(cutoff, seed=0):
    """White noise without what is faster than the cutoff, of unit variance."""
    rng = np.random.default_rng(seed)
    radius = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE))
    spectrum = np.fft.fft2(rng.normal(size=(SIZE, SIZE))) * (radius < cutoff)
    image = np.fft.ifft2(spectrum).real
    return image / image.std()


def noise(seed, level=0.3):
    return np.random.default_rng(seed).normal(0, level, (SIZE, SIZE))


@pytest.mark.parametrize("cutoff", [0.1, 0.2, 0.35])
def test_two_exposures_agree_down_to_the_finest_detail(cutoff):
    scene = band_limited(cutoff)
    ring = ring_correlation(scene + noise(1), scene + noise(2))
    assert ring.cutoff == pytest.approx(cutoff, abs=0.02)
    assert ring.resolution(0.1) == pytest.approx(0.1 / cutoff, rel=0.2)
    assert ring.correlation[ring.frequencies < 0.8 * cutoff].min() > 0.8


def test_noise_alone_agrees_nowhere_and_an_image_with_itself_everywhere():
    rings = ring_correlation(noise(1), noise(2)).correlation
    assert np.abs(rings[10:].mean()) < 0.02
    same = ring_correlation(noise(1), noise(1))
    np.testing.assert_allclose(same.correlation, 1.0)
    assert same.cutoff is None
    assert same.resolution() == 2.0


def test_an_affine_change_of_one_image_changes_nothing():
    scene = band_limited(0.2)
    first, second = scene + noise(1), scene + noise(2)
    one, two = (ring_correlation(first, b) for b in (second, 7 * second + 300))
    np.testing.assert_allclose(one.correlation, two.correlation, atol=1e-9)


def test_frequencies_and_signs():
    scene = band_limited(0.2)[:, :160]
    ring = ring_correlation(scene, -scene)
    np.testing.assert_allclose(ring.correlation, -1.0)
    assert len(ring.frequencies) == 80
    assert ring.frequencies[-1] == 0.5


@pytest.mark.parametrize("cutoff", [0.08, 0.15])
def test_one_image_is_enough_where_it_is_oversampled(cutoff):
    ring = one_image_ring(band_limited(cutoff) + noise(3))
    assert ring.cutoff == pytest.approx(cutoff, abs=0.02)
    assert ring.frequencies[-1] == 0.25
    # The halves lie half of their pixel apart; left so, this would fall to 0.7.
    assert ring.correlation[ring.frequencies < 0.8 * cutoff].min() > 0.85


def test_correlated_noise_deceives_one_image_as_it_says():
    lone = one_image_ring(noise(4))
    blurred = noise(4) + np.roll(noise(4), 1, axis=1) + np.roll(noise(4), 1, axis=0)
    assert np.abs(lone.correlation[5:].mean()) < 0.05
    assert one_image_ring(blurred).correlation[5:20].mean() > 0.3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.zeros((64, 64)), np.zeros((64, 65))),
        (np.zeros((16, 64)), np.zeros((16, 64))),
        (np.full((64, 64), np.nan), np.zeros((64, 64))),
        (np.zeros((2, 64, 64)), np.zeros((2, 64, 64))),
    ],
)
def test_what_cannot_be_compared_is_refused(first, second):
    with pytest.raises(DataError, match="give"):
        ring_correlation(first, second)


def test_constant_images_agree_nowhere():
    ring = ring_correlation(np.full((64, 64), 3), np.full((64, 64), 3))
    assert not ring.correlation.any()
