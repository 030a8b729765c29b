"""Neighboring planes as context: how many, along which axis, and how they are read.

A plane is seen together with those before and after it along Z or T. Beyond the ends of
a stack the planes next to its end take their places, such that none is ever its own
neighbor: a blind pixel would be seen there. With one neighbor on each side that is the
reflection about the outermost plane. Planes in a row share their neighbors: windows
over them are views, not copies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from napari_blindsound.errors import ModelMismatchError
from napari_blindsound.images.pixels import require_finite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindsound.images.volume import Region, Volume

Pixels = npt.NDArray[Any]


@dataclass(frozen=True)
class Context:
    """Neighboring planes that a plane is seen with.

    Parameters
    ----------
    axis : {"Z", "T"}
        Along which they follow one another; without meaning where there are none.
    planes : int
        On each side, from 0 up.
    """

    axis: Literal["Z", "T"] = "Z"
    planes: int = 0

    @property
    def depth(self) -> int:
        """Planes in a window: the one in the middle, and its neighbors."""
        return 2 * self.planes + 1

    @property
    def name(self) -> str:
        """As in the settings of a method: ``none``, ``Z1``, ``T2``."""
        return f"{self.axis}{self.planes}" if self.planes else "none"

    @property
    def words(self) -> str:
        """For people: ``1 neighboring plane along Z on each side``."""
        if not self.planes:
            return "no neighboring planes"
        plural = "s" if self.planes > 1 else ""
        return f"{self.planes} neighboring plane{plural} along {self.axis} on each side"

    def fits(self, volume: Volume) -> bool:
        """Whether an image has neighbors to give."""
        if not self.planes:
            return True
        names = volume.axes.names
        has = volume.shape[names.index(self.axis)] if self.axis in names else 1
        return has > self.planes

    def check(self, volume: Volume) -> None:
        """Refuse an image without neighbors.

        Raises
        ------
        ModelMismatchError
            With what the model uses, and what to give.
        """
        if self.fits(volume):
            return
        msg = (
            f"the model uses {self.words} of each plane, but {volume.name} has axes "
            f"{volume.axes.names} of {volume.shape}: give a stack of at least "
            f"{self.planes + 1} planes along {self.axis}, or train a model with "
            f"context=none"
        )
        raise ModelMismatchError(msg)

    def grown(self, volume: Volume, region: Region) -> Region:
        """Region of all planes that those of a region are seen with."""
        if not self.planes:
            return region
        at, places = volume.axes.index(self.axis), self.places(volume, region)
        span = slice(int(places.min()), int(places.max()) + 1)
        return (*region[:at], span, *region[at + 1 :])

    def read(
        self, volume: Volume, region: Region, halo: int | tuple[int, ...] = 0
    ) -> Pixels:
        """As `Volume.read`, grown by the neighbors along the axis.

        Parameters
        ----------
        volume : Volume
            An image that this :meth:`fits`.
        region : tuple of slice
            One per axis, inside the image.
        halo : int or tuple of int
            As there; 0 along the axis.
        """
        grown = self.grown(volume, region)
        block = volume.read(grown, halo)
        if not self.planes:
            return block
        at = volume.axes.index(self.axis)
        places = self.places(volume, region) - grown[at].start
        if len(places) == block.shape[at] and (np.diff(places) == 1).all():
            return block
        taken: Pixels = block.take(places, axis=at)
        return taken

    def places(self, volume: Volume, region: Region) -> npt.NDArray[np.intp]:
        """Positions along the axis of a region's planes and of those around them."""
        at, around = volume.axes.index(self.axis), self.planes
        span, size = region[at], volume.shape[at]
        places: npt.NDArray[np.intp] = np.arange(
            span.start - around, span.stop + around
        )
        places[places < 0] += around + 1
        places[places >= size] -= around + 1
        return places

    def windows(self, planes: Pixels, lead: Sequence[int], names: str) -> Pixels:
        """Every plane with its neighbors, as `center_first` takes them.

        Parameters
        ----------
        planes : ndarray
            (N, C, h, w), N running over the T and Z axes, grown along this one.
        lead : sequence of int
            Sizes along these axes, not grown.
        names : str
            Axes of the image, in its order.

        Returns
        -------
        ndarray
            (N, depth * C, h, w), the planes of a window in their order along the axis.
            A view that must not be written to, unless the other of the two axes, or the
            order of the axes, stands in between.
        """
        if not self.planes:
            return planes
        at = [name for name in names if name in "TZ"].index(self.axis)
        grown = list(lead)
        grown[at] += 2 * self.planes
        stack = planes.reshape(*grown, *planes.shape[1:])
        seen = np.lib.stride_tricks.sliding_window_view(stack, self.depth, axis=at)
        seen = np.moveaxis(seen, -1, len(grown))
        channels, *sides = planes.shape[1:]
        return seen.reshape(-1, self.depth * channels, *sides)


NO_CONTEXT = Context()


def center_first(windows: Pixels, planes: int) -> Pixels:
    """Windows as networks take them: the plane in the middle before its neighbors.

    Parameters
    ----------
    windows : ndarray
        (..., 2 planes + 1, C, h, w) in the order of the axis.
    planes : int
        Neighbors on each side.

    Returns
    -------
    ndarray
        (..., (2 planes + 1) C, h, w), a copy where there are neighbors.
    """
    depth, channels, *sides = windows.shape[-4:]
    if planes:
        order = [planes, *range(planes), *range(planes + 1, depth)]
        windows = windows[..., order, :, :, :]
    return windows.reshape(*windows.shape[:-4], depth * channels, *sides)


def read_around(
    volume: Volume, region: Region, context: Context, halo: int = 0
) -> Pixels:
    """Planes of a region with its neighbors along the context, and a halo.

    Parameters
    ----------
    volume : Volume
        The image.
    region : tuple of slice
        One per axis, inside the image.
    context : Context
        How many planes on each side of the region.
    halo : int
        Of Y and X; not looked at for pixels that are no numbers.

    Returns
    -------
    ndarray
        (N, C, h + 2 halo, w + 2 halo), N running over the T and Z axes.

    Raises
    ------
    DataError
        If a pixel of the planes is NaN or infinite.
    """
    axes, counts = volume.axes, context.read(volume, region, halo)
    inside = tuple(
        slice(halo, size - halo) if axis.name in "YX" else slice(None)
        for axis, size in zip(axes, counts.shape, strict=True)
    )
    core = counts[inside]
    if core.dtype.kind == "f" and not np.isfinite(core.sum(dtype=np.float64)):
        # Positions of single planes can be named where none comes twice.
        real = context.grown(volume, region)
        require_finite(volume.read(real), real, axes, volume.name)
    return axes.as_planes(counts)
