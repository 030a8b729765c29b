"""Planes that belong together, made of still scenes: moments of a movie, or a stack.

What neighbors of a plane may be, drawn at random for each crop: the same once more, the
same shifted, objects that go their own ways, planes through a specimen of some depth,
or something else that tells nothing of it. Everything is sampled between the pixels of
a scene, the plane in the middle, too: none is known by being sharper than another.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Generator, Tensor

KINDS = ("still", "shift", "flow", "stack", "strange")
CHANCES = (0.16, 0.20, 0.26, 0.33, 0.05)
"""How likely each is: what tells nothing is rare, as a plane is then seen alone."""
FARTHEST = 6.0  # px from one plane to the next, of all that can be followed
STRANGEST = 48.0  # px
RADIUS = 7  # px, of what an object out of focus is spread over


class Moments:
    """Draws planes with their neighbors.

    Parameters
    ----------
    scenes : Tensor
        (n, 1, side, side) float32, light of still scenes.
    neighbors : int
        On each side of a plane.
    patch : int
        Side of a crop.
    random : torch.Generator
        Where all choices come from.
    """

    def __init__(
        self, scenes: Tensor, neighbors: int, patch: int, random: Generator
    ) -> None:
        self.scenes, self.patch, self.random = scenes, patch, random
        beside = range(1, neighbors + 1)
        # As networks take them: the one in the middle first.
        self.places = torch.tensor([0, *(-p for p in reversed(beside)), *beside])

    def draw(self, count: int, kind: str = "") -> Tensor:
        """Light of planes, (count, planes, patch, patch), the middle one first.

        Parameters
        ----------
        count : int
            Crops.
        kind : str
            One of :data:`KINDS` for all of them; by default each its own.
        """
        chances = torch.tensor(CHANCES)
        drawn = torch.multinomial(
            chances, count, replacement=True, generator=self.random
        )
        names = [kind or KINDS[number] for number in drawn.tolist()]
        share = self.uniform(count, 1, 1, 1) * (self.uniform(count, 1, 1, 1) < 0.6)
        light = (1 - share) * self.layer(names) + share * self.layer(names)
        return self.turned(light * self.brightness(names))

    def layer(self, names: list[str]) -> Tensor:
        """What moves, or is in focus, together; (count, planes, patch, patch)."""
        light = self.seen(self.paths(names))
        if "stack" not in names:
            return light
        spread, bright = self.focus(names)
        return blurred(light, spread) * bright[..., None, None]

    def paths(self, names: list[str]) -> Tensor:
        """How far everything is from where it is in the middle, px.

        Returns
        -------
        Tensor
            (count, planes, patch, patch, 2), x before y.
        """
        count, size = len(names), self.patch
        way = self.moves(count, FARTHEST)[:, :, None, None]
        paths = torch.zeros(count, len(self.places), size, size, 2)
        far = STRANGEST / 6
        strange = self.moves(count, STRANGEST - far, far)[:, :, None, None]
        for index, name in enumerate(names):
            if name == "shift":
                paths[index] = way[index]
            elif name == "flow":
                paths[index] = 0.5 * way[index] + self.flow()
            elif name == "strange":
                paths[index] = strange[index]
            paths[index, 0] = 0
        return paths

    def moves(self, count: int, most: float, least: float = 0.0) -> Tensor:
        """Shifts of whole planes, (count, planes, 2): half of them steady."""
        planes = len(self.places)
        steady = self.uniform(count, 1) < 0.5
        angle = self.uniform(count, planes) * 2 * math.pi
        length = least + most * self.uniform(count, planes) ** 2
        before = self.places < 0
        angle = torch.where(steady, angle[:, :1] + math.pi * before, angle)
        length = torch.where(steady, length[:, :1], length) * self.places.abs()
        return torch.stack([angle.cos(), angle.sin()], dim=-1) * length[..., None]

    def flow(self) -> Tensor:
        """Smooth field of moves, (planes, patch, patch, 2), more or less steady."""
        cells = int(torch.randint(3, 14, (1,), generator=self.random))
        coarse = torch.randn(2, 2, cells, cells, generator=self.random)
        change = 0.6 * float(self.uniform(1)) ** 2
        smooth = F.interpolate(
            coarse, (self.patch, self.patch), mode="bicubic", align_corners=True
        )
        most = 0.6 * FARTHEST * float(self.uniform(1)) ** 1.5
        steady, other = most * smooth.permute(0, 2, 3, 1)
        far = self.places.view(-1, 1, 1, 1)
        return (1 - change) * far * steady + change * far.abs() * other

    def seen(self, paths: Tensor) -> Tensor:
        """Scenes at places between their pixels, (count, planes, patch, patch)."""
        count, planes, size = paths.shape[:3]
        side = self.scenes.shape[-1]
        which = torch.randint(len(self.scenes), (count,), generator=self.random)
        corner = (side - size) * self.uniform(count, 1, 1, 1, 2)
        along = torch.arange(float(size))
        grid = torch.stack(torch.meshgrid(along, along, indexing="xy"), dim=-1)
        at = (2 * (corner + grid + paths) + 1) / side - 1
        found = F.grid_sample(
            self.scenes[which].repeat_interleave(planes, 0),
            at.flatten(0, 1),
            mode="bicubic",
            padding_mode="reflection",
            align_corners=False,
        )
        return found.view(count, planes, size, size).clamp(min=0)

    def focus(self, names: list[str]) -> tuple[Tensor, Tensor]:
        """Blur in px, and brightness, of a layer that is at some depth, in each plane.

        Returns
        -------
        Tensor, Tensor
            (count, planes) each; no blur where there is no stack.
        """
        count = len(names)
        stacked = torch.tensor([[name == "stack"] for name in names])
        depth = 3 * self.uniform(count, 1) - 1.5
        away = (self.places - depth).abs() * stacked
        opening = 10 ** (self.uniform(count, 1) - 0.7)
        fading = 0.8 * self.uniform(count, 1)
        return (opening * away).clamp(max=RADIUS / 2.5), torch.exp(-fading * away)

    def brightness(self, names: list[str]) -> Tensor:
        """Of the planes beside one another, (count, planes, 1, 1)."""
        most = torch.tensor([[0.1 if name == "stack" else 0.03] for name in names])
        change = most * (2 * self.uniform(len(names), len(self.places)) - 1)
        change[:, 0] = 0
        return (1 + change)[..., None, None]

    def turned(self, light: Tensor) -> Tensor:
        """Each crop turned and flipped at random, its planes alike."""
        turns = torch.randint(4, (len(light),), generator=self.random).tolist()
        flips = (self.uniform(len(light)) < 0.5).tolist()
        return torch.stack(
            [
                (one.flip(1) if flip else one).rot90(turn, (1, 2))
                for one, turn, flip in zip(light, turns, flips, strict=True)
            ]
        )

    def uniform(self, *shape: int) -> Tensor:
        """Between 0 and 1."""
        return torch.rand(*shape, generator=self.random)


def blurred(light: Tensor, spread: Tensor) -> Tensor:
    """Each plane blurred as much as it says.

    Parameters
    ----------
    light : Tensor
        (count, planes, h, w).
    spread : Tensor
        (count, planes), deviations in px.
    """
    away = torch.arange(-RADIUS, RADIUS + 1)
    taps = torch.exp(-0.5 * (away / spread.flatten()[:, None].clamp(min=0.05)) ** 2)
    taps = taps / taps.sum(1, keepdim=True)
    planes = light.flatten(0, 1)[None]
    padded = F.pad(planes, (RADIUS,) * 4, mode="reflect")
    rows = F.conv2d(padded, taps[:, None, None], groups=len(taps))
    return F.conv2d(rows, taps[:, None, :, None], groups=len(taps)).view(light.shape)
