from __future__ import annotations

import pytest
import torch

from napari_blindsound.networks.mwcnn import MWCNN, haar, haar_back


def make_net(**settings) -> MWCNN:
    torch.manual_seed(0)
    net = MWCNN(**{"width": 5, **settings})
    torch.nn.init.normal_(net.up_path[0][-1].weight, std=0.1)
    return net


def test_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in MWCNN().parameters()) == 16_145_892


@pytest.mark.parametrize("channels", [1, 3])
def test_the_transform_keeps_everything(channels):
    x = torch.randn(2, channels, 6, 10)
    bands = haar(x)
    assert bands.shape == (2, 4 * channels, 3, 5)
    torch.testing.assert_close(haar_back(bands), x)
    torch.testing.assert_close(bands.square().sum(), x.square().sum())


def test_the_first_band_is_the_mean_and_the_others_know_no_constant():
    bands = haar(torch.full((1, 1, 4, 4), 3.0))
    assert bands[:, 0].flatten().tolist() == [6.0] * 4
    assert not bands[:, 1:].any()


def test_begins_with_the_image_as_it_is():
    x = torch.rand(1, 2, 16, 24)
    torch.testing.assert_close(MWCNN(2, width=4)(x), x)


@pytest.mark.parametrize(("levels", "radius"), [(1, 17), (2, 51), (3, 119)])
def test_reaches_as_far_as_it_says(levels, radius):
    net = make_net(width=2, levels=levels)
    assert net.halo == radius
    for p in net.parameters():
        p.data.abs_().add_(0.01)
    side = 2 * 2**levels * (radius // 2**levels + 2)
    x = torch.rand(1, 1, side, 8, requires_grad=True)
    farthest = 0
    for row in range(side // 2, side // 2 + net.stride):
        x.grad = None
        net(x)[0, 0, row].sum().backward()
        seen = x.grad[0, 0].abs().sum(1).nonzero().flatten()
        farthest = max(farthest, row - int(seen.min()), int(seen.max()) - row)
    assert farthest <= radius
    assert farthest >= radius - 2


@pytest.mark.parametrize("levels", [1, 3])
def test_tile_equals_whole(levels):
    net = make_net(levels=levels)
    stride = net.stride
    halo = -(-net.halo // stride) * stride
    whole = torch.rand(1, 1, 2 * halo + stride, 2 * halo + 3 * stride)
    with torch.inference_mode():
        expected = net(whole)[..., halo:-halo, halo:-halo]
        core = net(whole, halo)
        shifted = net(whole[..., :-stride], halo)
    torch.testing.assert_close(core, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(shifted, core[..., :-stride], atol=1e-6, rtol=0)
