"""Runs of pixels in TIFF files: pages, strips and tiles, read rectangle by rectangle.

A rectangle costs what lies in it: uncompressed pixels are mapped and copied, of
compressed ones only the strips or tiles that the rectangle meets are decoded. tifffile
supplies the decoder. No file stays open between two reads and no state is shared, so
any number of threads read at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from napari_blindsound.errors import ImageFormatError, ImageNotFoundError
from napari_blindsound.images.array import Region, native
from napari_blindsound.images.remote import (
    File,
    RemoteFile,
    open_file,
    size_of,
    store_errors,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tifffile import TiffFrame, TiffPage

# What tifffile and imagecodecs raise on bytes that are no pixels.
_BROKEN = (ValueError, RuntimeError, IndexError, TypeError, OSError)


class Block(Protocol):
    """A run of pixels in one file: a page, or a whole stack stored in one piece."""

    @property
    def path(self) -> File:
        """The file."""

    @property
    def end(self) -> int:
        """Length of the file at least, in bytes, if it is complete."""

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Pixels of a region of the block, one slice per axis, in native byte order."""


@dataclass(frozen=True)
class RawBlock:
    """Pixels stored as they are, one after the other.

    Parameters
    ----------
    path : File
        The file, on a disk or in a store.
    offset : int
        Position of the first pixel, in bytes.
    dtype : numpy.dtype
        In the file's byte order.
    shape : tuple of int
        Of the page, or of the whole stack.
    """

    path: File
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def end(self) -> int:
        """Where the last pixel ends."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Copy a region; the file is mapped for that long only."""
        if isinstance(self.path, RemoteFile):
            return self._fetched(self.path, region)
        mapped = np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
        return np.array(mapped[region], dtype=native(self.dtype))

    def _fetched(self, file: RemoteFile, region: Region) -> npt.NDArray[Any]:
        """Copy a region out of a store: of each plane, the rows from first to last."""
        outer, (rows, columns) = region[:-2], region[-2:]
        high, wide = self.shape[-2:]
        out = np.empty([part.stop - part.start for part in region], native(self.dtype))
        planes = out.reshape(-1, *out.shape[-2:])
        numbers = np.arange(math.prod(self.shape[:-2])).reshape(self.shape[:-2])
        length = (rows.stop - rows.start) * wide
        with file.open() as stream:
            for plane, number in zip(planes, numbers[outer].ravel(), strict=True):
                first = (int(number) * high + rows.start) * wide
                stream.seek(self.offset + first * self.dtype.itemsize)
                data = stream.read(length * self.dtype.itemsize)
                pixels = np.frombuffer(data, self.dtype, length)
                plane[...] = pixels.reshape(-1, wide)[:, columns]
        return out


@dataclass(frozen=True)
class CodedBlock:
    """A page of compressed, packed or tiled pixels.

    Parameters
    ----------
    path : File
        The file, on a disk or in a store.
    page : tifffile.TiffPage
        The page whose geometry and decoder serve all pages of the series.
    offsets, sizes : sequence of int
        Of each segment (strip or tile) in the file, in bytes; 0 where it is left out.
    jpegtables : bytes or None
        Shared by the segments of a JPEG compressed page.
    """

    path: File
    page: TiffPage
    offsets: Sequence[int]
    sizes: Sequence[int]
    jpegtables: bytes | None

    @property
    def end(self) -> int:
        """Where the last segment ends."""
        return max(map(sum, zip(self.offsets, self.sizes, strict=False)), default=0)

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Decode the segments that a region meets, and paste them together."""
        axes, dtype = self.page.axes, native(cast("np.dtype[Any]", self.page.dtype))
        rows, columns = region[axes.index("Y")], region[axes.index("X")]
        samples, depth, _, _, mixed = self.page.shaped
        window = (rows.stop - rows.start, columns.stop - columns.start)
        canvas = np.full((samples, depth, *window, mixed), self.page.nodata, dtype)
        with open_file(self.path) as file:
            for number in self._met(rows, columns):
                if not (self.offsets[number] and self.sizes[number]):
                    continue
                file.seek(self.offsets[number])
                data = file.read(self.sizes[number])
                self._paste(canvas, rows.start, columns.start, number, data)
        sized = {"Y": window[0], "X": window[1]}
        shape = [sized.get(a, n) for a, n in zip(axes, self.page.shape, strict=True)]
        rest = zip(axes, region, strict=True)
        return canvas.reshape(shape)[
            tuple(slice(None) if a in "YX" else part for a, part in rest)
        ]

    def _met(self, rows: slice, columns: slice) -> list[int]:
        """Numbers of the segments that meet a span of rows and columns."""
        samples, depth, height, width, _ = self.page.shaped
        deep, high, wide = segment_shape(self.page)
        down, across = math.ceil(height / high), math.ceil(width / wide)
        numbers = [
            (layer * down + row) * across + column
            for layer in range(samples * math.ceil(depth / deep))
            for row in range(rows.start // high, math.ceil(rows.stop / high))
            for column in range(columns.start // wide, math.ceil(columns.stop / wide))
        ]
        if numbers[-1] >= min(len(self.offsets), len(self.sizes)):
            msg = "strips or tiles are missing"
            raise ValueError(msg)
        return numbers

    def _paste(
        self, canvas: npt.NDArray[Any], row: int, column: int, number: int, data: bytes
    ) -> None:
        """Decode a segment onto a canvas whose first pixel is at (row, column)."""
        if len(data) < self.sizes[number]:
            msg = "the file ends early"
            raise ValueError(msg)
        decoded, at, _ = self.page.decode(data, number, jpegtables=self.jpegtables)
        segment = np.asarray(decoded)
        sample, plane, top, left, _ = at
        y = _overlap(top - row, segment.shape[1], canvas.shape[2])
        x = _overlap(left - column, segment.shape[2], canvas.shape[3])
        part = canvas[sample][plane : plane + len(segment)]
        part[:, y[0], x[0]] = segment[: len(part), y[1], x[1]]


def read_block(block: Block, region: Region) -> npt.NDArray[Any]:
    """Pixels of a region of a block, or one clear sentence.

    Raises
    ------
    ImageFormatError
        If the pixels cannot be decoded.
    ImageNotFoundError
        If the file has gone.
    """
    try:
        if isinstance(block.path, RemoteFile):
            with store_errors(block.path.url):
                return block.read(region)
        return block.read(region)
    except FileNotFoundError as error:
        msg = (
            f"{block.path} has gone since it was opened: put it back and open it again"
        )
        raise ImageNotFoundError(msg) from error
    except _BROKEN as error:
        msg = (
            f"{block.path} is damaged, its pixels cannot be read ({error}): copy the "
            "file again from its origin"
        )
        raise ImageFormatError(msg) from error


def page_block(
    page: TiffPage | TiffFrame, path: File | None = None
) -> RawBlock | CodedBlock:
    """Block of one page of an open file, at another path than it was opened by."""
    path = path or Path(page.parent.filehandle.path)
    keyframe = cast("TiffPage", page.keyframe)
    _ = keyframe.decode  # made now, while the tags it needs can be read
    if keyframe.is_final and page.dataoffsets:
        return RawBlock(path, page.dataoffsets[0], stored_dtype(page), keyframe.shape)
    return CodedBlock(
        path, keyframe, page.dataoffsets, page.databytecounts, page.jpegtables
    )


def segment_shape(page: TiffPage) -> tuple[int, int, int]:
    """Depth, rows and columns of a strip or tile."""
    if page.is_tiled:
        return page.tiledepth, page.tilelength, page.tilewidth
    return 1, max(1, min(page.rowsperstrip, page.imagelength)), page.imagewidth


def check_complete(blocks: Sequence[Block]) -> None:
    """Refuse files that end before their pixels do.

    Raises
    ------
    ImageFormatError
        If one does.
    """
    ends: dict[File, int] = {}
    for block in blocks:
        ends[block.path] = max(block.end, ends.get(block.path, 0))
    for path, end in ends.items():
        size = size_of(path)
        if size < end:
            msg = (
                f"{path} is truncated: its header promises {end} bytes, the file has "
                f"{size}; copy it again from its origin"
            )
            raise ImageFormatError(msg)


def stored_dtype(page: TiffPage | TiffFrame) -> np.dtype[Any]:
    """Type of the pixels in the file, in the file's byte order."""
    dtype = np.dtype(cast("np.dtype[Any]", page.dtype))
    ordered: np.dtype[Any] = dtype.newbyteorder(page.parent.byteorder)
    return ordered


def _overlap(start: int, length: int, size: int) -> tuple[slice, slice]:
    """Where a segment at ``start`` lies on a canvas, and which part of it that is."""
    low, high = max(start, 0), min(start + length, size)
    return slice(low, high), slice(low - start, high - start)
