"""Neighbor2Neighbor (Huang et al., CVPR 2021): your own method, in one file.

    python examples/neighbor2neighbor.py --seconds 30

This file is all there is to a method. To have it on the command line, in the docks and
in the table of methods, do one of these:

- put the file into a package of yours, and name the class in its ``pyproject.toml``:

      [project.entry-points."napari_blindsound.methods"]
      neighbor2neighbor = "my_package.neighbor2neighbor:Neighbor2Neighbor"

- in a notebook or a script, call ``methods.add(Neighbor2Neighbor)``, as below;
- or put the file into the folder ``napari_blindsound/methods``.

Two images of half the size are drawn from the noisy one: of each cell of 2 x 2 pixels
they get two neighbors. As their noise is independent, one is denoised towards the
other. That the two show slightly different places is made good by the second term.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from napari_blindsound.methods.base import Method, MethodConfig
from napari_blindsound.networks.unet import UNet

# Ordered pairs of neighbors in a cell, whose pixels are 0 1 above 2 3.
PAIRS = torch.tensor([[0, 1], [0, 2], [1, 0], [1, 3], [2, 0], [2, 3], [3, 1], [3, 2]])


class Neighbor2NeighborConfig(MethodConfig):
    """Settings of Neighbor2Neighbor; the defaults are the preset ``fast``."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "fast": {},
        "paper": {"width": 48, "depth": 5, "patch": 256, "learning_rate": 3e-4},
    }

    patch: int = Field(128, ge=16, description="side of a training crop, in pixels")
    width: int = Field(8, ge=1, description="channels of the network's downward path")
    depth: int = Field(3, ge=1, le=7, description="poolings by 2 in the network")
    gamma: float = Field(2.0, ge=0, description="weight of the second term at the end")


class Neighbor2Neighbor(Method):
    """One half of neighboring pixels teaches the other.

    With g1, g2 the two halves of y and f the network, the loss is the mean square of
    f(g1) - g2, and gamma times that of f(g1) - g2 - (g1(f(y)) - g2(f(y))), where f(y)
    carries no gradient.
    """

    name = "neighbor2neighbor"
    title = "Neighbor2Neighbor"
    reference = "Huang et al., CVPR 2021, arXiv:2101.02824"
    assumes = "noise of zero mean, independent from pixel to pixel"
    cost = "trains fast; one pass to denoise"
    limits = "details of a pixel or two are smoothed; shared noise stays in the result"
    Config = Neighbor2NeighborConfig

    config: Neighbor2NeighborConfig

    def __init__(self, config: Neighbor2NeighborConfig, channels: int = 1) -> None:
        super().__init__(config, channels)
        self.network = UNet(channels, channels, width=config.width, depth=config.depth)

    @property
    def halo(self) -> int:
        return self.network.halo

    @property
    def stride(self) -> int:
        """The network's, of halves of a crop as well."""
        return 2 * self.network.stride

    @property
    def bytes_per_pixel(self) -> int:
        return self.network.bytes_per_pixel

    def losses(
        self, noisy: Tensor, progress: float, weight: Tensor | None = None
    ) -> Iterator[dict[str, Tensor]]:
        batch, _, height, width = noisy.shape
        cells = (batch, 1, height // 2, width // 2)
        drawn = torch.randint(len(PAIRS), cells, generator=self.random)
        pairs = PAIRS[drawn].to(noisy.device)
        first, second = halves(noisy, pairs)
        with torch.no_grad():
            first_denoised, second_denoised = halves(self.network(noisy), pairs)
        error = self.network(first) - second
        extra = error - (first_denoised - second_denoised)
        share = torch.ones_like(second) if weight is None else halves(weight, pairs)[1]
        share = share / share.sum().clamp(min=1)
        yield {
            "reconstruction": (share * error**2).sum(),
            "regularization": progress * self.config.gamma * (share * extra**2).sum(),
        }

    def denoise(
        self, noisy: Tensor, *, halo: int = 0, output: str | None = None
    ) -> Tensor:
        return self.network(noisy, halo)


def halves(image: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """The two pixels of a pair (B, 1, h, w, 2) of every cell: twice (B, C, h, w)."""
    channels = image.shape[1]
    cells = F.pixel_unshuffle(image, 2).unflatten(1, (channels, 4))
    chosen = pairs.movedim(-1, 2).expand(-1, channels, -1, -1, -1)
    first, second = cells.gather(2, chosen).unbind(2)
    return first, second


def main() -> None:
    import napari_blindsound as nb
    from napari_blindsound import methods
    from napari_blindsound.images.phantom import phantom
    from napari_blindsound.quality.metrics import psnr

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--steps", type=int, help="end earlier, after so many steps")
    parser.add_argument("--size", type=int, default=256, help="side, in pixels")
    options = parser.parse_args()

    methods.add(Neighbor2Neighbor)
    cells = phantom("timelapse", frames=4, size=options.size)
    length = {"seconds": options.seconds, "steps": options.steps}
    model = nb.train(cells.noisy, axes="TYX", method=Neighbor2Neighbor.name, **length)
    span = float(cells.clean.max() - cells.clean.min())
    print(f"noisy     {psnr(cells.noisy, cells.clean, span):.2f} dB")
    print(f"denoised  {psnr(model(cells.noisy), cells.clean, span):.2f} dB")


if __name__ == "__main__":
    main()
