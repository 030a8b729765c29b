"""The eight flips and turns of an image: only pixels move, so noise stays noise."""

from __future__ import annotations

import torch
from torch import Tensor

ALL_TURNS = tuple(range(8))
FLIPS = (0, 2, 4, 6)
"""Those that leave rows rows and columns columns."""


def turned(image: Tensor, turn: int) -> Tensor:
    """One of the eight symmetries of the square, of (..., H, W); 0 changes nothing."""
    if turn & 4:
        image = image.flip(-1)
    return torch.rot90(image, turn & 3, (-2, -1)) if turn & 3 else image


def turned_back(image: Tensor, turn: int) -> Tensor:
    """Undo :func:`turned`."""
    if turn & 3:
        image = torch.rot90(image, -(turn & 3), (-2, -1))
    return image.flip(-1) if turn & 4 else image
