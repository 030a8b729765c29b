"""The network that tells Blind2Sound the noise of an image: three numbers for each.

It is used in training alone. What it finds serves the loss; as a measurement of a
camera it is not to be trusted (METHODS 3.4).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = 4
FLOOR = 1e-5


class NoiseEstimator(nn.Module):
    """Noise of an image, from a U-Net of three levels and a mean over its pixels.

    Two 3 x 3 convolutions with ReLU a level, max pooling, 2 x 2 transposed convolution
    of stride 2, skips by addition, and a 1 x 1 convolution to three maps; PyTorch's
    default initialization. 1,677,507 parameters for one channel at the papers' width
    (PGE-Net: Byun, Cha, Moon, FBI-Denoiser, CVPR 2021, with one output more: Wang et
    al., Blind2Sound, ICCV 2025).

    Parameters
    ----------
    inputs : int
        Channels of the image.
    width : int
        Channels of the first level, doubled at each of the others.
    """

    def __init__(self, inputs: int = 1, *, width: int = 64) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width]
        self.down_path = nn.ModuleList(
            _double(before, after)
            for before, after in zip([inputs, *widths[:-1]], widths, strict=True)
        )
        self.up_path = nn.ModuleList(
            nn.ConvTranspose2d(2 * after, after, 2, stride=2)
            for after in reversed(widths[:-1])
        )
        self.merge_path = nn.ModuleList(
            _double(after, after) for after in reversed(widths[:-1])
        )
        self.last = nn.Conv2d(width, 3, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, noisy: Tensor) -> Tensor:
        """Three numbers an image, (B, inputs, H, W) to (B, 3) in float32, all above 0.

        Variance of the read noise in the blind branch, the same in the visible branch,
        and gain, in the units of the normalized image.
        """
        return noise_numbers(self.maps(noisy))

    def maps(self, noisy: Tensor) -> Tensor:
        """Raw output, (B, inputs, H, W) to (B, 3, H, W).

        Sizes that are no multiple of 4 are continued by their last row and column.
        """
        height, width = noisy.shape[-2:]
        below, right = -height % STRIDE, -width % STRIDE
        if below or right:
            noisy = F.pad(noisy, (0, right, 0, below), mode="replicate")
        h = noisy.contiguous(memory_format=torch.channels_last)
        skips = []
        for level, down in enumerate(self.down_path):
            h = down(F.max_pool2d(h, 2) if level else h)
            skips.append(h)
        skips.pop()
        for up, merge in zip(self.up_path, self.merge_path, strict=True):
            h = merge(up(h) + skips.pop())
        raw: Tensor = self.last(h)
        return raw[..., :height, :width]


def noise_numbers(maps: Tensor) -> Tensor:
    """Mean over the pixels of |maps| + 1e-5, (B, 3, H, W) to (B, 3), in float32."""
    return (maps.float().abs() + FLOOR).mean((-2, -1))


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(inplace=True),
    )
