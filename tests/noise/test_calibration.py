from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.io import imread

from napari_blindsound.errors import DataError
from napari_blindsound.noise.calibration import (
    NoiseModel,
    estimate_noise,
    fit_noise,
    saturation_level,
)


def scene(shape=(384, 384), seed=0):
    rng = np.random.default_rng(seed)
    blobs = gaussian_filter(rng.random(shape), 8)
    fine = gaussian_filter(rng.random(shape) ** 8, 1.5)
    unit = (blobs - blobs.min()) / np.ptp(blobs) + (fine - fine.min()) / np.ptp(fine)
    return unit / 2


def expose(light, gain, offset, read, seed=1):
    rng = np.random.default_rng(seed)
    counts = gain * rng.poisson(light) + rng.normal(offset, read, light.shape)
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


@pytest.mark.parametrize(
    ("photons", "gain", "offset", "read"),
    [
        (20, 1.0, 100, 2.0),
        (200, 2.5, 500, 5.0),
        (5, 18.0, 100, 6.0),
        (2000, 0.5, 99, 3),
    ],
)
def test_gain_and_variance_are_found_on_structured_images(photons, gain, offset, read):
    light = photons * scene()
    model = estimate_noise([expose(light, gain, offset, read)], offset=offset)
    assert model.gain == pytest.approx(gain, rel=0.15)
    means = gain * light + offset
    truth = gain * gain * light + read * read
    assert np.median(model.variance(means) / truth) == pytest.approx(1, abs=0.1)


def test_without_the_dark_level_the_variance_is_still_right():
    light = 60 * scene() + 4
    model = estimate_noise([expose(light, 2.0, 300, 4.0)])
    means, truth = 2 * light + 300, 4 * light + 16
    assert model.offset > 300
    for quantile in (0.02, 0.5, 0.98):
        at = np.quantile(means, quantile)
        assert model.variance(at) == pytest.approx(
            np.quantile(truth, quantile), rel=0.2
        )


@pytest.mark.parametrize("read", [0.0, 2.0])
@pytest.mark.parametrize("photons", [0.02, 0.05, 0.2, 0.5, 2.0])
def test_rare_photons_do_not_break_the_estimate(photons, read):
    flat = np.full((512, 512), photons)
    model = estimate_noise([expose(flat, 20, 100, read)])
    expected = 400 * photons + read * read
    assert model.variance(100 + 20 * photons) == pytest.approx(expected, rel=0.2)


def test_pure_read_noise_has_no_gain():
    image = np.random.default_rng(0).normal(1000, 10, (512, 512)).astype(np.float32)
    model = estimate_noise([image])
    assert float(model.variance(1000.0)) == pytest.approx(100, rel=0.05)
    assert 0 <= model.gain * 10 < 10


def test_several_planes_and_sizes_make_one_model():
    light = 50 * scene()
    frames = [expose(light[:, : 300 + 20 * i], 2, 100, 3, seed=i) for i in range(3)]
    model = estimate_noise(frames, offset=100)
    assert model.gain == pytest.approx(2, rel=0.1)


def test_hot_pixels_do_not_matter():
    image = expose(50 * scene(), 2.0, 100, 3)
    before = estimate_noise([image], offset=100)
    image[np.random.default_rng(3).random(image.shape) < 5e-4] = 65535
    after = estimate_noise([image], offset=100)
    assert after.gain == pytest.approx(before.gain, rel=0.05)


@pytest.mark.parametrize("share", [0.002, 0.02, 0.1])
def test_saturated_pixels_do_not_matter(share):
    light = 50 * scene()
    gain = (1023 - 100) / np.quantile(light, 1 - share)
    image = np.minimum(expose(light, gain, 100, 3), 1023)
    assert saturation_level([image]) == 1023
    assert estimate_noise([image], offset=100).gain == pytest.approx(gain, rel=0.15)


def test_an_image_saturated_everywhere_has_no_noise():
    model = estimate_noise([np.full((40, 40), 255, np.uint8)])
    assert model == NoiseModel(0.0, 255.0, 0.0)


def test_noise_on_a_high_pedestal_survives_single_precision():
    image = np.random.default_rng(0).normal(0, 3, (256, 256)) + 60_000
    model = estimate_noise([image.astype(np.float32)])
    assert float(model.variance(60_000.0)) == pytest.approx(9, rel=0.1)


def test_estimation_is_fast_on_large_samples_and_repeats_itself():
    image = expose(np.tile(50 * scene(), (4, 4)), 2, 100, 3)
    assert estimate_noise([image] * 2) == estimate_noise([image] * 2)


@pytest.mark.parametrize("value", [0, 7])
def test_a_constant_image_has_no_noise(value):
    model = estimate_noise([np.full((32, 40), value, np.uint16)])
    assert model == NoiseModel(0.0, float(value), 0.0)
    assert not model.variance(np.linspace(0, 100, 5)).any()


def test_variance_is_never_negative_and_keeps_its_precision():
    model = NoiseModel(2.0, 100.0, 9.0)
    assert model.variance(np.array([0.0, 100.0, 110.0])).tolist() == [9, 9, 29]
    assert model.variance(np.zeros((2, 3), np.float32)).dtype == np.float32
    assert model.variance(np.zeros((2, 3), np.uint16)).dtype == np.float64


def test_json_goes_round():
    model = NoiseModel(2.0, 100.25, 9.0)
    assert NoiseModel.from_json(json.loads(json.dumps(model.to_json()))) == model
    with pytest.raises(KeyError):
        NoiseModel.from_json({"gain": 1})


def test_unusable_planes_are_refused():
    with pytest.raises(DataError, match="5 x 5"):
        estimate_noise([np.zeros((4, 100))])
    with pytest.raises(DataError, match="5 x 5"):
        estimate_noise([])
    with pytest.raises(DataError, match="NaN"):
        estimate_noise([np.full((20, 20), np.nan)])
    with pytest.raises(DataError, match=r"\(3, 20, 20\)"):
        estimate_noise([np.zeros((3, 20, 20))])
    small = [np.zeros((4, 100)), np.ones((5, 5))]
    assert estimate_noise(small).offset == 1.0


@pytest.mark.parametrize("kind", ["Confocal_FISH", "Confocal_MICE", "TwoPhoton_MICE"])
def test_real_captures_match_their_spread_about_the_truth(kind):
    if "BLINDSOUND_DATA" not in os.environ:
        pytest.skip("BLINDSOUND_DATA does not name the folder of real images")
    root = Path(os.environ["BLINDSOUND_DATA"]) / "fmdd" / kind
    truth = imread(root / "gt" / "19" / "avg50.png").astype(np.float64)
    paths = sorted((root / "raw" / "19").glob("*.png"))
    captures = np.stack([imread(path) for path in paths])
    model = estimate_noise(list(captures))
    spread = captures.astype(np.float64).var(axis=0, ddof=1)
    middle = (truth > np.quantile(truth, 0.3)) & (truth < np.quantile(truth, 0.99))
    expected = spread[middle].mean()
    assert model.variance(truth[middle]).mean() == pytest.approx(expected, rel=0.2)


def test_points_that_the_line_was_fitted_to_lie_on_it():
    light = np.linspace(0, 300, 128)[None, :] * np.ones((128, 1))
    model, points = fit_noise([expose(light, 2.0, 100, 3.0)])
    assert points.shape == (24, 2)
    assert (np.diff(points[:, 0]) > 0).all()
    expected = model.variance(points[:, 0])
    assert np.median(np.abs(points[:, 1] / expected - 1)) < 0.15
