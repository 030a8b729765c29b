"""Numbers are tested against a camera in tests/cli/test_inspect.py."""

from __future__ import annotations

import numpy as np
import pytest

from napari_blindsound import open_volume
from napari_blindsound.errors import DataError
from napari_blindsound.images.phantom import phantom
from napari_blindsound.quality.advice import advice
from napari_blindsound.quality.preflight import glances


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


def test_advice_is_in_sentences_without_options_of_a_command():
    dim = phantom("2d", size=96, photons=0.7).noisy
    volume = open_volume(np.stack([dim, dim]), axes="CYX")
    told = advice(volume, glances(volume))
    assert any("as strong as the signal" in text for text in told)
    assert any("only 9216 pixels" in text for text in told)
    assert any("jointly" in text for text in told)
    assert all(text.endswith((".", "?")) and "--" not in text for text in told)


def test_a_constant_image_is_refused():
    with pytest.raises(DataError, match="constant"):
        glances(open_volume(np.full((64, 64), 7, np.uint16)))
