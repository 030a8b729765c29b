"""MWCNN: a U-Net that halves images by Haar wavelets, so that nothing is lost by it.

The student of the D-BSN paper (Liu et al., Multi-Level Wavelet CNN, CVPRW 2018; METHODS
6.5). The transform is orthonormal and its own inverse but for the order of pixels.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CONVS = 4  # in a level, downward and upward each
_WIDER = 1.6  # channels below the first level, against the first

_HAAR = 0.5 * torch.tensor(
    [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float32
)


def haar(x: Tensor) -> Tensor:
    """Bands of the Haar transform, (B, C, 2H, 2W) to (B, 4C, H, W)."""
    return _mixed(F.pixel_unshuffle(x, 2))


def haar_back(bands: Tensor) -> Tensor:
    """Inverse of :func:`haar`, (B, 4C, H, W) to (B, C, 2H, 2W)."""
    return F.pixel_shuffle(_mixed(bands), 2)


def _mixed(bands: Tensor) -> Tensor:
    """Each four channels times the Haar matrix, which is symmetric and orthogonal."""
    kernel = torch.block_diag(*[_HAAR] * (bands.shape[1] // 4)).to(bands)
    return F.conv2d(bands, kernel[..., None, None])


class MWCNN(nn.Module):
    """Multi-level wavelet network, no normalization; 16,145,892 parameters at 160.

    Parameters
    ----------
    channels : int
        In and out; the input is added to the output.
    width : int
        Channels of the first level; the others have 1.6 times as many.
    levels : int
        Wavelet transforms one after the other.
    """

    def __init__(self, channels: int = 1, *, width: int = 160, levels: int = 3) -> None:
        super().__init__()
        self.channels, self.width, self.levels = channels, width, levels
        widths = [width] + [round(_WIDER * width)] * (levels - 1)
        above = [channels, *widths[:-1]]
        self.down_path = nn.ModuleList(
            _chain([4 * before] + [after] * _CONVS)
            for before, after in zip(above, widths, strict=True)
        )
        self.up_path = nn.ModuleList(
            nn.Sequential(
                _chain([after] * _CONVS), nn.Conv2d(after, 4 * before, 3, padding=1)
            )
            for before, after in zip(above, widths, strict=True)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.orthogonal_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        # It begins near the identity.
        nn.init.zeros_(self.up_path[0][-1].weight)  # type: ignore[index]
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def stride(self) -> int:
        """Pixels to which the origin and the size of an image must be aligned."""
        return int(2**self.levels)

    @property
    def halo(self) -> int:
        """Radius of the receptive field in pixels: 119 for 3 levels."""
        return _radius(self.levels)

    @property
    def bytes_per_pixel(self) -> int:
        """Working memory of a pass without gradients, in bytes per pixel of input."""
        return 4 * (2 * self.width + 8 * self.channels)

    def forward(self, x: Tensor, halo: int = 0) -> Tensor:
        """Map (B, channels, H + 2 halo, W + 2 halo) to (B, channels, H, W).

        Parameters
        ----------
        x : Tensor
            H, W and `halo` must be multiples of :attr:`stride`.
        halo : int
            Context around the wanted core: 0, or at least :attr:`halo`.
        """
        x = x.contiguous(memory_format=torch.channels_last)
        out = haar_back(self._below(haar(x), 0))
        out = out + x
        return out[..., halo:-halo, halo:-halo] if halo else out

    def _below(self, bands: Tensor, level: int) -> Tensor:
        """A level and all those under it, bands to bands."""
        h = self.down_path[level](bands)
        if level + 1 < self.levels:
            h = h + haar_back(self._below(haar(h), level + 1))
        found: Tensor = self.up_path[level](h)
        return found


def _chain(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


@cache
def _radius(levels: int) -> int:
    """How far the output at any pixel looks, by following intervals through the graph.

    A pixel's position within the grid of the transforms matters; the largest counts.
    """
    radius = 0
    for pixel in range(2**levels):
        low, high = _seen(pixel, pixel, levels)
        radius = max(radius, pixel - low, high - pixel)
    return radius


def _seen(low: int, high: int, levels: int) -> tuple[int, int]:
    """Interval of a level's image that its output on [low, high] depends on."""
    low, high = low // 2 - _CONVS, high // 2 + _CONVS
    if levels > 1:
        low, high = _seen(low, high, levels - 1)
    low, high = low - _CONVS, high + _CONVS
    return 2 * low, 2 * high + 1
