from __future__ import annotations

import json

import numpy as np
import pytest

from napari_blindsound.errors import AxesError, DataError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.intensity import Intensity
from napari_blindsound.images.volume import Volume


def volume_of(array, axes="TCZYX", name="it"):
    return Volume((array,), Axes.parse(axes[-array.ndim :]), name)


@pytest.fixture
def counts(rng):
    """Cells of up to 400 photons on a camera of offset 100: (4, 96, 96) uint16."""
    y, x = np.mgrid[:96, :96] / 96
    light = 20 + 380 * np.exp(-60 * ((y - 0.4) ** 2 + (x - 0.6) ** 2))
    return (100 + rng.poisson(light, (4, 96, 96))).astype(np.uint16)


def test_the_range_runs_between_percentiles(counts):
    intensity = Intensity.fit(volume_of(counts, "TYX"))
    low, high = np.percentile(counts, [0.5, 99.9])
    assert intensity.offset[0] == pytest.approx(low, abs=1)
    assert intensity.scale[0] == pytest.approx(high - low, abs=2)


def test_nothing_is_clipped_and_all_comes_back(counts):
    intensity = Intensity.fit(volume_of(counts, "TYX"))
    z = intensity.normalize(counts)
    assert z.dtype == np.float32
    assert z.min() < 0
    assert z.max() > 1
    assert np.abs(intensity.restore(z) - counts).max() < 1e-3


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize(("gain", "offset"), [(1, 0), (7, 3), (60, 40_000)])
def test_a_change_of_gain_and_offset_is_undone(counts, dtype, gain, offset):
    small = counts[:, :64] // 4
    z = Intensity.fit(volume_of(small, "TYX")).normalize(small)
    changed = (gain * small.astype(np.float64) + offset).astype(dtype)
    assert changed.max() == gain * int(small.max()) + offset
    same = Intensity.fit(volume_of(changed, "TYX")).normalize(changed)
    assert np.abs(same - z).max() < 1e-6


def test_fractions_are_undone_too(rng):
    light = rng.gamma(3.0, size=(3, 64, 64))
    z = Intensity.fit(volume_of(light, "TYX")).normalize(light)
    changed = 1e-5 * light - 0.25
    same = Intensity.fit(volume_of(changed, "TYX")).normalize(changed)
    assert np.abs(same - z).max() < 1e-6 * np.abs(z).max()


def test_each_channel_has_its_own_range(rng):
    array = rng.poisson(20, (5, 2, 40, 40)).astype(np.float32)
    array[:, 1] = 50 * array[:, 1] + 1000
    intensity = Intensity.fit(volume_of(array, "TCYX"))
    z = intensity.normalize(array, 1)
    assert np.median(z[:, 0]) == pytest.approx(np.median(z[:, 1]), abs=0.05)
    assert np.abs(intensity.restore(z, 1) - array).max() < 0.01
    moved = intensity.normalize(np.moveaxis(array, 1, -1), -1)
    assert np.array_equal(moved, np.moveaxis(z, 1, -1))
    with pytest.raises(AxesError, match=r"has 1 channels, but .* fitted to 2"):
        intensity.normalize(array)
    with pytest.raises(AxesError, match="has 5 channels"):
        intensity.restore(array, 0)


def test_noise_alone_spans_at_least_five_standard_deviations(rng):
    array = rng.normal(1000, 10, (4, 128, 128))
    (scale,) = Intensity.fit(volume_of(array, "TYX")).scale
    assert 50 <= scale < 90


def test_sparse_spots_set_the_range(rng):
    array = rng.normal(100, 3, (1, 512, 512))
    for y, x in rng.integers(10, 500, (8, 2)):
        array[0, y : y + 4, x : x + 4] += 2000  # 0.05 % of the pixels
    (scale,) = Intensity.fit(volume_of(array, "TYX")).scale
    assert 1800 < scale < 2300


def test_hot_pixels_do_not_set_the_range(rng):
    array = rng.normal(100, 3, (1, 512, 512))
    array[0, 5::60, 7::70] = 65_535  # 0.03 %
    (scale,) = Intensity.fit(volume_of(array, "TYX")).scale
    assert scale < 40


def test_photon_counts_that_are_mostly_zero():
    array = np.zeros((64, 64), np.uint8)
    array[::8, ::9] = 1
    intensity = Intensity.fit(volume_of(array, "YX"))
    assert intensity.offset == (0.0,)
    assert 0 < intensity.scale[0] <= 1
    array[:] = 0
    array[3, 3] = 1
    assert 0 < Intensity.fit(volume_of(array, "YX")).scale[0] <= 1


def test_several_images_share_one_range(rng):
    dim = volume_of(rng.poisson(20, (64, 64)).astype(np.float32), "YX")
    bright = volume_of(rng.poisson(900, (64, 64)).astype(np.float32), "YX")
    both = Intensity.fit([dim, bright])
    assert both.offset[0] < 20
    assert both.offset[0] + both.scale[0] > 900
    with pytest.raises(AxesError, match="same number of channels, but it has 1"):
        Intensity.fit([dim, volume_of(np.zeros((2, 8, 8)), "CYX")])


def test_json_is_exact(rng):
    intensity = Intensity.fit(volume_of(rng.random((2, 50, 50)), "CYX"))
    stored = json.loads(json.dumps(intensity.to_json()))
    assert Intensity.from_json(stored) == intensity


def test_a_constant_image_is_refused():
    with pytest.raises(DataError, match=r"it is constant \(all 5\).*nothing to learn"):
        Intensity.fit(volume_of(np.full((3, 20, 20), 5, np.uint8), "TYX"))


def test_a_constant_channel_is_named(rng):
    array = rng.random((2, 20, 20))
    array[1] = 0
    volume = Volume((array,), Axes.parse("CYX"), "it", ("DAPI", "GFP"))
    with pytest.raises(DataError, match="channel GFP of it is constant"):
        Intensity.fit(volume)


def test_nan_is_refused():
    array = np.ones((3, 20, 20))
    array[1, 2, 3] = np.nan
    with pytest.raises(DataError, match="holds nan at T=1, Y=2, X=3"):
        Intensity.fit(volume_of(array, "TYX"))


@pytest.mark.parametrize("shape", [(1, 300), (2, 2), (1, 2)])
def test_slivers_have_a_range(shape, rng):
    array = rng.permutation(shape[0] * shape[1]).reshape(shape)
    assert Intensity.fit(volume_of(array, "YX")).scale[0] > 0


def test_real_captures(real_data):
    from napari_blindsound.images.open import open_volume

    captures = open_volume(real_data / "fmdd" / "Confocal_FISH" / "raw" / "19")
    intensity = Intensity.fit(captures)
    z = intensity.normalize(captures.levels[0][...])
    assert intensity.scale[0] > 50
    assert -0.5 < z.min() <= 0.01
    assert np.percentile(z, 99.9) == pytest.approx(1, abs=0.02)
