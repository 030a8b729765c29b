"""One door for all sources: what kind of thing a path is, and who reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np

from napari_blindsound.errors import (
    BlindsoundError,
    ImageAccessError,
    ImageFormatError,
    ImageNotFoundError,
)
from napari_blindsound.images import formats, tiff
from napari_blindsound.images.axes import settle_axes
from napari_blindsound.images.choice import choose
from napari_blindsound.images.fmdd import find_fmdd, open_fmdd
from napari_blindsound.images.frames import PNG, find_frames, match_frames, open_frames
from napari_blindsound.images.ngff import is_zarr, open_zarr
from napari_blindsound.images.objects import open_array
from napari_blindsound.images.remote import RemoteFile, is_url
from napari_blindsound.images.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_blindsound.images.array import ArrayLike

_NPY = ".npy"
_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def open_volume(
    source: str | Path | Sequence[str | Path] | ArrayLike | Volume,
    *,
    axes: str | None = None,
    name: str | None = None,
    scale: Mapping[str, float] | None = None,
    unit: Mapping[str, str] | None = None,
    image: int | None = None,
) -> Volume:
    """Open an image of any size; no pixel is read before it is needed.

    Parameters
    ----------
    source : path, list of paths, array or Volume
        A TIFF file (plain, BigTIFF, OME, ImageJ), a zarr array or OME-Zarr image, each
        as a path or a URL (``https://``, ``s3://``, whatever fsspec reads), a PNG or
        .npy file, a folder, pattern ("t*.png") or list of single-plane PNG or TIFF
        files, a folder of the FMDD data set, any file that bioio reads (with the extra
        ``formats``), or a numpy, dask, zarr or xarray array. A Volume comes back as it
        is, but for what the other arguments change.
    axes : str, optional
        One letter of T, C, Z, Y, X per dimension in the array's order, where the source
        does not say or is wrong. Two dimensions are Y and X; the frames of a folder run
        along T unless given. Nothing is guessed from sizes.
    name : str, optional
        In place of the file's name.
    scale : mapping of str to float, optional
        Pixel size by axis letter, in place of the source's.
    unit : mapping of str to str, optional
        Unit of ``scale`` by axis letter, "um" or "micrometer".
    image : int, optional
        Which image, counted from 0, where a file or group holds several.

    Returns
    -------
    Volume
        Lazy, with axes in the order of the source.

    Raises
    ------
    ImageNotFoundError
        If there is no such file, or no image in the folder.
    ImageFormatError
        If the source is no gray image, is truncated, or holds several images.
    AxesError
        If the meaning of the axes is not known, or what was given does not fit.
    ImageAccessError
        If it may not be read.
    DataError
        If frames differ, or the values are no intensities.
    MissingExtraError
        If the format needs bioio, or the store a package, that is not installed.

    Examples
    --------
    >>> open_volume(np.zeros((8, 64, 64)), axes="ZYX").axes.names
    'ZYX'
    """
    try:
        volume = _open(source, axes, image)
    except BlindsoundError:
        raise
    except PermissionError as error:
        msg = (
            f"{error.filename or source} may not be read by you ({error.strerror}): "
            "ask its owner for permission, or for a copy"
        )
        raise ImageAccessError(msg) from error
    except OSError as error:
        msg = (
            f"{error.filename or source} cannot be read ({error.strerror or error}): "
            "check that its disk or network is within reach"
        )
        raise ImageFormatError(msg) from error
    if scale or unit:
        volume = replace(volume, axes=volume.axes.calibrated(scale, unit))
    return volume if name is None else replace(volume, name=name)


def _open(
    source: str | Path | Sequence[str | Path] | ArrayLike | Volume,
    axes: str | None,
    image: int | None,
) -> Volume:
    if isinstance(source, str | Path):
        return _open_path(str(source), axes, image)
    choose(["the only one"], image, "this source")
    if isinstance(source, Volume):
        if axes is None:
            return source
        settled = settle_axes(axes, source.axes, source.shape, source.name)
        return replace(source, axes=settled)
    if isinstance(source, Sequence):
        return _open_list(source, axes)
    return open_array(source, axes=axes)


def _open_list(source: Sequence[str | Path], axes: str | None) -> Volume:
    if not source:
        msg = "the list of frames is empty: give at least one PNG or TIFF file"
        raise ImageNotFoundError(msg)
    if not all(isinstance(entry, str | Path) for entry in source):
        msg = "a list must hold paths of frames: join arrays to one, by numpy.stack"
        raise ImageFormatError(msg)
    paths = [Path(entry).expanduser().absolute() for entry in source]
    return open_frames(paths, axes=axes, name=paths[0].parent.name, source=None)


def _open_path(text: str, axes: str | None, image: int | None) -> Volume:
    url = urlsplit(text)
    if url.scheme == "file":
        text = url2pathname(url.path)
    elif is_url(text):
        remote = RemoteFile(text)
        if remote.suffix.lower() in tiff.SUFFIXES:
            return tiff.open_tiff(remote, axes=axes, image=image)
        return open_zarr(text, axes=axes, image=image)
    path = Path(text).expanduser().absolute()
    if path.is_dir():
        return _open_folder(path, axes, image)
    if path.exists():
        return _open_file(path, axes, image)
    if any(sign in text for sign in "*?["):
        found = match_frames(path)
        return open_frames(found, axes=axes, name=path.parent.name, source=str(path))
    msg = f"{path} is not there: check the path"
    raise ImageNotFoundError(msg)


def _open_folder(path: Path, axes: str | None, image: int | None) -> Volume:
    if is_zarr(path):
        return open_zarr(str(path), axes=axes, image=image)
    choose(["the only one"], image, str(path))
    frames = find_frames(path)
    if frames:
        return open_frames(frames, axes=axes, name=path.name, source=str(path))
    views = find_fmdd(path)
    if views:
        return open_fmdd(views, path, axes=axes)
    msg = (
        f"{path} holds no image: give a folder of PNG or TIFF frames, a zarr folder, "
        "or a folder of the FMDD data set"
    )
    raise ImageNotFoundError(msg)


def _open_file(path: Path, axes: str | None, image: int | None) -> Volume:
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        start = file.read(4)
    if suffix in tiff.SUFFIXES or start in _TIFF_STARTS:
        return tiff.open_tiff(path, axes=axes, image=image)
    if suffix in formats.SUFFIXES:
        return formats.open_format(path, axes=axes, image=image)
    choose(["the only one"], image, str(path))
    if suffix == PNG:
        stack = open_frames([path], name=path.name, source=str(path))
        return _open(stack.select(T=0), axes, None)
    if suffix == _NPY:
        return _open_npy(path, axes)
    if suffix in _JPEG:
        msg = (
            f"{path} is a JPEG file, whose compression has already mixed the noise of "
            "neighboring pixels: give the original that it was made from"
        )
        raise ImageFormatError(msg)
    known = ", ".join((*tiff.SUFFIXES, PNG, _NPY, ".zarr", *formats.SUFFIXES))
    msg = f"{path} is of no kind that is read here: give one of {known}"
    raise ImageFormatError(msg)


def _open_npy(path: Path, axes: str | None) -> Volume:
    try:
        array = np.load(path, mmap_mode="r")
    except (ValueError, EOFError) as error:
        msg = f"{path} is not a readable .npy array ({error})"
        raise ImageFormatError(msg) from error
    settled = settle_axes(axes, None, array.shape, str(path))
    return Volume((array,), settled, path.name, source=str(path))
