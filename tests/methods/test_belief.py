from __future__ import annotations

import math

import pytest
import torch

from napari_blindsound.methods.belief import deviation, fused, likelihood

SHAPE = (2, 3, 4, 5)


def draw(seed: int = 0) -> tuple[torch.Tensor, ...]:
    random = torch.Generator().manual_seed(seed)
    noisy, guess = (torch.randn(SHAPE, generator=random) for _ in range(2))
    own, noise = (0.1 + torch.rand(SHAPE, generator=random) for _ in range(2))
    return noisy, guess, own, noise


def full(variances: torch.Tensor) -> torch.Tensor:
    return torch.diag_embed(variances.movedim(1, -1))


def correlated(seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    factor = torch.randn(2, 4, 5, 3, 3, generator=random)
    return factor @ factor.mT + 0.3 * torch.eye(3)


@pytest.mark.parametrize("constrained", [False, True])
def test_covariances_without_correlation_are_variances(constrained):
    noisy, guess, own, noise = draw()
    apart = likelihood(noisy - guess, own, noise, constrained=constrained)
    joint = likelihood(noisy - guess, full(own), full(noise), constrained=constrained)
    torch.testing.assert_close(joint, apart.sum(1, keepdim=True))
    torch.testing.assert_close(
        fused(noisy, guess, full(own), full(noise)), fused(noisy, guess, own, noise)
    )
    torch.testing.assert_close(deviation(full(own), full(noise)), deviation(own, noise))


def test_the_plain_likelihood_is_that_of_a_gaussian():
    noisy, guess, *_ = draw()
    own, noise = correlated(1), correlated(2)
    found = likelihood(noisy - guess, own, noise, constrained=False)
    gaussian = torch.distributions.MultivariateNormal(guess.movedim(1, -1), own + noise)
    wanted = -gaussian.log_prob(noisy.movedim(1, -1)) - 1.5 * math.log(2 * math.pi)
    torch.testing.assert_close(found[:, 0], wanted, atol=1e-4, rtol=1e-4)


def test_the_constrained_one_is_the_papers():
    noisy, guess, *_ = draw()
    own, noise, error = correlated(1), correlated(2), (noisy - guess).movedim(1, -1)
    distance = (error * torch.linalg.solve(own + noise, error)).sum(-1)
    trace = torch.linalg.solve(noise, own).diagonal(dim1=-2, dim2=-1).sum(-1)
    wanted = 0.5 * (distance + torch.logdet(noise) + trace)
    found = likelihood(noisy - guess, own, noise, constrained=True)
    torch.testing.assert_close(found[:, 0], wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("form", [lambda v: v, full])
def test_who_is_sure_is_believed(form):
    noisy, guess, own, noise = draw()
    tiny = torch.full(SHAPE, 1e-9)
    for sure, wanted in (((tiny, noise), guess), ((own, tiny), noisy)):
        found = fused(noisy, guess, *map(form, sure))
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    one = torch.ones(SHAPE)
    torch.testing.assert_close(fused(noisy, guess, form(one), form(one)),
                               (noisy + guess) / 2)  # fmt: skip
    assert torch.allclose(deviation(form(one), form(one)), torch.tensor(0.5**0.5))


def test_a_channel_tells_of_another_that_varies_with_it():
    guess = torch.zeros(1, 2, 1, 1)
    noisy = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    own = torch.tensor([[1.0, 0.9], [0.9, 1.0]]).expand(1, 1, 1, 2, 2)
    noise = torch.diag(torch.tensor([0.1, 1e4])).expand(1, 1, 1, 2, 2)
    found = fused(noisy, guess, own, noise).flatten()
    assert found[0] == pytest.approx(1 / 1.1, abs=1e-3)
    assert found[1] == pytest.approx(0.9 / 1.1, abs=1e-3)
