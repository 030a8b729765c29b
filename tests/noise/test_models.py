from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from napari_blindsound.noise import growth
from napari_blindsound.noise.base import Bounds
from napari_blindsound.noise.gamma import Gamma
from napari_blindsound.noise.gaussian import Camera, Gaussian, LinearDeviation
from napari_blindsound.noise.kernel import RESIDUAL, Kernel, filtered
from napari_blindsound.noise.models import Parameters, models
from napari_blindsound.noise.poisson import Poisson
from napari_blindsound.noise.rayleigh import Rayleigh
from napari_blindsound.noise.taken import Taken

PAPER = Parameters()
MIXED = Parameters(sigma=10.0)
NAMES = list(models())
DRAWS = 4000
INNER = (..., slice(2, -2), slice(2, -2))


def made(name):
    kind = models()[name]
    return kind.noise(MIXED if kind.is_mixed else PAPER)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def clean(generator):
    return 40 + 180 * torch.rand(12, 12, generator=generator, dtype=torch.float64)


def test_there_are_sixteen_and_the_camera():
    numbers = [kind.number for kind in models().values()]
    assert numbers == list(range(17))
    assert NAMES[0] == "camera"


@pytest.mark.parametrize("name", NAMES)
def test_samples_have_the_mean_and_variance_that_are_told(name, clean, generator):
    noise = made(name)
    drawn = noise.sample(clean.expand(DRAWS, *clean.shape), generator)
    variance = noise.variance(clean)
    error = (drawn.mean(0) - noise.mean(clean)) / (variance / DRAWS).sqrt()
    assert error.abs().max() < 5
    assert 0.4 < error.square().mean() < 2
    # Where the mirror at the border does not make neighbors of a pixel and itself.
    ratio = (drawn.var(0) / variance)[INNER]
    assert ratio.mean() == pytest.approx(1, abs=0.03)
    assert (ratio - 1).abs().max() < 0.25


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_gradients_of_the_log_density(name, clean, generator):
    noise = made(name)
    noisy = noise.sample(clean, generator)
    score = noise.score(noisy, clean)
    if models()[name].is_mixed and models()[name].is_correlated:
        # The density is a maximum that is searched for: its slope, from both sides.
        way = torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
        up, down = (
            noise.log_density(noisy + s * way, clean).sum() for s in (1e-2, -1e-2)
        )
        error = float((score * way).sum() - (up - down) / 2e-2)
        assert abs(error) < 1e-4 * float(score.norm() * way.norm())
        return
    noisy.requires_grad_()
    (slope,) = torch.autograd.grad(noise.log_density(noisy, clean).sum(), noisy)
    torch.testing.assert_close(score, slope, atol=1e-4 * float(slope.std()), rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_solvers_invert_their_equation(name, clean, generator):
    noise, kind = made(name), models()[name]
    if kind.is_mixed and not kind.is_correlated:
        between = noise.first.sample(clean, generator)
        score = noise.first.score(between, clean)
        noisy = between - noise.sigma**2 * score
    else:
        noisy = noise.sample(clean, generator)
        score = noise.score(noisy, clean)
    # Of mixtures, the paper's equation: that of Laplace's approximation.
    found = (
        noise.first.solve(noisy + noise.sigma**2 * score, score)
        if kind.is_mixed
        else noise.solve(noisy, score)
    )
    assert ((found.clean - clean).abs() / clean).max() < 1e-3
    assert found.bounded == 0
    if found.change is not None:
        assert found.change < 1e-2


@pytest.mark.parametrize("name", [n for n in NAMES if n.endswith("-gaussian")])
@pytest.mark.parametrize("light", [40.0, 100.0, 220.0])
def test_mixtures_are_solved_without_a_bias_from_the_true_score(name, light, generator):
    noise = made(name)
    clean = torch.full((600,), light, dtype=torch.float64)
    noisy = noise.sample(clean, generator)
    score = noise.score(noisy, clean)
    away = noise.solve(noisy, score).clean / clean - 1
    assert abs(away.mean()) < 0.005
    assert away.abs().mean() < 0.02
    # The paper's equation has one, as z varies where y is known.
    paper = noise.first.solve(noisy + noise.sigma**2 * score, score)
    bias = (paper.clean / clean - 1).mean()
    assert bias > 2.5 * abs(away.mean())


def test_noise_that_was_taken_away_is_seen_through_filters():
    kernel = Kernel()
    white = Taken.of(3.0, Kernel(weights=((1.0,),)))
    assert white.variance == pytest.approx(9)
    assert white.beside(4.0).variance == pytest.approx(25)
    assert Taken.of(3.0, kernel).behind(kernel).variance == pytest.approx(9)
    # To undo the filter amplifies what was not through it.
    assert white.behind(kernel).variance > 2 * 9


@pytest.mark.parametrize("name", NAMES)
def test_details_are_eased_only_where_other_noise_is_behind_a_filter(name):
    kind, noise = models()[name], made(name)
    weights = noise.easing(100.0)
    assert (weights is not None) == (kind.is_mixed and kind.is_correlated)
    if weights is not None:
        flat = torch.full((40, 40), 7.0, dtype=torch.float64)
        torch.testing.assert_close(filtered(flat, weights), flat)
        board = (-1.0) ** torch.arange(40).double()
        left = filtered(board[:, None] * board, weights)[20, 20]
        assert 0 < left < 0.5
        assert noise.easing(0.0) is not None


def test_every_filter_that_is_found_has_an_inverse():
    edges, corners, _ = growth._table()
    for edge, corner in list(zip(edges, corners, strict=True))[::13]:
        kernel = Kernel.of(round(float(edge), 6), round(float(corner), 6))
        assert kernel.inverse_radius <= 20


def test_zero_light_is_at_zero_counts_unless_the_noise_says_otherwise(generator):
    kind = models()["rayleigh-gaussian"]
    rows, columns = torch.meshgrid(*[torch.linspace(0, 9, 256)] * 2, indexing="ij")
    clean = 120 + 50 * torch.sin(rows) + 40 * torch.cos(1.3 * columns)
    noisy = made(kind.name).sample(clean, generator)
    for offset in (0.0, 150.0):
        sums, shared = growth.look(((noisy + offset) / 400)[None].numpy())
        seen = growth.Growth.of(sums, shared, 400.0, 0.0)
        dark = growth.dark_level(kind, seen)
        assert dark == 0 if not offset else dark == pytest.approx(offset, abs=20)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(4))
def test_nothing_finite_makes_anything_infinite(name, seed):
    random = np.random.default_rng(seed)
    noise = made(name)
    for _ in range(10):
        decades = random.uniform(-38, 38, 2)
        noisy, score = (
            torch.from_numpy(
                np.clip(random.standard_cauchy((9, 11)) * 10.0**d, -3e38, 3e38)
            ).float()
            for d in decades
        )
        noisy[0], score[1] = 0, 0
        found = noise.solve(noisy, score)
        assert found.clean.isfinite().all()
        assert 0 <= found.bounded <= 1


@pytest.mark.parametrize("name", NAMES)
def test_a_larger_score_is_a_brighter_pixel(name):
    if models()[name].is_correlated:
        return
    score = torch.linspace(-0.2, 0.2, 201, dtype=torch.float64)
    found = made(name).solve(torch.full_like(score, 120.0), score).clean
    assert (found.diff() >= 0).all()
    assert found[-1] > found[0]


def test_a_gaussian_prior_gives_the_posterior_mean(generator):
    middle, width, sigma = 100.0, 30.0, 25.0
    clean = middle + width * torch.randn(64, 64, generator=generator)
    noise = Gaussian(sigma=sigma)
    noisy = noise.sample(clean, generator)
    score = -(noisy - middle) / (width**2 + sigma**2)
    posterior = (noisy * width**2 + middle * sigma**2) / (width**2 + sigma**2)
    torch.testing.assert_close(noise.solve(noisy, score).clean, posterior)


def test_a_gaussian_prior_gives_the_posterior_mean_of_correlated_noise(generator):
    """Both covariances have the filter's frequencies, and so has the answer."""
    kernel, middle, width = Kernel(), 100.0, 30.0
    noise = models()["gaussian-correlated"].noise(PAPER)
    clean = torch.full((24, 24), middle, dtype=torch.float64)
    clean = clean + width * torch.randn(24, 24, generator=generator).double()
    noisy = noise.sample(clean, generator)
    matrix = torch.stack(
        [kernel.apply(unit.reshape(24, 24)).ravel() for unit in torch.eye(576).double()]
    )
    sigma = PAPER.sigma**2 * matrix @ matrix
    whole = sigma + width**2 * torch.eye(576).double()
    away = torch.linalg.solve(whole, (noisy - middle).ravel())
    posterior = middle + width**2 * away
    found = noise.solve(noisy, -away.reshape(24, 24)).clean
    torch.testing.assert_close(found.ravel(), posterior, atol=1e-6, rtol=0)


def test_a_filter_and_its_inverse_are_the_identity(generator):
    image = torch.randn(1, 40, 33, generator=generator, dtype=torch.float64)
    for kernel in (Kernel(), Kernel.of(0.08, 0.02), Kernel(weights=((2.0,),))):
        back = kernel.invert(kernel.apply(image))
        assert (back - image).abs().max() < 20 * RESIDUAL
    # A filter, so that a part with enough around it is as the whole.
    kernel, r = Kernel(), Kernel().inverse_radius
    part = kernel.invert(image[:, 3:36, 2:31])[:, r:-r, r:-r]
    whole = kernel.invert(image)[:, 3 + r : 36 - r, 2 + r : 31 - r]
    torch.testing.assert_close(part, whole)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Gaussian(sigma=-1), "greater than 0"),
        (lambda: Gaussian(sigma=float("nan")), "finite|greater"),
        (lambda: Gamma(alpha=1), "greater than 1"),
        (lambda: Poisson(lam=0), "greater than 0"),
        (lambda: Rayleigh(spread=-0.3), "greater than 0"),
        (lambda: LinearDeviation(a=0.1, b=0), "greater than 0"),
        (lambda: Camera(gain=0, sigma=0), "no noise"),
        (lambda: Kernel.of(0.1, 0.1), "no inverse"),
        (lambda: Kernel.of(0.25, 0), "no inverse"),
        (lambda: Kernel(weights=((0, 1), (1, 0))), "square"),
        (lambda: Kernel(weights=((0, 0, 0), (0.2, 1, 0), (0, 0, 0))), "symmetric"),
    ],
)
def test_numbers_that_cannot_be_are_refused(build, words):
    with pytest.raises(ValidationError, match=words):
        build()


@pytest.mark.parametrize("name", ["gamma", "poisson", "rayleigh"])
def test_light_below_zero_is_counted(name):
    noisy = torch.tensor([[-5.0, 20.0], [30.0, 40.0]])
    found = made(name).solve(noisy, torch.zeros(2, 2))
    assert found.bounded == 0.25
    assert (found.clean >= 0).all()


def test_bounds_count_a_pixel_once():
    bounds = Bounds()
    bounds.clamp(bounds.clamp(torch.tensor([-1.0, 0.5, 0.5, 9.0]), 0.0), None, 1.0)
    assert bounds.fraction == 0.5


# What is told apart: the parameters that the noise was made with, in counts.
@pytest.mark.parametrize("name", NAMES[1:])
def test_parameters_are_found_in_the_noise(name, generator):
    kind, truth = models()[name], made(name)
    rows, columns = torch.meshgrid(*[torch.linspace(0, 9, 384)] * 2, indexing="ij")
    clean = 120 + 50 * torch.sin(rows) + 40 * torch.cos(1.3 * columns)
    noisy = truth.sample(clean, generator)
    sums, shared = growth.look((noisy / 255)[None].numpy())
    seen = growth.Growth.of(sums, shared, 255.0, 0.0)
    wide, _ = growth.look((noisy / 255)[None].numpy(), growth.WIDE)
    wider = growth.Growth.of(wide, shared, 255.0, 0.0)
    found = growth.estimated(kind, seen, {}, wider)
    expected = (MIXED if kind.is_mixed else PAPER).model_dump()
    # Of two noises, the one that matters less is found less well.
    within = 0.2 if kind.is_mixed else 0.08
    assert found.keys() == set(kind.needs)
    for parameter, value in found.items():
        assert value == pytest.approx(expected[parameter], rel=within), parameter
    dark = growth.dark_level(kind, seen)
    # Where the filter lets little of the noise through, it is told less well.
    most = 40 if kind.is_mixed and kind.is_correlated else 8
    assert dark is None or abs(dark) < most
