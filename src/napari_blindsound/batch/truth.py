"""Ground truth that lies beside an image, and how near a result comes to it.

Looked for are: of the FMDD data set its own means; of ``cells.tif`` the file of that
name in a folder ``gt`` beside it or beside its folder, or ``cells_gt.tif``; of a folder
of frames a folder ``gt`` in it or beside it with files of the same names. ``clean`` and
``ground_truth`` are words for it, too.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindsound.errors import BlindsoundError, DataError
from napari_blindsound.wording import file_name

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from napari_blindsound.batch.finding import Found
    from napari_blindsound.images.volume import Volume
    from napari_blindsound.quality.metrics import Scores

log = logging.getLogger(__name__)

_WORDS = ("gt", "ground_truth", "clean")
_ENDS = (".tif", ".tiff", ".png", ".npy", ".ome.tif", ".ome.tiff", ".ome.zarr", ".zarr")
_RAW, _MEAN = "raw", "avg50.png"
_PLANES = 64  # evenly spread, on which results are compared
_SIDE = 2048  # px of their middle

Place = dict[str, int]
"""Position of a plane along T and Z."""


@dataclass(frozen=True)
class Truth:
    """Where the ground truth of an image lies.

    Parameters
    ----------
    files : tuple of Path
        One image for all, or one a frame.
    is_fmdd : bool
        Whether results are compared as the FMDD tables do.
    """

    files: tuple[Path, ...]
    is_fmdd: bool = False


@dataclass(frozen=True)
class Nearness:
    """How near the noisy and the denoised image are to the ground truth, on average.

    Parameters
    ----------
    psnr_noisy, psnr : float
        In decibels.
    ssim_noisy, ssim : float
    planes : int
        That were compared.
    """

    psnr_noisy: float
    psnr: float
    ssim_noisy: float
    ssim: float
    planes: int


def truth_of(image: Found) -> Truth | None:
    """Ground truth that lies beside an image; no file is opened."""
    if image.files:
        means = [_fmdd_mean(file) for file in image.files]
        if all(means):
            return Truth(tuple(m for m in means if m), is_fmdd=True)
        if image.is_whole:
            for folder in _folders(image.path):
                files = tuple(folder / file.name for file in image.files)
                if all(file.is_file() for file in files):
                    return Truth(files)
    elif mean := _fmdd_mean(image.path):
        return Truth((mean,), is_fmdd=True)
    found = next((p for p in _candidates(image.path) if p.exists()), None)
    return None if found is None else Truth((found,))


def without_truths(images: Iterable[Found], wanted: Collection[Path]) -> list[Found]:
    """Images but those that are the ground truth of others; some are wanted anyway."""
    listed = list(images)
    truths = {
        file
        for image in listed
        if (truth := truth_of(image)) is not None
        for file in truth.files
    }
    return [
        image
        for image in listed
        if image.path in wanted or not truths.issuperset(image.files or (image.path,))
    ]


def nearness(
    noisy: Volume,
    result: Volume,
    truth: Truth,
    stop: threading.Event | None = None,
) -> Nearness | None:
    """Compare an image and its result with the ground truth, on evenly spread planes.

    The FMDD data set is compared by its own protocol. Any other truth is brought to the
    scale of the noisy image first, by least squares in each plane, since it may have
    been exposed or stretched otherwise; the peak is 255 for 8-bit images, and else the
    range of the truth.

    Parameters
    ----------
    noisy, result : Volume
        Of the same axes, in any order.
    truth : Truth
        With one plane for each, or one for all.
    stop : threading.Event, optional
        Ends it early, with what was compared so far.

    Returns
    -------
    Nearness or None
        None where the truth has another size, or cannot be read: said in the log.
    """
    numbers = sorted({noisy.n_planes * i // _PLANES for i in range(_PLANES)})
    score = _fmdd if truth.is_fmdd else _scaled
    found: list[tuple[Scores, Scores]] = []
    planes = 0
    try:
        opened = _opened(truth, noisy)
        for number in numbers:
            if stop is not None and stop.is_set():
                break
            place = _place(noisy, number)
            clean = _plane(*opened(number, place))
            before, after = _plane(noisy, place), _plane(result, place)
            _check_size(before, clean, truth)
            channels = zip(before, after, clean, strict=True)
            found += [score(*channel, noisy.dtype) for channel in channels]
            planes += 1
    except BlindsoundError as error:
        log.warning("%s and its ground truth differ: %s", noisy.name, error)
        return None
    if not found:
        return None
    table = np.array(found, np.float64)  # planes, noisy and denoised, PSNR and SSIM
    (psnr_noisy, ssim_noisy), (psnr, ssim) = table.mean(axis=0).tolist()
    return Nearness(psnr_noisy, psnr, ssim_noisy, ssim, planes)


def _fmdd_mean(file: Path) -> Path | None:
    """Mean of the view that a capture of the FMDD data set belongs to."""
    view = file.parent
    if view.parent.name != _RAW:
        return None
    mean = view.parent.parent / "gt" / view.name / _MEAN
    return mean if mean.is_file() else None


def _folders(frames: Path) -> Iterator[Path]:
    """Folders that may hold the truths of a folder of frames."""
    for word in _WORDS:
        for folder in (frames / word, frames.parent / word):
            if folder != frames and folder.is_dir():
                yield folder


def _candidates(path: Path) -> Iterator[Path]:
    """Where the truth of a file, or of a folder that is one image, may lie."""
    stem = file_name(path.name)
    names = [path.name, *(f"{stem}{end}" for end in _ENDS)]
    for word in _WORDS:
        for folder in (path.parent / word, path.parent.parent / word):
            if folder != path.parent and folder != path and folder.is_dir():
                yield from (folder / name for name in names)
        if not stem.endswith(f"_{word}"):
            end = path.name[len(stem) :] if path.name.startswith(stem) else ""
            ends = dict.fromkeys((end, *_ENDS)) if end else dict.fromkeys(_ENDS)
            yield from (path.with_name(f"{stem}_{word}{end}") for end in ends)


def _opened(
    truth: Truth, noisy: Volume
) -> Callable[[int, Place], tuple[Volume, Place]]:
    """Say for a plane of the image in which truth, and where in it, its own lies."""
    from napari_blindsound.images.open import open_volume

    if len(truth.files) > 1:
        return lambda number, _: (_first(open_volume(truth.files[number])), {})
    names = noisy.axes.names
    path = truth.files[0]
    try:
        whole = open_volume(path)
    except BlindsoundError:
        # It does not name its axes: those of the image, if it is one like it.
        whole = open_volume(path, axes=names)
    sizes = dict(zip(names, noisy.shape, strict=True))
    for axis, size in zip(whole.axes, whole.shape, strict=True):
        if axis.name in "TZ" and size not in (1, sizes.get(axis.name)):
            msg = f"{path} has {size} planes along {axis.name}, the image has others"
            raise DataError(msg)
    return lambda _, place: (whole, place)


def _first(frame: Volume) -> Volume:
    return frame.select(T=0) if "T" in frame.axes else frame


def _place(volume: Volume, number: int) -> Place:
    pairs = zip(volume.axes, volume.plane(number), strict=True)
    return {axis.name: part.start for axis, part in pairs if axis.name in "TZ"}


def _plane(volume: Volume, place: Mapping[str, int]) -> npt.NDArray[Any]:
    """Middle of the plane at a place, (C, h, w); an axis of size 1 is everywhere."""
    region = []
    for axis, size in zip(volume.axes, volume.shape, strict=True):
        if axis.name in "TZ":
            at = place.get(axis.name, 0) if size > 1 else 0
            region.append(slice(at, at + 1))
        elif axis.name in "YX":
            side = min(size, _SIDE)
            start = (size - side) // 2
            region.append(slice(start, start + side))
        else:
            region.append(slice(0, size))
    plane: npt.NDArray[Any] = volume.axes.as_planes(volume.read(tuple(region)))[0]
    return plane


def _check_size(noisy: npt.NDArray[Any], clean: npt.NDArray[Any], truth: Truth) -> None:
    if noisy.shape != clean.shape:
        msg = (
            f"{truth.files[0]} has planes (C, Y, X) of {clean.shape}, the image of "
            f"{noisy.shape}: give one of the same size"
        )
        raise DataError(msg)


def _fmdd(
    noisy: npt.NDArray[Any],
    denoised: npt.NDArray[Any],
    clean: npt.NDArray[Any],
    _: np.dtype[Any],
) -> tuple[Scores, Scores]:
    from napari_blindsound.quality.metrics import fmdd_scores

    return fmdd_scores(noisy, clean), fmdd_scores(denoised, clean)


def _scaled(
    noisy: npt.NDArray[Any],
    denoised: npt.NDArray[Any],
    clean: npt.NDArray[Any],
    dtype: np.dtype[Any],
) -> tuple[Scores, Scores]:
    """Scores against the truth on the scale of the noisy image."""
    from napari_blindsound.quality.metrics import Scores, affine_fit, psnr, ssim

    line = affine_fit(clean, noisy)
    if not line.slope > 0:
        msg = "it does not look like the image: where it is bright, the image is not"
        raise DataError(msg)
    scaled = line.slope * clean.astype(np.float64) + line.intercept
    peak = 255.0 if dtype == np.uint8 else float(np.ptp(scaled))
    before, after = (
        Scores(psnr(image, scaled, peak), ssim(image, scaled, peak))
        for image in (noisy, denoised)
    )
    return before, after
