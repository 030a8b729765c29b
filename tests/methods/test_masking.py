from __future__ import annotations

import pytest
import torch

from napari_blindsound.methods.masking import (
    join_phases,
    mask_phases,
    neighbor_mean,
    split_phases,
)


def test_neighbor_mean_weighs_edges_twice_corners_and_skips_the_center():
    impulse = torch.zeros(1, 2, 5, 5)
    impulse[:, 1, 2, 2] = 12
    mean = neighbor_mean(impulse)
    expected = torch.tensor([[1.0, 2, 1], [2, 0, 2], [1, 2, 1]])
    torch.testing.assert_close(mean[0, 1, 1:4, 1:4], expected)
    assert mean[0, 0].abs().max() == 0


def test_reflection_keeps_a_constant_and_zeros_darken_its_border():
    flat = torch.ones(1, 1, 8, 8)
    torch.testing.assert_close(neighbor_mean(flat, "reflect"), flat)
    darkened = neighbor_mean(flat, "zeros")
    torch.testing.assert_close(darkened[0, 0, 0, 3], torch.tensor(4 / 6))
    torch.testing.assert_close(darkened[0, 0, 0, 0], torch.tensor(2.5 / 6))


@pytest.mark.parametrize("cell", [2, 4])
def test_every_pixel_is_masked_in_exactly_one_copy(cell):
    noisy = torch.rand(2, 3, 16, 24)
    copies = mask_phases(noisy, torch.arange(cell**2), cell).unflatten(0, (cell**2, 2))
    changed = copies != noisy
    assert changed.sum(0).eq(1).all()
    filled = neighbor_mean(noisy)
    torch.testing.assert_close(copies[changed], filled.expand_as(copies)[changed])


@pytest.mark.parametrize("cell", [2, 4])
def test_phases_split_and_join(cell):
    image = torch.rand(2, 3, 16, 24)
    phases = split_phases(image, cell)
    assert phases.shape == (cell**2, 2, 3, 16 // cell, 24 // cell)
    torch.testing.assert_close(phases[cell + 1], image[..., 1::cell, 1::cell])
    torch.testing.assert_close(join_phases(phases, cell), image)
