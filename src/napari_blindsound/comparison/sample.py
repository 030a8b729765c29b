"""The part of an image that results are looked at and measured on, with its truth.

A few planes, spread evenly, of which the middle is taken: bounded, however large the
image. The truth is brought to the scale of each noisy plane by least squares, since it
may have been exposed or stretched otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_blindsound.errors import AxesError, DataError
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.pixels import require_finite
from napari_blindsound.quality.metrics import Scores, affine_fit, psnr, ssim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindsound.images.volume import Region, Volume

    Plane = NDArray[Any]

PLANES, SIDE = 4, 1024
"""Planes that are looked at, and how many pixels of their middle, a side."""

_WARM = 64  # px
_UINT8_RANGE = 255.0


@dataclass(frozen=True, eq=False)
class Sample:
    """Planes of an image.

    Parameters
    ----------
    volume : Volume
    regions : tuple of tuple of slice
        One plane each, all channels.
    noisy : tuple of ndarray
        (C, h, w) counts, one a region.
    truth : tuple of ndarray, optional
        On the scale of the noisy planes, (C, h, w) float64.
    data_range : float, optional
        Peak of the scores, counts: 255 for 8-bit images, else the range of the truth.
    """

    volume: Volume
    regions: tuple[Region, ...]
    noisy: tuple[Plane, ...]
    truth: tuple[Plane, ...] | None = None
    data_range: float | None = None

    @property
    def pixels(self) -> int:
        """How many, each channel counted."""
        return sum(plane.size for plane in self.noisy)

    @property
    def glance(self) -> Region:
        """A small part of the first plane, to begin with."""
        y, x = (self.volume.axes.index(name) for name in "YX")
        region = list(self.regions[0])
        for axis in (y, x):
            span = region[axis]
            region[axis] = slice(span.start, min(span.stop, span.start + _WARM))
        return tuple(region)

    def scores(self, planes: Sequence[Plane]) -> Scores | None:
        """Mean PSNR and SSIM of denoised planes; None without a truth.

        The SSIM is NaN where a plane is smaller than its window.
        """
        if self.truth is None or self.data_range is None:
            return None
        peak = self.data_range
        found = [
            (psnr(made, clean, peak), _ssim(made, clean, peak))
            for plane, truth in zip(planes, self.truth, strict=True)
            for made, clean in zip(plane, truth, strict=True)
        ]
        return Scores(*(float(value) for value in np.mean(found, axis=0)))

    def covered(
        self, planes: Sequence[Plane], deviations: Sequence[Plane]
    ) -> float | None:
        """Share of the true pixels within one deviation; None without a truth."""
        if self.truth is None:
            return None
        inside = [
            np.abs(plane - clean) <= deviation
            for plane, clean, deviation in zip(
                planes, self.truth, deviations, strict=True
            )
        ]
        return float(np.concatenate([each.ravel() for each in inside]).mean())


class _Place(NamedTuple):
    """Where a plane lies along T and Z, and what of it is read."""

    at: dict[str, int]
    region: Region


def sample_of(volume: Volume, truth: Volume | None = None) -> Sample:
    """Read a sample.

    Parameters
    ----------
    volume : Volume
        The noisy image.
    truth : Volume, optional
        With as many rows, columns and channels; along T and Z as many planes, or one
        for all.

    Raises
    ------
    DataError
        If a pixel is not finite, or the truth is of another size, constant, or dark
        where the image is bright.
    """
    places = [_place(volume, number) for number in _spread(volume.n_planes)]
    noisy = []
    for place in places:
        block = volume.read(place.region)
        require_finite(block, place.region, volume.axes, volume.name)
        noisy.append(volume.axes.as_planes(block)[0])
    regions = tuple(place.region for place in places)
    if truth is None:
        return Sample(volume, regions, tuple(noisy))
    _check_size(volume, truth)
    clean = tuple(
        _scaled(_truth(truth, volume, place), plane, truth.name)
        for place, plane in zip(places, noisy, strict=True)
    )
    if volume.dtype == np.uint8:
        peak = _UINT8_RANGE
    else:
        peak = float(max(each.max() for each in clean) - min(c.min() for c in clean))
    return Sample(volume, regions, tuple(noisy), clean, peak)


def open_truth(source: Any, volume: Volume) -> Volume:  # noqa: ANN401 - as open_volume
    """Open a truth; where it does not name its axes, it has those of the image.

    Raises
    ------
    BlindsoundError
        If it cannot be opened.
    """
    try:
        return open_volume(source)
    except AxesError:
        return open_volume(source, axes=volume.axes.names)


def _spread(count: int) -> list[int]:
    return sorted({(2 * i + 1) * count // (2 * PLANES) for i in range(PLANES)})


def _place(volume: Volume, number: int) -> _Place:
    region = list(volume.plane(number))
    at = {
        axis.name: span.start
        for axis, span in zip(volume.axes, region, strict=True)
        if axis.name in "TZ"
    }
    for name in "YX":
        axis = volume.axes.index(name)
        size = volume.shape[axis]
        side = min(size, SIDE)
        region[axis] = slice((size - side) // 2, (size - side) // 2 + side)
    return _Place(at, tuple(region))


def _check_size(volume: Volume, truth: Volume) -> None:
    ours = dict(zip(volume.axes.names, volume.shape, strict=True))
    theirs = dict(zip(truth.axes.names, truth.shape, strict=True))
    fits = all(theirs[name] == ours[name] for name in "YX")
    fits &= theirs.get("C", 1) == ours.get("C", 1)
    fits &= all(theirs.get(name, 1) in (1, ours.get(name, 1)) for name in "TZ")
    if not fits:
        msg = (
            f"the truth {truth.name} has axes {truth.axes.names} of {truth.shape}, the "
            f"image {volume.name} {volume.axes.names} of {volume.shape}: give one of "
            f"the same size, with as many planes or a single one"
        )
        raise DataError(msg)


def _truth(truth: Volume, volume: Volume, place: _Place) -> Plane:
    """The truth of a plane, (C, h, w)."""
    spans = dict(zip(volume.axes.names, place.region, strict=True))
    region = []
    for axis, size in zip(truth.axes, truth.shape, strict=True):
        if axis.name in "TZ":
            at = place.at.get(axis.name, 0) if size > 1 else 0
            region.append(slice(at, at + 1))
        else:
            region.append(spans.get(axis.name, slice(0, size)))
    plane: Plane = truth.axes.as_planes(truth.read(tuple(region)))[0]
    return plane


def _scaled(clean: Plane, noisy: Plane, name: str) -> NDArray[np.float64]:
    """The truth on the scale of the noisy plane, channel by channel."""
    made = []
    for truth, image in zip(clean, noisy, strict=True):
        line = affine_fit(truth, image)
        if not line.slope > 0:
            msg = (
                f"the truth {name} does not look like the image: where it is bright, "
                f"the image is not; give the one that belongs to it"
            )
            raise DataError(msg)
        made.append(line.slope * truth.astype(np.float64) + line.intercept)
    return np.stack(made)


def _ssim(made: Plane, clean: Plane, peak: float) -> float:
    try:
        return ssim(made, clean, peak)
    except DataError:
        return float("nan")
