from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_blindsound.images.intensity import Intensity
from napari_blindsound.methods.blind2sound import Blind2Sound, Blind2SoundConfig
from napari_blindsound.networks.noise_estimator import noise_numbers
from napari_blindsound.noise.calibration import NoiseModel

FIXTURE = (
    Path(os.environ.get("BLINDSOUND_DATA", "")).parent
    / "fixtures"
    / "blind2sound_cell2.npz"
)
needs_fixture = pytest.mark.skipif(
    not FIXTURE.is_file(),
    reason="BLINDSOUND_DATA does not lead to the authors' numeric fixtures",
)
UNIT = Intensity((0.0,), (1.0,))
NOISE = NoiseModel(gain=0.04, offset=0.1, read_variance=0.002)


def build(channels=1, **settings):
    torch.manual_seed(0)
    method = Blind2Sound(Blind2SoundConfig(width=8, **settings), channels)
    method.calibrate([NOISE] * channels, UNIT)
    return method


class Given(torch.nn.Module):
    """An estimator that says what the fixture's said, to any image."""

    def __init__(self, maps):
        super().__init__()
        self.maps = torch.nn.Parameter(maps)

    def forward(self, noisy):
        return noise_numbers(self.maps)


def authors():
    """The method in the fixture's state, its inputs and the authors' numbers."""
    stored = np.load(FIXTURE)
    state = {
        name.removeprefix("state/"): torch.from_numpy(stored[name])
        for name in stored.files
        if name.startswith("state/")
    }
    cell, lam = int(stored["cell"]), float(stored["lam"])
    method = build(
        noise="sensed",
        variance="square",
        weighting=1.0,
        depth=5,
        cell=cell,
        phases=cell**2,
        padding="zeros",
        lam_start=lam,
        lam_end=lam,
        sensing=float(stored["w_est"]),
    )
    method.network.load_state_dict(state)
    method.estimator = Given(torch.from_numpy(stored["estimator_map"]))
    return method, torch.from_numpy(stored["noisy"]), stored


@needs_fixture
def test_reproduces_the_authors_losses_and_gradients():
    method, noisy, stored = authors()
    terms = method.loss(noisy, 0.0)
    assert float(terms["re-visible"].detach()) == pytest.approx(
        float(stored["loss_arv"]), rel=1e-5
    )
    assert float(terms["sensing"].detach()) == pytest.approx(
        float(stored["w_est"] * stored["loss_est"]), rel=1e-5
    )
    total = sum(terms.values())
    assert float(total.detach()) == pytest.approx(float(stored["loss"]), rel=1e-5)
    total.backward()
    for name, parameter in method.network.named_parameters():
        expected = torch.from_numpy(stored[f"grad/{name}"])
        wrong = (parameter.grad - expected).norm() / expected.norm()
        assert wrong < 1e-4, name
    expected = torch.from_numpy(stored["grad_estimator_map"])
    wrong = (method.estimator.maps.grad - expected).norm() / expected.norm()
    assert wrong < 1e-4


@needs_fixture
def test_reproduces_the_authors_outputs():
    method, noisy, stored = authors()
    with torch.inference_mode():
        blind, visible = method.blind(noisy).numpy(), method.network(noisy).numpy()
        deviation = method.denoise(noisy, output="deviation").numpy()
    np.testing.assert_allclose(blind, stored["mapped"], atol=1e-5)
    np.testing.assert_allclose(visible, stored["visible"], atol=1e-5)
    np.testing.assert_allclose(deviation, abs(stored["visible"][:, 1:]), atol=1e-5)


def test_the_paper_preset_is_the_papers():
    config = Blind2SoundConfig.preset("paper")
    method = Blind2Sound(config)
    assert sum(p.numel() for p in method.network.parameters()) == 1_099_682
    assert sum(p.numel() for p in method.estimator.parameters()) == 1_677_507
    assert [config.lam(t) for t in (0.0, 0.4, 0.7, 1.0)] == pytest.approx([3, 3, 7, 11])
    assert (config.sensing, config.learning_rate, config.clip) == (0.01, 4e-4, 10)


@pytest.mark.parametrize(("channels", "numbers"), [(1, 2), (2, 5), (3, 9), (4, 14)])
def test_the_covariance_of_several_channels(channels, numbers):
    method = build(channels, variance="square")
    given = torch.randn(2, 3, numbers, 4, 4)
    assert method.network.last[-1].out_channels == numbers
    covariance = method.covariance(given)
    assert covariance.shape == (2, 3, 4, 4, channels, channels)
    factors = torch.zeros(channels, channels)
    place = channels
    for row in range(channels):
        for column in range(row, channels):
            factors[row, column] = given[1, 2, place, 3, 0]
            place += 1
    torch.testing.assert_close(covariance[1, 2, 3, 0], factors @ factors.T)


@pytest.mark.parametrize("variance", ["share", "square"])
def test_several_channels_have_the_likelihood_of_a_gaussian(variance):
    method = build(3, variance=variance)
    error, noise = torch.randn(1, 2, 3, 4, 4), torch.rand(1, 2, 3, 4, 4) + 0.5
    covariance = method.covariance(torch.randn(1, 2, 9, 4, 4))
    share = torch.full((1, 1, 1, 1, 1), 1 / error.numel())
    found = method._likelihood(error, covariance, noise, share)
    gaussian = torch.distributions.MultivariateNormal(
        torch.zeros(3), covariance + torch.diag_embed(noise.movedim(2, -1))
    )
    constant = 1.5 * np.log(2 * np.pi)
    expected = -gaussian.log_prob(error.movedim(2, -1)).mean() - constant
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_one_channel_is_several_of_one():
    method = build()
    error, noise = torch.randn(1, 2, 1, 4, 4), torch.rand(1, 2, 1, 4, 4) + 0.5
    covariance = method.covariance(torch.randn(1, 2, 2, 4, 4))
    share = torch.full((1, 1, 1, 1, 1), 1 / error.numel())
    alone = method._likelihood(error, covariance, noise, share)
    method.channels = 2  # the general way, with a second channel that adds nothing
    twice = torch.zeros(1, 2, 4, 4, 2, 2)
    twice[..., 0, 0] = covariance[..., 0, 0]
    together = method._likelihood(
        torch.cat([error, torch.zeros_like(error)], 2),
        twice,
        torch.cat([noise, torch.ones_like(noise)], 2),
        share / 2,
    )
    torch.testing.assert_close(2 * together, alone)


def test_pixels_that_must_not_teach_do_not():
    method = build(phases=16)
    noisy = torch.rand(1, 1, 32, 32)
    weight = torch.ones_like(noisy)
    weight[..., 10:20, 5:9] = 0
    spoiled = torch.where(weight > 0, noisy, noisy + 3)
    # Only as targets: the input keeps what the sampler gives it.
    loss = {}
    for name, image in (("clean", noisy), ("spoiled", spoiled)):
        method.masked = lambda _, phases: noisy.repeat(len(phases), 1, 1, 1)
        method.visible_at = lambda _, phases: torch.zeros(len(phases), 1, 2, 8, 8)
        terms = method.loss(image, 0.5, weight)
        loss[name] = sum(terms.values()).item()
    assert loss["clean"] == pytest.approx(loss["spoiled"], rel=1e-6)


def test_the_variance_does_not_pull_at_the_mean():
    method = build()
    noisy = torch.rand(2, 1, 32, 32)
    method.loss(noisy, 0.5)["deviation"].backward()
    last = method.network.last[-1].weight.grad
    assert float(last[0].abs().max()) == 0
    assert float(last[1].abs().max()) > 0


def test_a_first_deviation_is_a_third_of_the_noise():
    method = build()
    numbers = torch.zeros(1, 1, 2, 4, 4)
    numbers[:, :, 0] = 0.6
    deviation = method.covariance(numbers)[..., 0, 0].sqrt()
    expected = 0.3 * float(NOISE.variance(0.6)) ** 0.5
    torch.testing.assert_close(
        deviation, torch.full_like(deviation, expected), rtol=5e-3, atol=0
    )


def test_impossible_numbers_are_not_learned_from_but_do_not_raise():
    method = build(3)
    noisy = torch.rand(1, 3, 32, 32)
    noisy[0, 0, 4, 4] = torch.nan
    assert not torch.isfinite(sum(method.loss(noisy, 0.2).values()))


def test_without_noise_the_loss_is_finite():
    method = build()
    method.calibrate([NoiseModel(0.0, 0.0, 0.0)], UNIT)
    terms = method.loss(torch.full((1, 1, 32, 32), 0.3), 0.9)
    assert all(torch.isfinite(term) for term in terms.values())


def test_what_is_missing_on_average_is_added():
    method = build()
    noisy = torch.rand(4, 1, 64, 64) + 0.5
    with torch.no_grad():
        before = method.denoise(noisy)
        for _ in range(4000):
            method._note_shift(
                torch.full((1, 4, 1, 16, 16), 0.25), torch.tensor(1 / 1024)
            )
    torch.testing.assert_close(method.denoise(noisy), before + 0.25)
    torch.testing.assert_close(
        method.denoise(noisy, output="blind"),
        method.blind(noisy)[:, :1] + 0.25,
    )


def test_the_paper_has_no_shift():
    method = build(variance="square")
    method.loss(torch.rand(2, 1, 32, 32) + 3, 0.5)
    assert float(method.shift) == 0


def test_pixels_of_much_noise_weigh_less_but_not_as_little_as_in_the_likelihood():
    noise = torch.tensor([1.0, 4.0, 100.0]).view(1, 1, 1, 1, 3)
    evened = [build(weighting=w)._evened(noise).flatten() for w in (0.0, 0.5, 1.0)]
    ratios = [float(variances[1] / variances[0]) for variances in evened]
    assert ratios == pytest.approx([1, 2, 4])
    # As large as before at the mean, so that deviation and gradient keep their size.
    assert float(evened[0][0]) == pytest.approx(35)


def test_the_curve_is_positive_and_falls_with_the_likelihood_however_large_it_is():
    method = build()
    drawn = [method.curve({"deviation": term}, 0.5) for term in (-9.0, 0.9, 1.1, 1e4)]
    assert drawn == sorted(drawn)
    assert 0 < drawn[0] < drawn[1] < 1 < drawn[2] < drawn[3] == 1e4
