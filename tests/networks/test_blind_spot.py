from __future__ import annotations

import math

import pytest
import torch

from napari_blindsound.networks.blind_spot import BlindSpotNet, NoiseLevel, SpreadHead


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def make_net(**settings) -> BlindSpotNet:
    torch.manual_seed(0)
    return BlindSpotNet(**{"width": 6, "blocks": 2, **settings})


def test_has_the_published_number_of_parameters():
    assert parameters(BlindSpotNet(kernel="5x5")) == 6_612_289
    assert parameters(BlindSpotNet(kernel="3x3")) == 5_581_633
    assert parameters(SpreadHead(96)) == 1_841
    assert parameters(NoiseLevel()) == 865


@pytest.mark.parametrize(("blocks", "halo"), [(8, 50), (4, 26), (1, 8)])
def test_reaches_as_far_as_it_says(blocks, halo):
    net = make_net(blocks=blocks, width=2)
    assert net.halo == halo
    # Weights that are all positive let every path through.
    for p in net.parameters():
        p.data.abs_().add_(0.01)
    side = 2 * halo + 7
    x = torch.rand(1, 1, side, side, requires_grad=True)
    net(x)[0, 0, side // 2, side // 2].backward()
    rows = x.grad[0, 0].abs().sum(1).nonzero().flatten()
    assert rows.min() == side // 2 - halo
    assert rows.max() == side // 2 + halo


@pytest.mark.parametrize("kernel", ["3x3", "5x5"])
@pytest.mark.parametrize("channels", [1, 3])
def test_is_blind_to_the_pixel_itself(kernel, channels):
    net = make_net(inputs=channels, outputs=channels, kernel=kernel)
    x = torch.randn(1, channels, 41, 38)
    other = x.clone()
    other[..., 20, 17] = torch.tensor([1e3] * channels)
    with torch.inference_mode():
        before, after = net(x), net(other)
    assert torch.equal(before[..., 20, 17], after[..., 20, 17])
    assert not torch.equal(before[..., 20, 18], after[..., 20, 18])
    assert not torch.equal(before[..., 19, 16], after[..., 19, 16])


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (17, 33), (50, 7)])
def test_takes_any_size(size):
    assert make_net()(torch.rand(2, 1, *size)).shape == (2, 1, *size)


@pytest.mark.parametrize("kernel", ["3x3", "5x5"])
def test_tile_equals_whole(kernel):
    net = make_net(kernel=kernel)
    halo = net.halo + 3
    whole = torch.rand(1, 1, 2 * halo + 11, 2 * halo + 20)
    with torch.inference_mode():
        expected = net(whole)[..., halo:-halo, halo:-halo]
        torch.testing.assert_close(net(whole, halo), expected, atol=1e-5, rtol=1e-5)


def test_a_fresh_level_is_the_same_everywhere_and_where_it_was_told_to_begin():
    level = NoiseLevel(2)
    mean = torch.rand(1, 2, 5, 5)
    assert torch.allclose(level(mean), torch.tensor(math.log1p(math.exp(-4)) + 1e-3))
    level.begin_at(1, 0.2)
    found = level(mean)
    assert torch.allclose(found[:, 1], torch.tensor(0.2))
    assert found[:, 0].max() < 0.03


def test_the_level_knows_nothing_but_its_own_pixel():
    torch.manual_seed(0)
    level = NoiseLevel()
    torch.nn.init.normal_(level.layers[-1].weight)
    mean = torch.rand(1, 1, 6, 6)
    other = mean.clone()
    other[..., 3, 3] += 1
    changed = (level(mean) != level(other)).nonzero()
    assert changed.tolist() == [[0, 0, 3, 3]]
