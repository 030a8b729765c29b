from __future__ import annotations

import pytest
import torch

from napari_blindsound.methods.masking import (
    join_phases,
    mask_phases,
    mask_regions,
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


REGIONS = [
    (2, (1, 1)),
    (4, (1, 3)),
    (8, (5, 1)),
    (8, (3, 5)),
    (8, (5, 5)),
    (16, (7, 7)),
]


def around(phase: int, cell: int, region: tuple[int, int], shape: tuple[int, int]):
    """Pixels of the regions, and of those a frame wider, by hand."""
    hidden, framed = torch.zeros(2, *shape, dtype=torch.bool)
    for row in range(phase // cell, shape[0], cell):
        for column in range(phase % cell, shape[1], cell):
            for mask, more in ((hidden, 0), (framed, 1)):
                down, right = region[0] // 2 + more, region[1] // 2 + more
                top, left = max(0, row - down), max(0, column - right)
                mask[top : row + down + 1, left : column + right + 1] = True
    return hidden, framed & ~hidden


@pytest.mark.parametrize(("cell", "region"), REGIONS)
@pytest.mark.parametrize("at_random", [False, True])
def test_regions_are_filled_from_their_frames_alone(cell, region, at_random):
    shape = 32, 48
    noisy = torch.arange(2.0 * 32 * 48).view(2, 1, *shape)
    noisy = torch.cat([noisy, -noisy], 1)
    random = torch.Generator().manual_seed(1) if at_random else None
    phases = torch.arange(cell**2)
    copies = mask_regions(noisy, phases, cell, region, random)
    for phase, copy in zip(phases.tolist(), copies.split(2), strict=True):
        hidden, frame = around(phase, cell, region, shape)
        torch.testing.assert_close(copy[..., ~hidden], noisy[..., ~hidden])
        torch.testing.assert_close(copy[:, 0], -copy[:, 1])
        if at_random:
            for sample, image in zip(copy[:, 0], noisy[:, 0], strict=True):
                assert torch.isin(sample[hidden], image[frame]).all()
        poked = noisy + 1e4 * hidden
        again = mask_regions(
            poked,
            torch.tensor([phase]),
            cell,
            region,
            torch.Generator().manual_seed(phase) if at_random else None,
        )
        before = mask_regions(
            noisy,
            torch.tensor([phase]),
            cell,
            region,
            torch.Generator().manual_seed(phase) if at_random else None,
        )
        assert torch.equal(again, before)


def test_without_chance_a_region_becomes_the_mean_of_its_frame():
    noisy = torch.rand(1, 2, 16, 16)
    (copy,) = mask_regions(noisy, torch.tensor([8 * 3 + 4]), 8, (3, 5))
    window = noisy[0, :, 3 + 8 - 2 : 3 + 8 + 3, 4 - 3 : 4 + 4]
    frame = window.clone()
    frame[:, 1:-1, 1:-1] = 0
    mean = frame.sum((-2, -1)) / (5 * 7 - 3 * 5)
    filled = copy[:, 3 + 8 - 1 : 3 + 8 + 2, 4 - 2 : 4 + 3]
    torch.testing.assert_close(filled, mean[:, None, None].expand(2, 3, 5))


def test_all_pixels_of_a_frame_are_drawn_and_differently_in_each_sample():
    noisy = torch.arange(8.0 * 8).view(1, 1, 8, 8).expand(64, -1, -1, -1)
    copies = mask_regions(
        noisy, torch.tensor([27]), 8, (3, 3), torch.Generator().manual_seed(0)
    )
    drawn = copies[:, 0, 2:5, 2:5]
    assert len(drawn.unique()) == 16
    assert (drawn != drawn[0]).any()
