from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_blindsound.networks.noise_estimator import noise_numbers
from napari_blindsound.noise.eigenvalue import noise_level
from napari_blindsound.noise.sensing import (
    _corners,
    blended_variance,
    gat,
    sensing_loss,
)

LEVELS = 1e-5
GRADIENTS = 1e-4


@pytest.fixture(scope="module")
def authors():
    data = os.environ.get("BLINDSOUND_DATA")
    path = Path(data or ".").parent / "fixtures" / "blind2sound_cell2.npz"
    if data is None or not path.is_file():
        pytest.skip("BLINDSOUND_DATA does not lead to the authors' numeric fixtures")
    with np.load(path) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def likelihood(arrays, mapped, numbers):
    """Adaptive re-visible loss of METHODS 3.2, one channel."""
    lam, noisy = arrays["lam"].item(), arrays["noisy"]
    v1, v2, alpha = (number[:, None, None, None] for number in numbers.unbind(1))
    mean = (mapped[:, :1] + lam * arrays["visible"][:, :1]) / (1 + lam)
    own = mapped[:, 1:] ** 2 + lam**2 * arrays["visible"][:, 1:] ** 2
    light = mean.detach().clamp(min=1e-3)
    variance = own / (1 + lam) ** 2 + blended_variance(v1, v2, lam) + alpha * light
    return ((noisy - mean) ** 2 / variance + variance.log()).mean()


def test_reproduces_the_authors_noise_levels(authors):
    v1, v2, alpha = noise_numbers(authors["estimator_map"])[
        ..., None, None, None
    ].unbind(1)
    sigma = blended_variance(v1, v2, authors["lam"].item()).sqrt()
    stabilized = gat(authors["noisy"], alpha, sigma)
    whole = noise_level(stabilized)
    corners = torch.cat([noise_level(part) for part in _corners(stabilized)], dim=1)
    torch.testing.assert_close(whole, authors["eta_full"], rtol=LEVELS, atol=0)
    torch.testing.assert_close(corners, authors["eta_sub"], rtol=LEVELS, atol=0)


def test_reproduces_the_authors_losses_and_gradients(authors):
    mapped = authors["mapped"].requires_grad_()
    maps = authors["estimator_map"].requires_grad_()
    numbers = noise_numbers(maps)
    lam, weight = authors["lam"].item(), authors["w_est"].item()
    sensing = sensing_loss(authors["noisy"], *numbers.unbind(1), lam)
    adaptive = likelihood(authors, mapped, numbers)
    loss = adaptive + weight * sensing
    assert sensing.item() == pytest.approx(authors["loss_est"].item(), rel=LEVELS)
    assert adaptive.item() == pytest.approx(authors["loss_arv"].item(), rel=LEVELS)
    assert loss.item() == pytest.approx(authors["loss"].item(), rel=LEVELS)
    loss.backward()
    for found, name in ((mapped, "grad_mapped"), (maps, "grad_estimator_map")):
        difference = (found.grad - authors[name]).norm()
        assert difference <= GRADIENTS * authors[name].norm(), name


def test_the_sensing_part_of_the_authors_gradient_is_reproduced(authors):
    maps = authors["estimator_map"].detach().requires_grad_()
    numbers = noise_numbers(maps)
    lam, weight = authors["lam"].item(), authors["w_est"].item()
    (rest,) = torch.autograd.grad(
        likelihood(authors, authors["mapped"].detach(), numbers),
        maps,
        retain_graph=True,
    )
    sensing = sensing_loss(authors["noisy"], *numbers.unbind(1), lam)
    (found,) = torch.autograd.grad(weight * sensing, maps)
    expected = authors["grad_estimator_map"] - rest
    # A 1600th of the whole gradient, so that rounding takes three digits off.
    assert (found - expected).norm() <= 1e-3 * expected.norm()


def poisson_gaussian(alpha, sigma, batch=2, channels=1, side=128):
    random = torch.Generator().manual_seed(0)
    light = torch.linspace(0.1, 1, side).expand(batch, channels, side, side)
    counts = torch.poisson(light / alpha, generator=random)
    return alpha * counts + sigma * torch.randn(light.shape, generator=random)


def test_the_transform_makes_noise_of_one():
    alpha, sigma = torch.tensor(0.02), torch.tensor(0.05)
    levels = noise_level(gat(poisson_gaussian(0.02, 0.05, side=256), alpha, sigma))
    torch.testing.assert_close(levels, torch.ones(2, 1), atol=0.03, rtol=0)


def test_the_transform_has_a_finite_slope_everywhere():
    noisy = torch.tensor([-5.0, -0.375, 0.0, 1.0], requires_grad=True)
    alpha, sigma = torch.tensor(1.0), torch.tensor(0.0)
    stabilized = gat(noisy, alpha, sigma)
    torch.testing.assert_close(
        stabilized, torch.tensor([0.0, 0.0, 2 * 0.375**0.5, 2 * 1.375**0.5])
    )
    stabilized.sum().backward()
    assert noisy.grad[:2].tolist() == [0, 0]
    assert noisy.grad.isfinite().all()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_loss_falls_to_the_true_noise(channels):
    noisy = poisson_gaussian(0.02, 0.05, channels=channels)
    variance = torch.tensor(0.05**2)
    losses = [
        sensing_loss(noisy, factor * variance, factor * variance, torch.tensor(gain), 0)
        for factor, gain in ((1, 0.02), (1, 0.04), (1, 0.01), (9, 0.02))
    ]
    assert losses[0] < 0.02 * channels
    assert min(losses[1:]) > 2 * losses[0]


def test_channels_that_differ_cost_what_the_docstring_says():
    noisy = poisson_gaussian(0.02, 0.05, batch=1, channels=2, side=128)
    noisy[:, 1] *= 3
    v, alpha, lam = torch.tensor(0.0025), torch.tensor(0.02), 4.0
    stabilized = gat(noisy, alpha, blended_variance(v, v, lam).sqrt())
    first, second = noise_level(stabilized)[0]
    parts = torch.cat([noise_level(part) for part in _corners(stabilized)])
    expected = (
        (first - second) ** 2
        + ((first - 1) ** 2 + (second - 1) ** 2)
        + ((parts - 1) ** 2).mean()
    )
    torch.testing.assert_close(sensing_loss(noisy, v, v, alpha, lam), expected)


BAD = [
    ("noisy", float("nan")),
    ("noisy", float("inf")),
    ("v1", -1.0),
    ("v1", float("nan")),
    ("v2", float("inf")),
    ("alpha", 0.0),
    ("alpha", -0.02),
    ("alpha", float("nan")),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_an_impossible_image_is_left_out(name, value):
    fine = {"noisy": 0.5, "v1": 1e-3, "v2": 1e-3, "alpha": 0.02}
    numbers = fine | {name: value}
    noisy = poisson_gaussian(0.02, 0.05)
    noisy[1, 0, 4, 4] = numbers["noisy"]
    v1, v2, alpha = (
        torch.tensor([good, numbers[key]], requires_grad=True)
        for key, good in (("v1", 2e-3), ("v2", 2e-3), ("alpha", 0.03))
    )
    loss = sensing_loss(noisy, v1, v2, alpha, 3.0)
    alone = sensing_loss(noisy[:1], v1[:1], v2[:1], alpha[:1], 3.0)
    torch.testing.assert_close(loss, alone)
    loss.backward()
    for number in (v1, v2, alpha):
        assert number.grad.isfinite().all()
        assert number.grad[0]
        assert not number.grad[1]


def test_training_goes_on_where_nothing_can_be_known():
    numbers = torch.full((3, 2), 0.01, requires_grad=True)
    tiny = sensing_loss(torch.rand(2, 1, 32, 32), *numbers, 3.0)
    none = sensing_loss(torch.full((2, 1, 64, 64), torch.nan), *numbers, 3.0)
    flat = sensing_loss(torch.zeros(2, 1, 64, 64), *numbers, 3.0)
    assert (tiny.item(), none.item(), flat.item()) == (0, 0, 2.5)
    (tiny + none + flat).backward()
    assert not numbers.grad.any()


def test_no_read_noise_at_all_is_possible():
    numbers = torch.tensor([[0.0], [0.0], [0.02]], requires_grad=True)
    sensing_loss(poisson_gaussian(0.02, 0.0, batch=1), *numbers, 3.0).backward()
    assert numbers.grad.isfinite().all()


def test_without_useful_corners_the_whole_still_teaches():
    noisy = poisson_gaussian(0.02, 0.05, side=48)
    v, alpha = torch.tensor(0.0025), torch.tensor(0.02)
    stabilized = gat(noisy, alpha, blended_variance(v, v, 3.0).sqrt())
    expected = 1.5 * ((noise_level(stabilized) - 1) ** 2).mean()
    torch.testing.assert_close(sensing_loss(noisy, v, v, alpha, 3.0), expected)
