"""A denoised image that is computed where somebody looks.

Every block reads its own halo from the source (`map_blocks` without an input array), so
that the graph has one task a block and a plane out of 64 000 blocks is scheduled in
milliseconds. The model travels through the graph as one task of its own and is
unpickled once in a process, not once a block; the copies that a process may hold take
turns on the device all the same. Names carry the model's revision, or a viewer would go
on showing what an older model computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.base import tokenize
from dask.delayed import delayed

from napari_blindsound.images.array import read_region
from napari_blindsound.images.chunks import identity
from napari_blindsound.images.remote import is_url
from napari_blindsound.inference.carried import Carried
from napari_blindsound.inference.reading import check_channels
from napari_blindsound.inference.tiling import denoise_region, even, is_deviation

if TYPE_CHECKING:
    from napari_blindsound.images.volume import Region, Volume
    from napari_blindsound.inference.tiling import TileOperator

# Small enough to answer while somebody scrolls, large enough that halos cost little.
BLOCK_SIDE = 1024


@dataclass(frozen=True)
class _Level:
    """What the blocks of one level share."""

    carried: Carried[TileOperator]
    volume: Volume
    number: int
    block: tuple[int, ...]

    @property
    def denoiser(self) -> TileOperator:
        return self.carried.value

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(n) for n in self.volume.levels[self.number].shape)

    def region(self, block_id: tuple[int, ...]) -> Region:
        return tuple(
            slice(i * step, min((i + 1) * step, size))
            for i, step, size in zip(block_id, self.block, self.shape, strict=True)
        )

    def pixels(self, region: Region) -> npt.NDArray[np.float32]:
        if self.number == 0:
            return denoise_region(self.denoiser, self.volume, region)
        if is_deviation(self.denoiser):
            # Nothing in the source says how far a result is off.
            shape = [span.stop - span.start for span in region]
            return np.full(shape, np.nan, np.float32)
        coarse = read_region(self.volume.levels[self.number], region)
        return coarse.astype(np.float32, copy=False)


def lazy(
    denoiser: TileOperator, volume: Volume, *, block: int | None = None
) -> list[da.Array]:
    """Denoised image as dask arrays, one per pyramid level, computed on demand.

    Level 0 is denoised block by block. The coarser levels are those of the source, as
    they are: noisy, but binned, which is a denoiser of its own and costs nothing;
    those of a `Deviation` are NaN. A source without a pyramid gives level 0 alone.

    Parameters
    ----------
    denoiser : TileOperator
        The denoiser; unpickled once in each process that computes.
    volume : Volume
        The noisy image.
    block : int, optional
        Side of a block in Y and X, in pixels, rounded up to the denoiser's stride. By
        default 1024 or less, even, and on the source's chunks where that costs nothing.

    Returns
    -------
    list of dask.array.Array
        float32 counts, with the shapes and the order of axes of ``volume.levels``. A
        block spans one position of T and Z and all channels. The names start with
        ``blindsound-<revision>-`` and are the same for the same model and source.

    Raises
    ------
    ModelMismatchError
        If the image has another number of channels than the model.
    ValueError
        If `block` is not above zero.
    """
    check_channels(denoiser, volume)
    if block is not None and block < 1:
        msg = f"a block of {block} pixels is none: give a side above zero, such as 1024"
        raise ValueError(msg)
    name = f"blindsound-{denoiser.revision}-{source_token(volume)}"
    # One for all images that are denoised by it.
    place = f"{type(denoiser).__qualname__}-{getattr(denoiser, 'device', '')}"
    carried = Carried(f"{denoiser.revision}-{place}", denoiser)
    return [
        _array(_Level(carried, volume, number, shape), f"{name}-{number}")
        for number, shape in enumerate(_block_shapes(denoiser, volume, block))
    ]


def source_token(volume: Volume) -> str:
    """Name of an image's pixels: the same for the same file, unless it was rewritten.

    Files are named by the time they were written, or by what their store says of them;
    of the chunks of a zarr array, the first and the last are looked at. Arrays in
    memory are named by their contents, which reads them once.
    """
    stamp = None
    if volume.source is not None and not is_url(volume.source):
        path = Path(volume.source)
        stamp = path.stat().st_mtime_ns if path.exists() else None
    pixels = identity(volume.levels[0])
    return str(tokenize(pixels, volume.axes.names, volume.source, stamp))


def _block_shapes(
    denoiser: TileOperator, volume: Volume, side: int | None
) -> list[tuple[int, ...]]:
    stride = denoiser.stride
    shapes = []
    for level in volume.levels:
        sizes = zip(volume.axes.names, level.shape, volume.chunks, strict=True)
        shapes.append(
            tuple(
                _side(int(size), chunk, stride, side)
                if name in "YX"
                else int(size)
                if name == "C"
                else 1
                for name, size, chunk in sizes
            )
        )
    return shapes


def _side(size: int, chunk: int, stride: int, side: int | None) -> int:
    """Length of the blocks along Y or X."""
    if side is not None:
        return math.ceil(side / stride) * stride
    step = even(size, BLOCK_SIDE, stride)
    unit = math.lcm(chunk, stride)
    on_chunks = math.ceil(step / unit) * unit
    # The number of blocks, and with it the halos, must not grow for it.
    return on_chunks if on_chunks <= BLOCK_SIDE else step


def _array(level: _Level, name: str) -> da.Array:
    chunks = tuple(
        (step,) * (size // step) + ((size % step,) if size % step else ())
        for size, step in zip(level.shape, level.block, strict=True)
    )
    array: da.Array = da.map_blocks(  # type: ignore[no-untyped-call] # dask: not typed
        _block,
        name=name,
        chunks=chunks,
        dtype=np.float32,
        meta=np.empty((0,) * len(chunks), np.float32),
        level=delayed(
            Carried(f"{name}-{level.block}", level),
            name=f"{name}-model",
            traverse=False,
        ),
    )
    return array


def _block(block_id: tuple[int, ...], level: Carried[_Level]) -> npt.NDArray[Any]:
    return level.value.pixels(level.value.region(block_id))
