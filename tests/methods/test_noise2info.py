from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_blindsound.images.axes import Axes
from napari_blindsound.images.intensity import Intensity
from napari_blindsound.images.phantom import phantom
from napari_blindsound.images.volume import Volume
from napari_blindsound.methods.masking import neighbor_mean
from napari_blindsound.methods.noise2info import (
    Noise2Info,
    Noise2InfoConfig,
    noise_at_most,
)
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig


def small(channels: int = 1, **changes: object) -> Noise2Info:
    torch.manual_seed(0)
    settings = {"width": 4, "depth": 2, **changes}
    method = Noise2Info(Noise2InfoConfig.preset("fast", settings), channels)
    method.random.manual_seed(0)
    return method


def brute_force(crops, chosen, inside, outside):
    """The paper's Algorithm 1 as it stands: crops of m values, draws from all."""
    pool, total = np.concatenate(crops), 0.0
    for draw in chosen:
        drawn = np.sort(pool[draw])
        total += np.mean([np.mean((np.sort(crop) - drawn) ** 2) for crop in crops])
    inner = max(0.0, outside + inside - total / len(chosen))
    return np.sqrt(outside) + np.sqrt(inner)


def bound(crops, outside, draws=10):
    removed = torch.from_numpy(np.asarray(crops))
    typical = removed.sort(-1).values.mean(0)[None]
    inside = removed.square().mean()[None]
    outside = torch.tensor([outside], dtype=removed.dtype)
    random = torch.Generator().manual_seed(5)
    found = noise_at_most(
        typical,
        inside,
        removed.flatten()[None],
        inside,
        outside,
        draws=draws,
        random=random,
    )
    return found.item()


def test_the_bound_is_algorithm_1():
    random = np.random.default_rng(0)
    crops = random.normal(0, random.uniform(0.5, 2, (6, 1)), (6, 40))
    generator = torch.Generator().manual_seed(5)
    chosen = torch.randint(240, (10, 40), generator=generator).numpy()
    for outside in (0.0, 0.02, 0.3):
        expected = brute_force(crops, chosen, np.mean(crops**2), outside)
        assert bound(crops, outside) == pytest.approx(expected, rel=1e-9)


def test_channels_are_bounded_apart():
    random = torch.Generator().manual_seed(1)
    typical = torch.randn(3, 50, generator=random).sort(-1).values
    pool = torch.randn(3, 80, generator=random)
    one, two, few = (torch.tensor([1.0, 2, 3]) * scale for scale in (1, 1.1, 0.1))

    def found(part):
        random = torch.Generator().manual_seed(2)
        arrays = (array[part] for array in (typical, one, pool, two, few))
        return noise_at_most(*arrays, draws=4, random=random)

    torch.testing.assert_close(
        found(slice(None)), torch.cat([found(slice(i, i + 1)) for i in range(3)])
    )


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_noise_that_was_removed_whole_is_found_exactly(kind):
    random = np.random.default_rng(3)
    if kind == "gaussian":
        crops = random.normal(0, 0.3, (40, 4096))
    else:
        crops = random.poisson(4.0, (40, 4096)) - 4.0
    true = 0.3 if kind == "gaussian" else 2.0
    assert bound(crops, 0.0) == pytest.approx(true, rel=0.02)
    # What hiding a pixel changes is added to it.
    assert bound(crops, (true / 10) ** 2) > 1.09 * true


def test_noise_that_was_left_in_is_no_noise_that_was_found():
    """Without L_ex the identity would be perfect, and only L_ex knows better."""
    assert bound(np.zeros((4, 100)), 0.0) == 0
    assert bound(np.zeros((4, 100)), 0.09) == pytest.approx(0.6)


@pytest.mark.parametrize("replacement", ["donut", "random"])
def test_the_loss_is_the_formula(replacement):
    method = small(2, replacement=replacement)
    noisy = torch.rand(2, 2, 24, 24)
    spread = (noisy.square().mean((0, 2, 3)) - noisy.mean((0, 2, 3)) ** 2).sqrt()
    [terms] = method.losses(noisy, 0.0)

    again = small(2, replacement=replacement)
    hidden = again.draw_mask(noisy)
    if replacement == "donut":
        filled = neighbor_mean(noisy)
    else:
        drawn = torch.randn(noisy.shape, generator=again.random)
        mean = noisy.mean((0, 2, 3))[:, None, None]
        filled = mean + 0.2 * spread[:, None, None] * drawn
    seen = again.network(noisy)
    unseen = again.network(torch.where(hidden, filled, noisy))
    outside = [((seen - unseen)[:, c][hidden[:, c]] ** 2).mean() for c in range(2)]
    expected = {
        "reconstruction": ((seen - noisy) ** 2).mean(),
        "invariance": sum(
            2 * s * o.sqrt() for s, o in zip(spread, outside, strict=True)
        )
        / 2,
    }
    for name, term in terms.items():
        torch.testing.assert_close(term, expected[name], rtol=1e-4, atol=1e-6)


def test_both_passes_carry_a_gradient():
    noisy = torch.rand(1, 1, 16, 16)
    method = small()
    method.network = _Scaled()
    [terms] = method.losses(noisy, 0.0)
    terms["invariance"].backward()
    # Were either pass without gradient, it would not be that of their difference.
    hidden = small().draw_mask(noisy)
    away = (noisy - torch.where(hidden, neighbor_mean(noisy), noisy))[hidden]
    expected = 2 * noisy.std(correction=0) * away.square().mean().sqrt()
    torch.testing.assert_close(method.network.factor.grad, expected)


class _Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x, halo=0):
        return self.factor * x


@pytest.mark.parametrize(("masked", "box"), [(0.5, 14), (2, 7), (25, 2)])
def test_one_pixel_of_each_box_is_hidden_anywhere_in_it(masked, box):
    method = small(2, masked=masked)
    noisy = torch.zeros(3, 2, 5 * box, 4 * box)
    often = torch.zeros(box, box)
    for _ in range(40 * box):
        hidden = method.draw_mask(noisy)
        boxes = hidden.unflatten(-1, (4, box)).unflatten(2, (5, box)).transpose(3, 4)
        assert (boxes.sum((-2, -1)) == 1).all()
        often += boxes.sum((0, 1, 2, 3))
    assert often.min() > 0.7 * often.mean()
    first = method.draw_mask(noisy)
    assert (first[0] != first[1]).any()
    assert (first[:, 0] != first[:, 1]).any()


def test_an_image_smaller_than_a_box_has_a_hidden_pixel():
    assert small(masked=0.5).draw_mask(torch.zeros(2, 1, 8, 8)).sum() == 2


def test_what_is_hidden_does_not_show():
    method = small()
    noisy = torch.rand(1, 1, 32, 32)
    hidden = method.draw_mask(noisy)
    row, column = hidden[0, 0].nonzero()[3].tolist()
    poked = noisy.clone()
    poked[..., row, column] += 10
    results = [
        method.network(torch.where(hidden, neighbor_mean(image), image))
        for image in (noisy, poked)
    ]
    assert results[0][..., row, column] == results[1][..., row, column]


def test_pixels_of_no_weight_teach_nothing():
    noisy, weight = torch.rand(2, 1, 32, 32), torch.ones(2, 1, 32, 32)
    weight[..., :16, :] = 0
    [terms] = small().losses(noisy, 0.0, weight)
    [whole] = small().losses(noisy, 0.0)
    assert terms["reconstruction"] != whole["reconstruction"]
    seen = small().network(noisy)[..., 16:, :]
    torch.testing.assert_close(
        terms["reconstruction"], ((seen - noisy[..., 16:, :]) ** 2).mean()
    )
    [nothing] = small().losses(noisy, 0.0, torch.zeros_like(weight))
    assert all(term.abs() < 1e-4 for term in nothing.values())


def test_the_noise_begins_at_the_images_own_spread_and_only_falls():
    method = small(update=0.1)
    assert method.found() == {}
    sigmas = []
    for step in range(400):
        scale = 1.0 if step < 200 else 3.0
        noisy = scale * torch.randn(4, 1, 16, 16, generator=method.random)
        for part in method.losses(noisy, step / 400):
            assert all(term.isfinite() for term in part.values())
        sigmas.append(float(method.sigma))
    assert sigmas[0] == float("inf")
    known = [sigma for sigma in sigmas if sigma < float("inf")]
    assert len(known) > 300
    assert known == sorted(known, reverse=True)
    assert len(set(known)) >= 2


def test_a_step_that_was_stopped_leaves_no_trace():
    method = small()
    before = {name: b.clone() for name, b in method.named_buffers()}
    losses = method.losses(torch.rand(2, 1, 16, 16), 0.09)
    next(losses)
    losses.close()
    for name, buffer in method.named_buffers():
        assert torch.equal(buffer, before[name]), name
    [_] = method.losses(torch.rand(2, 1, 16, 16), 0.09)
    assert method.collected == 2


def test_the_noise_is_told_in_counts_of_each_channel():
    method = small(2)
    method.calibrate((), Intensity((100.0, 5.0), (200.0, 40.0)))
    method.sigma.copy_(torch.tensor([0.1, 0.5]))
    assert method.found() == {
        "noise of channel 0, at most": pytest.approx(20),
        "noise of channel 1, at most": pytest.approx(20),
    }


def volume(made, noisy=None):
    return Volume((made.noisy if noisy is None else noisy,), Axes.parse("YX"), "cells")


def trained(image, steps=240, **settings):
    size = {"width": 8, "depth": 2, "patch": 32, **settings}
    recipe = Recipe(
        method="noise2info",
        settings=size,
        train=TrainConfig(steps=steps, threads=1, device="cpu"),
    )
    return Training([image], recipe)


def done(training):
    for _ in training.run():
        pass
    training.close()
    return training.denoiser()


@pytest.mark.parametrize("noise", ["camera", "gaussian"])
def test_the_level_found_is_a_little_above_the_true_one(noise):
    made = phantom("2d", size=128, photons=20, seed=21)
    noisy = made.noisy
    if noise == "gaussian":
        drawn = np.random.default_rng(4).normal(0, 8, made.clean.shape)
        noisy = (made.clean + drawn).astype(np.float32)
    model = done(trained(volume(made, noisy), 400))
    before, after = (
        np.sqrt(np.mean((image - made.clean.astype(float)) ** 2))
        for image in (noisy, model(noisy))
    )
    [found] = model.provenance["found"]
    assert 1.0 <= found["noise, at most"] / before <= 1.2
    assert after < before / 2


def test_a_training_goes_on_from_a_checkpoint_as_if_not_stopped(tmp_path):
    image = volume(phantom("2d", size=64, photons=20, seed=2))
    whole = done(trained(image, 60, patch=16))
    first = trained(image, 60, patch=16)
    for event in first.run():
        if getattr(event, "step", 0):
            break
    path = first.save(tmp_path / "half.checkpoint")
    first.close()
    second = trained(image, 60, patch=16)
    second.restore(path)
    again = done(second)
    assert again.revision == whole.revision
    assert again.provenance["found"] == whole.provenance["found"]
    assert again.methods[0].sigma < float("inf")
