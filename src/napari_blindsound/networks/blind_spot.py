"""A network that cannot see the pixel it predicts, and what is read from its features.

Nothing is masked in the image: the first convolution of each branch has no center, and
everything after it looks only at steps of the dilation, which never lead back there
(Wu et al., D-BSN, ECCV 2020; METHODS 6.1). One pass so predicts every pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

Kernel = Literal["3x3", "5x5"]
"""Of the wide path: two 3 x 3 convolutions as in the paper, or one of 5 x 5."""

DILATIONS = (2, 3)
"""Of the two branches; a first convolution of 2 s - 1 pixels goes with a dilation s."""

_LEAST_DEVIATION = 1e-3
_FIRST_LEVEL = -4.0  # a deviation of 0.02 before anything was learned


class _MaskedConv(nn.Conv2d):
    """Convolution whose kernel has no center, zero padding."""

    hole: Tensor

    def __init__(self, width: int, size: int) -> None:
        super().__init__(width, width, size, padding=size // 2)
        hole = torch.ones(size, size)
        hole[size // 2, size // 2] = 0
        self.register_buffer("hole", hole, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        return F.conv2d(x, self.weight * self.hole, self.bias, padding=self.padding)


class _Block(nn.Module):
    """Multi-dilated convolutions: three paths side by side, joined and added."""

    def __init__(self, width: int, dilation: int, kernel: Kernel) -> None:
        super().__init__()
        far, near = [_dilated(width, 3, dilation)], _dilated(width, 3, dilation)
        if kernel == "3x3":
            far.append(_dilated(width, 3, dilation))
        else:
            far = [_dilated(width, 5, dilation)]
        self.far = _rectified(_point(width, width), *far)
        self.near = _rectified(_point(width, width), near)
        self.here = _rectified(_point(width, width))
        self.join = _rectified(_point(3 * width, width))
        self.after = _rectified(_point(width, width), _point(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        paths = torch.cat([self.far(x), self.near(x), self.here(x)], dim=1)
        found: Tensor = self.after(self.join(paths) + x)
        return found


class _Branch(nn.Module):
    """One dilation: the convolution with a hole, then blocks."""

    def __init__(self, width: int, dilation: int, blocks: int, kernel: Kernel) -> None:
        super().__init__()
        self.dilation = dilation
        self.first = _MaskedConv(width, 2 * dilation - 1)
        self.enter = _rectified(_point(width, width), _point(width, width))
        self.blocks = nn.ModuleList(
            _Block(width, dilation, kernel) for _ in range(blocks)
        )
        self.leave = _point(width, width)

    @property
    def reach(self) -> int:
        """Pixels a side that a pixel depends on."""
        return self.dilation - 1 + len(self.blocks) * 2 * self.dilation

    def forward(self, x: Tensor, halo: int) -> Tensor:
        """Map (B, width, H + 2 halo, W + 2 halo) to (B, width, H, W)."""
        x = _crop(x, halo - self.reach) if halo else x
        edge = self.dilation if halo else 0
        x = F.relu(_crop(self.first(x), max(0, edge - 1)), inplace=True)
        x = self.enter(x)
        for block in self.blocks:
            x = _crop(block(x), 2 * edge)
        found: Tensor = self.leave(x)
        return found


class BlindSpotNet(nn.Module):
    """Dilated blind-spot network; zero padding, ReLU, linear output.

    With one channel, width 96 and 8 blocks 6,612,289 parameters as the paper's code
    has them (kernel 5x5), and 5,581,633 as in its text (two of 3x3).

    Parameters
    ----------
    inputs, outputs : int
        Channels in and out.
    width : int
        Channels everywhere between.
    blocks : int
        In each of the two branches.
    kernel : {"3x3", "5x5"}
        Of the wide path of a block.
    """

    costly: ClassVar[str] = "features"  # what to compile

    def __init__(
        self,
        inputs: int = 1,
        outputs: int = 1,
        *,
        width: int = 96,
        blocks: int = 8,
        kernel: Kernel = "5x5",
    ) -> None:
        super().__init__()
        self.inputs, self.width = inputs, width
        self.head = _rectified(_point(inputs, width))
        self.branches = nn.ModuleList(
            _Branch(width, dilation, blocks, kernel) for dilation in DILATIONS
        )
        self.merge = _rectified(_point(len(DILATIONS) * width, width))
        self.last = nn.Sequential(
            _rectified(_point(width, width), _point(width, width)),
            _point(width, outputs),
        )
        _initialize(self)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def halo(self) -> int:
        """Radius of the receptive field in pixels: 50 with 8 blocks, 26 with 4."""
        return max(branch.reach for branch in self._branches)

    @property
    def bytes_per_pixel(self) -> int:
        """Working memory of a pass without gradients, in bytes per pixel of input.

        A block holds its input, three paths and these side by side, besides the head's
        map and the other branch's.
        """
        return 4 * (10 * self.width + 2 * self.inputs)

    @property
    def _branches(self) -> Sequence[_Branch]:
        return list(self.branches)  # type: ignore[arg-type]

    def forward(self, x: Tensor, halo: int = 0) -> Tensor:
        """Map (B, inputs, H + 2 halo, W + 2 halo) to (B, outputs, H, W).

        Parameters
        ----------
        x : Tensor
            Of any size.
        halo : int
            Context around the wanted core. 0 pads with zeros, as in training;
            otherwise at least :attr:`halo`, and the result is that of an image
            without end.
        """
        return self.tail(self.features(x, halo))

    def features(self, x: Tensor, halo: int = 0) -> Tensor:
        """All that is known of a pixel from those around it, (B, width, H, W)."""
        h = self.head(x.contiguous(memory_format=torch.channels_last))
        seen = [branch(h, halo) for branch in self._branches]
        found: Tensor = self.merge(torch.cat(seen, dim=1))
        return found

    def tail(self, features: Tensor) -> Tensor:
        """What is predicted: (B, width, H, W) to (B, outputs, H, W)."""
        predicted: Tensor = self.last(features)
        return predicted


class SpreadHead(nn.Module):
    """Reads from the features how far off the prediction is: three 1 x 1 convolutions.

    1,841 parameters for a width of 96 and one number. The features are blind, and so is
    what is read from them.

    Parameters
    ----------
    width : int
        Of the features.
    outputs : int
        Numbers a pixel.
    hidden : int
        Channels between.
    """

    def __init__(self, width: int, outputs: int = 1, *, hidden: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _rectified(_point(width, hidden), _point(hidden, hidden)),
            _point(hidden, outputs),
        )
        _initialize(self)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, width, H, W) to (B, outputs, H, W), of either sign."""
        found: Tensor = self.layers(features)
        return found


class NoiseLevel(nn.Module):
    """The noise's deviation as a function of the mean: five 1 x 1 convolutions.

    865 parameters for one channel and a width of 16 (CNN_est of D-BSN). It begins as a
    constant and sees nothing but the mean of its own pixel.

    Parameters
    ----------
    channels : int
        Of the mean.
    width : int
        Channels between.
    """

    first: Tensor

    def __init__(self, channels: int = 1, *, width: int = 16) -> None:
        super().__init__()
        between = [_point(width, width) for _ in range(3)]
        self.layers = nn.Sequential(
            _rectified(_point(channels, width), *between), _point(width, channels)
        )
        _initialize(self)
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]
        self.register_buffer("first", torch.full((channels, 1, 1), _FIRST_LEVEL))

    def begin_at(self, channel: int, deviation: float) -> None:
        """Begin with this deviation in a channel."""
        beyond = torch.tensor(max(deviation - _LEAST_DEVIATION, _LEAST_DEVIATION))
        self.first[channel] = beyond.expm1().log()

    def forward(self, mean: Tensor) -> Tensor:
        """Deviation at a mean, (B, channels, H, W) to the same shape, above zero."""
        raw: Tensor = self.layers(mean).float() + self.first
        return F.softplus(raw) + _LEAST_DEVIATION


def _point(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1)


def _dilated(width: int, size: int, dilation: int) -> nn.Conv2d:
    padding = size // 2 * dilation
    return nn.Conv2d(width, width, size, padding=padding, dilation=dilation)


def _rectified(*layers: nn.Conv2d) -> nn.Sequential:
    """The layers, each with a ReLU behind it."""
    return nn.Sequential(
        *(part for layer in layers for part in (layer, nn.ReLU(inplace=True)))
    )


def _initialize(network: nn.Module) -> None:
    """Kaiming's normal weights, no biases (METHODS 6.1)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _crop(x: Tensor, pixels: int) -> Tensor:
    return x[..., pixels:-pixels, pixels:-pixels] if pixels else x
