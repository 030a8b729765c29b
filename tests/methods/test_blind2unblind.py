from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter, uniform_filter1d

from napari_blindsound.images.axes import Axes
from napari_blindsound.images.volume import Volume
from napari_blindsound.methods.blind2unblind import Blind2Unblind, Blind2UnblindConfig
from napari_blindsound.methods.masking import mask_phases
from napari_blindsound.networks.symmetry import turned, turned_back
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig


def fixture(cell: int) -> dict[str, np.ndarray]:
    data = os.environ.get("BLINDSOUND_DATA")
    path = Path(data or ".").parent / "fixtures" / f"blind2unblind_cell{cell}.npz"
    if data is None or not path.is_file():
        pytest.skip("BLINDSOUND_DATA does not lead to the authors' numeric fixtures")
    with np.load(path) as arrays:
        return dict(arrays)


def published(arrays: dict[str, np.ndarray]) -> Blind2Unblind:
    cell, lam = int(arrays["cell"]), float(arrays["lambda"])
    config = Blind2UnblindConfig.preset(
        "paper",
        {
            "width": int(arrays["width"]),
            "cell": cell,
            "phases": cell**2,
            "padding": "zeros",
            "eta": float(arrays["eta"]),
            "lam_start": lam,
            "lam_end": lam,
        },
    )
    method = Blind2Unblind(config)
    method.network.load_state_dict(
        {
            key.removeprefix("state/"): torch.from_numpy(value)
            for key, value in arrays.items()
            if key.startswith("state/")
        }
    )
    return method


@pytest.mark.parametrize("cell", [2, 4])
def test_reproduces_the_authors_numbers(cell):
    arrays = fixture(cell)
    method, noisy = published(arrays), torch.from_numpy(arrays["noisy"])

    copies = mask_phases(noisy, torch.arange(cell**2), cell, "zeros")
    by_sample = copies.unflatten(0, (cell**2, -1)).transpose(0, 1).flatten(0, 1)
    np.testing.assert_array_equal(by_sample, arrays["masked_volume"])

    totals = {"re-visible": 0.0, "regularization": 0.0}
    for part in method.losses(noisy, progress=0.3):
        sum(part.values()).backward()
        for name, term in part.items():
            totals[name] += term.item()
    assert totals["re-visible"] == pytest.approx(float(arrays["loss_rev"]), rel=1e-5)
    expected = float(arrays["loss_reg"])
    assert totals["regularization"] == pytest.approx(expected, rel=1e-5)
    assert sum(totals.values()) == pytest.approx(float(arrays["loss"]), rel=1e-5)
    for name, parameter in method.network.named_parameters():
        expected = torch.from_numpy(arrays[f"grad/{name}"])
        assert (parameter.grad - expected).norm() <= 1e-4 * expected.norm(), name


@pytest.mark.parametrize("cell", [2, 4])
def test_reproduces_the_authors_outputs(cell):
    arrays = fixture(cell)
    method, noisy = published(arrays), torch.from_numpy(arrays["noisy"])
    lam = float(arrays["lambda"])
    method.lam.fill_(lam)
    with torch.inference_mode():
        outputs = {name: method.denoise(noisy, output=name) for name in method.outputs}
    np.testing.assert_allclose(outputs["blind"], arrays["mapped"], atol=1e-6)
    np.testing.assert_allclose(outputs["visible"], arrays["visible"], atol=1e-6)
    blend = (arrays["mapped"] + lam * arrays["visible"]) / (1 + lam)
    np.testing.assert_allclose(outputs["blended"], blend, atol=1e-6)


def small(**changes: object) -> Blind2Unblind:
    torch.manual_seed(0)
    return Blind2Unblind(
        Blind2UnblindConfig.preset("fast", {"width": 4, "depth": 2, **changes})
    )


@pytest.mark.parametrize(
    ("progress", "lam"), [(0.0, 2), (0.4, 2), (0.6, 8), (0.8, 14), (1.0, 20)]
)
def test_lambda_follows_the_published_schedule(progress, lam):
    assert Blind2UnblindConfig().lam(progress) == pytest.approx(lam)


def test_loss_on_constants_is_the_formula():
    # h = 1, f(y) = 2, y = 0, lambda = 3: (1 + 6)^2 + 1 = 50
    method = small(lam_start=3.0, lam_end=3.0, scale_loss=False, phases=16)
    method.blind_at = lambda masked, phases: torch.ones(len(phases), 1, 1, 4, 4)
    method.visible_at = lambda noisy, phases: torch.full((len(phases), 1, 1, 4, 4), 2.0)
    terms = method.loss(torch.zeros(1, 1, 16, 16), 0.0)
    assert sum(terms.values()).item() == pytest.approx(50)


def test_phases_estimate_the_exact_loss_without_bias():
    noisy = torch.rand(2, 1, 32, 32)
    exact = sum(small(phases=16).loss(noisy, 0.5).values()).item()
    few = small(phases=2)
    draws = [sum(few.loss(noisy, 0.5).values()).item() for _ in range(200)]
    error = np.std(draws) / np.sqrt(len(draws))
    assert np.std(draws) > 0
    assert abs(np.mean(draws) - exact) < 4 * error


def test_visible_branch_has_no_gradient():
    method = small(eta=0.0, lam_start=1e6, lam_end=1e6, scale_loss=False)
    method.blind_at = lambda masked, phases: (
        (masked * 0).mean().expand(len(phases), 1, 1, 4, 4)
    )
    terms = method.loss(torch.rand(1, 1, 16, 16), 0.0)
    assert not any(term.requires_grad for term in terms.values())


@pytest.mark.parametrize("cell", [2, 4])
@pytest.mark.parametrize("padding", ["reflect", "zeros"])
def test_blind_output_does_not_see_its_own_pixel(cell, padding):
    method = small(cell=cell, phases=1, padding=padding)
    noisy = torch.rand(1, 1, 16, 16)
    with torch.inference_mode():
        before = method.denoise(noisy, output="blind")
        for row, column in [(0, 0), (0, 7), (15, 15), (8, 5)]:
            poked = noisy.clone()
            poked[..., row, column] += 10
            after = method.denoise(poked, output="blind")
            assert after[..., row, column] == before[..., row, column]
            assert (after != before).any()


@pytest.mark.parametrize("region", ["1x5", "5x1", "3x3", "7x7"])
def test_blind_output_does_not_see_its_region(region):
    method = small(region=region)
    down, right = (int(side) // 2 for side in region.split("x"))
    noisy = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        before = method.denoise(noisy, output="blind")
        for row, column in [(0, 0), (0, 7), (31, 31), (8, 5)]:
            poked = noisy.clone()
            poked[..., row, column] += 10
            changed = method.denoise(poked, output="blind") != before
            top, left = max(0, row - down), max(0, column - right)
            near = changed[..., top : row + down + 1, left : column + right + 1]
            assert not near.any()
            assert changed.any()


@pytest.mark.parametrize(
    ("region", "cell"),
    [("1x1", 4), ("1x3", 4), ("3x3", 8), ("5x1", 8), ("5x5", 8), ("7x7", 16)],
)
def test_cells_have_room_for_the_region(region, cell):
    config = Blind2UnblindConfig(region=region)
    assert config.cell == cell
    assert Blind2UnblindConfig(region=region, cell=16).cell == 16
    assert Blind2UnblindConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize(
    ("extents", "region"),
    [
        ((0, 0), "1x1"),
        ((0, 1), "1x3"),
        ((0, 2), "1x5"),
        ((3, 0), "7x1"),
        ((1, 1), "3x3"),
        ((2, 1), "5x3"),
        ((2, 2), "5x5"),
        ((1, 3), "7x7"),
        ((3, 3), "7x7"),
        ((4, 4), "7x7"),
    ],
)
def test_auto_becomes_the_smallest_region_that_hides_enough(extents, region):
    config = Blind2UnblindConfig().suited(extents)
    assert config.region == region
    assert config == Blind2UnblindConfig(region=region)
    rows, columns = config.hidden
    assert len(config.orientations) == (8 if rows == columns else 4)


def test_a_chosen_region_stays():
    config = Blind2UnblindConfig(region="1x3")
    assert config.suited((2, 2)) is config


def test_directional_noise_is_flipped_but_never_turned():
    image = torch.arange(12.0).view(3, 4)
    for turn in Blind2UnblindConfig(region="1x5").orientations:
        rows_of = turned(image, turn)
        assert rows_of.shape == image.shape
        torch.testing.assert_close(turned_back(rows_of, turn), image)


def test_no_region_changes_nothing():
    noisy = torch.rand(1, 1, 16, 16)
    losses = [small(**change).loss(noisy, 0.3) for change in ({}, {"region": "1x1"})]
    assert losses[0] == losses[1]
    config = Blind2UnblindConfig()
    assert config.suited((0, 0)).model_dump() == {
        **config.model_dump(),
        "region": "1x1",
    }


def test_unknown_region_is_refused():
    with pytest.raises(ValidationError, match="'5x5'"):
        Blind2UnblindConfig(region="9x9")


def stripes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Blobs, and the same with noise that three pixels of a row share."""
    random = np.random.default_rng(seed)
    clean = gaussian_filter(random.normal(size=(128, 128)), 3, mode="wrap")
    noise = uniform_filter1d(random.normal(size=clean.shape), 3, axis=1, mode="wrap")
    return clean / clean.std(), clean / clean.std() + noise / noise.std()


def test_shared_noise_goes_with_a_region_and_stays_without():
    clean, noisy = stripes(0)
    volume = Volume((noisy.astype(np.float32),), Axes.parse("YX"), "stripes")
    errors = {}
    for region in ("1x1", "1x5"):
        size = {"width": 8, "depth": 2, "patch": 32}
        settings = {**size, "region": region, "augment": False, "start": "cold"}
        recipe = Recipe(
            settings=settings, train=TrainConfig(steps=400, threads=1, device="cpu")
        )
        training = Training([volume], recipe)
        for _ in training.run():
            pass
        training.close()
        denoised = training.denoiser()(noisy.astype(np.float32))
        errors[region] = float(((denoised - clean) ** 2).mean())
    assert errors["1x5"] < 0.2  # of a variance of 1
    assert errors["1x1"] > 2.5 * errors["1x5"]


def test_pixels_of_no_weight_teach_nothing():
    method = small(phases=16)
    noisy, weight = torch.rand(1, 1, 16, 16), torch.ones(1, 1, 16, 16)
    weight[..., 3, 5] = 0
    clean = sum(method.loss(noisy, 0.0, weight).values())
    spoilt = method.loss(noisy, 0.0, torch.ones_like(weight))
    assert clean.item() != sum(spoilt.values()).item()
    exact = method.loss(noisy, 0.0)
    for name, term in method.loss(noisy, 0.0, torch.ones_like(weight)).items():
        torch.testing.assert_close(term, exact[name])


def test_more_phases_than_pixels_in_a_cell_are_refused():
    with pytest.raises(ValidationError, match="choose at most that"):
        Blind2UnblindConfig(cell=2, phases=5)


def test_unknown_output_is_refused():
    with pytest.raises(ValueError, match="visible, blind, blended"):
        small().denoise(torch.rand(1, 1, 16, 16), output="sharp")
