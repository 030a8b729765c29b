"""Repair and range are tested where they are applied: patches and denoisers."""

from __future__ import annotations

import json

import numpy as np

from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import phantom
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.methods.blind2unblind import Blind2Unblind
from napari_blindsound.quality.preflight import glances
from napari_blindsound.training.preprocessing import Preprocessing


def two_channels():
    """One with noise that rows share, and one without."""
    rng = np.random.default_rng(1)
    light = np.linspace(20, 200, 160)
    own = rng.normal(light, 9, (3, 160, 160))
    more = rng.normal(0, 9, (3, 160, 161))
    common = light + more[..., 1:] + 0.8 * more[..., :-1]
    return open_volume(np.stack([own, common], 1).astype(np.float32), axes="TCYX")


def test_region_is_the_largest_of_the_channels():
    fitted = Preprocessing.fit([two_channels()])
    assert [found.verdict for found in fitted.correlation] == ["white", "rows"]
    assert fitted.region() == (0, 1)
    assert fitted.of_channel(0).region() == (0, 0)
    assert fitted.of_channel(1).region() == (0, 1)


def test_training_uses_what_the_preflight_shows():
    volume = two_channels()
    fitted = Preprocessing.fit([volume])
    for index, glance in enumerate(glances(volume)):
        assert fitted.noise[index] == glance.noise
        assert fitted.hot_pixels[index] == glance.survey.hot_pixels
        np.testing.assert_array_equal(
            fitted.correlation[index].map, glance.correlation.map
        )


def test_it_comes_back_from_its_file():
    fitted = Preprocessing.fit([two_channels()])
    data = json.loads(json.dumps(fitted.to_json()))
    back = Preprocessing.from_json(data)
    assert back == fitted
    assert back.to_json() == fitted.to_json()
    assert back.region() == fitted.region()


def test_models_of_before_are_what_they_were():
    volume = phantom("2d", size=64).volume()
    fitted = Preprocessing.fit([volume])
    data = fitted.to_json()
    del data["correlation"]
    old = Preprocessing.from_json(data)
    assert old.to_json() == data
    assert old.region() == (0, 0)
    assert old.of_channel(0).to_json() == data
    method = Blind2Unblind(Blind2Unblind.Config(width=4, depth=1))
    noisy = volume.levels[0][None]
    results = [Denoiser([method], each)(noisy) for each in (old, fitted)]
    np.testing.assert_array_equal(*results)
