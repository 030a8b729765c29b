"""A U-Net with 3-D convolutions over a plane and its neighbors, for that plane alone.

The downward path convolves along the depth, too, and keeps every plane by itself; the
upward path makes the plane in the middle from it. What differs from the plain form is
how it is evaluated, never what comes out:

- Of a few planes, a 3-D convolution is a 2-D convolution whose channels are those of
  all planes, and whose kernel is a band of the 3-D kernel. The reflection about the
  outermost planes is folded into it. (PyTorch's own 3-D convolution takes 2 to 25
  times as long on processors.)
- Each level computes only the planes that the one in the middle still needs.
- Planes come as networks take them, the one in the middle first. Their order along the
  axis is put back by the first kernel.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_blindsound.networks.unet import SLOPE, UNet, Up


class DeepConv(nn.Module):
    """3-D convolution of neighboring planes and leaky ReLU; weights in ``block.0``.

    Parameters
    ----------
    inputs, outputs : int
        Channels of one plane.
    before, after : int
        Planes on each side of the one in the middle, given and returned; where no fewer
        are returned, they are reflected about the outermost ones.
    center_first : bool
        Whether the plane in the middle is given before the others.
    """

    bands: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        before: int,
        after: int,
        *,
        center_first: bool = False,
    ) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv3d(inputs, outputs, 3))
        given = list(range(-before, before + 1))
        if center_first:
            given.sort(key=bool)
        bands = torch.zeros(2 * after + 1, len(given), 3)
        for plane in range(-after, after + 1):
            for tap in range(3):
                seen = given.index(_reflected(plane + tap - 1, before))
                bands[plane + after, seen, tap] = 1
        self.register_buffer("bands", bands, persistent=False)

    def forward(self, x: Tensor, padding: int = 1) -> Tensor:
        """Map (B, planes inputs, H, W) to (B, planes outputs, H, W).

        With a `padding` of 0 without the outermost pixels.
        """
        conv: nn.Conv3d = self.block[0]  # type: ignore[assignment]
        kernel = torch.einsum("pqt,oithw->poqihw", self.bands, conv.weight)
        bias = conv.bias.repeat(len(kernel))  # type: ignore[union-attr]
        out = F.conv2d(x, kernel.flatten(2, 3).flatten(0, 1), bias, padding=padding)
        return F.leaky_relu(out, SLOPE, inplace=True)


class DeepUp(Up):
    """`Up` whose skip has the plane in the middle and one on each side of it.

    Parameters
    ----------
    inputs, skip, outputs : int
        Channels of one plane.
    planes : int
        On each side in what is given as skip; those beyond the first are not looked at.
    """

    def __init__(self, inputs: int, skip: int, outputs: int, planes: int) -> None:
        super().__init__(inputs, 3 * skip, outputs)
        self._seen = slice((planes - 1) * skip, (planes + 2) * skip)

    def merge(self, x: Tensor, skip: Tensor, trim: int = 0) -> Tensor:
        """First convolution, of upsampled `x` and the planes of `skip`."""
        return super().merge(x, skip[:, self._seen], trim)


class UNet3d(UNet):
    """U-Net that convolves a plane and its neighbors with kernels of 3 x 3 x 3.

    As :class:`UNet` in the plane: pooling, upsampling, receptive field and the order of
    layers are the same. Along the depth nothing is pooled. The downward path has a map
    of each plane, reflected beyond the window; the upward path has the plane in the
    middle only, and sees of each skip that plane and the ones next to it, of the image
    all. So one neighbor on each side doubles the arithmetic (width 8, depth 3).

    Parameters
    ----------
    inputs, outputs : int
        Channels of the plane, in and out.
    planes : int
        Neighbors on each side, from 1 up.
    width : int
        Channels of the downward path, a plane; the upward path has twice as many.
    depth : int
        Number of poolings by 2.
    """

    def __init__(
        self,
        inputs: int = 1,
        outputs: int = 1,
        *,
        planes: int = 1,
        width: int = 48,
        depth: int = 5,
    ) -> None:
        super().__init__((2 * planes + 1) * inputs, outputs, width=width, depth=depth)
        # Planes on each side after each convolution: what the middle one still needs.
        after = [min(planes, depth - level) for level in range(-1, depth + 1)]
        self.maps = 2 * (after[0] + after[1]) + 2
        self.head = nn.Sequential(
            DeepConv(inputs, width, planes, after[0], center_first=True),
            DeepConv(width, width, after[0], after[1]),
        )
        self.down_path = nn.ModuleList(
            DeepConv(width, width, *sides) for sides in pairwise(after[1:])
        )
        for i in range(depth - 1):
            below = width if i == 0 else 2 * width
            up = DeepUp(below, width, 2 * width, after[depth - 1 - i])
            self.up_path[i] = up.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def bytes_per_pixel(self) -> int:
        """Working memory of a pass without gradients, in bytes per pixel of input.

        At full resolution, the maps of all planes before and after a convolution, or
        what the upward path of a `UNet` holds.
        """
        return 4 * (max(6, self.maps) * self.width + 2 * self.inputs)


def _reflected(plane: int, outermost: int) -> int:
    """A plane, or the one in its place beyond the outermost."""
    if abs(plane) <= outermost:
        return plane
    return (2 * outermost - abs(plane)) * (1 if plane > 0 else -1)
