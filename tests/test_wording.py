from __future__ import annotations

import pytest

from napari_blindsound.wording import decibels, duration, file_name, size


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.7, "1 min 0 s"),
        (185, "3 min 5 s"),
        (7810, "2 h 10 min"),
        (float("inf"), "?"),
        (None, "?"),
    ],
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_sizes_in_words():
    assert [size(n) for n in (999, 1.05e7, 1.5e9)] == ["999 bytes", "10.5 MB", "1.5 GB"]
    assert size(2e15) == "2e+03 TB"


def test_gains_in_words():
    assert [decibels(gain) for gain in (8.44, -0.5, 20)] == [
        "+8.4 dB",
        "-0.5 dB",
        "+20.0 dB",
    ]
    assert decibels(12.9, 13.0) == "+12.9 dB"
    assert decibels(13 - 1e-9, 13.0) == decibels(14.0, 13.0) == "over +13 dB"


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("cells.ome.tif", "cells"),
        ("my cells: 2.ome.zarr", "my_cells__2"),
        ("well/field 1.png", "field_1"),
        ("a.b.npy", "a.b"),
        (".tif", "image"),
        ("", "image"),
    ],
)
def test_names_fit_for_a_file(image, name):
    assert file_name(image) == name
