"""Numbers are tested against a camera in tests/cli/test_inspect.py."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from napari_blindsound import open_volume
from napari_blindsound.errors import DataError
from napari_blindsound.images.phantom import Camera, phantom
from napari_blindsound.noise.estimated import Estimated
from napari_blindsound.noise.survey import Survey
from napari_blindsound.quality.preflight import glances


def glance_of(counts, axes="YX"):
    [found] = glances(open_volume(counts, axes=axes))
    return found


def test_each_channel_has_its_numbers_and_title():
    dim, bright = (phantom("2d", size=96, photons=n, seed=1).noisy for n in (2, 200))
    volume = open_volume(np.stack([dim, bright]), axes="CYX")
    first, second = glances(volume)
    assert [first.title, second.title] == [" of channel 0", " of channel 1"]
    assert second.signal_to_noise > 3 * first.signal_to_noise
    assert first.pixels == dim.size
    assert first.as_data()["channel"] == "channel 0"
    assert second.photons(second.bright) > first.photons(first.bright)


def test_one_channel_needs_no_title():
    [glance] = glances(phantom("2d", size=96).volume())
    assert glance.title == ""
    assert set(glance.as_rows()) >= {"gain", "photons", "saturated", "range"}


def test_all_of_it_is_data():
    glance = glance_of(phantom("timelapse", size=128, frames=4).noisy, "TYX")
    data = json.loads(json.dumps(glance.as_data()))
    assert data["gain"] == glance.noise.gain
    assert (
        Survey.from_json(
            {**data, "hot_pixels": glance.survey.hot_pixels.to_json()}
        ).to_json()
        == glance.survey.to_json()
    )
    assert data["correlation"]["words"].startswith("The noise is independent")
    assert data["correlation"]["region"] == [0, 0]
    assert data["calibration"]["points"][0][2] > 0
    light = data["photons"]["bright"]
    assert light["low"] <= light["value"] == data["photons_bright"] <= light["high"]
    assert data["expected_gain"]["low"] < data["expected_gain"]["high"]


@pytest.mark.parametrize("photons", [12.0, 60.0])
def test_photons_lie_in_their_interval(photons):
    camera = Camera(gain=4.0, offset=200.0, read_noise=6.0)
    made = phantom("2d", size=512, photons=photons, camera=camera, seed=3)
    glance = glance_of(made.noisy)
    for counts in (glance.median, glance.bright):
        light, true = glance.light(counts), (counts - 200) / 4
        assert light.known
        assert light.low < true < light.high
        np.testing.assert_allclose(light.value, true, rtol=0.1, atol=0.1)


def test_without_an_offset_the_variance_bounds_the_photons():
    glance = glance_of(phantom("2d", size=400, photons=60.0).noisy)
    reason = "no dark region"
    offset = Estimated(102.0, -math.inf, 102.0, known=False, reason=reason)
    calibration = replace(glance.calibration, offset=offset)
    glance = replace(glance, survey=replace(glance.survey, calibration=calibration))
    counts, gain = glance.bright, glance.calibration.gain
    light = glance.light(counts)
    assert light.known
    assert light.low == pytest.approx((counts - 102) / gain.high)
    variance = float(glance.noise.variance(counts))
    assert light.high == pytest.approx(variance / gain.low**2)
    assert light.low < light.value < light.high
    # Below the darkest level there is no light, but never less than none.
    assert glance.light(50.0).low == 0
    assert glance.light(50.0).value >= 0


def test_smoothed_noise_tells_no_photons():
    rng = np.random.default_rng(1)
    light = rng.poisson(np.linspace(10, 60, 300), (300, 300)).astype(np.float32)
    smooth = sum(np.roll(light, (y, x), (0, 1)) for y in (0, 1) for x in (0, 1)) / 4
    glance = glance_of(smooth)
    assert glance.correlation.verdict == "filtered"
    assert not glance.light(glance.median).known
    assert "smoothed" in glance.as_rows()["photons"]


def test_expected_gain_is_what_a_good_denoiser_brings():
    """The range of a phantom like those it was made from, but not one of them."""
    made = phantom("2d", size=256, photons=40.0, seed=77)
    glance = glance_of(made.noisy)
    assert glance.expected.known
    # A training of a minute brought 10 to 13 dB on its like.
    assert 8 < glance.expected.low < glance.expected.high < 15


def test_a_constant_image_is_refused():
    with pytest.raises(DataError, match="constant"):
        glances(open_volume(np.full((64, 64), 7, np.uint16)))


def saturated_at_4094():
    counts = phantom("2d", size=200, photons=60.0).noisy.copy()
    counts[:20, :50] = 4094
    return counts


def test_a_plateau_beside_the_camera_s_own_counts():
    glance = glance_of(saturated_at_4094())
    assert glance.survey.hot_pixels.saturation is None
    assert glance.saturated == pytest.approx(1000 / 40_000, rel=0.01)


def test_bad_images_are_told_of_in_words():
    rng = np.random.default_rng(2)
    noisy = phantom("2d", size=256, photons=20.0).noisy.astype(np.float64)
    drift = np.stack([noisy, 0.7 * noisy]) + rng.normal(0, 9, (2, 256, 256))
    bad = {
        "tiny": (noisy[:9, :9], "YX"),
        "clipped": (np.maximum(noisy - 110, 0).astype(np.uint16), "YX"),
        "quantized": ((noisy // 8 * 8).astype(np.uint16), "YX"),
        "drifting": (drift.astype(np.float32), "TYX"),
        "one row": (noisy[:1], "YX"),
        "binary": ((noisy > 120).astype(np.uint8), "YX"),
    }
    for name, (counts, axes) in bad.items():
        if name == "one row":
            with pytest.raises(DataError, match="larger images"):
                glance_of(counts, axes)
            continue
        glance = glance_of(counts, axes)
        rows = glance.as_rows()
        assert all(isinstance(words, str) for words in rows.values()), name
        json.dumps(glance.as_data(), allow_nan=False)
        said = " ".join(rows.values())
        if name in ("clipped", "quantized", "tiny"):
            assert name in said, rows
        if name in ("clipped", "binary", "tiny"):
            assert not glance.expected.known
        if name == "drifting":
            assert "brightness changes" in rows["signs"]
        assert math.isfinite(glance.hot)
