"""The global masker and the mask mapper of Blind2Unblind, without loops.

The image is cut into cells of ``cell`` x ``cell`` pixels; *phase* ``p`` is the pixel in
row ``p // cell``, column ``p % cell`` of every cell. A masked image has the pixels of
one phase replaced by the mean of their neighbors; the mapper gathers from each masked
image the pixels that were blind there (Wang et al., CVPR 2022, section 3.2).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Padding = Literal["reflect", "zeros"]

# Corners weigh 1/12, edges 1/6, the center nothing.
_DONUT = torch.tensor([[0.5, 1.0, 0.5], [1.0, 0.0, 1.0], [0.5, 1.0, 0.5]]) / 6


def neighbor_mean(noisy: Tensor, padding: Padding = "reflect") -> Tensor:
    """Weighted mean of the eight neighbors of every pixel, (B, C, H, W) to the same.

    The authors pad with zeros, which darkens the fill along the border; reflection
    does not, and never lets a pixel fill itself.
    """
    channels = noisy.shape[1]
    mode = "constant" if padding == "zeros" else "reflect"
    padded = F.pad(noisy, (1, 1, 1, 1), mode=mode)
    kernel = _DONUT.to(noisy).expand(channels, 1, 3, 3)
    return F.conv2d(padded, kernel, groups=channels)


def mask_phases(
    noisy: Tensor, phases: Tensor, cell: int, padding: Padding = "reflect"
) -> Tensor:
    """One masked copy of the batch a phase.

    Parameters
    ----------
    noisy : Tensor
        (B, C, H, W); H and W multiples of `cell`.
    phases : Tensor
        (P,) integers below ``cell**2``.
    cell : int
        Side of a cell.
    padding : {"reflect", "zeros"}
        As in :func:`neighbor_mean`.

    Returns
    -------
    Tensor
        (P B, C, H, W), phase by phase.
    """
    height, width = noisy.shape[-2:]
    rows = torch.arange(height, device=noisy.device) % cell
    columns = torch.arange(width, device=noisy.device) % cell
    phase_of = rows[:, None] * cell + columns
    chosen = phases.to(noisy.device).view(-1, 1, 1, 1, 1)
    blind = (phase_of == chosen).expand(-1, 1, 1, -1, -1)
    masked = torch.where(blind, neighbor_mean(noisy, padding), noisy)
    return masked.flatten(0, 1)


def split_phases(image: Tensor, cell: int) -> Tensor:
    """Cut (B, C, H, W) into its phases: (cell^2, B, C, H / cell, W / cell)."""
    batch, channels, height, width = image.shape
    cells = image.reshape(batch, channels, height // cell, cell, width // cell, cell)
    return cells.permute(3, 5, 0, 1, 2, 4).flatten(0, 1)


def join_phases(phases: Tensor, cell: int) -> Tensor:
    """Inverse of :func:`split_phases`: the mask mapper."""
    _, batch, channels, height, width = phases.shape
    rows: Tensor = phases.unflatten(0, (cell, cell))
    cells = rows.permute(2, 3, 4, 0, 5, 1)
    return cells.reshape(batch, channels, height * cell, width * cell)
