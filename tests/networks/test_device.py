from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from napari_blindsound.images.phantom import phantom
from napari_blindsound.networks.device import mixed_precision
from napari_blindsound.networks.unet import UNet

STEPS = 40


def decibels(denoised: torch.Tensor, clean: torch.Tensor) -> float:
    return float(-10 * ((denoised - clean) ** 2).mean().log10())


def test_half_precision_costs_less_than_a_fiftieth_of_a_decibel():
    # Where it is used: bf16 runs on processors, too, though not faster.
    found = phantom(size=96, photons=16, seed=3)
    noisy, clean = (
        (torch.from_numpy(plane.astype("float32"))[None, None] - 100) / 100
        for plane in (found.noisy, found.clean)
    )
    torch.manual_seed(0)
    network = UNet(width=32, depth=1)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(STEPS):
        optimizer.zero_grad()
        ((network(noisy) - clean) ** 2).mean().backward()
        optimizer.step()
    with torch.inference_mode():
        full = decibels(network(noisy), clean)
        with torch.autocast("cpu", torch.bfloat16):
            half = network(noisy)
    assert half.dtype == torch.bfloat16
    assert full > decibels(noisy, clean) + 3  # it has learned something
    assert decibels(half.float(), clean) == pytest.approx(full, abs=0.02)


@pytest.mark.parametrize(("device", "width"), [("cpu", 48), ("mps", 48), ("cuda", 8)])
def test_half_precision_is_left_where_it_is_not_faster(device, width):
    assert isinstance(mixed_precision(torch.device(device), width), nullcontext)
