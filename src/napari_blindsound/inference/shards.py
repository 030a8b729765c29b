"""How an output is cut into shards: what one writer computes and writes at once.

A shard is one file of a sharded Zarr array. Where planes are small, several of them,
and all channels, share one, so that neither the number of files nor a shard's memory
depends on the shape of the data.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from napari_blindsound.inference.tiling import even

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_blindsound.images.volume import Region

ORDER = "TCZYX"
"""Order of axes of every output: OME-Zarr demands it, OME-TIFF's readers expect it."""


def output_order(names: str) -> str:
    """Letters of a source's axes in the order that outputs have."""
    return "".join(name for name in ORDER if name in names)


@dataclass(frozen=True)
class Shards:
    """The shards of one array.

    Parameters
    ----------
    names : str
        Axes of the array, in :data:`ORDER`.
    shape : tuple of int
        Of the array.
    chunk : int
        Side of a compressed chunk in Y and X, in pixels.
    side : int
        Largest side of a shard in Y and X, in pixels, a multiple of `chunk`; its square
        is also the number of pixels that planes are put together to.
    """

    names: str
    shape: tuple[int, ...]
    chunk: int
    side: int

    @cached_property
    def chunk_shape(self) -> tuple[int, ...]:
        """A chunk: one position of T, C and Z."""
        return tuple(
            min(self.chunk, size) if name in "YX" else 1
            for name, size in zip(self.names, self.shape, strict=True)
        )

    @cached_property
    def shard_shape(self) -> tuple[int, ...]:
        """A shard: a multiple of the chunk, all channels."""
        sizes = dict(zip(self.names, self.shape, strict=True))
        chunks = dict(zip(self.names, self.chunk_shape, strict=True))
        shard = {n: even(sizes[n], self.side, chunks[n]) for n in "YX"}
        shard["C"] = sizes.get("C", 1)
        room = max(1, self.side**2 // math.prod(shard.values()))
        for name in "ZT":
            shard[name] = even(sizes.get(name, 1), room, 1)
            room = max(1, room // shard[name])
        return tuple(shard[name] for name in self.names)

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """How many shards there are along each axis."""
        pairs = zip(self.shape, self.shard_shape, strict=True)
        return tuple(math.ceil(size / step) for size, step in pairs)

    def __len__(self) -> int:
        return math.prod(self.grid)

    def __getitem__(self, number: int) -> Region:
        """Region of one shard, by its number in the array's order.

        Raises
        ------
        IndexError
            If there are not so many.
        """
        rest, spans = number, []
        for size, step, count in self._from_the_last:
            rest, at = divmod(rest, count)
            spans.append(slice(at * step, min((at + 1) * step, size)))
        if rest:
            msg = f"shard {number} of {len(self)}"
            raise IndexError(msg)
        return tuple(reversed(spans))

    @cached_property
    def _from_the_last(self) -> list[tuple[int, int, int]]:
        """Size, length of a shard and number of shards of each axis."""
        axes = zip(self.shape, self.shard_shape, self.grid, strict=True)
        return list(axes)[::-1]

    def number(self, region: Region) -> int:
        """Number of the shard in which a region begins: the inverse of indexing."""
        found = 0
        axes = zip(region, self.shard_shape, self.grid, strict=True)
        for span, step, count in axes:
            found = found * count + span.start // step
        return found

    def meeting(self, region: Region) -> Iterator[int]:
        """Numbers of the shards that have pixels of a region."""
        spans = [
            range(span.start // step, math.ceil(span.stop / step))
            for span, step in zip(region, self.shard_shape, strict=True)
        ]
        for position in itertools.product(*spans):
            found = 0
            for at, count in zip(position, self.grid, strict=True):
                found = found * count + at
            yield found

    def __iter__(self) -> Iterator[Region]:
        """Regions of the shards, in the array's order."""
        cuts = [
            [slice(i, min(i + step, size)) for i in range(0, size, step)]
            for size, step in zip(self.shape, self.shard_shape, strict=True)
        ]
        return itertools.product(*cuts)


def pixels_of(region: Region) -> int:
    """Pixels in a region, channels counted."""
    return math.prod(span.stop - span.start for span in region)
