"""In which order shards are visited, and which chunks of the source are wanted still.

Shards that share chunks of the source are visited one after the other: those along Z,
too, where chunks are as deep as they are wide. So what is decoded once is soon done
with, and how much must be remembered does not depend on how long the image is.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_blindsound.images.stored import chunk_edges

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_blindsound.images.stored import Edges
    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.shards import Shards
    from napari_blindsound.inference.tiling import TileOperator

_Numbers = npt.NDArray[np.intp]


class Plan:
    """Shards that are still to be read, and what they need of the source.

    Parameters
    ----------
    shards : Shards
        Of the output.
    volume : Volume
        The source.
    operator : TileOperator
        Whose halo, stride and context say how far around a shard is read.
    numbers : iterable of int
        The shards to visit.

    Attributes
    ----------
    edges : tuple of ndarray or None
        Of the source's chunks, as `chunk_edges` has them.
    order : ndarray of int
        The shards in the order of the visits.
    """

    def __init__(
        self,
        shards: Shards,
        volume: Volume,
        operator: TileOperator,
        numbers: Iterable[int],
    ) -> None:
        names = volume.axes.names
        self.edges = chunk_edges(volume.levels[0])
        given = np.fromiter(numbers, np.intp)
        self.order = in_order(shards, volume, given)
        self._lock = threading.Lock()
        self._left = np.zeros(math.prod(shards.grid), bool)
        self._left[self.order] = True
        # A view in the order of the source's axes, in which chunks are looked up.
        back = [shards.names.index(name) for name in names]
        self._wanted = self._left.reshape(shards.grid).transpose(back)
        steps = [shards.shard_shape[i] for i in back]
        self._reached = [
            _reached(edges, *_reach(name, size, step, operator))
            for name, size, step, edges in zip(
                names, volume.shape, steps, self.edges or (), strict=False
            )
        ]

    def take(self, number: int) -> None:
        """Say that a shard is being read, and will not be read again."""
        with self._lock:
            self._left[number] = False

    def is_wanted(self, chunk: tuple[int, ...]) -> bool:
        """Whether a shard that was not taken yet needs a chunk of the source.

        Parameters
        ----------
        chunk : tuple of int
            Its number along each axis of the source.
        """
        spans = zip(self._reached, chunk, strict=True)
        near = tuple(slice(first[at], last[at]) for (first, last), at in spans)
        with self._lock:
            return bool(self._wanted[near].any())


def in_order(shards: Shards, volume: Volume, numbers: _Numbers) -> _Numbers:
    """Sort shards so that those of one chunk of the source come together.

    Parameters
    ----------
    shards : Shards
        Of the output.
    volume : Volume
        The source.
    numbers : ndarray of int
        Of the shards to visit.

    Returns
    -------
    ndarray of int
        The same numbers.
    """
    edges = chunk_edges(volume.levels[0])
    if edges is None or not len(numbers):
        return numbers
    axes = [volume.axes.names.index(name) for name in shards.names]
    groups = []
    for step, axis in zip(shards.shard_shape, axes, strict=True):
        chunk = edges[axis][-1] / (len(edges[axis]) - 1)
        groups.append(max(1, round(chunk / step)))
    at = np.unravel_index(numbers, shards.grid)
    outer = [i // group for i, group in zip(at, groups, strict=True)]
    inner = [i % group for i, group in zip(at, groups, strict=True)]
    pairs = zip(shards.grid, groups, strict=True)
    sizes = [math.ceil(count / group) for count, group in pairs]
    rank = np.ravel_multi_index((*outer, *inner), (*sizes, *groups))
    return numbers[np.argsort(rank, kind="stable")]


def _reach(
    name: str, size: int, step: int, operator: TileOperator
) -> tuple[_Numbers, _Numbers]:
    """First position that each shard along an axis needs, and the one after the last.

    As `read_padded` reads: grown to the stride and by the halo, or by neighboring
    planes; what lies beyond the image is reflected into what lies inside.
    """
    starts = np.arange(0, size, step)
    stops = np.minimum(starts + step, size)
    width = 0
    if name in "YX":
        stride = operator.stride
        starts = starts // stride * stride
        stops = -(-stops // stride) * stride
        width = operator.halo + np.maximum(0, stops - size)
    context = getattr(operator, "context", None)
    if context is not None and name == context.axis:
        width = context.planes
    low = np.maximum(0, starts - width)
    high = np.minimum(size, stops + width)
    return low, high


def _reached(
    edges: Edges, low: _Numbers, high: _Numbers
) -> tuple[list[int], list[int]]:
    """First shard along an axis that needs each chunk, and the one after the last."""
    first = np.searchsorted(high, edges[:-1], side="right")
    last = np.searchsorted(low, edges[1:], side="left")
    return first.tolist(), last.tolist()
