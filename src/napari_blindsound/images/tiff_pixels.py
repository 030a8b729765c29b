"""An image in TIFF files as an array: which run of pixels lies where in it.

tifffile reads the headers. Nothing stays open, and arrays can be pickled: they are
found again by their address.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_blindsound.errors import ImageFormatError
from napari_blindsound.images.array import LazyArray, Region
from napari_blindsound.images.remote import File, RemoteFile, written
from napari_blindsound.images.tiff_blocks import (
    CodedBlock,
    RawBlock,
    check_complete,
    page_block,
    read_block,
    segment_shape,
    stored_dtype,
)

if TYPE_CHECKING:
    from tifffile import TiffPageSeries


class TiffArray(LazyArray):
    """An image in a TIFF file, or in several, at one resolution.

    Parameters
    ----------
    address : tuple
        Path of the file, number of the image in it, level: to find it again.
    series : tifffile.TiffPageSeries
        Of the open file.

    Raises
    ------
    ImageFormatError
        If pages are missing, or a file ends before its last pixel.

    Attributes
    ----------
    letters : str
        tifffile's codes of the axes.
    """

    def __init__(self, address: tuple[File, int, int], series: TiffPageSeries) -> None:
        self._address = address
        page = series.keyframe
        self._blocks = _blocks(series, address[0])
        check_complete(self._blocks)
        shape, self.letters = _layout(series, len(self._blocks), address[0])
        first = self._blocks[0]
        inner = first.shape if isinstance(first, RawBlock) else page.shape
        self._n_outer = len(shape) - len(inner)
        _, high, wide = segment_shape(page)
        stored = {"Y": high, "X": wide} if not page.is_final else {}
        chunks = tuple(
            min(stored.get(letter, size), size) if letter in "YX" else 1
            for letter, size in zip(self.letters, shape, strict=True)
        )
        super().__init__(shape, series.dtype, chunks)

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Pixels of a region, gathered block by block.

        Raises
        ------
        ImageFormatError
            If the pixels cannot be decoded.
        ImageNotFoundError
            If the file has gone.
        """
        outer, inner = region[: self._n_outer], region[self._n_outer :]
        out = np.empty([part.stop - part.start for part in region], self.dtype)
        pages = out.reshape(-1, *out.shape[self._n_outer :])
        numbers = np.arange(len(self._blocks)).reshape(self.shape[: self._n_outer])
        for page, number in zip(pages, numbers[outer].ravel(), strict=True):
            page[...] = read_block(self._blocks[int(number)], inner)
        return out

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the image, but those in a store."""
        paths = {block.path for block in self._blocks if isinstance(block.path, Path)}
        return tuple(sorted(paths))

    def __reduce__(self) -> tuple[Any, ...]:
        from napari_blindsound.images.tiff import tiff_array

        return tiff_array, self._address

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        """Another name as soon as one of the files was written again."""
        files = sorted({block.path for block in self._blocks}, key=str)
        return "tiff", self._address, [(str(file), written(file)) for file in files]


def _blocks(series: TiffPageSeries, path: File) -> list[RawBlock | CodedBlock]:
    """Blocks of a series of an open file: one if all is stored in one piece."""
    first = series[0]
    if series.dataoffset is not None and first is not None and not series.is_multifile:
        whole = series.shape
        return [RawBlock(path, series.dataoffset, stored_dtype(first), whole)]
    pages = list(series)
    missing = sum(page is None for page in pages)
    if missing:
        msg = (
            f"{path} lists {len(pages)} planes, of which {missing} are not there: put "
            "all files of the data set in one folder on a disk, as they were written"
        )
        raise ImageFormatError(msg)
    # What was opened in a store does not know its own address.
    own = path if isinstance(path, RemoteFile) else None
    return [page_block(page, own) for page in pages if page is not None]


def _layout(
    series: TiffPageSeries, n_blocks: int, path: File
) -> tuple[tuple[int, ...], str]:
    """Shape and axes of a series, such that its last axes are those of a page."""
    page = series.keyframe.shape
    for squeeze in (None, True):
        shape, letters = series.get_shape(squeeze), series.get_axes(squeeze)
        outer = shape[: len(shape) - len(page)]
        is_whole = series.dataoffset is not None and n_blocks == 1
        if is_whole or (math.prod(outer) == n_blocks and shape[len(outer) :] == page):
            return shape, letters
    msg = (
        f"{path} is truncated or damaged: it should hold {series.shape} pixels, but "
        f"has {n_blocks} pages of {page}; copy it again from its origin"
    )
    raise ImageFormatError(msg)
