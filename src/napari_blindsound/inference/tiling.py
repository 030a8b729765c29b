"""How a large image is denoised in pieces that fit into memory and leave no seams.

A tile is read with its halo of real neighbors, its origin lies on the network's stride,
and only the core that owes nothing to the tile's own border is kept: tiled and whole
results are the same. When memory runs out, tiles are halved and the work goes on.
"""

from __future__ import annotations

import gc
import itertools
import logging
import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import psutil

from napari_blindsound.errors import ModelMismatchError, NotEnoughMemoryError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.reading import (
    Padded,
    check_channels,
    context_of,
    read_padded,
    unstack,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_blindsound.images.context import Context
    from napari_blindsound.images.volume import Region

log = logging.getLogger(__name__)

# A processor is fastest while the feature maps stay in its caches: 64 MiB took half
# the time of 512 MiB (2048 x 2048, width 16, depth 3). But a core smaller than this, in
# pixels, is mostly halo.
CACHED_MEMORY = 64 * 2**20
SMALLEST_CORE = 256
# What fills an accelerator, and no more: the tile's memory is not all there is.
DEVICE_MEMORY = 4 * 2**30
# Pixels read at once by `denoise_region`: bounds what a single call holds.
READ_PIXELS = 2**24

_OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "allocate memory",
    "alloc_failed",
)


class TileOperator(Protocol):
    """What tiling needs to know of a denoiser."""

    @property
    def halo(self) -> int:
        """Pixels of context a side, a multiple of `stride`."""

    @property
    def stride(self) -> int:
        """Pixels to which origin and size of a tile are aligned."""

    @property
    def n_channels(self) -> int:
        """Channels denoised jointly."""

    @property
    def bytes_per_pixel(self) -> int:
        """Working memory a pixel of the padded tile needs."""

    @property
    def revision(self) -> str:
        """Name of the weights: another one whenever the result would be another."""

    def core(self, padded: npt.NDArray[Any], halo: int) -> npt.NDArray[np.float32]:
        """Denoise (N, C, h + 2 halo, w + 2 halo) to (N, C, h, w), counts to counts.

        An operator with an attribute ``context`` (`Context`) is given (N, depth * C,
        ...): each plane between its neighbors, as :func:`read_padded` has them.
        """


def is_deviation(operator: TileOperator) -> bool:
    """Whether it returns standard deviations: no estimates of what it is given."""
    return bool(getattr(operator, "is_deviation", False))


def even(size: int, room: int, stride: int) -> int:
    """Largest step, a multiple of `stride` within `room`, that cuts `size` evenly.

    An image a little larger than a tile is halved, not cut into a tile and a sliver.
    The result is `stride` where `room` is smaller.
    """
    pieces = math.ceil(size / max(stride, room // stride * stride))
    return math.ceil(size / pieces / stride) * stride


def tile_size(
    height: int, width: int, *, halo: int, stride: int, pixels: int
) -> tuple[int, int]:
    """Core of the tiles for an image, as square as the image allows.

    Parameters
    ----------
    height, width : int
        Size of the image, multiples of `stride`.
    halo, stride : int
        Of the operator.
    pixels : int
        Most pixels a tile may have, its halo included.

    Returns
    -------
    tuple of int
        Height and width, multiples of `stride`; with their halo within `pixels` unless
        that leaves no room for a tile of `stride` by `stride`.
    """
    if height > width:
        across, down = tile_size(width, height, halo=halo, stride=stride, pixels=pixels)
        return down, across
    tall = even(height, math.isqrt(pixels) - 2 * halo, stride)
    return tall, even(width, pixels // (tall + 2 * halo) - 2 * halo, stride)


def free_memory(device: str) -> int:
    """Bytes that can still be had on a torch device ("cpu", "cuda:1", "mps")."""
    if device.startswith("cuda"):
        import torch

        # What torch holds but does not use counts as taken, and can be used again.
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + idle
    return int(psutil.virtual_memory().available)


def pixels_at_once(operator: TileOperator) -> int:
    """Pixels of a padded tile that the operator is fast with, and has memory for."""
    device = str(getattr(operator, "device", "cpu"))
    free = free_memory(device) // 2
    if device != "cpu":
        return min(DEVICE_MEMORY, free) // operator.bytes_per_pixel
    least = (SMALLEST_CORE + 2 * operator.halo) ** 2
    return min(
        max(CACHED_MEMORY // operator.bytes_per_pixel, least),
        free // operator.bytes_per_pixel,
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, in numpy's or torch's many words."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(w in text for w in _OUT_OF_MEMORY)


class Tiler:
    """Applies an operator to padded planes, tile by tile, within a memory budget.

    Parameters
    ----------
    operator : TileOperator
        The denoiser.
    budget : int, optional
        Working memory in bytes. By default what the device is fastest with, and at
        most half of what it has free.

    Attributes
    ----------
    pixels : int
        Most pixels a call may have, halos included. Halved when memory runs out, and
        left so: what failed once is not tried again.
    """

    def __init__(self, operator: TileOperator, budget: int | None = None) -> None:
        self.operator = operator
        if budget is None:
            self.pixels = max(1, pixels_at_once(operator))
        else:
            self.pixels = max(1, budget // operator.bytes_per_pixel)

    def run(self, padded: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Denoise (N, C, h + 2 halo, w + 2 halo) to (N, C, h, w)."""
        margin = 2 * self.operator.halo
        n, channels, height, width = padded.shape
        shape = (n, channels, height - margin, width - margin)
        out = np.empty(shape, np.float32)
        for _ in self.steps(padded, out):
            pass
        return out

    def steps(
        self, padded: npt.NDArray[Any], out: npt.NDArray[np.float32]
    ) -> Iterator[int]:
        """Denoise into `out`, and yield after each tile.

        Parameters
        ----------
        padded : ndarray
            (N, C, h + 2 halo, w + 2 halo); h and w multiples of the stride.
        out : ndarray
            (N, C, h, w), filled as the steps go.

        Yields
        ------
        int
            Pixels of the step, channels not counted; they add up to N h w.

        Raises
        ------
        NotEnoughMemoryError
            If memory runs out for the smallest possible tile.
        """
        margin = 2 * self.operator.halo
        for planes, rows, columns in self._tiles(out.shape):
            tile = padded[
                planes,
                :,
                rows.start : rows.stop + margin,
                columns.start : columns.stop + margin,
            ]
            core = out[planes, :, rows, columns]
            # The tiles were planned before memory ran out for one of them.
            denoised = None if self._is_too_large(tile) else self._attempt(tile)
            if denoised is None:
                yield from self.steps(tile, core)
            else:
                core[...] = denoised
                yield core.shape[0] * core.shape[2] * core.shape[3]

    def _is_too_large(self, tile: npt.NDArray[Any]) -> bool:
        """Whether a tile is beyond the limit, and can be divided."""
        n, _, height, width = tile.shape
        least = self.operator.stride + 2 * self.operator.halo
        can_divide = n > 1 or height > least or width > least
        return can_divide and bool(n * height * width > self.pixels)

    def _tiles(self, shape: Sequence[int]) -> Iterator[tuple[slice, slice, slice]]:
        n, _, height, width = shape
        halo, stride = self.operator.halo, self.operator.stride
        tall, wide = tile_size(
            height, width, halo=halo, stride=stride, pixels=self.pixels
        )
        most = max(1, self.pixels // ((tall + 2 * halo) * (wide + 2 * halo)))
        batch = even(n, most, 1)
        for i in range(0, n, batch):
            for y in range(0, height, tall):
                for x in range(0, width, wide):
                    yield (
                        slice(i, min(i + batch, n)),
                        slice(y, min(y + tall, height)),
                        slice(x, min(x + wide, width)),
                    )

    def _attempt(self, tile: npt.NDArray[Any]) -> npt.NDArray[np.float32] | None:
        """Denoise one tile; None, and a lower limit, where memory ran out."""
        n, _, height, width = tile.shape
        try:
            return self.operator.core(tile, self.operator.halo)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            # Another thread may have failed with less by now.
            limit = self.pixels
            self.pixels = min(limit, n * height * width // 2)
            if not self._is_too_large(tile):
                self.pixels = limit
                msg = (
                    f"not enough memory to denoise a tile of {height} x {width} "
                    f"pixels, the smallest this model can do; close other programs, or "
                    f"use another device"
                )
                raise NotEnoughMemoryError(msg) from error
        # Only here are the error's frames gone, and with them the tensors they held.
        gc.collect()
        log.warning(
            "out of memory on %d plane(s) of %d x %d pixels; going on with half",
            n,
            height,
            width,
        )
        return None


def denoise_region(
    operator: TileOperator,
    volume: Volume,
    region: Region,
    *,
    tiler: Tiler | None = None,
) -> npt.NDArray[np.float32]:
    """Denoise a region of an image, as if the whole image had been denoised.

    Parameters
    ----------
    operator : TileOperator
        The denoiser.
    volume : Volume
        The noisy image, of any axes in any order.
    region : tuple of slice
        One per axis, inside the image.
    tiler : Tiler, optional
        One to go on with, so that it need not learn anew what fits into memory.

    Returns
    -------
    ndarray
        Counts, the region's shape and the volume's order of axes.

    Raises
    ------
    ModelMismatchError
        If the image has another number of channels than the model.
    DataError
        If a pixel is NaN or infinite.
    """
    check_channels(operator, volume)
    tiler = tiler or Tiler(operator)
    names = volume.axes.names
    out = np.empty([span.stop - span.start for span in region], np.float32)
    channels = region[names.index("C")] if "C" in names else slice(0, 1)
    for part in _parts(operator, volume, region):
        padded = read_padded(operator, volume, part)
        planes = _run(tiler, padded)[:, channels, *padded.core]
        place = tuple(
            slice(span.start - whole.start, span.stop - whole.start)
            for span, whole in zip(part, region, strict=True)
        )
        out[place] = unstack(planes, names, padded.lead, names)
    return out


def denoise_array(
    operator: TileOperator, noisy: npt.NDArray[Any]
) -> npt.NDArray[np.float32]:
    """Denoise an array in memory.

    Parameters
    ----------
    operator : TileOperator
        The denoiser.
    noisy : ndarray
        Counts, (..., Y, X), or (..., C, Y, X) for an operator of several channels. One
        that sees neighboring planes needs their axis before that.

    Returns
    -------
    ndarray
        Of the same shape.

    Raises
    ------
    ModelMismatchError
        If the array has no such axes, or another number of channels.
    DataError
        If a pixel is NaN or infinite.
    """
    channels, context = operator.n_channels, context_of(operator)
    sides = noisy.shape[-3:] if channels > 1 else noisy.shape[-2:]
    lead = noisy.shape[: noisy.ndim - len(sides)]
    is_fit = channels == 1 or sides[:-2] == (channels,)
    if noisy.ndim < 2 or not is_fit or (context.planes and not lead):
        msg = (
            f"an array of shape {noisy.shape} does not fit a model of {channels} "
            f"channel(s) and {context.words}; give {_expected(channels, context)}, or "
            f"a Volume with named axes"
        )
        raise ModelMismatchError(msg)
    near, names = lead[-1:], f"{'T' if context.axis == 'Z' else 'Z'}{context.axis}CYX"
    if not context.planes:
        near, names = (), "TCYX"
    stacks = noisy.reshape(-1, *near, channels, *noisy.shape[-2:])
    volume = Volume((stacks,), Axes.parse(names), "array")
    region = tuple(slice(0, size) for size in stacks.shape)
    return denoise_region(operator, volume, region).reshape(noisy.shape)


def _expected(channels: int, context: Context) -> str:
    """Axes that an array must have."""
    near = f"{context.axis}, " if context.planes else ""
    return f"(..., {near}{'C, ' if channels > 1 else ''}Y, X)"


def _run(tiler: Tiler, padded: Padded) -> npt.NDArray[np.float32]:
    out = np.empty(padded.shape, np.float32)
    for _ in tiler.steps(padded.pixels, out):
        pass
    return out


def _parts(operator: TileOperator, volume: Volume, region: Region) -> Iterator[Region]:
    """Cut a region into what is read at once, on the stride's grid."""
    halo, stride = operator.halo, operator.stride
    spans = dict(zip(volume.axes.names, region, strict=True))
    first = {name: spans[name].start // stride * stride for name in "YX"}
    extent = {
        name: math.ceil((spans[name].stop - first[name]) / stride) * stride
        for name in "YX"
    }
    pixels = READ_PIXELS // operator.n_channels
    sizes = tile_size(extent["Y"], extent["X"], halo=halo, stride=stride, pixels=pixels)
    steps = dict(zip("YX", sizes, strict=True))
    planes = max(1, pixels // math.prod(size + 2 * halo for size in sizes))
    context = context_of(operator)
    for name in reversed(volume.axes.names):
        if name in "CYX":
            continue
        if context.planes and name != context.axis:
            # Stacks one after the other: windows are then views of one stack.
            first[name], steps[name] = spans[name].start, 1
            continue
        length = spans[name].stop - spans[name].start
        first[name] = spans[name].start
        steps[name] = even(length, planes, 1)
        planes = max(1, planes // steps[name])
    cuts = [
        _cut(spans[name], first[name], steps[name]) if name in steps else [spans[name]]
        for name in volume.axes.names
    ]
    return itertools.product(*cuts)


def _cut(span: slice, first: int, step: int) -> list[slice]:
    """Cut a span at `first`, `first + step`, ..."""
    return [
        slice(max(start, span.start), min(start + step, span.stop))
        for start in range(first, span.stop, step)
    ]
