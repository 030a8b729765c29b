"""Members of a family whose output is known: filters of 5 x 5 pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from napari_blindsound.networks.family import Member
from napari_blindsound.networks.unet import SLOPE, UNet

if TYPE_CHECKING:
    from pathlib import Path

BINOMIAL = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
SHARP = torch.tensor([[0.0, -0.2, 0], [-0.2, 1.8, -0.2], [0, -0.2, 0]])


def member(
    kernel: torch.Tensor = BINOMIAL,
    *,
    width: int = 4,
    depth: int = 2,
    neighbors: int = 0,
    name: str = "",
) -> Member:
    """A U-Net that applies a kernel twice to what its last skip brings.

    That is the image, or the mean of a plane and its neighbors on each side.

    Two channels carry the image and its negative, so that the leaky ReLU, of which one
    of both is always above zero, changes it by a factor only.
    """
    inputs = 2 * neighbors + 1
    network = UNet(inputs, 1, width=width, depth=depth)
    network.requires_grad_(requires_grad=False)
    for weight in network.parameters():
        weight.zero_()
    signs = torch.tensor([1.0, -1])
    pair = signs[:, None] * signs / (1 + SLOPE)
    last = network.up_path[-1]
    last.conv_1.weight[:2, -inputs:] = signs[:, None, None, None] * kernel / inputs
    last.conv_2.weight[:2, :2] = pair[..., None, None] * kernel
    for layer in network.last[:2]:
        layer.weight[:2, :2, 0, 0] = pair
    network.last[2].weight[:, :2, 0, 0] = pair[:1]
    usual = f"width{width}" + (f"_neighbors{neighbors}" if neighbors else "")
    return Member(name or usual, network.state_dict())


def save(made: Member, folder: Path) -> Path:
    """Write a member as the files of a family are."""
    path = folder / f"{made.name}.safetensors"
    save_file({n: w.half().contiguous() for n, w in made.weights.items()}, path)
    return path
