from __future__ import annotations

import json

import numpy as np
import pytest

from napari_blindsound.errors import AxesError, DataError
from napari_blindsound.images.axes import Axes, Axis, axis_letter, settle_axes


def test_parse_keeps_the_order_and_takes_sizes_by_letter():
    axes = Axes.parse("tzcyx", scale={"Z": 0.5, "X": 0.1}, unit={"Z": "um"})
    assert axes.names == "TZCYX"
    assert axes[1] == Axis("Z", 0.5, "micrometer")
    assert axes[4] == Axis("X", 0.1)
    assert [axis.name for axis in axes] == list("TZCYX")
    assert len(axes) == 5
    assert "Z" in axes
    assert "Q" not in axes
    assert axes.index("C") == 2
    assert hash(axes) == hash(
        Axes.parse("TZCYX", scale={"X": 0.1, "Z": 0.5}, unit={"Z": "micron"})
    )


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ("ZY", "lack X"),
        ("T", "lack Y and X"),
        ("ZZYX", "Z twice"),
        ("QYX", "'Q' is unknown"),
        ("", "lack Y and X"),
    ],
)
def test_bad_letters_are_refused(names, reason):
    with pytest.raises(AxesError, match=reason):
        Axes.parse(names)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_sizes_are_refused(scale):
    with pytest.raises(AxesError, match="above zero"):
        Axes.parse("YX", scale={"Y": scale})


def test_calibrating_what_is_not_there_is_refused():
    with pytest.raises(AxesError, match="no axis 'Z'"):
        Axes.parse("YX", scale={"Z": 1.0})
    with pytest.raises(AxesError, match="no axis 'Z'"):
        Axes.parse("YX", unit={"Z": "um"})
    with pytest.raises(AxesError, match="'furlong' of axis Y is unknown"):
        Axes.parse("YX", unit={"Y": "furlong"})


def test_drop():
    assert Axes.parse("TZYX").drop("Z").names == "TYX"
    with pytest.raises(AxesError, match="lack Y"):
        Axes.parse("TYX").drop("Y")
    with pytest.raises(AxesError, match="no axis 'C'"):
        Axes.parse("TYX").drop("C")


def test_json_is_exact():
    axes = Axes((Axis("Y", 0.1 + 0.2, "micrometer", -3.7), Axis("X", 1 / 3)))
    assert Axes.from_json(json.loads(json.dumps(axes.to_json()))) == axes


def test_as_planes_puts_channels_rows_and_columns_last():
    block = np.arange(2 * 3 * 4 * 5 * 6).reshape(2, 3, 4, 5, 6)
    planes = Axes.parse("XCTYZ").as_planes(block)
    assert planes.shape == (4 * 6, 3, 5, 2)
    assert (planes[1 * 6 + 2] == block[:, :, 1, :, 2].transpose(1, 2, 0)).all()
    assert Axes.parse("YX").as_planes(block[0, 0, 0]).shape == (1, 1, 5, 6)


def test_the_user_decides_then_the_file_then_two_dimensions():
    known = Axes.parse("ZYX", scale={"Z": 0.5, "X": 0.1})
    assert settle_axes(None, known, (5, 8, 8), "it") == known
    said = settle_axes("TYX", known, (5, 8, 8), "it")
    assert said == Axes.parse("TYX", scale={"X": 0.1})
    assert settle_axes(None, None, (8, 8), "it").names == "YX"


def test_what_cannot_be_known_is_asked_for():
    with pytest.raises(AxesError, match=r"pass axes='TYX' or axes='ZYX'"):
        settle_axes(None, None, (3, 512, 512), "it")
    with pytest.raises(AxesError, match=r"name 2 dimensions, but it has 3"):
        settle_axes("YX", None, (3, 512, 512), "it")
    with pytest.raises(DataError, match="at least two dimensions"):
        settle_axes(None, None, (512,), "it")


@pytest.mark.parametrize(
    ("word", "letter"), [("time", "T"), ("Channel", "C"), ("y", "Y"), ("lambda", None)]
)
def test_words_of_axes(word, letter):
    assert axis_letter(word) == letter
