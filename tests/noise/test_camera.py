from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from benchmarks.calibration import GAIN, READ, draw, slope_against, within
from scipy.ndimage import gaussian_filter
from skimage.io import imread

from napari_blindsound.errors import DataError
from napari_blindsound.images.phantom import Camera, phantom
from napari_blindsound.noise.camera import Calibration, calibrate
from napari_blindsound.noise.correlation import measure_correlation
from napari_blindsound.noise.survey import laplacian_response, samples

CAMERA = Camera(2.2, 100, 3.5, 12)


@pytest.fixture(scope="module")
def scene():
    return phantom(photons=30, camera=CAMERA, seed=71)


@pytest.fixture(scope="module")
def light(scene):
    clean = scene.clean.astype(np.float64)
    return np.maximum((clean - CAMERA.offset) / CAMERA.gain, 0)


@pytest.fixture(scope="module")
def found(scene):
    return calibrate([scene.noisy])


def expose(lights, seed=1, camera=CAMERA):
    rng = np.random.default_rng(seed)
    return np.stack([camera.expose(light, rng) for light in lights])


def numbers(found):
    return found.gain, found.offset, found.read_noise


def assert_is_the_camera(found, camera=CAMERA):
    assert found.gain.known
    assert found.gain.value == pytest.approx(camera.gain, rel=GAIN)
    assert found.read_noise.known
    assert found.read_noise.value == pytest.approx(camera.read_noise, rel=READ)
    assert found.offset.known
    assert found.offset.value == pytest.approx(camera.offset, abs=2)


def assert_open(found):
    """Nothing is called known, everything has a reason and is finite."""
    for one in numbers(found):
        assert not one.known
        assert one.reason
        assert math.isfinite(one.value)
        assert one.low <= one.value <= one.high


@pytest.fixture(scope="module")
def draws():
    """The first of the benchmark's draws: camera, from an image, from frames."""
    found = []
    for index in range(6):
        captures, camera, _ = draw(index)
        single = calibrate(captures[:1])
        found.append((camera, single, calibrate(captures[:1], frames=[captures])))
    return found


@pytest.mark.parametrize(("way", "fewest"), [(1, 2), (2, 3)], ids=["image", "frames"])
def test_what_is_known_of_random_cameras_is_right(draws, way, fewest):
    known = 0
    for one in draws:
        camera, found = one[0], one[way]
        if found.gain.known:
            assert within(found.gain, camera.gain, GAIN)
        if found.read_noise.known:
            assert within(found.read_noise, camera.read_noise, READ)
        known += found.gain.known and found.read_noise.known
    assert known >= fewest


@pytest.mark.parametrize("way", [1, 2], ids=["image", "frames"])
def test_intervals_hold_the_truth(draws, way):
    held = [
        (one.low <= truth <= one.high)
        for camera, *ways in draws
        for one, truth in zip(
            numbers(ways[way - 1]),
            (camera.gain, camera.offset, camera.read_noise),
            strict=True,
        )
    ]
    assert sum(held) >= len(held) - 3


def test_an_image_tells_gain_offset_and_read_noise(found):
    assert_is_the_camera(found)
    assert found.source == "planes"
    assert found.signs == ()


def test_frames_tell_more_than_one_image(found, scene, light):
    both = calibrate([scene.noisy], frames=[expose([light] * 4)])
    assert both.source == "frames"
    assert_is_the_camera(both)
    for one, other in zip(numbers(both), numbers(found), strict=True):
        assert one.high - one.low < 0.7 * (other.high - other.low)


def test_a_known_offset_tells_the_read_noise(scene):
    found = calibrate([scene.noisy], offset=100)
    assert_is_the_camera(found)
    assert found.offset.low == found.offset.high == 100


@pytest.mark.parametrize("offset", [0.0, 90.0])
def test_a_wrong_offset_is_noticed(scene, light, offset):
    found = calibrate([scene.noisy], offset=offset)
    assert not found.read_noise.known
    assert "below zero" in found.read_noise.reason
    assert any("offset is higher" in sign for sign in found.signs)
    counts = np.quantile(light, [0.05, 0.5, 0.95]) * 2.2 + 100
    assert found.model.variance(counts) == pytest.approx(
        2.2 * (counts - 100) + 3.5**2, rel=0.1
    )


def test_the_model_is_right_at_the_brightness_of_the_image_whatever_is_known():
    rng = np.random.default_rng(2)
    light = 400 * (1 + gaussian_filter(rng.random((256, 256)), 12) * 2)
    found = calibrate([CAMERA.expose(light, rng)])
    assert not found.read_noise.known
    counts = np.quantile(light, [0.05, 0.5, 0.95]) * 2.2 + 100
    assert found.model.variance(counts) == pytest.approx(
        2.2 * (counts - 100) + 3.5**2, rel=0.1
    )


def test_points_lie_on_the_line_within_their_errors(found):
    mean, variance, error = np.array(found.points).T
    assert (np.diff(mean) > 0).all()
    off = (variance - found.model.variance(mean)) / error
    assert np.median(abs(off)) < 1.5


def test_json_goes_round(found):
    for one in (found, calibrate([np.full((40, 40), 7)])):
        assert Calibration.from_json(json.loads(json.dumps(one.to_json()))) == one
    with pytest.raises(KeyError):
        Calibration.from_json({"model": {}})


def test_the_same_seed_gives_the_same_numbers(scene):
    part = scene.noisy[:128, :128]
    assert calibrate([part], seed=3) == calibrate([part], seed=3)
    assert calibrate([part], seed=3) != calibrate([part], seed=4)


@pytest.mark.parametrize("factor", [1e12, 1e-12, 1 / 4095])
def test_the_unit_of_the_counts_does_not_matter(found, scene, factor):
    scaled = calibrate([scene.noisy * factor])
    for one, other in zip(numbers(scaled), numbers(found), strict=True):
        assert one.known
        assert one.value == pytest.approx(other.value * factor, rel=0.03)


def test_correlated_noise_is_corrected_by_the_gain_of_the_response():
    rng = np.random.default_rng(0)
    light = np.linspace(20, 200, 512)[None] * np.ones((512, 1))
    noise = rng.normal(size=(512, 513)) * np.sqrt(2 * 3.0 * np.linspace(20, 200, 513))
    image = 3 * light + np.sqrt(3) * (noise[:, 1:] + noise[:, :-1]) / 2
    response = laplacian_response(measure_correlation([image]))
    found = calibrate([image], response_gain=response.gain)
    assert found.gain.value == pytest.approx(3, rel=0.1)
    assert calibrate([image]).gain.value < 2
    assert not found.offset.known


def test_frames_are_right_where_noise_is_correlated(light):
    rng = np.random.default_rng(0)
    signal = 100 + 2.2 * light
    white = rng.normal(size=(4, *light.shape))
    shared = gaussian_filter(white, (0, 0.8, 0.8))
    shared *= np.sqrt(2.2 * (signal - 100) + 30) / shared.std()
    found = calibrate([signal + shared[0]], frames=[signal + shared])
    assert found.source == "frames"
    assert found.gain.value == pytest.approx(2.2, rel=0.05)


@pytest.mark.parametrize("fade", [0.9, 0.97])
def test_bleaching_is_taken_out(light, fade):
    frames = expose([light * fade**k for k in range(4)])
    found = calibrate(frames[:1], frames=[frames])
    assert found.source == "frames"
    assert_is_the_camera(found)
    assert any("brightness changes" in sign for sign in found.signs)


def test_a_drifting_background_is_taken_out(light):
    slope = np.linspace(0, 5, light.shape[1])
    frames = expose([light + k * slope for k in range(4)])
    found = calibrate(frames[:1], frames=[frames])
    assert found.source == "frames"
    assert_is_the_camera(found)


def test_frames_that_move_are_not_used(light):
    frames = expose([np.roll(light, 3 * k, axis=1) for k in range(4)])
    found = calibrate(frames[:1], frames=[frames])
    assert found.source == "planes"
    assert_is_the_camera(found)
    assert any("moves" in sign for sign in found.signs)


@pytest.mark.parametrize("seed", [72, 74])
def test_cells_that_move_a_little_change_nothing(seed):
    movie = phantom(
        "timelapse", photons=60, camera=CAMERA, seed=seed, frames=4, size=384
    )
    found = calibrate([movie.noisy[0]], frames=[movie.noisy])
    assert found.gain.value == pytest.approx(2.2, rel=0.06)


def test_two_frames_leave_the_offset_open(light):
    frames = expose([light] * 2)
    found = calibrate(frames[:1], frames=[frames])
    assert found.gain.known
    assert "no dark region" in found.offset.reason
    assert not found.read_noise.known


def test_frames_without_difference_are_not_used(found, scene):
    same = calibrate([scene.noisy], frames=[np.stack([scene.noisy] * 4)])
    assert same.source == "planes"
    assert same.gain == found.gain
    assert calibrate([scene.noisy], frames=[scene.noisy[None]]) == found


def test_frames_alone_are_enough(light):
    assert_is_the_camera(calibrate([], frames=[expose([light] * 4)]))


def test_hot_pixels_do_not_matter(found, scene):
    hot = scene.noisy.copy()
    hot[np.random.default_rng(3).random(hot.shape) < 3e-4] = 60_000
    assert_is_the_camera(calibrate([hot]))


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_constant_image_says_nothing(value):
    plane = np.full((64, 64), value, np.uint8)
    for found in (calibrate([plane]), calibrate([plane], frames=[plane[None]] * 2)):
        assert_open(found)
        assert found.gain.reason == "there is no noise in the image"
        assert found.model.read_variance == 0


@pytest.mark.parametrize("side", [5, 12, 16, 26])
def test_a_tiny_image_says_nothing(side):
    found = calibrate([np.random.default_rng(0).normal(100, 3, (side, side))])
    assert_open(found)
    assert "tiny" in found.gain.reason


def test_an_image_of_one_brightness_leaves_the_gain_open():
    image = np.random.default_rng(0).normal(1000, 10, (256, 256))
    found = calibrate([image])
    assert_open(found)
    assert float(found.model.variance(1000.0)) == pytest.approx(100, rel=0.05)


def test_without_darkness_offset_and_read_noise_stay_together():
    rng = np.random.default_rng(1)
    light = 2000 + 3000 * gaussian_filter(rng.random((512, 512)), 30)
    found = calibrate([np.rint(5 * rng.poisson(light) + 100).astype(np.uint16)])
    assert not found.read_noise.known
    assert not found.offset.known


def test_too_few_photons_leave_the_gain_open_but_not_the_read_noise(light):
    dim = calibrate(expose([light / 60], camera=Camera(1.0, 100, 6, 12)))
    assert not dim.gain.known
    assert dim.gain.low <= 1 <= dim.gain.high
    assert dim.gain.reason.startswith("too few photons")
    assert dim.read_noise.value == pytest.approx(6, rel=0.1)


def test_counts_cut_off_at_zero_are_left_out(scene):
    cut = np.clip(scene.noisy.astype(int) - 104, 0, None).astype(np.uint16)
    found = calibrate([cut])
    assert any(sign.startswith("clipped at the dark end") for sign in found.signs)
    assert found.gain.low <= 2.2 <= found.gain.high
    assert "clipped at 0" in found.read_noise.reason


def test_counts_below_zero_are_noticed(scene):
    found = calibrate([scene.noisy.astype(np.int32) - 101])
    assert found.offset.value == pytest.approx(-1, abs=2)
    assert "counts below zero: an offset was subtracted" in found.signs


def test_saturated_places_are_left_out(light):
    image = np.minimum(expose([light])[0], 135).astype(np.uint16)
    found = calibrate([image])
    assert any(sign.startswith("saturated") for sign in found.signs)
    assert found.gain.value == pytest.approx(2.2, rel=0.1)
    everywhere = calibrate([np.minimum(image, 107)])
    assert_open(everywhere)
    assert "cut off" in everywhere.gain.reason


def test_quantized_counts_are_called_so(scene):
    found = calibrate([scene.noisy // 16 * 16])
    assert_open(found)
    assert found.gain.reason.startswith("quantized: one step is 16 counts")
    assert any("conversion from 8 bits" in sign for sign in found.signs)


def test_single_photons_at_zero_are_not_clipped():
    rng = np.random.default_rng(4)
    light = 8 * gaussian_filter(rng.random((512, 512)) ** 6, 4)
    found = calibrate([rng.poisson(light).astype(np.uint16)])
    assert not any("clipped" in sign for sign in found.signs)
    assert found.gain.low <= 1 <= found.gain.high


def test_variance_that_falls_with_the_mean_is_no_gain(scene):
    found = calibrate([-scene.noisy.astype(np.float32)])
    assert_open(found)
    assert "does not grow" in found.gain.reason


def test_what_cannot_be_read_is_refused():
    with pytest.raises(DataError, match="5 x 5"):
        calibrate([np.zeros((4, 9))])
    with pytest.raises(DataError, match="NaN"):
        calibrate([np.full((20, 20), np.nan)])
    with pytest.raises(DataError, match=r"\(20, 20\)"):
        calibrate([np.zeros((20, 20))], frames=[np.zeros((20, 20))])
    with pytest.raises(DataError, match="NaN"):
        calibrate([np.zeros((20, 20))], frames=[np.full((2, 20, 20), np.nan)])


@pytest.mark.parametrize(
    "kind", ["Confocal_FISH", "Confocal_MICE", "TwoPhoton_MICE", "WideField_BPAE_G"]
)
def test_gain_of_real_captures_agrees_with_their_ground_truth(kind):
    if "BLINDSOUND_DATA" not in os.environ:
        pytest.skip("BLINDSOUND_DATA does not name the folder of real images")
    root = Path(os.environ["BLINDSOUND_DATA"]) / "fmdd" / kind
    truth = imread(root / "gt" / "19" / "avg50.png")
    captures = [imread(path) for path in sorted((root / "raw" / "19").glob("*.png"))]
    found = calibrate(captures[:1], frames=[np.stack(captures)])
    assert found.source == "frames"
    assert found.gain.value == pytest.approx(slope_against(captures, truth), rel=0.15)


def test_slow_movement_does_not_add_to_the_gain():
    movie = phantom("timelapse", size=512, frames=6, seed=0)
    [sample] = samples([movie.volume()], seed=0)
    found = sample.survey(seed=0).calibration
    assert found.source == "planes"
    assert found.gain.value == pytest.approx(movie.camera.gain, rel=0.03)
    assert any("something moves" in sign for sign in found.signs)
