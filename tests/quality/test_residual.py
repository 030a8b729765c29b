"""Residual, bias, grid and simulated exposures, on images whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter

from napari_blindsound.noise.calibration import NoiseModel
from napari_blindsound.quality.exposure import Exposure
from napari_blindsound.quality.flat import bias_of
from napari_blindsound.quality.grid import grid_peaks
from napari_blindsound.quality.residual import identity_ratio, residual_of

NOISE = NoiseModel(2.0, 100.0, 16.0)
UINT16 = np.dtype(np.uint16)


@pytest.fixture(scope="module")
def scene():
    """Clean counts, 256 x 256: smooth, from 105 to 250, with a dark half."""
    rng = np.random.default_rng(5)
    image = gaussian_filter(rng.normal(size=(256, 256)), 6)
    image[:, 128:] = np.maximum(image[:, 128:], 0)
    image = np.maximum(image, 0) / image.max()
    return (105 + 145 * image).astype(np.float32)


@pytest.fixture(scope="module")
def noisy(scene):
    draw = Exposure((NOISE,), UINT16).draw
    return draw(scene[None], np.random.default_rng(1))[0]


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("level", [100.0, 108.0, 300.0])
def test_exposures_have_the_mean_and_variance_of_the_noise(dtype, level):
    exposure = Exposure((NOISE,), np.dtype(dtype))
    mean = np.full((1, 300, 300), level, np.float32)
    drawn = exposure.draw(mean, np.random.default_rng(0))
    expected = float(NOISE.variance(level))
    assert drawn.mean() == pytest.approx(level, abs=5 * (expected / 90_000) ** 0.5)
    assert drawn.var() == pytest.approx(expected + (dtype == "uint16") / 12, rel=0.03)
    assert (dtype == "uint16") == bool((drawn == np.rint(drawn)).all())
    assert exposure.sigma(mean)[0, 0, 0] == pytest.approx(expected**0.5)


def test_exposures_stay_within_their_type_and_below_the_offset():
    exposure = Exposure((NoiseModel(0.0, 0.0, 400.0),), np.dtype(np.uint8))
    drawn = exposure.draw(np.full((1, 64, 64), 250.0), np.random.default_rng(0))
    assert drawn.max() == 255
    below = Exposure((NOISE,), np.dtype(np.float32))
    drawn = below.draw(np.full((1, 256, 256), 90.0), np.random.default_rng(0))
    assert drawn.mean() == pytest.approx(90, abs=0.1)
    assert not Exposure((NoiseModel(0.0, 0.0, 0.0),), UINT16).is_noisy


def test_removing_the_noise_and_only_it_leaves_a_white_residual(noisy, scene):
    found = residual_of([noisy], [scene], NOISE)
    assert found.ratio == pytest.approx(1.0, abs=0.03)
    assert abs(found.mean) < 4 * found.error
    np.testing.assert_allclose(found.variances, found.expected, rtol=0.15)
    assert abs(found.largest) < 0.02
    assert found.correlation[0, 3] == 1.0


def test_too_little_and_too_much_removed(noisy, scene):
    half = (noisy + scene) / 2
    assert residual_of([noisy], [half], NOISE).ratio == pytest.approx(0.25, abs=0.02)
    flat = np.full_like(scene, scene.mean())
    much = residual_of([noisy], [flat], NOISE)
    assert much.ratio > 3
    assert much.largest > 0.5


def test_correlation_has_its_direction(noisy, scene):
    stripes = np.random.default_rng(2).normal(0, 6, (256, 1))
    x, y = residual_of([noisy + stripes], [scene], NOISE).neighbors
    assert x > 0.25
    assert abs(y) < 0.05
    x, y = residual_of([noisy.T + stripes.T], [scene.T], NOISE).neighbors
    assert y > 0.25
    assert abs(x) < 0.05


def test_identity_ratio(noisy, scene):
    assert identity_ratio(noisy, noisy, scene) == 0
    assert identity_ratio(noisy, scene, scene) == 1
    half = (noisy + scene) / 2
    assert identity_ratio(noisy, half, scene) == pytest.approx(0.25)


def test_a_shift_is_found_and_no_shift_is_none(noisy, scene):
    right = bias_of([noisy], [scene], NOISE)
    assert abs(right.dark) < 4 * right.error
    assert abs(right.slope) < 4 * right.slope_error
    shifted = bias_of([noisy], [scene + 3], NOISE)
    assert shifted.dark == pytest.approx(3, abs=4 * shifted.error)
    assert shifted.error < 0.2
    pressed = bias_of([noisy], [0.8 * scene + 30], NOISE)
    assert pressed.slope == pytest.approx(-0.25, abs=0.02)


def test_an_honest_average_is_not_called_biased(noisy):
    """By pixel it would be: the darkest of the result are those of low noise."""
    averaged = uniform_filter(noisy, 3)
    found = bias_of([noisy], [averaged], NOISE)
    assert abs(found.slope) < 0.02
    assert np.abs(found.shift[1:-1] / 4).max() < 0.1


def test_one_intensity_has_no_slope(noisy):
    assert np.isnan(bias_of([noisy], [np.full_like(noisy, 120)], NOISE).slope)


def test_too_few_windows_are_said_to_be_too_few(noisy, scene):
    found = bias_of([noisy[:32, :40]], [scene[:32, :40]], NOISE)
    assert np.isnan(found.dark)
    assert found.as_data()["dark"] is None


@pytest.mark.parametrize("period", [2, 4, 8])
@pytest.mark.parametrize("direction", ["rows", "columns", "both"])
def test_a_grid_is_found_at_its_period_and_size(scene, period, direction):
    rng = np.random.default_rng(0)
    plain = scene + gaussian_filter(rng.normal(0, 5, scene.shape), 1)
    rows, columns = np.indices(scene.shape)
    wave = {"rows": rows, "columns": columns, "both": rows + columns}[direction]
    grid = np.cos(2 * np.pi * wave / period)
    clean = grid_peaks(plain[None], (2, 4, 8))
    assert all(peak.ratio < 6 for peak in clean.values())
    found = grid_peaks((plain + 0.5 * grid)[None], (2, 4, 8))
    assert found[period].ratio > 10 * clean[period].ratio
    # A wave of period 2 has the variance of its amplitude squared, others half of it.
    expected = 0.5 if period == 2 else 0.5 / 2**0.5
    assert found[period].amplitude == pytest.approx(expected, rel=0.15)


def test_periods_that_do_not_fit_are_left_out(scene):
    assert set(grid_peaks(scene[None, :64, :40], (2, 4, 32))) == {2, 4}
    assert grid_peaks(np.zeros((1, 64, 64)), (2,))[2] == (1.0, 0.0)
