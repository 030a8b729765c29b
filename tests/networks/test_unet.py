from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from napari_blindsound.networks.unet import UNet, receptive_radius
from napari_blindsound.training.threads import fixed


class PlainUNet(nn.Module):
    """The published graph, evaluated step by step with the same weights."""

    def __init__(self, net: UNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips, h = [x], self.net.head(x)
        for level, down in enumerate(self.net.down_path, 1):
            h = F.max_pool2d(h, 2)
            if level < self.net.depth:
                skips.append(h)
            h = down(h)
        for up in self.net.up_path:
            h = F.interpolate(h, scale_factor=2, mode="nearest")
            h = up.conv_2(up.conv_1(torch.cat([h, skips.pop()], 1)))
        return self.net.last(h)


def make_net(**settings: int) -> UNet:
    torch.manual_seed(0)
    return UNet(**settings)


@pytest.mark.parametrize(
    ("channels", "parameters"), [(1, 1_099_585), (3, 1_102_371), (4, 1_103_764)]
)
def test_has_the_published_number_of_parameters(channels, parameters):
    net = UNet(channels, channels, width=48, depth=5)
    assert sum(p.numel() for p in net.parameters()) == parameters


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("channels", [1, 3])
def test_equals_the_published_graph_in_value_and_gradient(depth, channels):
    net = make_net(inputs=channels, outputs=channels, width=6, depth=depth)
    x = torch.randn(2, channels, 64, 96)
    ours, plain = net(x), PlainUNet(net)(x)
    torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-5)
    target = torch.randn_like(ours)
    grads = [
        torch.autograd.grad(((out - target) ** 2).sum(), list(net.parameters()))
        for out in (ours, plain)
    ]
    for mine, theirs in zip(*grads, strict=True):
        assert (mine - theirs).norm() <= 1e-5 * theirs.norm()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 3, 17])
def test_equals_the_published_graph_where_nothing_is_learned(threads, batch):
    net = make_net(inputs=2, outputs=3, width=5, depth=2)
    x = torch.randn(batch, 2, 24, 40)
    with torch.inference_mode(), fixed(threads):
        torch.testing.assert_close(net(x), PlainUNet(net)(x), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("depth", "radius"), [(2, 17), (3, 37), (4, 77), (5, 157)])
def test_receptive_radius_is_the_published_one(depth, radius):
    assert receptive_radius(depth) == radius
    assert UNet(width=2, depth=depth).halo == radius
    assert UNet(width=2, depth=depth).stride == 2**depth


def test_receptive_radius_bounds_what_an_impulse_reaches():
    net = make_net(width=4, depth=3).double()
    reach = 0
    for pixel in range(104, 112):
        x = torch.zeros(1, 1, 8, 216, dtype=torch.float64)
        x[..., pixel] = 1
        changed = (net(x) - net(torch.zeros_like(x))).abs().sum(dim=(0, 1, 2)) > 0
        seen = changed.nonzero().ravel()
        reach = max(reach, pixel - int(seen.min()), int(seen.max()) - pixel)
    # Max pooling may hide an impulse, so the reach can fall short of the bound.
    assert net.halo - 8 <= reach <= net.halo


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_core_of_a_tile_equals_the_whole(depth):
    net = make_net(width=4, depth=depth)
    stride = net.stride
    halo = -(-net.halo // stride) * stride
    size = 2 * halo + 3 * stride
    whole = torch.randn(1, 1, size + 2 * stride, size + 4 * stride)
    with torch.inference_mode():
        expected = net(whole)[
            ..., stride + halo : -stride - halo, 2 * stride + halo : -2 * stride - halo
        ]
        tile = whole[..., stride:-stride, 2 * stride : -2 * stride]
        torch.testing.assert_close(net(tile, halo), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("cell", [2, 4])
@pytest.mark.parametrize("halo", [0, 24])
def test_tail_at_equals_the_tail_on_a_grid(cell, halo):
    net = make_net(width=4, depth=2)
    x = torch.randn(2, 1, 32 + 2 * halo, 48 + 2 * halo)
    margin = 1 if halo else 0
    with torch.inference_mode():
        whole = net(x, halo)
        features = net.trunk(x, halo)
        for row in range(cell):
            for column in range(cell):
                torch.testing.assert_close(
                    net.tail_at(features, row, column, cell, margin),
                    whole[..., row::cell, column::cell],
                    atol=1e-6,
                    rtol=0,
                )


def test_constant_image_gives_a_constant():
    net = make_net(width=8, depth=3)
    with torch.inference_mode():
        out = net(torch.full((1, 1, 128, 128), 0.7), 40)
    assert out.max() - out.min() < 1e-6
