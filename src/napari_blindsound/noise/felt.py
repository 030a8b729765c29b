"""The noise as a score has it: how steeply it falls where a pixel becomes brighter.

Where the image is locally constant, the score of Gaussian noise is (x - y) / variance,
so that a change e of y changes it by -e / variance: variance = median(-e / change), the
finite difference of NoiseAdaptive2Score (Kim et al., CVPR 2022). Of other noise, it is
the curvature of its density, which is about as much.

A score knows of the image, too, and says too much or too little noise by some 10 % of
its deviation, where the growth with the light is right to some 2 %: it is no estimate,
but a check that owes nothing to the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_blindsound.noise.growth import FEWEST, LEVELS, SUMS, levels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def felt(
    planes: NDArray[np.float32], slopes: NDArray[np.float32], added: float
) -> Floats:
    """Sums for each level of light, as of :func:`napari_blindsound.noise.growth.look`.

    Parameters
    ----------
    planes : ndarray
        (n, h, w), normalized, of one channel.
    slopes : ndarray
        (n, h, w): change of the score, in parts of that of the pixel.
    added : float
        Deviation of noise that was added in training.

    Returns
    -------
    ndarray
        (SUMS, LEVELS); a level whose score does not fall is left out.
    """
    local, level = levels(planes.astype(np.float64))
    sums = np.zeros((SUMS, LEVELS))
    for index in np.unique(level):
        here = level == index
        count = int(here.sum())
        steep = -float(np.median(slopes[here]))
        if count < FEWEST or not 0 < steep < np.inf:
            continue
        variance = max(1 / steep - added**2, 0.0)
        sums[:, index] = count, local[here].sum(), count * variance
    return sums
