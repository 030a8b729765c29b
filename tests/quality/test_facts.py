from __future__ import annotations

import math

import numpy as np
import pytest

from napari_blindsound.noise.estimated import Estimated
from napari_blindsound.noise.verdict import Correlation
from napari_blindsound.quality.facts import interval, map_lines


@pytest.mark.parametrize(
    ("value", "low", "high", "words"),
    [
        (2.2084, 2.188, 2.236, "2.21 (2.19 to 2.24)"),
        (99.77, 99.4, 100.14, "99.8 (99.4 to 100.1)"),
        (0.341, 0.333, 0.413, "0.34 (0.33 to 0.41)"),
        (390.2, 359.6, 419.0, "390 (360 to 419)"),
        (1.02, 0.98, 6.1, "1.0 (1.0 to 6.1)"),
        (100.0, 100.0, 100.0, "100"),
        (0.0, 0.0, 0.2, "0.0 (0.0 to 0.2)"),
    ],
)
def test_digits_are_those_that_count(value, low, high, words):
    assert interval(Estimated(value, low, high, known=True)) == words


def test_what_is_not_known_has_its_reason_and_its_bound():
    dark = Estimated(4.4, -math.inf, 4.41, known=False, reason="no dark region")
    assert interval(dark, "counts") == "not known, at most 4.41: no dark region"
    open_ = Estimated(4.4, 0.0, math.inf, known=False, reason="it is a test")
    assert interval(open_) == "not known: it is a test"
    told = Estimated(2.0, 0.0, 9.0, known=False, reason="it lies between 0 and 9")
    assert interval(told) == "not known: it lies between 0 and 9"


def test_a_map_in_numbers():
    square = np.zeros((7, 7))
    square[3] = 0.004, 0.02, 0.31, 1, 0.31, 0.02, -0.004
    lines = map_lines(Correlation(square, np.zeros((7, 7)), "rows"))
    assert len(lines) == 7
    assert lines[3] == " 0.00  0.02  0.31  1.00  0.31  0.02  0.00"
    assert map_lines(Correlation(square, square, "white")) == []
