from __future__ import annotations

import numpy as np
import pytest

from napari_blindsound.api import train
from napari_blindsound.images.phantom import phantom
from napari_blindsound.quality.estimate import MOST_DECIBELS, estimated_gain

SMALL = {"width": 8, "depth": 2, "patch": 32}


@pytest.fixture(scope="module")
def cells():
    return phantom("2d", size=192)


@pytest.mark.parametrize("steps", [250, 500])
def test_within_a_decibel_of_the_truth(cells, steps):
    model = train(cells.volume(), steps=steps, settings=SMALL, preset="fast")
    noisy, clean = cells.noisy.astype("f8"), cells.clean.astype("f8")
    error = ((model(cells.noisy) - clean) ** 2).mean()
    true = -10 * np.log10(error / ((noisy - clean) ** 2).mean())
    assert 3 < true < MOST_DECIBELS
    assert estimated_gain(model, cells.noisy) == pytest.approx(true, abs=1.0)


def test_each_channel_counts(cells):
    two = phantom("2d", size=96, channels=2)
    model = train(two.volume(), steps=60, settings=SMALL)
    gain = estimated_gain(model, two.noisy)
    assert -30 < gain < MOST_DECIBELS


def test_no_noise_gives_no_number(cells):
    model = train(cells.volume(), steps=1, settings=SMALL)
    [noise] = model.preprocessing.noise
    object.__setattr__(noise, "gain", 0.0)
    object.__setattr__(noise, "read_variance", 0.0)
    assert np.isnan(estimated_gain(model, cells.noisy))
