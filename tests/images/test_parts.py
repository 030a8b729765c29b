from __future__ import annotations

import numpy as np
import pytest

from napari_blindsound import open_volume
from napari_blindsound.errors import AxesError, ImageFormatError
from napari_blindsound.images.parts import check_alike, part_of, with_channel


@pytest.fixture
def volume():
    return open_volume(np.arange(5 * 2 * 8 * 9).reshape(5, 2, 8, 9), axes="TCYX")


def test_a_part_ends_with_the_image(volume):
    part = part_of(volume, {"T": (3, 100), "X": (2, 5)})
    assert part.shape == (2, 2, 8, 3)
    whole = tuple(slice(0, n) for n in part.shape)
    np.testing.assert_array_equal(part.read(whole), volume.levels[0][3:, :, :, 2:5])
    assert part_of(volume, {}).shape == volume.shape


def test_a_part_that_is_not_there_is_refused(volume):
    with pytest.raises(AxesError, match=r"no axis Z .* TCYX"):
        part_of(volume, {"Z": (0, 2)})
    with pytest.raises(AxesError, match=r"ends at T=4, before .* 5:7"):
        part_of(volume, {"T": (5, 7)})


def test_a_channel_by_number(volume):
    assert with_channel(volume, "1").shape == (5, 8, 9)
    with pytest.raises(AxesError, match="from 0 to 1"):
        with_channel(volume, "GFP")
    single = open_volume(np.ones((8, 9)))
    assert with_channel(single, "0") is single
    with pytest.raises(AxesError, match="has no channels"):
        with_channel(single, "1")


def test_images_with_other_channels_are_not_trained_on_together(volume):
    check_alike([volume, volume])
    with pytest.raises(ImageFormatError, match=r"2 channel.* has 1; train on"):
        check_alike([volume, with_channel(volume, "0")])
