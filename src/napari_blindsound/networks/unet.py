"""The U-Net of Blind2Unblind, arranged so that little is computed in vain.

The graph is the papers' (Blind2Unblind, CVPR 2022; METHODS 1.1), and so are the names
of its weights. What differs is how it is evaluated, never what comes out:

- Nearest-neighbor upsampling followed by a 3x3 convolution equals a 4x4 transposed
  convolution of stride 2 whose taps are sums of the 3x3 taps. The upsampled and the
  concatenated tensor never exist, and the arithmetic falls to 4/9.
- The last 3x3 and the 1x1 convolutions can be evaluated on a regular sub-grid only
  (:meth:`UNet.tail_at`): a blind-spot loss looks at one pixel a cell.
- With a halo, each level computes only what the core of the tile still needs: no
  convolution pads, so that nothing is computed to be cropped, nor copied for it.
"""

from __future__ import annotations

from functools import cache
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.1

# Row k: how much of each 3-tap weight falls on tap k of the stride-2 transposed kernel.
_FOLD = torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], dtype=torch.float32)
# The same for both axes: 9 taps to 16, in one product with all kernels.
_FOLDS = torch.kron(_FOLD, _FOLD).T.contiguous()


class Conv(nn.Module):
    """Convolution and leaky ReLU; ``block.0`` is the papers' name for the weights."""

    def __init__(self, inputs: int, outputs: int, size: int = 3) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(inputs, outputs, size, padding=size // 2))

    @property
    def weight(self) -> Tensor:
        """Kernel, (outputs, inputs, size, size)."""
        return self.block[0].weight  # type: ignore[return-value]

    @property
    def bias(self) -> Tensor:
        """Bias, (outputs,)."""
        return self.block[0].bias  # type: ignore[return-value]

    def forward(self, x: Tensor, padding: int | None = None) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W).

        With a `padding` of 0 in place of its own, only the pixels come back of which
        all that a 3x3 kernel sees is there: one less on each side.
        """
        if padding is None:
            out = self.block(x)
        else:
            out = F.conv2d(x, self.weight, self.bias, padding=padding)
        return F.leaky_relu(out, SLOPE, inplace=True)


class Up(nn.Module):
    """Nearest upsampling by 2, concatenation with a skip, two 3x3 convolutions."""

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.conv_1 = Conv(inputs + skip, outputs)
        self.conv_2 = Conv(outputs, outputs)

    def merge(self, x: Tensor, skip: Tensor, trim: int = 0) -> Tensor:
        """First convolution, of upsampled `x` and `skip` side by side.

        Parameters
        ----------
        x, skip : Tensor
            (B, inputs, H, W) and (B, skip, 2H, 2W).
        trim : int
            0 pads with zeros. Otherwise 1 or 2 pixels fewer on each side come back, and
            the skip has one a side more than that.
        """
        weight, sides = self.conv_1.weight, (4, 4)
        taps = weight[:, : self.inputs].flatten(2) @ _FOLDS.to(weight)
        kernel = taps.unflatten(2, sides).transpose(0, 1)
        out = F.conv_transpose2d(x, kernel, stride=2, padding=1 + trim)
        seen, bias = weight[:, self.inputs :], self.conv_1.bias
        out += F.conv2d(skip, seen, bias, padding=0 if trim else 1)
        return F.leaky_relu(out, SLOPE, inplace=True)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map (B, inputs, H, W) and (B, skip, 2H, 2W) to (B, outputs, 2H, 2W)."""
        return self.conv_2(self.merge(x, skip))  # type: ignore[no-any-return]


class UNet(nn.Module):
    """U-Net without normalization layers, 2-D, any number of channels.

    Zero padding, leaky ReLU of slope 0.1, max pooling, no residual, linear output;
    PyTorch's default initialization (Wang et al., Blind2Unblind, CVPR 2022, after
    Laine et al., 2019). 1,099,585 parameters at the papers' width 48 and depth 5.

    Parameters
    ----------
    inputs, outputs : int
        Channels in and out.
    width : int
        Channels of the downward path; the upward path has twice as many.
    depth : int
        Number of poolings by 2.
    """

    costly: ClassVar[str] = "trunk"  # what to compile

    def __init__(
        self, inputs: int = 1, outputs: int = 1, *, width: int = 48, depth: int = 5
    ) -> None:
        super().__init__()
        self.inputs, self.width, self.depth = inputs, width, depth
        up = 2 * width
        self.head = nn.Sequential(Conv(inputs, width), Conv(width, width))
        self.down_path = nn.ModuleList(Conv(width, width) for _ in range(depth))
        self.up_path = nn.ModuleList(
            Up(
                width if i == 0 else up,
                inputs if i == depth - 1 else width,
                up,
            )
            for i in range(depth)
        )
        self.last = nn.Sequential(
            Conv(up, up, 1), Conv(up, up, 1), nn.Conv2d(up, outputs, 1)
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def stride(self) -> int:
        """Pixels to which the origin and the size of an image must be aligned."""
        return int(2**self.depth)

    @property
    def halo(self) -> int:
        """Radius of the receptive field in pixels: 17, 37, 77, 157 for depth 2 to 5."""
        return receptive_radius(self.depth)

    @property
    def bytes_per_pixel(self) -> int:
        """Working memory of a pass without gradients, in bytes per pixel of input.

        At full resolution the upward path holds up to three maps of twice the width.
        """
        return 4 * (6 * self.width + 2 * self.inputs)

    def forward(self, x: Tensor, halo: int = 0) -> Tensor:
        """Map (B, inputs, H + 2 halo, W + 2 halo) to (B, outputs, H, W).

        Parameters
        ----------
        x : Tensor
            H, W and `halo` must be multiples of :attr:`stride`.
        halo : int
            Context around the wanted core. 0 pads with zeros, as in training;
            otherwise at least :attr:`halo`, and the result is that of an image
            without end.
        """
        return self.tail(self.trunk(x, halo), margin=1 if halo else 0)

    def trunk(self, x: Tensor, halo: int = 0) -> Tensor:
        """Everything before the last 3x3 convolution.

        Returns
        -------
        Tensor
            (B, 2 width, H, W); with a halo, with one more pixel a side.
        """
        decoded, pooled = _margins(self.depth) if halo else _none(self.depth)
        padding = 0 if halo else 1
        x = _crop(x, halo - pooled[0])
        h = x.contiguous(memory_format=torch.channels_last)
        for conv in self.head:
            h = conv(h, padding)
        skips = [x]
        for down in self.down_path:
            h = F.max_pool2d(h, 2)
            skips.append(h)
            h = down(h, padding)
        for up, level in zip(self.up_path, reversed(range(self.depth)), strict=True):
            # Of a tile, the next convolution eats one pixel a side, and so does this.
            wanted = decoded[level] + 1 if halo else 0
            skip = _crop(skips[level], pooled[level] - wanted - 1 if halo else 0)
            h = up.merge(h, skip, 2 * decoded[level + 1] - wanted)  # type: ignore[operator]
            if level:
                h = up.conv_2(h, padding)  # type: ignore[operator]
        return h

    def tail(self, features: Tensor, margin: int = 0) -> Tensor:
        """Last 3x3 and 1x1 convolutions: (B, 2 width, H, W) to (B, outputs, H, W).

        `margin` pixels a side of the features are context and not returned.
        """
        out: Tensor = self.last(self._last_up(features, 1 - margin))
        return out

    def tail_at(
        self, features: Tensor, row: int, column: int, cell: int, margin: int = 0
    ) -> Tensor:
        """:meth:`tail` at the pixels (row + i cell, column + j cell) only.

        A convolution of stride `cell` over the shifted features, so that nothing is
        computed for the other pixels.

        Returns
        -------
        Tensor
            (B, outputs, H / cell, W / cell).
        """
        before, after = 1 - margin, 2 - cell - margin
        shifted = F.pad(
            features,
            (before - column, after + column, before - row, after + row),
        )
        conv = self._last_up
        out = F.conv2d(shifted, conv.weight, conv.bias, stride=cell)
        denoised: Tensor = self.last(F.leaky_relu(out, SLOPE, inplace=True))
        return denoised

    @property
    def _last_up(self) -> Conv:
        return self.up_path[-1].conv_2  # type: ignore[return-value]


def _crop(x: Tensor, pixels: int) -> Tensor:
    return x[..., pixels:-pixels, pixels:-pixels] if pixels else x


def _none(depth: int) -> tuple[list[int], list[int]]:
    return [0] * (depth + 1), [0] * (depth + 1)


@cache
def _margins(depth: int) -> tuple[list[int], list[int]]:
    """Context each level must carry for a core aligned to the stride.

    Returns
    -------
    decoded : list of int
        For each level, pixels around the core of what the upward path hands up: two
        3x3 convolutions eat two, and upsampling halves what is left, rounded up.
    pooled : list of int
        The same for what the downward path gets (at level 0: the image). One
        convolution a level, two at the top.
    """
    decoded = [0]
    for _ in range(depth):
        decoded.append((decoded[-1] + 3) // 2)
    pooled = [decoded[-1] + 1]
    for _ in range(depth - 1):
        pooled.insert(0, 2 * pooled[0] + 1)
    return decoded, [2 * pooled[0] + 2, *pooled]


@cache
def receptive_radius(depth: int) -> int:
    """How far the output at any pixel looks, by following intervals through the graph.

    A pixel's position within the pooling grid matters; the radius is the largest.
    """
    radius = 0
    for pixel in range(2**depth):
        low, high = _seen(pixel, pixel, 0, depth)
        radius = max(radius, pixel - low, high - pixel)
    return radius


def _seen(low: int, high: int, level: int, depth: int) -> tuple[int, int]:
    """Interval of the image that the upward path's output on [low, high] depends on."""
    if level < depth:
        low, high = _seen((low - 2) // 2, (high + 2) // 2, level + 1, depth)
        return low, high
    low, high = low - 1, high + 1
    for _ in range(depth - 1):
        low, high = 2 * low - 1, 2 * high + 2
    return 2 * low - 2, 2 * high + 3
