"""What denoising gains in an image, estimated without a clean one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_blindsound.errors import BlindsoundError
from napari_blindsound.images.context import read_around
from napari_blindsound.quality.estimate import estimated_gain

if TYPE_CHECKING:
    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.denoiser import Denoiser

_JUDGED_SIDE = 256  # px of the middle plane that quality is estimated on


def estimated(denoiser: Denoiser, volume: Volume) -> float | None:
    """Decibels that denoising gains in the middle of the image, if they can be told."""
    region = list(volume.plane(volume.n_planes // 2))
    for name in "YX":
        axis = volume.axes.index(name)
        size = volume.shape[axis]
        side = min(size, _JUDGED_SIDE)
        start = (size - side) // 2
        region[axis] = slice(start, start + side)
    try:
        windows = read_around(volume, tuple(region), denoiser.context)
        gain = estimated_gain(denoiser, windows)
    except BlindsoundError:  # told when it is denoised
        return None
    return gain if math.isfinite(gain) else None
