from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from napari_blindsound.errors import DataError
from napari_blindsound.quality.metrics import (
    affine_fit,
    fmdd_scores,
    psnr,
    ssim,
    to_uint8,
)


def images(shape=(67, 83), seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    truth = 120 + 80 * np.sin(y / 7) * np.cos(x / 9) + np.zeros(shape)
    return np.clip(truth + rng.normal(0, 15, shape), 0, 255).astype(np.uint8), truth


def reference_ssim(image, truth, data_range):
    return structural_similarity(
        image.astype(np.float64),
        truth.astype(np.float64),
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_both_agree_with_scikit_image(dtype):
    noisy, truth = (image.astype(dtype) for image in images())
    expected = peak_signal_noise_ratio(
        truth.astype(np.float64), noisy.astype(np.float64), data_range=255
    )
    assert psnr(noisy, truth, 255) == pytest.approx(expected, rel=1e-12)
    assert ssim(noisy, truth, 255) == pytest.approx(
        reference_ssim(noisy, truth, 255), abs=1e-12
    )


def test_ssim_agrees_on_sixteen_bit_ranges():
    noisy, truth = (image.astype(np.float64) * 200 for image in images())
    assert ssim(noisy, truth, 51_000) == pytest.approx(
        reference_ssim(noisy, truth, 51_000), abs=1e-12
    )


def test_ssim_counts_only_the_valid_region():
    noisy, truth = images()
    framed = noisy.copy()
    framed[0, :] = 255 - framed[0, :]
    assert ssim(framed, truth, 255) != ssim(noisy, truth, 255)
    # 11 x 11 pixels have one valid position, whose window spans them all.
    weights = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    weights = np.outer(weights, weights) / weights.sum() ** 2
    x, y = noisy[:11, :11].astype(float), truth[:11, :11]
    mx, my = (weights * x).sum(), (weights * y).sum()
    vx, vy = (weights * x * x).sum() - mx * mx, (weights * y * y).sum() - my * my
    cov = (weights * x * y).sum() - mx * my
    c1, c2 = 2.55**2, 7.65**2
    expected = (2 * mx * my + c1) * (2 * cov + c2)
    expected /= (mx * mx + my * my + c1) * (vx + vy + c2)
    assert ssim(x, y, 255) == pytest.approx(expected, rel=1e-12)


def test_identical_images_are_perfect():
    noisy, _ = images()
    assert psnr(noisy, noisy, 255) == float("inf")
    assert ssim(noisy, noisy, 255) == pytest.approx(1.0, abs=1e-15)


def test_a_stack_scores_the_mean_of_its_planes():
    noisy, truth = images((3, 20, 24))
    planes = [ssim(a, b, 255) for a, b in zip(noisy, truth, strict=True)]
    assert ssim(noisy, truth, 255) == pytest.approx(np.mean(planes), rel=1e-12)


def test_unsigned_differences_do_not_wrap():
    low, high = np.zeros((12, 12), np.uint8), np.full((12, 12), 255, np.uint8)
    assert psnr(low, high, 255) == 0.0
    assert psnr(high, low, 255) == 0.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [(-3.0, 0), (0.49, 0), (0.5, 1), (1.5, 2), (2.5, 3), (254.5, 255), (300.0, 255)],
)
def test_to_uint8_clips_and_rounds_halves_up(value, expected):
    assert to_uint8(np.array([value]))[0] == expected


def test_to_uint8_scales_from_the_peak():
    result = to_uint8(np.array([0.0, 0.5, 1.0, 2.0]), peak=1.0)
    assert result.dtype == np.uint8
    assert result.tolist() == [0, 128, 255, 255]


def test_every_eight_bit_level_survives_to_uint8():
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_uint8(levels), levels)
    assert np.array_equal(to_uint8(levels.astype(np.float32) / 255, peak=1), levels)


def test_fmdd_scores_round_both_images_first():
    noisy, truth = images()
    denoised = truth + 0.3
    scores = fmdd_scores(denoised, truth)
    a, b = to_uint8(denoised), to_uint8(truth)
    assert scores.psnr == psnr(a, b, 255)
    assert scores.ssim == ssim(a, b, 255)
    assert scores.psnr > fmdd_scores(noisy, truth).psnr


def test_affine_fit_recovers_a_line():
    noisy, truth = images()
    fit = affine_fit(truth, 0.7 * truth + 12.0)
    assert fit.slope == pytest.approx(0.7)
    assert fit.intercept == pytest.approx(12.0)
    slope, intercept = affine_fit(truth, noisy)
    best = psnr(noisy, slope * truth + intercept, 255)
    assert best >= psnr(noisy, truth, 255)
    assert best > psnr(noisy, (slope + 0.01) * truth + intercept, 255)


def test_bad_images_are_refused():
    good = np.zeros((12, 12))
    with pytest.raises(DataError, match="shapes"):
        psnr(good, np.zeros((12, 13)), 255)
    with pytest.raises(DataError, match="NaN"):
        psnr(good, np.full((12, 12), np.nan), 255)
    with pytest.raises(DataError, match="empty"):
        psnr(np.zeros((0, 3)), np.zeros((0, 3)), 255)
    with pytest.raises(DataError, match="complex64"):
        psnr(good.astype(np.complex64), good, 255)
    with pytest.raises(DataError, match="above zero"):
        ssim(good, good, 0)
    with pytest.raises(DataError, match="11 x 11"):
        ssim(np.zeros((10, 40)), np.zeros((10, 40)), 255)
    with pytest.raises(DataError, match="constant"):
        affine_fit(good, good)
    with pytest.raises(DataError, match="NaN"):
        to_uint8(np.array([np.inf]))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("Confocal_FISH", 22.86), ("Confocal_MICE", 29.36), ("TwoPhoton_MICE", 24.87)],
)
def test_captures_have_their_published_noise(kind, expected):
    if "BLINDSOUND_DATA" not in os.environ:
        pytest.skip("BLINDSOUND_DATA does not name the folder of real images")
    from skimage.io import imread

    root = Path(os.environ["BLINDSOUND_DATA"]) / "fmdd" / kind
    truth = imread(root / "gt" / "19" / "avg50.png")
    captures = sorted((root / "raw" / "19").glob("*.png"))
    scores = [fmdd_scores(imread(path), truth) for path in captures]
    assert np.mean([score.psnr for score in scores]) == pytest.approx(
        expected, abs=0.15
    )
