from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_blindsound.api import train
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.phantom import phantom
from napari_blindsound.images.volume import Volume
from napari_blindsound.quality.estimate import MOST_DECIBELS, estimated_gain
from napari_blindsound.quality.unseen import estimate_quality

SMALL = {"width": 8, "depth": 2, "patch": 32}
SIZE = 192
PEAK = 1000.0


@pytest.fixture(scope="module")
def cells():
    return phantom("2d", size=SIZE)


@pytest.fixture(scope="module")
def model(cells):
    return train(cells.volume(), steps=250, settings=SMALL)


def volume(frames, axes="TYX"):
    return Volume((frames,), Axes.parse(axes), "test")


def exposures(cells, count, seed=7):
    camera, random = cells.camera, np.random.default_rng(seed)
    light = np.maximum(cells.clean.astype("f8") - camera.offset, 0) / camera.gain
    return np.stack([camera.expose(light, random) for _ in range(count)])


def true_psnr(model, frames, clean):
    return 10 * np.log10(PEAK**2 / ((model(frames) - clean.astype("f8")) ** 2).mean())


@pytest.mark.parametrize("count", [2, 4])
def test_repeats_give_the_true_psnr(cells, model, count):
    frames = exposures(cells, count)
    found = estimate_quality(model, volume(frames), data_range=PEAK)
    true = true_psnr(model, frames, cells.clean)
    assert found.source == "repeats"
    assert found.psnr == pytest.approx(true, abs=0.5)
    assert found.low <= true <= found.high
    assert found.data_range == PEAK
    noisy = 10 * np.log10(PEAK**2 / ((frames - cells.clean.astype("f8")) ** 2).mean())
    assert found.gain == pytest.approx(true - noisy, abs=0.5)
    assert f"{found.psnr:.1f} dB" in found.words


def test_repeats_do_so_where_noise_is_correlated(cells, model):
    random = np.random.default_rng(0)
    noise = gaussian_filter(random.normal(0, 150, (4, SIZE, SIZE)), (0, 1, 1))
    frames = np.clip(cells.clean + noise, 0, 4095).astype(np.uint16)
    found = estimate_quality(model, volume(frames), data_range=PEAK)
    assert found.source == "repeats"
    assert found.psnr == pytest.approx(true_psnr(model, frames, cells.clean), abs=0.5)


@pytest.mark.parametrize("output", ["visible", "blind"])
def test_one_frame_gives_bounds_that_hold(cells, model, output):
    chosen = model.with_output(output)
    found = estimate_quality(chosen, cells.volume(), data_range=PEAK)
    true = true_psnr(chosen, cells.noisy, cells.clean)
    assert found.source == ("stein" if output == "visible" else "blind error")
    assert found.psnr == pytest.approx(true, abs=1.5)
    assert found.low <= true <= found.high


@pytest.mark.parametrize("shift", [-0.03, 0.03])
def test_a_result_that_is_too_dark_or_bright_as_a_whole_is_judged_right(shift):
    dim = phantom("2d", size=SIZE, photons=10.0, seed=4)
    model = train(dim.volume(), steps=1, settings={"start": "warm"})
    [method] = model.methods
    method.network.last[2].bias.data += shift
    true, noisy = (
        float(((image - dim.clean.astype("f8")) ** 2).mean())
        for image in (model(dim.noisy), dim.noisy.astype("f8"))
    )
    gain = 10 * np.log10(noisy / true)
    assert 4 < gain < MOST_DECIBELS
    found = estimate_quality(model, dim.volume(), data_range=PEAK)
    assert found.gain == pytest.approx(gain, abs=1.0)
    assert estimated_gain(model, dim.noisy[None]) == pytest.approx(gain, abs=1.0)


def test_frames_of_other_scenes_are_no_repeats(model):
    frames = np.stack([phantom("2d", size=SIZE, seed=s).noisy for s in range(3)])
    assert estimate_quality(model, volume(frames)).source == "stein"


def test_each_channel_counts():
    two = phantom("2d", size=96, channels=2)
    model = train(two.volume(), steps=30, settings=SMALL)
    found = estimate_quality(model, two.volume())
    assert np.isfinite([found.psnr, found.low, found.high, found.gain]).all()
    clipped = np.percentile(model(two.noisy), (0.1, 99.9))
    assert found.data_range == pytest.approx(clipped[1] - clipped[0], rel=0.01)


def test_no_noise_gives_no_number(cells):
    model = train(cells.volume(), steps=1, settings=SMALL)
    [noise] = model.preprocessing.noise
    object.__setattr__(noise, "gain", 0.0)
    object.__setattr__(noise, "read_variance", 0.0)
    found = estimate_quality(model, cells.volume())
    assert np.isnan(found.psnr)
    assert "no noise" in found.words


def test_small_8_bit_images_have_the_range_of_their_type(cells, model):
    tiny = (cells.noisy[:40, :50] / 16).astype(np.uint8)
    found = estimate_quality(model, volume(tiny, "YX"))
    assert found.data_range == 255
    assert np.isfinite(found.psnr)
