from __future__ import annotations

import numpy as np
import pytest

from napari_blindsound.errors import DataError
from napari_blindsound.noise.anscombe import (
    closed_form_inverse,
    exact_inverse,
    stabilize,
    stabilized_mean,
)
from napari_blindsound.noise.calibration import NoiseModel

READ = [0.0, 0.3, 1.0, 1.5, 3.0, 10.0]


def camera(read, gain=2.5, offset=100.0):
    """Read noise in electrons."""
    return NoiseModel(gain, offset, (read * gain) ** 2)


def exposures(light, read, gain=2.5, offset=100.0, pixels=100_000):
    rng = np.random.default_rng(int(10 * light))
    return offset + gain * (rng.poisson(light, pixels) + rng.normal(0, read, pixels))


@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize(
    ("light", "least", "most"), [(2, 0.9, 1.2), (5, 0.9, 1.1), (30, 0.98, 1.02)]
)
def test_the_variance_is_one(light, read, least, most):
    stabilized = stabilize(exposures(light, read), camera(read))
    assert least < stabilized.var() < most


@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize("light", [0.0, 1, 3, 20, 90, 400])
def test_the_mean_of_transformed_exposures_leads_back_to_the_light(light, read):
    noise = camera(read)
    found = (
        exact_inverse(stabilize(exposures(light, read), noise).mean(), noise) - 100
    ) / 2.5
    error = np.sqrt((light + read**2) / 100_000)
    assert found == pytest.approx(light, abs=4 * error + 1e-3)


def test_the_algebraic_way_back_would_not_pass():
    noise, counts = camera(0.0), exposures(3, 0.0)
    algebraic = stabilize(counts, noise).mean() ** 2 / 4 - 3 / 8
    assert algebraic < 3 - 0.2


@pytest.mark.parametrize("read", [*READ, 99, 150, 9e3, 2e4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_there_and_back_gives_the_mean(read, dtype):
    mean = np.linspace(90, 2000, 3001).astype(dtype)
    noise = camera(read)
    stabilized = stabilized_mean(mean, noise)
    back = exact_inverse(stabilized, noise)
    assert stabilized.dtype == back.dtype == dtype
    # A float32 near D has steps of D / 2^23; the way back is as steep as D / 2.
    steps = 0 if dtype == np.float64 else 2.5 * float(np.max(np.abs(stabilized))) ** 2
    np.testing.assert_allclose(back, mean, rtol=1e-6, atol=1e-4 + steps / 2**23)


@pytest.mark.parametrize("read", [*READ, 99, 150, 2e4])
def test_all_ways_are_monotone(read):
    noise = camera(read)
    mean = np.linspace(50, 600, 5001)
    assert (np.diff(stabilized_mean(mean, noise)) > 0).all()
    assert (np.diff(stabilize(mean, noise)) >= 0).all()
    start = stabilized_mean(100.0, noise)
    stabilized = np.linspace(start - 2, start + 30, 5001)
    assert (np.diff(exact_inverse(stabilized, noise)) > 0).all()
    assert (np.diff(closed_form_inverse(stabilized, noise)) >= 0).all()


@pytest.mark.parametrize("read", READ)
def test_closed_form_is_near_the_exact_one(read):
    noise = camera(read)
    mean = np.linspace(100, 1500, 2001)
    closed = closed_form_inverse(stabilized_mean(mean, noise), noise)
    assert np.abs(closed - mean).max() < 0.05 * noise.gain
    assert closed_form_inverse(0.0, noise) == 100


def test_the_table_is_the_integral():
    # A million draws know the mean to 0.001.
    rng = np.random.default_rng(0)
    for light, read in [(0.2, 0.6), (2.0, 0.6), (40.0, 1.0)]:
        counts = rng.poisson(light, 1_000_000) + rng.normal(0, read, 1_000_000)
        drawn = stabilize(counts, NoiseModel(1, 0, read**2)).mean()
        expected = stabilized_mean(light, NoiseModel(1, 0, read**2))
        assert drawn == pytest.approx(expected, abs=4e-3)


def test_without_photon_noise_it_is_a_line():
    noise = NoiseModel(0.0, 100.0, 25.0)
    counts = np.array([85.0, 100, 120])
    np.testing.assert_allclose(stabilize(counts, noise), [-3, 0, 4])
    np.testing.assert_allclose(stabilized_mean(counts, noise), [-3, 0, 4])
    np.testing.assert_allclose(exact_inverse([-3, 0, 4], noise), counts)
    np.testing.assert_allclose(closed_form_inverse([-3, 0, 4], noise), counts)


def test_a_gain_too_small_to_matter_is_none():
    counts = np.linspace(90, 200, 12, dtype=np.float32)
    line = stabilize(counts, NoiseModel(0.0, 100.0, 25.0))
    np.testing.assert_array_equal(stabilize(counts, NoiseModel(1e-9, 100, 25)), line)


def test_counts_below_the_dark_are_taken():
    noise = camera(0.5)
    stabilized = stabilize(np.array([-1e6, 0, 90, 99.0]), noise)
    assert np.isfinite(stabilized).all()
    assert stabilized[0] == 0
    dark = stabilize(exposures(0, 0.5), noise).mean()
    below = exact_inverse(np.array([dark - 0.1, dark - 0.2]), noise)
    assert (below < 100).all()
    assert exact_inverse(0.0, noise) > 100 - 5 * noise.gain


def test_integers_of_a_camera_are_taken():
    counts = np.array([[100, 101], [4000, 65535]], np.uint16)
    found = stabilize(counts, camera(1.0))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, stabilize(counts.astype(float), camera(1.0)))


@pytest.mark.parametrize(
    "noise",
    [
        NoiseModel(0, 100, 0),
        NoiseModel(-1, 100, 4),
        NoiseModel(1, 100, -4),
        NoiseModel(float("nan"), 100, 4),
        NoiseModel(1, float("inf"), 4),
    ],
)
@pytest.mark.parametrize(
    "way", [stabilize, stabilized_mean, exact_inverse, closed_form_inverse]
)
def test_a_camera_that_cannot_be_is_refused(way, noise):
    with pytest.raises(DataError, match="gain"):
        way(np.ones(3), noise)


def test_needs_no_torch(run):
    import_it = "import sys, napari_blindsound.noise.anscombe"
    assert not run(f"{import_it}; print(int('torch' in sys.modules))")
