"""What the numbers of an image mean for whoever took it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.quality.preflight import Glance

_SATURATED = 1e-3  # fraction of the pixels
_NOISY, _CLEAN = 1.5, 30.0  # signal to noise
_FEW_PIXELS = 100_000


def advice(volume: Volume, found: Sequence[Glance]) -> list[str]:
    """Say in sentences what to know before training, the most pressing first.

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
    if volume.n_channels > 1:
        told.append(
            f"{volume.n_channels} channels: each gets a network of its own; train one "
            f"on all jointly where they show the same structures."
        )
    return told


def _of_channel(glance: Glance) -> Iterator[str]:
    where = glance.title
    if glance.saturated > _SATURATED:
        yield (
            f"{100 * glance.saturated:.2g} % of the pixels{where} are saturated and "
            f"their light is lost: next time lower the gain, exposure or laser power."
        )
    if not (glance.noise.gain or glance.noise.read_variance):
        yield f"No noise was found{where}: was the image made or smoothed by software?"
        return
    if glance.signal_to_noise < _NOISY:
        yield (
            f"The noise{where} is as strong as the signal: train on as many frames as "
            f"there are; fine detail stays lost."
        )
    if glance.signal_to_noise > _CLEAN:
        yield f"There is little noise{where}; denoising will change little."
    if not glance.hot_enabled:
        yield (
            f"Many single pixels stand out{where}: they are taken for signal, and kept "
            f"as far as they repeat."
        )
