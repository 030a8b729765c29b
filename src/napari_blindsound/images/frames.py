"""Frames stored as one PNG or TIFF file each: one lazy stack.

Frames are taken in the natural order of their names (``t2`` before ``t10``), files of
an explicit list in the order given. What the stack runs along is not stored anywhere;
single frames are mostly repeats or a movie, so the axis is T unless the caller says
otherwise. It matters for display only: a denoiser takes both as independent planes.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_blindsound.errors import (
    DataError,
    ImageFormatError,
    ImageNotFoundError,
)
from napari_blindsound.images import tiff
from napari_blindsound.images.array import LazyArray, Region
from napari_blindsound.images.axes import Axes, settle_axes
from napari_blindsound.images.remote import written
from napari_blindsound.images.sorting import natural_order
from napari_blindsound.images.tiff_blocks import check_complete, page_block, read_block
from napari_blindsound.images.tiff_metadata import TiffMetadata, read_metadata
from napari_blindsound.images.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

PNG = ".png"
SUFFIXES = (PNG, *tiff.SUFFIXES)
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_GRAY = 0
_Kind = tuple[tuple[int, int], np.dtype[Any]]


class FrameStack(LazyArray):
    """Files of one plane each, stacked along a first axis; (N, Y, X).

    Parameters
    ----------
    paths : sequence of pathlib.Path
        One per frame.
    shape : tuple of int
        Of a frame.
    dtype : numpy.dtype
        Of a frame.
    """

    def __init__(
        self, paths: Sequence[Path], shape: tuple[int, int], dtype: np.dtype[Any]
    ) -> None:
        super().__init__((len(paths), *shape), dtype, (1, *shape))
        self.paths = tuple(paths)

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Pixels of a region; only the files of its frames are opened.

        Raises
        ------
        ImageFormatError
            If a file is damaged, or is no longer what it was.
        ImageNotFoundError
            If a file has gone.
        """
        out = np.empty([part.stop - part.start for part in region], self.dtype)
        for frame, path in zip(out, self.paths[region[0]], strict=True):
            frame[...] = read_frame(path, region[1:], self.shape[1:])
        return out

    @property
    def files(self) -> tuple[Path, ...]:
        """One a frame."""
        return self.paths

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        """Another name as soon as one of the files was written again."""
        return "frames", [(str(path), written(path)) for path in self.paths]


def find_frames(folder: Path) -> list[Path]:
    """List the frames of a folder, in the natural order of their names.

    Raises
    ------
    ImageFormatError
        If the folder holds both PNG and TIFF files.
    """
    files = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES]
    shown = natural_order(p for p in files if not p.name.startswith("."))
    if len({path.suffix.lower() == PNG for path in shown}) > 1:
        msg = (
            f"{folder} holds PNG and TIFF files: say which are meant, such as "
            f"'{folder / '*.png'}'"
        )
        raise ImageFormatError(msg)
    return shown


def match_frames(pattern: Path) -> list[Path]:
    """List the files that a pattern such as ``/data/t*.png`` matches.

    Parameters
    ----------
    pattern : pathlib.Path
        Absolute.

    Raises
    ------
    ImageNotFoundError
        If there are none.
    """
    root = Path(pattern.anchor)
    matches = root.glob(str(pattern.relative_to(root)))
    found = natural_order(p for p in matches if not p.name.startswith("."))
    if not found:
        msg = f"no file matches {pattern}: check the pattern and its folder"
        raise ImageNotFoundError(msg)
    return found


def open_frames(
    paths: Sequence[Path], *, axes: str | None = None, name: str, source: str | None
) -> Volume:
    """Stack single-plane files; only their headers are read.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        PNG or TIFF files of one gray plane each, equal in size and type.
    axes : str, optional
        "TYX" by default.
    name : str
        Of the volume.
    source : str or None
        Of the volume.

    Raises
    ------
    DataError
        If two files differ in size or type.
    ImageFormatError
        If a file is no gray image of one plane.
    ImageNotFoundError
        If a file is not there.
    """
    shape, dtype = frame_kind(paths[0])
    for path in paths[1:]:
        other = frame_kind(path)
        if other != (shape, dtype):
            msg = (
                f"frames differ: {paths[0]} is {shape} {dtype}, {path} is {other[0]} "
                f"{other[1]}; give frames of one size and type"
            )
            raise DataError(msg)
    stack = FrameStack(paths, shape, dtype)
    settled = settle_axes(axes, _frame_axes(paths[0]), stack.shape, name)
    return Volume((stack,), settled, name, source=source)


def frame_kind(path: Path) -> _Kind:
    """Size and type of a single-plane file, from its header.

    Raises
    ------
    ImageFormatError
        If it is no gray PNG or TIFF image of one plane.
    ImageNotFoundError
        If it is not there.
    """
    if not path.is_file():
        msg = f"{path} is not there: check the path"
        raise ImageNotFoundError(msg)
    if path.suffix.lower() == PNG:
        return _png_kind(path)
    if path.suffix.lower() in tiff.SUFFIXES:
        return _tiff_kind(path)
    msg = f"{path} is no frame: give PNG or TIFF files of one plane each"
    raise ImageFormatError(msg)


def read_frame(path: Path, region: Region, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Rows and columns of a single-plane file.

    Raises
    ------
    ImageFormatError
        If the file is damaged or of another shape than before.
    ImageNotFoundError
        If the file has gone.
    """
    try:
        if path.suffix.lower() == PNG:
            pixels = _read_png(path)
            found, part = pixels.shape, pixels[region]
        else:
            with tiff.opened(path) as file:
                block, found = page_block(file.pages.first), file.pages.first.shape
            part = read_block(block, region)
    except FileNotFoundError as error:
        msg = f"{path} has gone since it was opened: put it back and open it again"
        raise ImageNotFoundError(msg) from error
    if found != shape:
        msg = f"{path} is {found} now, it was {shape} when opened: open the stack again"
        raise ImageFormatError(msg)
    return part


def _png_kind(path: Path) -> _Kind:
    """Read a PNG header: 8 bytes of signature, then the IHDR chunk."""
    with path.open("rb") as file:
        header = file.read(26)
    if len(header) < 26 or not header.startswith(_PNG_START):
        msg = f"{path} is not a PNG image: it may be truncated or another kind of file"
        raise ImageFormatError(msg)
    width, height, bits, color = struct.unpack(">IIBB", header[16:26])
    if color != _PNG_GRAY:
        msg = (
            f"{path} is an RGB photograph or has a palette or transparency: export the "
            "channel as a gray image of 8 or 16 bits"
        )
        raise ImageFormatError(msg)
    if bits == 1:
        msg = f"{path} is black and white: in a mask there is no noise to remove"
        raise DataError(msg)
    return (height, width), np.dtype(np.uint16 if bits == 16 else np.uint8)


def _read_png(path: Path) -> npt.NDArray[Any]:
    from imagecodecs import PngError, png_decode

    try:
        pixels: npt.NDArray[Any] = png_decode(path.read_bytes())
    except (PngError, ValueError) as error:
        msg = (
            f"{path} is damaged, its pixels cannot be read ({error}): copy the file "
            "again from its origin"
        )
        raise ImageFormatError(msg) from error
    return pixels


def _tiff_kind(path: Path) -> _Kind:
    """Size and type of a TIFF file's only page."""
    with tiff.opened(path) as file:
        page = file.pages.first
        tiff.require_gray(page, path)
        if len(file.pages) > 1 or page.ndim != 2 or page.dtype is None:
            count = len(file.pages)
            msg = (
                f"{path} is no single frame, it holds {count} pages of {page.shape}: "
                "open it by itself, or give files of one plane each"
            )
            raise ImageFormatError(msg)
        check_complete([page_block(page)])
        height, width = page.shape
        return (height, width), page.dtype


def _frame_axes(path: Path) -> Axes:
    """T, then Y and X with the pixel size that a TIFF file says."""
    metadata = TiffMetadata()
    if path.suffix.lower() != PNG:
        with tiff.opened(path) as file:
            metadata = read_metadata(file)
    return metadata.axes("TYX")
