"""Random training crops out of stacks of any size.

A bounded cache holds preprocessed blocks of the volumes; crops are cut from it. Stacks
that fit are read once; of larger ones a fresh block replaces the oldest every few
draws, read ahead by a thread. Which block comes when depends on the seed and on the
number of draws alone, so that a resumed training sees what an uninterrupted one sees.

Where planes are seen with their neighbors, a block is a run of planes with those around
it: most planes of it serve as center and as neighbor, and are kept once.
"""

from __future__ import annotations

import math
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from napari_blindsound.images.context import NO_CONTEXT, Context
from napari_blindsound.networks.symmetry import ALL_TURNS, turned
from napari_blindsound.training.held_out import held_out
from napari_blindsound.training.windows import fitting_patch, read_planes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindsound.images.volume import Region, Volume
    from napari_blindsound.training.preprocessing import Preprocessing

BLOCK = 1024
"""Largest side of a cached block, in pixels."""
RUN, RUN_SIDE = 8, 512
"""Planes in a block that are seen with their neighbors, and its largest side then."""
FIRST_PIXELS = 16_000_000
"""Read before the first draw; the rest comes while training runs."""
REFRESH = 20
"""Draws between two fresh blocks."""
CACHE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class _Block:
    noisy: Tensor  # (n + neighbors, C, h, w), normalized
    weight: Tensor | None  # (n, C, h, w), 0 where a pixel must not teach
    depth: int = 1  # planes of a window

    @property
    def count(self) -> int:
        """Planes that are learned from."""
        return len(self.noisy) - self.depth + 1

    @property
    def area(self) -> int:
        return self.count * self.noisy[0, 0].numel()

    @property
    def nbytes(self) -> int:
        weight = 0 if self.weight is None else self.weight.nbytes
        return self.noisy.nbytes + weight


@dataclass(frozen=True, slots=True)
class _Crop:
    noisy: Tensor  # (inputs, patch, patch)
    weight: Tensor | None  # (C, patch, patch)


class PatchSampler:
    """Draws batches of square crops at random.

    Parameters
    ----------
    volumes : sequence of Volume
        With the same number of channels.
    preprocessing : Preprocessing
        Applied to every block read.
    patch : int
        Side of a crop; taken smaller, in steps of `stride`, where an image is.
    batch : int
        Crops in a draw.
    stride : int
        Every crop's side is a multiple of it.
    orientations : sequence of int
        Flips and turns (:func:`turned`) that crops are drawn in.
    device : torch.device
        Where the cache lies.
    cache_bytes : int
        Upper bound of the cache.
    seed : int
    hold_out : bool
        Give no weight to the pixels of :func:`held_out`.
    context : Context
        Neighboring planes that crops bring along, cut and turned alike. Along Z their
        order is reversed now and then with the orientations: a stack has no direction,
        time has.

    Raises
    ------
    DataError
        If an image is too small for the smallest crop.
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        preprocessing: Preprocessing,
        *,
        patch: int,
        batch: int,
        stride: int,
        orientations: Sequence[int] = ALL_TURNS,
        device: torch.device | str = "cpu",
        cache_bytes: int = CACHE_BYTES,
        seed: int = 0,
        hold_out: bool = False,
        context: Context = NO_CONTEXT,
    ) -> None:
        self.patch = min(fitting_patch(volume, patch, stride) for volume in volumes)
        self.batch, self.device = batch, torch.device(device)
        self._orientations = tuple(orientations)
        self._preprocessing = preprocessing
        self._cache_bytes = cache_bytes
        self._context = context
        self._may_reverse = context.planes > 0 and context.axis == "Z"
        self._grids = [_Grid(volume, self.patch, context) for volume in volumes]
        self._ends = np.cumsum([len(grid) for grid in self._grids])
        self._seed, self._hold_out = seed, hold_out
        self._random = np.random.default_rng(seed)
        self._blocks: deque[_Block] = deque()
        self._loaded = self._draws = 0
        self._ahead: Future[_Block] | None = None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="blindsound-read")

    def draw(self) -> tuple[Tensor, Tensor | None]:
        """Crops (B, inputs, patch, patch), and (B, C, ...) weights where some are bad.

        The channels of a plane come before those of its neighbors.
        """
        if not self._blocks:
            self._fill()
        elif self._draws % REFRESH == 0:
            self._refresh()
        self._draws += 1
        areas = np.array([block.area for block in self._blocks], float)
        chosen = self._random.choice(len(areas), size=self.batch, p=areas / areas.sum())
        crops = [self._crop(self._blocks[index]) for index in chosen]
        noisy = torch.stack([crop.noisy for crop in crops])
        if all(crop.weight is None for crop in crops):
            return noisy, None
        ones = torch.ones_like(next(c.weight for c in crops if c.weight is not None))
        weights = [ones if crop.weight is None else crop.weight for crop in crops]
        return noisy, torch.stack(weights)

    def state(self) -> dict[str, Any]:
        """All that the next draws depend on, as plain data."""
        return {
            "random": self._random.bit_generator.state,
            "draws": self._draws,
            "loaded": self._loaded,
            "held": len(self._blocks),
            "reading": self._ahead is not None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where :meth:`state` was taken; reads the blocks held then again."""
        self._random.bit_generator.state = state["random"]
        self._draws, self._loaded = state["draws"], state["loaded"]
        first = self._loaded - state["held"]
        self._ahead = self._submit() if state["reading"] else None
        self._blocks = deque(self._read(i) for i in range(first, self._loaded))

    def close(self) -> None:
        """End the reading thread and free the cache."""
        self._reader.shutdown(wait=False, cancel_futures=True)
        self._blocks.clear()

    def _crop(self, block: _Block) -> _Crop:
        height, width = block.noisy.shape[-2:]
        plane = int(self._random.integers(block.count)) if block.depth > 1 else 0
        top = int(self._random.integers(height - self.patch + 1))
        left = int(self._random.integers(width - self.patch + 1))
        turns = self._orientations
        # One orientation needs no draw.
        turn = turns[int(self._random.integers(len(turns))) if len(turns) > 1 else 0]
        window = np.s_[..., top : top + self.patch, left : left + self.patch]
        weight = None if block.weight is None else block.weight[plane][window]
        noisy = self._beside(block.noisy[plane : plane + block.depth][window])
        return _Crop(
            turned(noisy, turn), None if weight is None else turned(weight, turn)
        )

    def _beside(self, planes: Tensor) -> Tensor:
        """Planes (depth, C, h, w) of a window side by side, the middle one first."""
        around = self._context.planes
        if not around:
            return planes[0]
        before, after = planes[:around], planes[around + 1 :]
        if (
            self._may_reverse
            and len(self._orientations) > 1
            and self._random.integers(2)
        ):
            before, after = after.flip(0), before.flip(0)
        return torch.cat([planes[around : around + 1], before, after]).flatten(0, 1)

    def _fill(self) -> None:
        pixels = 0
        while pixels < FIRST_PIXELS and self._loaded < self._ends[-1]:
            block = self._read(self._loaded)
            if self._blocks and self._held_bytes + block.nbytes > self._cache_bytes:
                break
            self._blocks.append(block)
            self._loaded += 1
            pixels += block.noisy.numel()

    def _refresh(self) -> None:
        """Take in the block read ahead, drop the oldest ones beyond the bound."""
        if self._ahead is not None:
            self._blocks.append(self._ahead.result())
            self._loaded += 1
            while len(self._blocks) > 1 and self._held_bytes > self._cache_bytes:
                self._blocks.popleft()
        has_all = self._loaded == len(self._blocks) == self._ends[-1]
        self._ahead = None if has_all else self._submit()

    def _submit(self) -> Future[_Block]:
        return self._reader.submit(self._read, self._loaded)

    @property
    def _held_bytes(self) -> int:
        return sum(block.nbytes for block in self._blocks)

    def _read(self, number: int) -> _Block:
        """Block `number` of an endless sequence that visits all before it repeats."""
        grid, index = self._place(number)
        region, context = grid.region(index), self._context
        normalized, valid = read_planes(
            grid.volume, region, self._preprocessing, context
        )
        if self._hold_out:
            teaches = ~held_out(*(region[grid.volume.axes.index(n)] for n in "YX"))
            shape = (grid.planes(region), *normalized.shape[1:])
            valid = np.broadcast_to(teaches, shape) & (valid is None or valid)
        noisy = torch.from_numpy(normalized).to(self.device)
        weight = None if valid is None else torch.from_numpy(valid).to(noisy)
        return _Block(noisy, weight, context.depth)

    def _place(self, number: int) -> tuple[_Grid, int]:
        count = int(self._ends[-1])
        lap, place = divmod(number, count)
        index = _shuffled(place, count, seed=self._seed + lap)
        which = int(np.searchsorted(self._ends, index, side="right"))
        return self._grids[which], index - int(self._ends[which]) + len(
            self._grids[which]
        )


class _Grid:
    """The blocks of one volume: runs of planes, large ones cut into windows."""

    def __init__(self, volume: Volume, patch: int, context: Context) -> None:
        self.volume = volume
        side = max(RUN_SIDE if context.planes else BLOCK, 2 * patch)
        self._windows = [
            (rows, columns)
            for rows in _spans(_size(volume, "Y"), side)
            for columns in _spans(_size(volume, "X"), side)
        ]
        along = context.axis if context.planes else None
        self._runs = [
            _spans(size, RUN if axis.name == along else 1)
            for axis, size in zip(volume.axes, volume.shape, strict=True)
            if axis.name in "TZ"
        ]

    def __len__(self) -> int:
        return math.prod(map(len, self._runs)) * len(self._windows)

    def region(self, index: int) -> Region:
        """Where block `index` lies, with all its channels."""
        run, window = divmod(index, len(self._windows))
        numbers = np.unravel_index(run, [len(spans) for spans in self._runs] or [1])
        places = (s[int(i)] for s, i in zip(self._runs, numbers, strict=False))
        parts = dict(zip("YX", self._windows[window], strict=True))
        return tuple(
            next(places)
            if axis.name in "TZ"
            else parts.get(axis.name, slice(0, self.volume.n_channels))
            for axis in self.volume.axes
        )

    def planes(self, region: Region) -> int:
        """Planes in a region."""
        return math.prod(
            part.stop - part.start
            for axis, part in zip(self.volume.axes, region, strict=True)
            if axis.name in "TZ"
        )


def _size(volume: Volume, axis: str) -> int:
    return volume.shape[volume.axes.index(axis)]


def _spans(size: int, side: int) -> list[slice]:
    """Cut `size` pixels evenly into as few spans as `side` allows."""
    count = -(-size // side)
    edges = [size * i // count for i in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _shuffled(place: int, count: int, *, seed: int) -> int:
    """Element `place` of a random permutation of ``range(count)``, in constant memory.

    A four-round Feistel network on the next even power of two, walked until it lands
    inside the range: a bijection, so every block comes exactly once a lap.
    """
    half = max(1, (count - 1).bit_length() + 1) // 2
    mask = (1 << half) - 1
    while True:
        left, right = place >> half, place & mask
        for turn in range(4):
            mixed = (right * 0x9E3779B1 + seed * 0x85EBCA6B + turn * 0xC2B2AE35) & (
                2**64 - 1
            )
            mixed = (mixed ^ (mixed >> 29)) * 0xBF58476D1CE4E5B9 & (2**64 - 1)
            left, right = right, left ^ ((mixed >> 32) & mask)
        place = left << half | right
        if place < count:
            return place
