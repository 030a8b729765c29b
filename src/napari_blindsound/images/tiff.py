"""TIFF, BigTIFF, OME-TIFF and ImageJ hyperstacks, opened without reading a pixel."""

from __future__ import annotations

import struct
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tifffile import TiffFile, TiffFileError

from napari_blindsound.errors import BlindsoundError, ImageFormatError
from napari_blindsound.images.axes import AXIS_NAMES, Axes, settle_axes
from napari_blindsound.images.choice import choose
from napari_blindsound.images.remote import File, RemoteFile, store_errors
from napari_blindsound.images.tiff_metadata import TiffMetadata, read_metadata
from napari_blindsound.images.tiff_pixels import TiffArray
from napari_blindsound.images.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tifffile import TiffPage, TiffPageSeries

SUFFIXES = (".tif", ".tiff", ".tf2", ".tf8", ".btf")
_BROKEN = (TiffFileError, ValueError, KeyError, IndexError, TypeError, struct.error)
_PLAIN_KINDS = ("generic", "uniform")  # nothing in them says how many pages there are
_DESCRIPTION = 270
_COLORS = (2, 5, 6, 8)  # PhotometricInterpretation: RGB, CMYK, YCbCr, CIE L*a*b*


def open_tiff(
    path: File, *, axes: str | None = None, image: int | None = None
) -> Volume:
    """Open a TIFF file; only its headers are read.

    Axes, pixel sizes and units come from OME-XML, ImageJ's or tifffile's own tags.
    A pyramid gives one level per resolution.

    Parameters
    ----------
    path : File
        On a disk or in a store; the other files of a multi-file OME-TIFF are found
        beside it, on a disk.
    axes : str, optional
        What the axes mean, where the file does not say or is wrong.
    image : int, optional
        Which image, where the file holds several.

    Raises
    ------
    ImageFormatError
        If this is no TIFF, is truncated, or holds colors or several images.
    AxesError
        If the meaning of the axes is not known, or ``axes`` does not fit.
    """
    with opened(path) as tiff:
        several = list(tiff.series)
        if not several:
            msg = "it holds no image"
            raise TiffFileError(msg)
        number = choose([_label(series) for series in several], image, str(path))
        series = several[number]
        _require_hyperstack(tiff, series, path)
        require_gray(series.keyframe, path)
        levels = [
            TiffArray((path, number, level), resolution)
            for level, resolution in enumerate(series.levels)
        ]
        metadata = read_metadata(tiff, number)
    known = _known_axes(levels[0].letters, metadata)
    settled = settle_axes(axes, known, levels[0].shape, str(path))
    alike = [level for level in levels if level.letters == levels[0].letters]
    volume = Volume(tuple(alike), settled, path.name, source=str(path))
    if len(metadata.colors) == volume.n_channels:
        settings = {"channels": [{"color": color} for color in metadata.colors]}
        volume = replace(volume, omero=settings)
    if len(metadata.channel_names) != volume.n_channels or "C" not in settled:
        return volume
    return replace(volume, channel_names=metadata.channel_names)


def tiff_array(path: File, number: int, level: int) -> TiffArray:
    """One level of one image of a file, found again after pickling."""
    with opened(path) as tiff:
        return TiffArray((path, number, level), tiff.series[number].levels[level])


@contextmanager
def opened(path: File) -> Iterator[TiffFile]:
    """Open a TIFF file for its headers and close it again.

    Raises
    ------
    ImageFormatError
        If the headers cannot be read.
    """
    with ExitStack() as stack:
        if isinstance(path, RemoteFile):
            stack.enter_context(store_errors(path.url))
        try:
            source: Any = path
            if isinstance(path, RemoteFile):
                source = stack.enter_context(path.open())
            with TiffFile(source) as tiff:
                yield tiff
        except BlindsoundError:
            raise
        except _BROKEN as error:
            msg = (
                f"{path} is not a readable TIFF file ({error}): it may be truncated, "
                "or another kind of file by that name"
            )
            raise ImageFormatError(msg) from error


def require_gray(page: TiffPage, path: File) -> None:
    """Refuse photographs: their colors were mixed from one another by the camera.

    Raises
    ------
    ImageFormatError
        If the page holds colors.
    """
    if page.photometric in _COLORS and page.samplesperpixel > 2:
        msg = (
            f"{path} is an RGB photograph: give the gray images of the channels, in "
            "ImageJ by Image > Color > Split Channels"
        )
        raise ImageFormatError(msg)


def _require_hyperstack(tiff: TiffFile, series: TiffPageSeries, path: File) -> None:
    """Refuse what tifffile shows as a lone plane because the stack is cut short."""
    if tiff.is_imagej and not tiff.is_ome and series.kind != "imagej":
        missing = "its ImageJ header promises more pixels than the file has"
    elif series.kind not in _PLAIN_KINDS or not _is_cut(tiff):
        return
    else:
        missing = "the list of its pages breaks off"
    msg = f"{path} is truncated: {missing}; copy it again from its origin"
    raise ImageFormatError(msg)


def _is_cut(tiff: TiffFile) -> bool:
    """Whether the file ends before its description or its next directory of tags."""
    first, last = tiff.pages.first, tiff.pages[-1]
    codes, _ = _directory(tiff, first.offset)
    if _DESCRIPTION in codes and _DESCRIPTION not in first.tags:
        return True
    _, following = _directory(tiff, last.offset)
    if following == 0:
        return False
    try:
        _directory(tiff, following)
    except struct.error:
        return True
    return False


def _directory(tiff: TiffFile, offset: int) -> tuple[set[int], int]:
    """Codes of the tags in a directory, and where the next one lies (0: nowhere)."""
    file, form = tiff.filehandle, tiff.tiff
    file.seek(offset)
    (count,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
    entries = file.read(count * form.tagsize)
    starts = range(0, len(entries), form.tagsize)
    codes = {struct.unpack_from(f"{form.byteorder}H", entries, i)[0] for i in starts}
    (following,) = struct.unpack(form.offsetformat, file.read(form.offsetsize))
    return codes, following


def _label(series: TiffPageSeries) -> str:
    return f"{series.name or 'image'} {series.shape} {series.dtype}"


def _known_axes(letters: str, metadata: TiffMetadata) -> Axes | None:
    """Axes of tifffile's codes, None where one of them means nothing certain.

    S counts the samples of a pixel: channels, as colors were refused before.
    """
    names = letters if "C" in letters else letters.replace("S", "C")
    known = set(names) <= set(AXIS_NAMES) and len(set(names)) == len(names)
    return metadata.axes(names) if known else None
