from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_blindsound.noise.deduced import Measured
from napari_blindsound.noise.felt import felt
from napari_blindsound.noise.gaussian import Gaussian
from napari_blindsound.noise.growth import LAGS, LEVELS, SUMS
from napari_blindsound.noise.kernel import Kernel
from napari_blindsound.noise.models import Parameters, models

PLAIN = Kernel.of(0.0, 0.0)
ADDED = 0.05


@pytest.fixture
def planes():
    rows = np.linspace(0.1, 0.9, 96, dtype=np.float32)
    return np.broadcast_to(rows[:, None], (2, 96, 96)).copy()


def measured():
    camera = (0.0, 0.0, 0.01)
    none = np.zeros((SUMS, LEVELS))
    return Measured(none, none, np.zeros(len(LAGS)), camera, 200.0, 10.0)


def test_the_exact_score_tells_the_noise(planes):
    """That of Gaussian noise, and of what was added."""
    slopes = np.full_like(planes, -1 / (0.1**2 + ADDED**2))
    pixels, light, variance = felt(planes, slopes, ADDED)
    seen = pixels > 0
    assert seen.sum() > 10
    np.testing.assert_allclose(variance[seen] / pixels[seen], 0.1**2, rtol=1e-5)
    assert light.sum() / pixels.sum() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("slope", [0.0, 5.0, -np.inf, np.nan, -1e9])
def test_a_score_that_cannot_be_tells_nothing_that_cannot_be(planes, slope):
    sums = felt(planes, np.full_like(planes, slope), ADDED)
    assert np.isfinite(sums).all()
    assert (sums >= 0).all()


def test_a_wrong_parameter_is_doubted_and_the_right_one_is_not(planes):
    sums = felt(planes, np.full_like(planes, -1 / (0.1**2 + ADDED**2)), ADDED)
    found = measured().doubt(Gaussian(sigma=40.0), 10.0, sums, PLAIN)
    assert found["noise, as solved for"] == pytest.approx(40)
    assert found["noise, as the score has it"] == pytest.approx(20, rel=1e-3)
    assert not measured().doubt(Gaussian(sigma=20.0), 10.0, sums, PLAIN)
    assert not measured().doubt(Gaussian(sigma=40.0), 10.0, np.zeros_like(sums), PLAIN)


def test_noise_behind_a_filter_is_compared_behind_it(planes):
    """Gamma noise, whose variance is felt before the filter."""
    noise = models()["gamma-correlated"].noise(Parameters())
    variance = noise.first.variance(torch.from_numpy(200 * planes)).numpy() / 200**2
    sums = felt(planes, -1 / (variance + ADDED**2), ADDED)
    assert not measured().doubt(noise, 10.0, sums, Kernel())
    assert measured().doubt(noise, 10.0, sums, PLAIN)


def test_noise_before_a_filter_is_more(planes):
    sums = np.zeros((SUMS, LEVELS))
    sums[:, 20] = 100, 50, 100 * 0.01
    found = replace(measured(), sums=sums)
    assert found.deviation(0.0, 0.0) == pytest.approx(0.1, rel=1e-4)
    assert found.deviation(0.1, 0.05) > 0.2
    assert found.mean() == pytest.approx(110)
    assert math.isfinite(measured().deviation(0.0, 0.0))
