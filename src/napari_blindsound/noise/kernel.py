"""A small symmetric filter, and its inverse as a filter of a stated radius.

The inverse of a filter reaches without end, but falls off. It is cut where what the two
do together is the identity to 1e-4 at every frequency: its radius is honest, and tiles
with that much context equal the whole image. Filters that take a frequency away have no
such inverse and are refused.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch.nn import functional as F

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Floats = NDArray[np.float64]

RESIDUAL = 1e-4
"""How far the inverse times the filter may be from one at any frequency."""
_GRID = 128  # frequencies along an axis
_LARGEST_RADIUS = 40
_LEAST_RESPONSE = 0.05  # of the largest; below it, noise would be amplified 20 times

Rows = tuple[tuple[float, ...], ...]


class Kernel(BaseModel):
    """Weights of a filter A, square, of an odd side, symmetric to its center.

    By default the one of the paper: 0.4 at the center, 0.1 beside it, 0.05 across.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: Rows = Field(
        ((0.05, 0.1, 0.05), (0.1, 0.4, 0.1), (0.05, 0.1, 0.05)),
        description="rows of the filter's weights",
    )

    @classmethod
    def of(cls, edge: float, corner: float) -> Kernel:
        """Filter of 3 x 3 pixels whose weights add up to one.

        Parameters
        ----------
        edge, corner : float
            Weights of the neighbors beside and across; the center has the rest.

        Raises
        ------
        pydantic.ValidationError
            If it has no inverse.
        """
        center = 1 - 4 * (edge + corner)
        outer, middle = (corner, edge, corner), (edge, center, edge)
        return cls(weights=(outer, middle, outer))

    @field_validator("weights")
    @classmethod
    def _has_an_inverse(cls, weights: Rows) -> Rows:
        side = len(weights)
        if side % 2 == 0 or any(len(row) != side for row in weights):
            shape = f"{side} rows of {', '.join(str(len(row)) for row in weights)}"
            msg = (
                f"the kernel has {shape} weights; give a square one of 1 x 1, 3 x 3, "
                f"5 x 5 ..."
            )
            raise ValueError(msg)
        array = np.array(weights)
        if not np.isfinite(array).all() or not np.allclose(array, array[::-1, ::-1]):
            msg = (
                "the kernel is not symmetric: give the same weight to neighbors on "
                "opposite sides"
            )
            raise ValueError(msg)
        if _inverse(weights) is None:
            msg = (
                f"the kernel has no inverse: it takes some pattern of pixels away (its "
                f"response falls to {_least_response(weights):.2g} of the largest); "
                f"give more weight to its center"
            )
            raise ValueError(msg)
        return weights

    @property
    def radius(self) -> int:
        """Pixels on each side that it reaches."""
        return len(self.weights) // 2

    @property
    def inverse_radius(self) -> int:
        """The same of its inverse."""
        found = _inverse(self.weights)
        assert found is not None
        return len(found) // 2

    @property
    def power(self) -> float:
        """Variance that white noise of one has behind it."""
        return float(np.square(self.weights).sum())

    def apply(self, image: Tensor) -> Tensor:
        """A times an image, (..., H, W)."""
        return filtered(image, np.array(self.weights))

    def invert(self, image: Tensor) -> Tensor:
        """Inverse of A times an image, (..., H, W)."""
        found = _inverse(self.weights)
        assert found is not None
        return filtered(image, found)

    def squared(self, image: Tensor) -> Tensor:
        """The filter whose weights are squared: what variances go through."""
        return filtered(image, np.array(self.weights) ** 2)


@lru_cache(maxsize=64)
def powers(weights: Rows) -> Floats:
    """Squared response of a filter, at the frequencies of a grid."""
    return np.asarray(_response(np.array(weights)) ** 2)


def _response(weights: Floats) -> Floats:
    """Real response at the frequencies of a grid."""
    radius = len(weights) // 2
    padded = np.zeros((_GRID, _GRID))
    padded[: 2 * radius + 1, : 2 * radius + 1] = weights
    return np.asarray(np.fft.fft2(np.roll(padded, (-radius, -radius), (0, 1))).real)


def _least_response(weights: Rows) -> float:
    found = np.abs(_response(np.array(weights)))
    largest = float(found.max())
    return float(found.min()) / largest if largest else 0.0


@lru_cache(maxsize=64)
def _inverse(weights: Rows) -> Floats | None:
    """Weights of the inverse; None where there is none."""
    if not _least_response(weights) >= _LEAST_RESPONSE:
        return None
    response = _response(np.array(weights))
    if (response > 0).any() and (response < 0).any():
        return None
    return _cut(1 / response, response)


@lru_cache(maxsize=64)
def eased(weights: Rows, ratio: float) -> Floats:
    """Filter of what is before a filter A, where noise behind it comes in the way.

    To undo A amplifies that noise by 1 / A. This leaves it as it would be without A, in
    proportion to all noise: A^2 (1 + ratio) / (A^2 + ratio).

    Parameters
    ----------
    weights : tuple of tuple of float
        Of A, which has an inverse.
    ratio : float
        Variance of the noise behind the filter, in parts of that before it.

    Returns
    -------
    ndarray
        Weights, square, of an odd side; their sum is one. Nothing is filtered where
        too many of them were needed.
    """
    power = powers(weights)
    wanted = power * (1 + ratio) / (power + ratio)
    found = _cut(wanted, 1 / wanted.max())
    return np.ones((1, 1)) if found is None else np.asarray(found / found.sum())


def _cut(wanted: Floats, scale: Floats | float) -> Floats | None:
    """Weights of a response, as few as make it right to `RESIDUAL` in units of scale.

    None where that takes too many.
    """
    whole = np.fft.fftshift(np.fft.ifft2(wanted).real)
    middle = _GRID // 2
    for radius in range(_LARGEST_RADIUS + 1):
        part = slice(middle - radius, middle + radius + 1)
        cut = whole[part, part]
        if np.abs((_response(cut) - wanted) * scale).max() < RESIDUAL:
            return cut.copy()
    return None


def filtered(image: Tensor, weights: Floats) -> Tensor:
    """Correlate the last two axes of an image, (..., H, W), mirrored at the edges.

    Parameters
    ----------
    image : Tensor
        (..., H, W).
    weights : ndarray
        Square, of an odd side.
    """
    radius = len(weights) // 2
    kernel = torch.from_numpy(weights).to(image)[None, None]
    planes = image.reshape(-1, 1, *image.shape[-2:])
    if radius:
        rows, columns = (
            _mirrored(size, radius, image.device) for size in image.shape[-2:]
        )
        planes = planes[:, :, rows][..., columns]
    return F.conv2d(planes, kernel).reshape(image.shape)


def _mirrored(size: int, radius: int, device: torch.device) -> Tensor:
    """Indices of pixels from `radius` before to `radius` behind an axis."""
    index = torch.arange(-radius, size + radius, device=device) % (2 * size)
    return torch.minimum(index, 2 * size - 1 - index)
