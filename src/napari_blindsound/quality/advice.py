"""What the numbers of an image mean for whoever took it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_blindsound.noise.neighbors import choose_context

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.quality.preflight import Glance

_SATURATED = 1e-3  # fraction of the pixels
_NOISY, _CLEAN = 1.5, 30.0  # signal to noise
_FEW_PIXELS = 100_000
_FEW_PHOTONS = 2.0
_DRIFT = 10.0  # percent from frame to frame
_OPEN = 2.0  # most photons over least, where an offset would tell more
# How a sign of trouble begins, and what to do about it.
_REMEDIES = {
    "clipped at the dark end": "what is dark comes out too bright; next time raise the "
    "camera's offset, and subtract nothing before denoising",
    "quantized": "give the data as the camera wrote them, before any conversion to 8 "
    "bits or stretching of the contrast",
    "the brightness changes": "one range holds for all frames, so that this stays in "
    "the result",
    "the variance does not lie on a line": "error bars and photons may be off",
    "the variance in the dark": "do not rely on the offset and the read noise",
}


def advice(volume: Volume, found: Sequence[Glance]) -> list[str]:
    """Say in sentences what to know before training, the most pressing first.

    Of a stack, a sample is read to see whether neighboring planes help.

    Parameters
    ----------
    volume : Volume
        The noisy image.
    found : sequence of Glance
        What :func:`napari_blindsound.quality.preflight.glances` found in it.
    """
    told = [text for glance in found for text in _of_channel(glance)]
    pixels = volume.nbytes // volume.dtype.itemsize // volume.n_channels
    if pixels < _FEW_PIXELS:
        told.append(
            f"There are only {pixels} pixels to learn from: train on several images of "
            f"the same microscope and setting, if you have them."
        )
    told += _of_neighbors(volume, found)
    if volume.n_channels > 1:
        told.append(
            f"{volume.n_channels} channels: each gets a network of its own; train one "
            f"on all jointly where they show the same structures."
        )
    return told


def _of_neighbors(volume: Volume, found: Sequence[Glance]) -> Iterator[str]:
    """What training will do with the planes next to each, and why."""
    regions = [glance.correlation.region for glance in found]
    choice = choose_context(
        [volume],
        [glance.noise for glance in found],
        [glance.survey.hot_pixels for glance in found],
        region=(max(rows for rows, _ in regions), max(right for _, right in regions)),
    )
    if choice.is_told:
        is_movie = choice.context.planes and choice.context.axis == "T"
        brief = ", as where events of a single frame matter" if is_movie else ""
        yield (
            f"{choice.words[:1].upper()}{choice.words[1:]}; the setting context "
            f"overrides it{brief}."
        )


def is_calibrated(found: Sequence[Glance]) -> bool:
    """Whether the noise of all channels is known well enough for Blind2Sound."""
    return all(
        glance.calibration.gain.known and glance.correlation.verdict != "filtered"
        for glance in found
    )


def suited_method(found: Sequence[Glance]) -> str:
    """Say in a sentence which method these data are good for."""
    if is_calibrated(found):
        return (
            "Blind2Sound is suited: the noise is known well enough for the error bar "
            "that it gives for every pixel. Blind2Unblind needs no noise numbers."
        )
    return (
        "Blind2Unblind is suited, which needs no noise numbers: the gain is not known "
        "well, on which the error bars of Blind2Sound rest."
    )


def _of_channel(glance: Glance) -> Iterator[str]:
    if not (glance.noise.gain or glance.noise.read_variance):
        yield from _of_range(glance)
        yield (
            f"No noise was found{glance.title}: was the image made or smoothed by "
            f"software?"
        )
        return
    yield from _of_correlation(glance)
    yield from _of_range(glance)
    yield from _of_signal(glance)
    yield from _of_signs(glance)
    yield from _of_photons(glance)


def _of_correlation(glance: Glance) -> Iterator[str]:
    where, found = glance.title, glance.correlation
    rows, columns = (2 * extent + 1 for extent in found.region)
    hidden = (
        f"training hides {rows} x {columns} pixels (y, x) around a blind one by "
        f"itself; the setting region overrides it"
    )
    if found.verdict == "filtered":
        yield (
            f"The noise{where} was smoothed before it got here: give the raw data, "
            f"not averaged, scaled, deconvolved or demosaiced, if you can. If not, "
            f"{hidden}."
        )
    elif found.verdict in ("rows", "columns", "both"):
        lines = "row or column" if found.verdict == "both" else found.verdict[:-1]
        yield f"Pixels of one {lines} share noise{where}: {hidden}."
    elif found.verdict == "unknown":
        yield (
            f"Whether neighboring pixels share noise{where} cannot be known "
            f"({found.reason}): if stripes or grain stay in the result, set region to "
            f"3x3 or 5x5."
        )


def _of_range(glance: Glance) -> Iterator[str]:
    if glance.saturated > _SATURATED:
        yield (
            f"{100 * glance.saturated:.2g} % of the pixels{glance.title} are saturated "
            f"and their light is lost: next time lower the gain, exposure or laser "
            f"power."
        )


def _of_signal(glance: Glance) -> Iterator[str]:
    where = glance.title
    if glance.signal_to_noise < _NOISY:
        yield (
            f"The noise{where} is as strong as the signal: train on as many frames as "
            f"there are; fine detail stays lost."
        )
    if glance.signal_to_noise > _CLEAN:
        yield f"There is little noise{where}: denoising changes little to be seen."
    if not glance.hot_enabled:
        yield (
            f"Many single pixels stand out{where}: they are taken for signal, and kept "
            f"as far as they repeat."
        )


def _of_signs(glance: Glance) -> Iterator[str]:
    for beginning, remedy in _REMEDIES.items():
        found = (s for s in glance.calibration.signs if s.startswith(beginning))
        sign = next(found, None)
        if sign is not None and not _is_slight(sign):
            yield f"{sign[:1].upper()}{sign[1:]}{_in(glance.title)}; {remedy}."


def _is_slight(sign: str) -> bool:
    """Whether it is a change of brightness that hardly matters."""
    percent = re.search(r"by up to (\S+) %", sign)
    return percent is not None and float(percent[1]) < _DRIFT


def _of_photons(glance: Glance) -> Iterator[str]:
    where, light = glance.title, glance.light(glance.bright)
    if not light.known:
        return
    if light.high < _FEW_PHOTONS:
        yield (
            f"Even bright pixels{where} count at most {light.high:.2g} photons: a "
            f"longer exposure or larger pixels help more than any denoising."
        )
    elif light.high > _OPEN * light.low:
        yield (
            f"Bright pixels{where} count between {light.low:.2g} and {light.high:.2g} "
            f"photons; an image taken in darkness would tell how many. Denoising does "
            f"not need to know."
        )


def _in(title: str) -> str:
    """Channel in brackets, after a sentence that has its own end."""
    return f" ({title.removeprefix(' of ')})" if title else ""
