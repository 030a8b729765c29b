from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from benchmarks.correlation import draw
from scipy.ndimage import gaussian_filter
from skimage.io import imread

from napari_blindsound.errors import DataError
from napari_blindsound.images.phantom import phantom
from napari_blindsound.noise.correlation import Correlation, measure_correlation

LAPLACIAN = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6


def white(shape=(256, 256), seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def rows(shape=(256, 256), seed=0):
    """Noise of unit variance with a correlation of 1/2 along x."""
    noise = white((shape[0], shape[1] + 1), seed)
    return (noise[:, 1:] + noise[:, :-1]) / np.sqrt(2)


def blurred(shape=(256, 256), seed=0, width=0.8):
    noise = gaussian_filter(white(shape, seed), width)
    return noise / noise.std()


def counts(noise, level=500, sigma=20):
    return np.rint(level + sigma * noise).astype(np.uint16)


def real(*parts):
    if "BLINDSOUND_DATA" not in os.environ:
        pytest.skip("BLINDSOUND_DATA does not name the folder of real images")
    return Path(os.environ["BLINDSOUND_DATA"]).joinpath(*parts)


# The first three of each class from 300 on that are 256 pixels wide, for their speed.
SEEDS = [300, 308, 312, 303, 323, 327, 305, 309, 313, 314, 326, 338]


@pytest.mark.parametrize("seed", SEEDS)
def test_draws_of_the_benchmark_get_their_verdict(seed):
    made = draw(seed)
    found = measure_correlation([made.noisy])
    assert found.verdict == made.truth, (made.words, found.words)


def test_noise_along_both_axes_is_not_a_filter():
    found = measure_correlation([counts(rows(seed=1) + rows(seed=2).T)])
    assert found.verdict == "both"
    assert found.region == (1, 1)


def test_the_map_is_the_autocorrelation():
    found = measure_correlation([counts(blurred((512, 512), width=0.7))])
    lag = np.arange(-3, 4)
    kernel = np.zeros(41)
    kernel[20] = 1
    line = np.correlate(*[gaussian_filter(kernel, 0.7)] * 2, "same")[17:24]
    expected = np.outer(line, line) / line[3] ** 2
    np.testing.assert_allclose(found.map, expected, atol=0.05)
    assert found.map.shape == found.error.shape == (2 * lag[-1] + 1,) * 2
    assert found.map[3, 3] == 1
    assert found.error[3, 3] == 0
    np.testing.assert_array_equal(found.map, found.map[::-1, ::-1])


def test_errors_say_how_far_off_the_map_is():
    maps = [measure_correlation([counts(white(seed=i))]) for i in range(12)]
    off = np.array([np.delete(one.map.ravel(), 24) for one in maps])
    error = np.array([np.delete(one.error.ravel(), 24) for one in maps])
    assert np.mean(np.abs(off) < 2 * error) > 0.95
    small = measure_correlation([counts(white((64, 64)))])
    assert small.error[3, 4] > 1.4 * error[:, 0].mean()


@pytest.mark.parametrize(
    ("noise", "verdict", "region", "said"),
    [
        (white(), "white", (0, 0), "independent from pixel to pixel"),
        (rows(), "rows", (0, 1), "Pixels of a row share noise"),
        (rows().T, "columns", (1, 0), "Pixels of a column share noise"),
        (blurred(width=0.8), "filtered", (2, 2), "smoothed"),
        (white() + white((256, 1), 1), "rows", (0, 3), "1 x 7 pixels"),
        (white() + white((1, 256), 1), "columns", (3, 0), "7 x 1 pixels"),
    ],
)
def test_flat_noise_is_named_and_its_region_found(noise, verdict, region, said):
    found = measure_correlation([counts(noise)])
    assert (found.verdict, found.region) == (verdict, region)
    assert said in found.words
    assert f"{found.map[3, 4]:.2f} along x" in found.words


def test_gain_is_what_a_filter_does_to_the_noise():
    noise = blurred((512, 512))
    found = measure_correlation([counts(noise)])
    filtered = sum(
        LAPLACIAN[i, j] * noise[i : 510 + i, j : 510 + j]
        for i, j in np.ndindex(LAPLACIAN.shape)
    )
    assert found.gain_of(LAPLACIAN) == pytest.approx(filtered.var(), rel=0.2, abs=0.01)
    none = measure_correlation([])
    assert none.gain_of(LAPLACIAN) == pytest.approx(1.0)
    assert none.gain_of(np.ones((1, 2))) == pytest.approx(2.0)
    line = np.array([[1, 0, 0, -1]])
    shifted = measure_correlation([counts(white() + white((256, 1), 1))])
    assert shifted.gain_of(line) == pytest.approx(1.0, abs=0.15)
    assert shifted.gain_of(line.T) == pytest.approx(2.0, abs=0.15)


def test_hot_pixels_and_pedestals_and_drift_do_not_matter():
    y, x = np.mgrid[:256, :256]
    hot = np.random.default_rng(5).random((256, 256)) < 5e-4
    for noise, verdict in ((white(), "white"), (blurred(), "filtered")):
        image = counts(noise)
        image[hot] = 65535
        assert measure_correlation([image]).verdict == verdict
        high = (60_000 + 3 * noise).astype(np.float32)
        assert measure_correlation([high]).verdict == verdict
        drifting = 20 * noise + 3.0 * x + 0.02 * y**2
        assert measure_correlation([drifting]).verdict == verdict
        assert measure_correlation([noise * 1e30]).verdict == verdict


def test_still_frames_show_noise_that_one_image_hides():
    made = phantom("2d", size=256, photons=20_000, seed=400)
    clean = made.clean.astype(np.float64)
    frames = np.stack(
        [(1 - 0.05 * i) * clean + 15 * rows(seed=i) for i in range(4)]
    ).astype(np.float32)
    found = measure_correlation(list(frames[:1]), frames=[frames])
    assert found.verdict == "rows"
    assert found.map[3, 4] == pytest.approx(0.5, abs=0.06)
    assert measure_correlation(list(frames[:1])).verdict != "rows"


def test_moving_frames_do_not_deceive():
    made = phantom("timelapse", size=256, frames=4, photons=100, seed=401)
    for noise, verdict in ((white, "white"), (rows, "rows"), (blurred, "filtered")):
        frames = made.clean + np.stack([10 * noise(seed=i) for i in range(4)])
        assert measure_correlation(list(frames), frames=[frames]).verdict == verdict


def test_frames_that_repeat_one_image_are_left_alone():
    image = counts(rows())
    found = measure_correlation([image], frames=[np.stack([image, image])])
    assert found.verdict == "rows"


@pytest.mark.parametrize(
    ("planes", "reason"),
    [
        ([], "too small"),
        ([np.zeros((0, 40))], "too small"),
        ([white((31, 400))], "too small"),
        ([white((40, 40))], "too small"),
        ([np.full((256, 256), 7, np.uint16)], "all pixels of an image are the same"),
        ([np.maximum(np.rint(3 * white() - 6), 0)], "lowest or the highest count"),
        ([np.minimum(np.rint(3 * white() + 261), 255)], "lowest or the highest count"),
        ([draw(8).noisy[:48, :48] // 64], "."),
    ],
)
def test_what_cannot_be_known_is_said(planes, reason):
    found = measure_correlation(planes)
    assert found.verdict == "unknown"
    assert reason in found.words
    assert found.region == (0, 0)


def test_half_of_the_counts_may_be_clipped_or_saturated():
    assert measure_correlation([np.maximum(white(), 0)]).verdict == "white"
    assert measure_correlation([np.minimum(blurred(), 0)]).verdict == "filtered"
    spot = np.hypot(*np.mgrid[-128:128, -128:128]) < 60
    image = np.where(spot, 255, counts(white(), 100, 10)).astype(np.uint8)
    assert measure_correlation([image]).verdict == "white"


def test_unusable_arrays_are_refused():
    with pytest.raises(DataError, match=r"\(3, 40, 40\)"):
        measure_correlation([np.zeros((3, 40, 40))])
    with pytest.raises(DataError, match="NaN"):
        measure_correlation([np.full((40, 40), np.inf)])
    with pytest.raises(DataError, match=r"\(t, h, w\)"):
        measure_correlation([], frames=[np.zeros((40, 40))])


def test_the_same_seed_gives_the_same_numbers_on_large_images():
    planes = [counts(white((1024, 1024), seed)) for seed in range(2)]
    first, again, other = (measure_correlation(planes, seed=s) for s in (0, 0, 1))
    assert first.to_json() == again.to_json() != other.to_json()


def test_json_goes_round():
    for found in (measure_correlation([counts(rows())]), measure_correlation([])):
        data = json.loads(json.dumps(found.to_json()))
        back = Correlation.from_json(data)
        assert back.to_json() == data
        assert back.words == found.words
    with pytest.raises(KeyError):
        Correlation.from_json({"map": data["map"], "error": data["error"]})
    with pytest.raises(ValueError, match="7 x 7"):
        Correlation.from_json(data | {"map": [[1.0]]})
    with pytest.raises(ValueError, match="pink"):
        Correlation.from_json(data | {"verdict": "pink"})


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("Confocal_FISH", "white"),
        ("Confocal_MICE", "white"),
        ("TwoPhoton_MICE", "white"),
        ("WideField_BPAE_G", "filtered"),
    ],
)
def test_real_captures_and_repeats(kind, verdict):
    folder = real("fmdd", kind)
    captures = [imread(path) for path in sorted((folder / "raw" / "19").glob("*.png"))]
    truth = imread(folder / "gt" / "19" / "avg50.png").astype(np.float64)
    noise = np.stack(captures) - truth
    known = [np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1]]
    known += [np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]]
    repeats = measure_correlation(captures, frames=[np.stack(captures)])
    for found in (measure_correlation(captures[:1]), repeats):
        assert found.verdict == verdict
        assert (
            found.region in {"white": [(0, 0)], "filtered": [(1, 1), (2, 2)]}[verdict]
        )
        assert [found.map[3, 4], found.map[4, 3]] == pytest.approx(known, abs=0.05)


def test_a_two_photon_movie_is_correlated_along_its_rows():
    movie = tifffile.imread(real("stacks", "example_20x128x256_u16.tif"))
    for found in (
        measure_correlation([movie[0]]),
        measure_correlation(list(movie)),
        measure_correlation(list(movie), frames=[movie]),
    ):
        assert (found.verdict, found.region) == ("rows", (0, 1))
        assert found.map[3, 4] == pytest.approx(0.18, abs=0.04)
