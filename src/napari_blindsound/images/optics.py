"""How the phantom's microscope sees a specimen: blur that grows with distance.

Light from the focus has the width of a diffraction-limited spot. Light from above or
below is spread over a cone, and a part of it is held back, as a pinhole does; what
passes is the haze of thick specimens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Plane = NDArray[np.float32]

FOCUS_SIGMA = 1.05
_CONE = 1.15
_PINHOLE = 3.0
_FLOOR = 0.4
_NEAR = 3
_COARSE = 4


def focus(slabs: NDArray[np.float32], depth: float) -> Plane:
    """Image of a specimen with the focus at a depth.

    Parameters
    ----------
    slabs
        ``(depth, y, x)`` light of thin slabs.
    depth
        Position of the focus, slabs; it may lie between two or outside.

    Returns
    -------
    numpy.ndarray
        ``(y, x)`` float32.
    """
    coarse = _pooled(slabs)
    sharp, hazy = np.zeros_like(slabs[0]), np.zeros_like(coarse[0])
    for number, slab in enumerate(slabs):
        distance = abs(number - depth)
        passed = _FLOOR + (1 - _FLOOR) / (1 + (distance / _PINHOLE) ** 2)
        sigma = float(np.hypot(FOCUS_SIGMA, _CONE * distance))
        if distance <= _NEAR:
            sharp += np.float32(passed) * gaussian_filter(slab, sigma)
        else:
            blurred = gaussian_filter(coarse[number], sigma / _COARSE)
            hazy += np.float32(passed) * blurred
    return np.asarray(sharp + _spread(hazy, slabs.shape[1:]), dtype=np.float32)


def _pooled(slabs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of 4 x 4 pixels, enough for what is wide out of focus."""
    depth, height, width = slabs.shape
    pads = (-height % _COARSE, -width % _COARSE)
    padded = np.pad(slabs, ((0, 0), (0, pads[0]), (0, pads[1])), mode="symmetric")
    blocks = padded.reshape(
        depth, padded.shape[1] // _COARSE, _COARSE, padded.shape[2] // _COARSE, _COARSE
    )
    means = blocks.mean(axis=(2, 4), dtype=np.float64)
    return np.asarray(means, dtype=np.float32)


def _spread(coarse: Plane, shape: tuple[int, ...]) -> Plane:
    fine = zoom(coarse, _COARSE, order=1, mode="nearest", grid_mode=True)
    return np.asarray(fine[: shape[0], : shape[1]], dtype=np.float32)
