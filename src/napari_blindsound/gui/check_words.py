"""What the step *Check* says: short words for its rows, longer ones for tooltips."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import psutil

from napari_blindsound.quality import facts
from napari_blindsound.wording import duration, size

if TYPE_CHECKING:
    from napari_blindsound.gui.data import Data
    from napari_blindsound.pace import Pace
    from napari_blindsound.quality.preflight import Glance

_TOLD_SATURATED = 1e-3  # fraction of the pixels that the summary mentions
ROWS = {
    "image": "Size and type of what is denoised",
    "photons": "Photons that a pixel counts, at the median and in the bright parts: "
    "counts above the offset, divided by the gain",
    "camera": "Counts a photon, counts in the dark, and the noise that does not depend "
    "on the light, with 95 % intervals",
    "neighbors": "Whether neighboring pixels share noise, which a blind spot then has "
    "to hide",
    "signal": "How far the bright parts stand out of their own noise",
    "pixels": "Pixels at the end of the camera's range, and single bright ones that do "
    "not belong to the image",
    "expected": "By how much denoising lowers the squared error, judged by the noise "
    "and by how smooth the image is at each scale",
    "method": "Which method these data are good for",
    "training": "Measured on this computer, for the method and preset chosen below",
    "applying": "What it takes to denoise all of the image afterwards",
}


def summary(glance: Glance) -> str:
    """Photons, neighbors and saturation in a line."""
    light, verdict = glance.light(glance.median), glance.correlation.verdict
    said = [f"~{light.value:.2g} photons/px" if light.known else "photons unknown"]
    if verdict == "white":
        said.append("noise independent")
    elif verdict != "unknown":
        said.append("noise smoothed" if verdict == "filtered" else "noise correlated")
    if glance.saturated >= _TOLD_SATURATED:
        said.append(f"{100 * glance.saturated:.2g} % saturated")
    return " · ".join(said)


def image(data: Data) -> str:
    """Size and type, and how much of it is trained on."""
    volume = data.volume
    sizes = "×".join(str(count) for count in volume.shape)
    words = f"{volume.axes.names} {sizes} · {volume.dtype} · {size(volume.nbytes)}"
    if data.ranges:
        share = math.prod(data.training.shape) / math.prod(volume.shape)
        words += f" · {100 * share:.2g} % trained on"
    return words


def words(glance: Glance) -> dict[str, str]:
    """What is said of one channel's noise, by row."""
    hot = f"{1e6 * glance.hot:.2g} in a million hot"
    if not glance.hot_enabled:
        hot = "hot ones not told from signal"
    return {
        "photons": _photons(glance),
        "camera": _camera(glance),
        "neighbors": _neighbors(glance),
        "signal": f"{glance.signal_to_noise:.2g} times the noise where it is bright",
        "pixels": f"{100 * glance.saturated:.2g} % saturated · {hot}",
        "expected": facts.decibels(glance.expected),
    }


def _photons(glance: Glance) -> str:
    median, bright = glance.light(glance.median), glance.light(glance.bright)
    if not bright.known:
        return "not known"
    return f"~{facts.interval(median)}, {facts.interval(bright)} where it is bright"


def _camera(glance: Glance) -> str:
    calibration = glance.calibration
    named = {
        "gain": calibration.gain,
        "offset": calibration.offset,
        "read noise": calibration.read_noise,
    }
    unknown = [name for name, number in named.items() if not number.known]
    words = [
        f"{name} {facts.interval(number)}"
        for name, number in named.items()
        if number.known
    ]
    if unknown:
        first = ", ".join(unknown[:-1])
        every = f"{first} and {unknown[-1]}" if first else unknown[-1]
        words.append(f"{every} not known")
    return " · ".join(words)


def _neighbors(glance: Glance) -> str:
    words = f"noise {facts.VERDICTS[glance.correlation.verdict]}"
    rows, columns = (2 * extent + 1 for extent in glance.correlation.region)
    return (
        words if rows == columns == 1 else f"{words}: {rows} × {columns} px are hidden"
    )


def reasons(glance: Glance) -> dict[str, str]:
    """More words of a row, for its tooltip."""
    calibration = glance.calibration
    numbers = {"gain": facts.interval(calibration.gain), **facts.dark(glance)}
    return {
        "photons": facts.photons(glance).capitalize(),
        "camera": "; ".join(f"{name}: {words}" for name, words in numbers.items())
        + f". Measured on {facts.SOURCES[calibration.source]}. "
        + "; ".join(calibration.signs).capitalize(),
        "neighbors": glance.correlation.words,
    }


def training(pace: Pace | None) -> str:
    """Speed and memory of training."""
    if pace is None:
        return ""
    return f"{pace.steps_per_second:.3g} steps/s · {size(pace.memory)} of memory"


def applying(data: Data, pace: Pace | None) -> str:
    """Time for the whole image."""
    if pace is None or not pace.pixels_per_second:
        return ""
    seconds = math.prod(data.volume.shape) / pace.pixels_per_second
    return f"{duration(seconds)} for the whole image"


def memory(pace: Pace | None) -> list[str]:
    """Say so if the training is not going to fit."""
    free = psutil.virtual_memory().available
    if pace is None or pace.memory <= free:
        return []
    return [
        f"Training is expected to take {size(pace.memory)} of memory, and {size(free)} "
        f"are free: choose a smaller patch, batch or width, or close other programs."
    ]
