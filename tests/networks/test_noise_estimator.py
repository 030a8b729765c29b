from __future__ import annotations

import pytest
import torch

from napari_blindsound.networks.noise_estimator import NoiseEstimator, noise_numbers


def small(inputs=1):
    torch.manual_seed(0)
    return NoiseEstimator(inputs, width=4)


@pytest.mark.parametrize(
    ("channels", "parameters"), [(1, 1_677_507), (3, 1_678_659), (4, 1_679_235)]
)
def test_has_the_published_number_of_parameters(channels, parameters):
    net = NoiseEstimator(channels)
    assert sum(p.numel() for p in net.parameters()) == parameters


@pytest.mark.parametrize("channels", [1, 3])
def test_gives_three_positive_numbers_an_image(channels):
    net, noisy = small(channels), torch.rand(2, channels, 32, 48)
    numbers = net(noisy)
    assert numbers.shape == (2, 3)
    assert (numbers >= 1e-5).all()
    torch.testing.assert_close(net(noisy[1:])[0], numbers[1])


def test_the_numbers_are_means_of_sizes():
    maps = torch.tensor([[[[1.0, -3.0]], [[0.0, 0.0]], [[-2.0, -2.0]]]])
    expected = torch.tensor([[2 + 1e-5, 1e-5, 2 + 1e-5]])
    torch.testing.assert_close(noise_numbers(maps), expected)


@pytest.mark.parametrize("size", [(33, 47), (1, 5), (2, 64), (3, 3)])
def test_takes_any_size(size):
    net, noisy = small(), torch.rand(1, 1, *size)
    assert net.maps(noisy).shape == (1, 3, *size)
    assert net(noisy).isfinite().all()


def test_a_size_that_is_no_multiple_changes_the_numbers_little():
    net, noisy = small(), torch.rand(1, 1, 65, 67)
    torch.testing.assert_close(net(noisy), net(noisy[..., :64, :64]), rtol=0.05, atol=0)


def test_all_weights_are_taught():
    net = small()
    net(torch.rand(1, 1, 32, 32)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_mixed_precision_leaves_the_mean_in_float32():
    net, noisy = small(), torch.rand(1, 1, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        numbers = net(noisy)
    assert numbers.dtype == torch.float32
    torch.testing.assert_close(numbers, net(noisy), rtol=0.05, atol=0)
