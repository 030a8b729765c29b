"""Pixel sizes, units and channel names that a TIFF file carries in its tags.

Two dialects are understood: OME-XML, and the text that ImageJ and Fiji write. The
resolution tags alone are not: most programs fill them with a printer's 72 dpi.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from napari_blindsound.images.axes import Axes, Axis
from napari_blindsound.images.units import unit_word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tifffile import TiffFile, TiffPage


@dataclass(frozen=True)
class TiffMetadata:
    """What the tags say about one image.

    Parameters
    ----------
    calibration : mapping
        Pixel size and unit by axis letter, where known.
    channel_names : tuple of str
        One per channel, or empty.
    colors : tuple of str
        RRGGBB, one per channel, or empty.
    """

    calibration: Mapping[str, tuple[float, str | None]] = field(default_factory=dict)
    channel_names: tuple[str, ...] = ()
    colors: tuple[str, ...] = ()

    def axes(self, letters: str) -> Axes:
        """Axes of these letters with their pixel sizes and units."""
        known = (self.calibration.get(letter, (1.0, None)) for letter in letters)
        pairs = zip(letters, known, strict=True)
        return Axes(tuple(Axis(name, scale, unit) for name, (scale, unit) in pairs))


def read_metadata(tiff: TiffFile, number: int = 0) -> TiffMetadata:
    """Metadata of an image of an open TIFF file.

    Parameters
    ----------
    tiff : tifffile.TiffFile
        The open file.
    number : int
        Which of its images.
    """
    if tiff.is_ome and tiff.ome_metadata:
        return _read_ome(tiff.ome_metadata, number)
    if tiff.is_imagej and tiff.imagej_metadata:
        return _read_imagej(tiff.imagej_metadata, tiff.pages.first)
    return TiffMetadata()


def _read_ome(xml: str, number: int) -> TiffMetadata:
    """Read the Pixels element of an image: sizes in µm and seconds unless said."""
    try:
        images = ElementTree.fromstring(xml).findall("{*}Image")
    except ElementTree.ParseError:
        return TiffMetadata()
    pixels = images[number].find("{*}Pixels") if number < len(images) else None
    if pixels is None:
        return TiffMetadata()
    calibration = {}
    for letter, key, usual in (
        ("X", "PhysicalSizeX", "µm"),
        ("Y", "PhysicalSizeY", "µm"),
        ("Z", "PhysicalSizeZ", "µm"),
        ("T", "TimeIncrement", "s"),
    ):
        size = _above_zero(pixels.get(key))
        if size is not None:
            calibration[letter] = (size, unit_word(pixels.get(f"{key}Unit", usual)))
    channels = pixels.findall("{*}Channel")
    names = tuple(c.get("Name", "") for c in channels)
    colors = tuple(_color(c.get("Color")) for c in channels)
    return TiffMetadata(
        calibration,
        names if all(names) else (),
        # White is what programs write that know of no colors.
        colors if all(colors) and set(colors) != {"FFFFFF"} else (),
    )


def _color(text: str | None) -> str:
    """RRGGBB of a signed integer of red, green, blue and opacity; empty if unknown."""
    try:
        number = int(text or "")
    except ValueError:
        return ""
    return f"{(number & 0xFFFFFFFF) >> 8:06X}"


def _read_imagej(tags: Mapping[str, object], page: TiffPage) -> TiffMetadata:
    """Read ImageJ's keys; its resolution is in pixels per ``unit``, time in seconds."""
    unit = _text(tags, "unit")
    calibration: dict[str, tuple[float, str | None]] = {}
    if unit is not None:
        spacing = _above_zero(tags.get("spacing"), sign_matters=False)
        sizes = {
            "X": _pixel_size(page, "XResolution"),
            "Y": _pixel_size(page, "YResolution"),
            "Z": spacing,  # left out by ImageJ where it is 1
        }
        for letter, size in sizes.items():
            word = unit_word(_text(tags, f"{letter.lower()}unit") or unit)
            calibration[letter] = (size or 1.0, word)
    interval = _above_zero(tags.get("finterval"))
    frequency = _above_zero(tags.get("fps"))
    if interval is None and frequency is not None:
        interval = 1.0 / frequency
    if interval is not None:
        calibration["T"] = (interval, unit_word(_text(tags, "tunit") or "s"))
    return TiffMetadata(calibration)


def _pixel_size(page: TiffPage, code: str) -> float | None:
    """Inverse of a resolution tag, which is a fraction of two integers."""
    tag = page.tags.get(code)
    if tag is None:
        return None
    pixels, units = tag.value
    return _above_zero(units / pixels) if pixels else None


def _above_zero(value: object, *, sign_matters: bool = True) -> float | None:
    """Read a finite number above zero, None where it is none."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    number = number if sign_matters else abs(number)
    return number if math.isfinite(number) and number > 0 else None


def _text(tags: Mapping[str, object], key: str) -> str | None:
    value = tags.get(key)
    return value if isinstance(value, str) and value.strip() else None
