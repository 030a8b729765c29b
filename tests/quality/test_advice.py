from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_blindsound import open_volume
from napari_blindsound.images.phantom import Camera, phantom
from napari_blindsound.methods.blind2unblind import Blind2Unblind
from napari_blindsound.quality.advice import advice, is_calibrated, suited_method
from napari_blindsound.quality.preflight import glances


def told(counts, axes="YX"):
    volume = open_volume(counts, axes=axes)
    return advice(volume, glances(volume))


def noise(shape=(320, 321), seed=0, sigma=10.0):
    return np.random.default_rng(seed).normal(0, sigma, shape)


def test_advice_is_in_sentences_without_options_of_a_command():
    dim = phantom("2d", size=96, photons=0.7).noisy
    words = told(np.stack([dim, dim]), "CYX")
    assert any("as strong as the signal" in text for text in words)
    assert any("only 9216 pixels" in text for text in words)
    assert any("jointly" in text for text in words)
    assert all(text.endswith((".", "?")) and "--" not in text for text in words)


def test_good_data_need_no_advice_and_suit_blind2sound():
    volume = phantom("2d", size=400, photons=60.0).volume()
    found = glances(volume)
    assert advice(volume, found) == []
    assert is_calibrated(found)
    assert suited_method(found).startswith("Blind2Sound is suited")


@pytest.mark.parametrize(("shift", "hidden"), [((0, 1), "1 x 3"), ((1, 0), "3 x 1")])
def test_shared_noise_names_the_region_that_is_hidden(shift, hidden):
    own = noise((320, 320))
    words = told((300 + own + 0.8 * np.roll(own, shift, (0, 1))).astype(np.float32))
    [text] = [text for text in words if "share noise" in text]
    assert f"training hides {hidden} pixels" in text
    # It is what the method makes of it.
    region = tuple(int(side) // 2 for side in hidden.split(" x "))
    config = Blind2Unblind.Config.preset("fast").suited(region)
    assert config.region == hidden.replace(" ", "")
    assert "setting region" in text


def test_smoothed_data_are_asked_for_raw():
    rough = noise((322, 322))
    smooth = sum(rough[y : y + 320, x : x + 320] for y in (0, 1, 2) for x in (0, 1, 2))
    volume = open_volume((500 + smooth).astype(np.float32), axes="YX")
    found = glances(volume)
    [text] = [t for t in advice(volume, found) if "smoothed" in t]
    assert "give the raw data" in text
    assert not is_calibrated(found)
    assert suited_method(found).startswith("Blind2Unblind is suited")


def test_what_was_lost_on_the_way_is_told_with_a_remedy():
    made = phantom("2d", size=400, photons=30.0, camera=Camera(offset=10.0))
    dark = np.maximum(made.noisy.astype(int) - 25, 0).astype(np.uint16)
    assert any(t.startswith("Clipped at the dark end") for t in told(dark))
    coarse = (made.noisy // 16 * 16).astype(np.uint16)
    [text] = [t for t in told(coarse) if t.startswith("Quantized")]
    assert "as the camera wrote them" in text


def test_only_a_large_change_of_brightness_is_told():
    still = phantom("2d", size=300, photons=60.0)
    light = still.clean - 100.0
    rng = np.random.default_rng(0)
    for factor, is_told in ((0.96, False), (0.6, True)):
        frames = [100 + 2.2 * rng.poisson(f * light / 2.2) for f in (1, factor)]
        words = told(np.stack(frames).astype(np.float32), "TYX")
        assert any("brightness changes" in text for text in words) == is_told


def test_few_photons_are_told():
    dim = phantom("2d", size=512, photons=1.0, camera=Camera(read_noise=0.8))
    assert any("count at most" in text for text in told(dim.noisy))


def test_an_unknown_offset_is_told_where_it_matters():
    """Read noise as strong as that of the light, and no skewness to tell them apart."""
    mean = np.linspace(200, 3000, 512)
    counts = mean + np.sqrt(5 * mean + 20_000) * noise((512, 512), sigma=1.0)
    volume = open_volume(counts.astype(np.float32), axes="YX")
    [glance] = glances(volume)
    assert glance.calibration.gain.known
    [text] = [t for t in advice(volume, [glance]) if "darkness would tell" in t]
    assert f"{glance.light(glance.bright).low:.2g} and" in text
    # Without knowledge of the gain nothing is said of photons.
    lost = replace(glance.calibration.gain, known=False)
    calibration = replace(glance.calibration, gain=lost)
    other = replace(glance, survey=replace(glance.survey, calibration=calibration))
    assert not any("darkness" in t for t in advice(volume, [other]))


def test_an_image_without_noise_is_called_so():
    ramp = np.add.outer(np.arange(64), 3 * np.arange(64)).astype(np.float32)
    assert any(text.startswith("No noise was found") for text in told(ramp))
