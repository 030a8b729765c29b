"""The reference to beat: Blind2Unblind's loss written down as the paper has it.

Sixteen masks, sixteen masked copies through the network at once, every pixel of every
copy computed, the mapper as a sum of products with the masks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PlainUNet(nn.Module):
    """The papers' U-Net with upsampling and concatenation, same names of weights."""

    def __init__(self, width: int = 48, depth: int = 5) -> None:
        super().__init__()
        up = 2 * width
        self.head = nn.Sequential(_conv(1, width), _conv(width, width))
        self.down_path = nn.ModuleList(_conv(width, width) for _ in range(depth))
        self.up_path = nn.ModuleList(
            nn.ModuleDict(
                {
                    "conv_1": _conv(
                        (width if i == 0 else up) + (1 if i == depth - 1 else width), up
                    ),
                    "conv_2": _conv(up, up),
                }
            )
            for i in range(depth)
        )
        self.last = nn.Sequential(
            _conv(up, up, 1), _conv(up, up, 1), nn.Conv2d(up, 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 1, H, W) to the same shape."""
        skips, h = [x], self.head(x)
        for level, down in enumerate(self.down_path, 1):
            h = F.max_pool2d(h, 2)
            if level < len(self.down_path):
                skips.append(h)
            h = down(h)
        for up in self.up_path:
            h = F.interpolate(h, scale_factor=2, mode="nearest")
            h = up["conv_2"](up["conv_1"](torch.cat([h, skips.pop()], 1)))
        return self.last(h)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(inputs, outputs, size, padding=size // 2),
            nn.LeakyReLU(0.1, inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


def _conv(inputs: int, outputs: int, size: int = 3) -> _Block:
    return _Block(inputs, outputs, size)


def plain_loss(
    network: nn.Module, noisy: Tensor, lam: float, eta: float = 1.0, cell: int = 4
) -> Tensor:
    """Re-visible loss of a batch (B, 1, H, W), all masks at once."""
    kernel = noisy.new_tensor([[0.5, 1, 0.5], [1, 0, 1], [0.5, 1, 0.5]]) / 6
    filled = F.conv2d(F.pad(noisy, (1, 1, 1, 1), mode="reflect"), kernel[None, None])
    copies, masks = [], []
    for phase in range(cell**2):
        mask = torch.zeros_like(noisy)
        mask[..., phase // cell :: cell, phase % cell :: cell] = 1
        masks.append(mask)
        copies.append(filled * mask + noisy * (1 - mask))
    denoised = network(torch.cat(copies)) * torch.cat(masks)
    blind = denoised.view(cell**2, *noisy.shape).sum(0)
    with torch.no_grad():
        visible = network(noisy)
    d, e = blind - noisy, visible - noisy
    return ((d + lam * e) ** 2).mean() + eta * (d**2).mean()
