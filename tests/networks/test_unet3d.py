from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from napari_blindsound.networks.unet import SLOPE, UNet
from napari_blindsound.networks.unet3d import UNet3d


class PlainUNet3d(nn.Module):
    """All planes at every level, by PyTorch's own 3-D convolution; same weights."""

    def __init__(self, net: UNet3d, planes: int) -> None:
        super().__init__()
        self.net, self.planes = net, planes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        planes, depth = self.planes, self.net.depth
        first, *others = x.unflatten(1, (2 * planes + 1, -1)).unbind(1)
        image = torch.stack([*others[:planes], first, *others[planes:]], dim=2)
        skips, h = [], image
        for conv in self.net.head:
            h = self.deep(conv, h)
        for level, down in enumerate(self.net.down_path, 1):
            h = F.max_pool3d(h, (1, 2, 2))
            if level < depth:
                skips.append(h)
            h = self.deep(down, h)
        h = h[:, :, planes]
        for up in self.net.up_path:
            h = F.interpolate(h, scale_factor=2, mode="nearest")
            if skips:
                beside = skips.pop()[:, :, planes - 1 : planes + 2].transpose(1, 2)
                beside = beside.flatten(1, 2)
            else:
                beside = x
            h = up.conv_2(up.conv_1(torch.cat([h, beside], 1)))
        return self.net.last(h)

    def deep(self, conv: nn.Module, h: torch.Tensor) -> torch.Tensor:
        h = F.pad(h, (0, 0, 0, 0, 1, 1), mode="reflect")
        inner = conv.block[0]
        out = F.conv3d(h, inner.weight, inner.bias, padding=(0, 1, 1))
        return F.leaky_relu(out, SLOPE)


def make_net(**settings: int) -> UNet3d:
    torch.manual_seed(0)
    return UNet3d(**settings)


@pytest.mark.parametrize("planes", [1, 2, 3])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_equals_the_plain_form_in_value_and_gradient(planes, depth, channels):
    net = make_net(inputs=channels, planes=planes, width=4, depth=depth)
    x = torch.randn(2, (2 * planes + 1) * channels, 32, 48)
    ours, plain = net(x), PlainUNet3d(net, planes)(x)
    torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-5)
    target = torch.randn_like(ours)
    grads = [
        torch.autograd.grad(((out - target) ** 2).sum(), list(net.parameters()))
        for out in (ours, plain)
    ]
    for mine, theirs in zip(*grads, strict=True):
        assert (mine - theirs).norm() <= 1e-5 * theirs.norm()


def test_every_plane_counts_and_their_order_does():
    net = make_net(planes=3, width=4, depth=3)
    x = torch.randn(1, 7, 32, 32)
    with torch.inference_mode():
        before = net(x)
        for plane in range(7):
            changed = x.clone()
            changed[:, plane] += 1
            assert not torch.equal(net(changed), before)
        for pair in ([1, 6], [2, 3], [0, 3]):
            changed = x.clone()
            changed[:, pair] = x[:, pair[::-1]]
            assert not torch.allclose(net(changed), before)


def test_in_the_plane_it_looks_as_far_as_the_plain_one():
    net = make_net(planes=2, width=2, depth=3)
    flat = UNet(width=2, depth=3)
    assert (net.halo, net.stride) == (flat.halo, flat.stride)
    assert net.bytes_per_pixel > flat.bytes_per_pixel


@pytest.mark.parametrize(("planes", "depth"), [(1, 1), (1, 3), (3, 2)])
def test_core_of_a_tile_equals_the_whole(planes, depth):
    net = make_net(planes=planes, width=4, depth=depth)
    stride = net.stride
    halo = -(-net.halo // stride) * stride
    size = 2 * halo + 3 * stride
    whole = torch.randn(1, 2 * planes + 1, size + 2 * stride, size + 4 * stride)
    with torch.inference_mode():
        expected = net(whole)[
            ..., stride + halo : -stride - halo, 2 * stride + halo : -2 * stride - halo
        ]
        tile = whole[..., stride:-stride, 2 * stride : -2 * stride]
        torch.testing.assert_close(net(tile, halo), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("halo", [0, 24])
def test_tail_at_equals_the_tail_on_a_grid(halo):
    net = make_net(planes=1, width=4, depth=2)
    x = torch.randn(2, 3, 32 + 2 * halo, 48 + 2 * halo)
    margin = 1 if halo else 0
    with torch.inference_mode():
        whole, features = net(x, halo), net.trunk(x, halo)
        for row, column in ((0, 0), (1, 3), (3, 2)):
            torch.testing.assert_close(
                net.tail_at(features, row, column, 4, margin),
                whole[..., row::4, column::4],
                atol=1e-6,
                rtol=0,
            )


def test_weights_are_those_of_3d_convolutions():
    net = make_net(planes=2, width=4, depth=2)
    shapes = {name: tuple(w.shape) for name, w in net.state_dict().items()}
    assert shapes["head.0.block.0.weight"] == (4, 1, 3, 3, 3)
    assert shapes["down_path.1.block.0.weight"] == (4, 4, 3, 3, 3)
    assert not any("bands" in name for name in shapes)
