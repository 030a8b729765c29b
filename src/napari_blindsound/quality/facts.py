"""What was found in an image, in words: numbers with intervals, or why there are none.

The same words on the command line and in the dock.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_blindsound.noise.estimated import Estimated
    from napari_blindsound.noise.verdict import Correlation
    from napari_blindsound.quality.preflight import Glance

_MOST_DIGITS, _MOST_DECIMALS = 4, 6
VERDICTS = {
    "white": "independent from pixel to pixel",
    "rows": "shared along rows",
    "columns": "shared along columns",
    "both": "shared along rows and columns",
    "filtered": "smoothed",
    "unknown": "not known",
}
SOURCES = {
    "frames": "differences between frames",
    "planes": "single planes",
}


def rows(glance: Glance) -> dict[str, str]:
    """Heading and words of all that is known of a channel."""
    calibration = glance.calibration
    return {
        "gain": interval(calibration.gain, "counts a photon"),
        **dark(glance),
        "measured on": SOURCES[calibration.source],
        "photons": photons(glance),
        "signal/noise": f"{glance.signal_to_noise:.3g} at the bright pixels",
        "neighbors": glance.correlation.words,
        "expected gain": decibels(glance.expected),
        "saturated": f"{100 * glance.saturated:.3g} % of the pixels",
        "hot pixels": hot(glance),
        "range": f"{glance.low:.4g} dark, {glance.median:.4g} median, "
        f"{glance.bright:.4g} bright",
        "signs": "; ".join(calibration.signs),
    }


def dark(glance: Glance) -> dict[str, str]:
    """Offset and read noise, whose reason is said once where they share it."""
    offset, read = glance.calibration.offset, glance.calibration.read_noise
    words = interval(read, "counts")
    if not read.known and not offset.known and read.reason == offset.reason:
        words = f"not known{_bounds(read)}, for the same reason"
    return {"offset": interval(offset, "counts"), "read noise": words}


def photons(glance: Glance) -> str:
    """Photons a pixel, at the median and in the bright parts."""
    median, bright = glance.light(glance.median), glance.light(glance.bright)
    if not bright.known:
        gain = glance.calibration.gain
        return (
            "not known, as the gain"
            if bright.reason == gain.reason
            else interval(bright)
        )
    return f"{interval(median)} at the median, {interval(bright)} at the bright pixels"


def hot(glance: Glance) -> str:
    """Hot pixels in a million."""
    if not glance.hot_enabled:
        return "not told from signal: too many pixels stand out"
    return f"{1e6 * glance.hot:.3g} in a million"


def decibels(expected: Estimated) -> str:
    """By how much denoising will lower the error."""
    if not expected.known:
        return f"not known: {expected.reason}"
    return f"{expected.low:.0f} to {expected.high:.0f} dB less error"


def interval(number: Estimated, unit: str = "") -> str:
    """Value and interval, as in ``2.21 counts (2.19 to 2.24)``; or why not.

    Examples
    --------
    >>> from napari_blindsound.noise.estimated import Estimated
    >>> interval(Estimated(2.2084, 2.188, 2.236, known=True), "counts")
    '2.21 counts (2.19 to 2.24)'
    >>> interval(Estimated(4.4, 0.0, 4.4, known=False, reason="no dark region"))
    'not known, at most 4.4: no dark region'
    """
    if not number.known:
        return f"not known{_bounds(number)}: {number.reason}"
    unit = f" {unit}" if unit else ""
    value, low, high = _rounded(number)
    return f"{value}{unit}" + (f" ({low} to {high})" if low != high else "")


def _bounds(number: Estimated) -> str:
    """The one bound that there is, unless the reason has two."""
    is_told = "between" in number.reason or 0 < number.low < math.inf
    if is_told or not math.isfinite(number.high):
        return ""
    return f", at most {number.high:.{_MOST_DIGITS}g}"


def _rounded(number: Estimated) -> tuple[str, str, str]:
    """Value and bounds with digits down to the interval's width, two at least."""
    width = (number.high - number.low) / 2
    numbers = (number.value, number.low, number.high)
    if not (math.isfinite(width) and width > 0):
        value, low, high = (f"{n:.{_MOST_DIGITS}g}" for n in numbers)
    else:
        least = -math.floor(math.log10(width))
        if number.value > 0:
            least = max(least, 1 - math.floor(math.log10(number.value)))
        digits = min(max(0, least), _MOST_DECIMALS)
        value, low, high = (f"{n:.{digits}f}" for n in numbers)
    return value, low, high


def map_lines(correlation: Correlation) -> list[str]:
    """Rows of the map of correlations, y downward and x to the right, two digits."""
    if correlation.verdict in ("white", "unknown"):
        return []
    return [
        " ".join(f"{0.0 if abs(value) < 0.005 else value:5.2f}" for value in line)
        for line in np.asarray(correlation.map)
    ]
