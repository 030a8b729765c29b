from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from napari_blindsound.noise import eigenvalue
from napari_blindsound.noise.eigenvalue import noise_level


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scene(side, seed=0):
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.random((side, side)), 6)
    return torch.from_numpy((smooth - smooth.min()) / np.ptp(smooth)).float()


@pytest.mark.parametrize(
    ("side", "expected"), [(40, 0.34), (64, 0.79), (96, 0.92), (128, 0.965), (256, 1)]
)
def test_level_of_pure_noise_is_what_the_docstring_says(side, expected):
    found = noise_level(noise(12, side, side))
    assert found.shape == (12,)
    assert found.mean().item() == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.5])
def test_structure_is_not_taken_for_noise(sigma):
    image = scene(256) + sigma * noise(256, 256)
    assert noise_level(image).item() == pytest.approx(sigma, rel=0.04)


def test_offset_and_scale_go_through_and_each_image_is_its_own():
    images = scene(128) + 0.1 * noise(2, 3, 128, 128)
    found = noise_level(images)
    assert found.shape == (2, 3)
    torch.testing.assert_close(
        noise_level(300 + 50 * images), 50 * found, rtol=1e-3, atol=0
    )
    torch.testing.assert_close(noise_level(images[1, 2]), found[1, 2])


def test_balance_rule_takes_the_largest_mean_that_is_a_median():
    spectrum = torch.tensor([1.0, 1.2, 1.5, 1.6, 40.0, 900.0], dtype=torch.float64)
    padded = torch.cat([spectrum, 1e3 * 2.0 ** torch.arange(1, 59).double()])
    # Balanced: the first alone, the first two, and 1, 1.2 | 1.5, 1.6 about 1.325.
    assert eigenvalue._variance(padded).item() == pytest.approx(1.325)


def test_gradient_is_that_of_finite_differences():
    image = (scene(64) + 0.1 * noise(64, 64)).double().requires_grad_()
    direction = noise(64, 64, seed=1).double()
    (gradient,) = torch.autograd.grad(noise_level(image), image)
    step = 1e-5
    with torch.no_grad():
        ahead, behind = (noise_level(image + s * direction) for s in (step, -step))
    slope = (ahead - behind) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-5, atol=0)


@pytest.mark.parametrize("size", [(39, 39), (7, 500), (8, 8), (40, 32), (0, 0)])
def test_too_few_patches_are_not_known(size):
    image = noise(2, *size).requires_grad_()
    assert noise_level(image).isnan().all()
    assert noise_level(image).shape == (2,)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_bad_pixel_spoils_its_own_image_alone(value):
    images = noise(2, 64, 64)
    images[1, 3, 5] = value
    images.requires_grad_()
    found = noise_level(images)
    assert found[0].item() == noise_level(images[0]).item()
    assert found[1].isnan()
    torch.where(found.isnan(), 0, found).sum().backward()
    assert images.grad.isfinite().all()
    assert images.grad[0].abs().sum() > 0
    assert not images.grad[1].any()


@pytest.mark.parametrize("level", [0.0, 0.1, 1e4])
def test_images_without_noise_have_none_and_no_gradient(level):
    ramp = torch.linspace(0, 0.5, 64).expand(64, 64)
    images = torch.stack([torch.full((64, 64), level), level + ramp]).requires_grad_()
    found = noise_level(images)
    torch.testing.assert_close(found, torch.zeros(2), atol=1e-6 * (1 + level), rtol=0)
    found.sum().backward()
    assert images.grad.isfinite().all()
    assert not images.grad[0].any()


def test_a_failing_decomposition_costs_one_image_alone(monkeypatch):
    # LAPACK fails on no finite matrix that a test could give.
    real = torch.linalg.eigvalsh

    def fragile(matrices):
        if matrices.diagonal(dim1=-2, dim2=-1).mean(-1).max() > 50:
            raise torch.linalg.LinAlgError
        return real(matrices)

    monkeypatch.setattr(torch.linalg, "eigvalsh", fragile)
    images = noise(2, 2, 64, 64)
    images[1, 0] *= 10
    images.requires_grad_()
    found = noise_level(images)
    assert found.isnan().tolist() == [[False, False], [True, False]]
    torch.where(found.isnan(), 0, found).sum().backward()
    assert images.grad.isfinite().all()


def test_mixed_precision_changes_nothing():
    image = noise(64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        inside = noise_level(image)
    assert inside.dtype == torch.float32
    assert inside.item() == noise_level(image).item()


def test_no_image_is_a_mistake_of_the_program():
    with pytest.raises(ValueError, match=r"\(64,\)"):
        noise_level(torch.zeros(64))
