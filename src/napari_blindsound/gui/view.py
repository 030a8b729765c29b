"""What somebody looks at: which plane of a layer, and which part of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_blindsound.images.volume import Region


@dataclass(frozen=True)
class Look:
    """The visible part of a layer, in its pixels at full resolution.

    Parameters
    ----------
    region : Region
        One slice an axis of the layer: of size 1 along the sliders, what is visible
        along Y and X.
    """

    region: Region

    @property
    def offset(self) -> tuple[int, ...]:
        """First pixel along each axis."""
        return tuple(part.start for part in self.region)

    @property
    def shape(self) -> tuple[int, ...]:
        """Pixels along each axis."""
        return tuple(part.stop - part.start for part in self.region)

    def within(self, pixels: int) -> Look:
        """The middle of it, if it is larger than a number of pixels."""
        excess = (np.prod(self.shape, dtype=float) / pixels) ** 0.5
        if excess <= 1:
            return self
        return Look(
            tuple(
                _middle(part, max(1, int((part.stop - part.start) / excess)))
                for part in self.region
            )
        )


def looked_at(viewer: Viewer, layer: Image, axes: str) -> Look | None:
    """Say which pixels of a layer are on screen.

    Parameters
    ----------
    viewer : Viewer
        The layer's.
    layer : Image
        As it is displayed now.
    axes : str
        What the layer's axes mean, a letter each.

    Returns
    -------
    Look or None
        None if nothing of it is on screen, or if another plane than Y and X is (turned
        axes, the 3-D view).
    """
    if viewer.dims.ndisplay != 2:
        return None
    displayed = [axis - viewer.dims.ndim for axis in viewer.dims.displayed]
    if {axes[axis] for axis in displayed if -axis <= len(axes)} != {"Y", "X"}:
        return None
    shape = (layer.data[0] if layer.multiscale else layer.data).shape
    point = np.round(pixel_at(viewer, layer, viewer.dims.point)).astype(int)
    corners = np.asarray(layer.corner_pixels, dtype=float)
    if layer.multiscale:
        corners = corners * np.asarray(layer.downsample_factors[layer.data_level])
    region = []
    for axis, (name, size) in enumerate(zip(axes, shape, strict=True)):
        if name in "YX":
            low = max(0, int(np.floor(corners[0, axis])))
            high = min(int(size), int(np.ceil(corners[1, axis])) + 1)
        else:
            low, high = int(point[axis]), int(point[axis]) + 1
        if not 0 <= low < high <= size:
            return None
        region.append(slice(low, high))
    return Look(tuple(region))


def pixel_at(
    viewer: Viewer, layer: Image, position: Sequence[float] | npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """World coordinates of a viewer as pixels of a layer."""
    place = np.array(position[-layer.ndim :], dtype=float)
    # The viewer may count in other units than the layer.
    units = tuple(viewer.dims.units)[-layer.ndim :]
    for axis, (theirs, ours) in enumerate(zip(units, layer.units, strict=True)):
        if theirs != ours and theirs.is_compatible_with(ours):
            place[axis] = ours.m_from(place[axis] * theirs)
    return np.asarray(layer.world_to_data(place), dtype=float)


def _middle(part: slice, count: int) -> slice:
    size = part.stop - part.start
    start = part.start + max(0, (size - count) // 2)
    return slice(start, start + min(size, count))
