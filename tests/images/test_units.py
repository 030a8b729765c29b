from __future__ import annotations

import pytest

from napari_blindsound.images.units import unit_word


@pytest.mark.parametrize(
    "text",
    [
        "micron",
        "Microns",
        "µm",
        "μm",  # Greek mu instead of the micro sign
        "\\u00B5m",  # as ImageJ escapes it
        "\\u00b5m",
        "Âµm",  # UTF-8 read as Latin-1
        "um",
        "micrometer",
        "micrometre",
        "Micrometers",
        " um\x00",
    ],
)
def test_every_micrometer_is_one_word(text):
    assert unit_word(text) == "micrometer"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("nm", "nanometer"),
        ("Å", "angstrom"),
        ("mm", "millimeter"),
        ("m", "meter"),
        ("inch", "inch"),
        ("sec", "second"),
        ("s", "second"),
        ("Seconds", "second"),
        ("ms", "millisecond"),
        ("msec", "millisecond"),
        ("µs", "microsecond"),
        ("min", "minute"),
        ("hrs", "hour"),
        ("d", "day"),
    ],
)
def test_lengths_and_times(text, word):
    assert unit_word(text) == word


@pytest.mark.parametrize("text", ["pixel", "", "reference frame", "furlong", None])
def test_what_is_no_unit_is_none(text):
    assert unit_word(text) is None
