"""The numbers themselves are tested with calibration, correlation and hot pixels."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import Camera, phantom
from napari_blindsound.noise.survey import (
    PIXELS,
    Survey,
    laplacian_response,
    samples,
    survey,
)
from napari_blindsound.noise.verdict import Correlation


def shared(shape, seed=0, weight=0.7, gain=2.0):
    """Photon noise that a pixel shares with the next of its row, and its variance.

    Returns counts, and gain and variance as they are after the sharing.
    """
    rng = np.random.default_rng(seed)
    light = np.linspace(5, 60, shape[-1])
    noise = gain * (rng.poisson(light, shape) - light)
    mixed = (noise + weight * np.roll(noise, 1, axis=-1)) / (1 + weight)
    kept = (1 + weight**2) / (1 + weight) ** 2
    return 100 + gain * light + mixed, gain * kept


def test_all_is_known_of_white_noise():
    camera = Camera(gain=3.0, offset=200.0, read_noise=4.0)
    made = phantom("2d", size=400, photons=30.0, camera=camera, seed=2)
    found = survey([made.noisy])
    assert found.correlation.verdict == "white"
    assert laplacian_response(found.correlation) == (1.0, 0.0)
    assert found.calibration.gain.known
    assert found.noise is found.calibration.model
    assert found.hot_pixels.enabled
    np.testing.assert_allclose(found.noise.gain, 3.0, rtol=0.05)


def test_shared_noise_is_not_taken_for_less_of_it():
    counts, gain = shared((400, 400))
    found = survey([counts])
    assert found.correlation.verdict == "rows"
    response, error = laplacian_response(found.correlation)
    assert response < 0.6
    estimate = found.calibration.gain
    assert estimate.low < gain < estimate.high
    np.testing.assert_allclose(estimate.value, gain, rtol=0.1)
    # The interval holds what is not known of the response, too.
    assert estimate.high - estimate.low > 2 * estimate.value * error / response
    assert not estimate.known
    assert "share noise" in estimate.reason


def test_frames_see_shared_noise_as_it_is():
    stack, gain = shared((4, 256, 256))
    found = survey(list(stack), [stack])
    assert found.calibration.source == "frames"
    assert found.calibration.gain.known
    np.testing.assert_allclose(found.calibration.gain.value, gain, rtol=0.05)


def test_what_is_not_certain_is_left_alone():
    square = np.zeros((7, 7))
    square[3, 2:5] = 0.03, 1, 0.03
    error = np.full((7, 7), 0.02)
    assert laplacian_response(Correlation(square, error, "white")) == (1.0, 0.0)
    square[3, 2:5] = 0.11, 1, 0.11
    gain, spread = laplacian_response(Correlation(square, error, "white"))
    assert gain == pytest.approx(1 - 4 / 3 * 0.11)
    assert 0 < spread < 0.1
    square[:] = 1
    unknown = Correlation(square, error, "unknown", "it is a test")
    assert laplacian_response(unknown) == (1.0, 0.0)
    smooth = Correlation(square, error, "filtered")
    assert laplacian_response(smooth).gain > 0


def test_the_file_has_all_digits_that_count():
    stack, _ = shared((3, 96, 96))
    found = survey(list(stack), [stack], seed=5)
    data = json.loads(json.dumps(found.to_json()))
    back = Survey.from_json(data)
    assert back.to_json() == found.to_json()
    np.testing.assert_array_equal(back.correlation.map, found.correlation.map)
    assert back.correlation.region == found.correlation.region
    with pytest.raises(KeyError):
        Survey.from_json({"calibration": data["calibration"]})


def test_frames_are_read_once_and_are_the_planes():
    movie = open_volume(np.arange(2 * 4 * 20 * 30).reshape(2, 4, 20, 30), axes="CTYX")
    first, second = samples([movie])
    assert [stack.shape for stack in second.frames] == [(4, 20, 30)]
    np.testing.assert_array_equal(first.frames[0][2], first.planes[2])
    np.testing.assert_array_equal(np.stack(second.planes), movie.levels[0][1])
    still = open_volume(np.ones((2, 40, 30), np.uint8), axes="CYX")
    both = samples([movie, still])
    assert len(both[0].frames) == 1
    assert [plane.shape for plane in both[0].planes] == [(20, 30)] * 4 + [(40, 30)]


def test_a_sample_is_bounded():
    stack = np.zeros((2, 30, 400, 400), np.uint8)
    for names in ("CTYX", "CZYX"):
        found = samples([open_volume(stack, axes=names)] * 2)
        pixels = sum(plane.size for part in found for plane in part.planes)
        assert PIXELS / 2 < pixels <= PIXELS


@pytest.mark.parametrize(
    "counts",
    [
        np.zeros((8, 9)),
        np.full((64, 64), 7.0),
        np.add.outer(np.arange(64.0), np.arange(64.0)),
        np.where(np.indices((64, 64)).sum(0) % 2, 255, 0).astype(np.uint8),
    ],
)
def test_images_that_say_nothing_are_no_error(counts):
    found = survey([counts])
    assert not found.calibration.gain.known
    assert found.calibration.gain.reason
    assert np.isfinite(found.noise.variance(counts)).all()
