"""The global masker and the mask mapper of Blind2Unblind, without loops.

The image is cut into cells of ``cell`` x ``cell`` pixels; *phase* ``p`` is the pixel in
row ``p // cell``, column ``p % cell`` of every cell. A masked image has the pixels of
one phase replaced by the mean of their neighbors; the mapper gathers from each masked
image the pixels that were blind there (Wang et al., CVPR 2022, section 3.2).

Where neighbors share their noise, they give a blind pixel's away. Then a *region*
around it is hidden, as by Broaddus et al. (Removing Structured Noise with
Self-Supervised Blind-Spot Networks, ISBI 2020), and filled from the frame of pixels
around the region, which no region hides.

Noise2Info hides a few pixels at random places instead, one in each box of a grid.
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


def mask_regions(
    noisy: Tensor,
    phases: Tensor,
    cell: int,
    region: tuple[int, int],
    random: torch.Generator | None = None,
) -> Tensor:
    """As :func:`mask_phases`, hiding a region around each pixel of the phase.

    Parameters
    ----------
    noisy : Tensor
        (B, C, H, W); H and W multiples of `cell`.
    phases : Tensor
        (P,) integers below ``cell**2``.
    cell : int
        Side of a cell; more than those of the region, so that its frame is visible.
    region : tuple of int
        Rows and columns, odd.
    random : torch.Generator, optional
        On the CPU: every hidden pixel becomes a pixel of the frame drawn at random, in
        all channels the same. Without, all of a region become the frame's mean.

    Returns
    -------
    Tensor
        (P B, C, H, W), phase by phase.
    """
    copies = [
        _mask_around(noisy, divmod(phase, cell), cell, region, random)
        for phase in phases.tolist()
    ]
    return torch.cat(copies)


def _mask_around(
    noisy: Tensor,
    first: tuple[int, int],
    cell: int,
    region: tuple[int, int],
    random: torch.Generator | None,
) -> Tensor:
    """Hide the regions around the pixels `first`, `first` + cell, ... of each axis."""
    batch, channels, height, width = noisy.shape
    frames = _frames(noisy, first, cell, region)
    rows = _owners(height, first[0], cell, region[0]).to(noisy.device)
    columns = _owners(width, first[1], cell, region[1]).to(noisy.device)
    is_hidden = (rows >= 0)[:, None] & (columns >= 0)
    owner = (rows[:, None] * (width // cell) + columns).clamp(min=0)
    if random is None:
        fill = frames.mean(-1).flatten(-2)[..., owner]
    else:
        size = frames.shape[-1]
        draw = torch.randint(size, (batch, height, width), generator=random)
        chosen = owner * size + draw.to(noisy.device)
        chosen = chosen.view(batch, 1, -1).expand(-1, channels, -1)
        fill = frames.flatten(2).gather(-1, chosen).view_as(noisy)
    return torch.where(is_hidden, fill, noisy)


def _owners(size: int, first: int, cell: int, side: int) -> Tensor:
    """For each of `size` positions the number of the region over it; -1 for none."""
    past = torch.arange(size) - first
    number = (past + side // 2).div(cell, rounding_mode="floor")
    inside = (past - number * cell).abs() <= side // 2
    return torch.where(inside & (number >= 0) & (number < size // cell), number, -1)


def _frames(
    noisy: Tensor, first: tuple[int, int], cell: int, region: tuple[int, int]
) -> Tensor:
    """Pixels in a frame, one pixel wide, around each region: (B, C, h, w, n).

    A pixel beyond the border is replaced by the one across the region's center.
    """
    down, right = region[0] // 2 + 1, region[1] // 2 + 1
    steps = torch.cartesian_prod(
        torch.arange(-down, down + 1), torch.arange(-right, right + 1)
    )
    on_frame = (steps[:, 0].abs() == down) | (steps[:, 1].abs() == right)
    places = []
    for size, start, step in zip(
        noisy.shape[-2:], first, steps[on_frame].T, strict=True
    ):
        center = torch.arange(start, size, cell)[:, None]
        there = center + step
        across = torch.where((there < 0) | (there >= size), center - step, there)
        places.append(across.to(noisy.device))
    return noisy[..., places[0][:, None], places[1]]


def draw_mask(shape: torch.Size, box: int, random: torch.Generator) -> Tensor:
    """Choose one pixel at random in each box of a grid, in each image and channel.

    Boxes at the lower and right border may be cut, and may have none then.

    Parameters
    ----------
    shape : torch.Size
        (B, C, H, W).
    box : int
        Side of a box; an image that is smaller is one box.
    random : torch.Generator
        On the CPU.

    Returns
    -------
    Tensor
        (B, C, H, W) bool, on the CPU.
    """
    *outer, height, width = shape
    box = min(box, height, width)
    rows, columns = -(-height // box), -(-width // box)
    drawn = torch.randint(box**2, (*outer, rows, columns, 1), generator=random)
    boxes = (torch.arange(box**2) == drawn).unflatten(-1, (box, box))
    whole: Tensor = boxes.transpose(-3, -2).reshape(*outer, rows * box, columns * box)
    return whole[..., :height, :width]


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
