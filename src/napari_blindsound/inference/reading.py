"""How a region of an image is read for denoising: with its halo, as a batch of planes.

The region is grown to the network's stride, so that its rows and columns meet the same
pooling grid as in the whole image, and by the halo: real neighbors inside the image,
reflection beyond its border; and by the planes that the operator sees beside each.
Pixels that are no numbers are refused here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_blindsound.errors import ModelMismatchError
from napari_blindsound.images.context import NO_CONTEXT, Context
from napari_blindsound.images.pixels import require_finite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindsound.images.volume import Region, Volume
    from napari_blindsound.inference.tiling import TileOperator


@dataclass(frozen=True)
class Padded:
    """Planes of a region, with the context that denoising them needs.

    Parameters
    ----------
    pixels : ndarray
        (N, C, H + 2 halo, W + 2 halo) in the source's dtype; H and W are multiples of
        the stride and begin on one. With neighboring planes (N, depth * C, ...), a view
        in which planes that several windows share are there once.
    core : tuple of slice
        Rows and columns, within (H, W), of the region that was asked for.
    lead : tuple of int
        Sizes of the region along its T and Z axes, in the source's order.
    halo : int
        Of the operator.
    context : Context
        Of the operator: planes in a window.
    """

    pixels: npt.NDArray[Any]
    core: tuple[slice, slice]
    lead: tuple[int, ...]
    halo: int
    context: Context = NO_CONTEXT

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape (N, C, H, W) of what the operator makes of it."""
        n, inputs, height, width = self.pixels.shape
        channels = inputs // self.context.depth
        return n, channels, height - 2 * self.halo, width - 2 * self.halo

    @property
    def n_pixels(self) -> int:
        """Pixels of what the operator makes of it, channels not counted."""
        n, _, height, width = self.shape
        return n * height * width

    @property
    def noisy(self) -> npt.NDArray[Any]:
        """Pixels of the region itself, (N, C, h, w), a view."""
        rows, columns = (
            slice(span.start + self.halo, span.stop + self.halo) for span in self.core
        )
        channels, first = self.shape[1], self.context.planes
        own = slice(first * channels, (first + 1) * channels)
        return self.pixels[:, own, rows, columns]


def context_of(operator: TileOperator) -> Context:
    """Neighboring planes that an operator sees beside each plane; mostly none."""
    found: Context = getattr(operator, "context", NO_CONTEXT)
    return found


def check_channels(operator: TileOperator, volume: Volume) -> None:
    """Refuse an image with another number of channels, or too few planes.

    Raises
    ------
    ModelMismatchError
        With what the model needs and what to do.
    """
    if volume.n_channels == operator.n_channels:
        context_of(operator).check(volume)
        return
    remedy = (
        "pick one channel, such as volume.select(C=0)"
        if operator.n_channels == 1
        else "train a model on these channels"
    )
    msg = (
        f"the model denoises {operator.n_channels} channel(s) jointly, but "
        f"{volume.name} has {volume.n_channels} (axes {volume.axes.names}, shape "
        f"{volume.shape}): {remedy}"
    )
    raise ModelMismatchError(msg)


def read_padded(operator: TileOperator, volume: Volume, region: Region) -> Padded:
    """Read a region with the operator's halo, grown to its stride.

    Parameters
    ----------
    operator : TileOperator
        The denoiser.
    volume : Volume
        The noisy image; all its channels are read.
    region : tuple of slice
        One per axis of the volume.

    Raises
    ------
    DataError
        If a pixel is NaN or infinite.
    """
    halo, stride, context = operator.halo, operator.stride, context_of(operator)
    inner, pads, lead = list(region), [0] * volume.ndim, []
    beyond, core = {}, {}
    for i, (axis, span) in enumerate(zip(volume.axes, region, strict=True)):
        size = volume.shape[i]
        if axis.name == "C":
            inner[i] = slice(0, size)
        elif axis.name in "YX":
            start = span.start // stride * stride
            stop = math.ceil(span.stop / stride) * stride
            core[axis.name] = slice(span.start - start, span.stop - start)
            # A read grows alike on both sides: what the last tile needs beyond the
            # border is read before its first row as well, and cut away below.
            beyond[axis.name] = max(0, stop - size)
            inner[i] = slice(start, min(stop, size))
            pads[i] = halo + beyond[axis.name]
        else:
            lead.append(span.stop - span.start)
    block = _read_finite(volume, tuple(inner), tuple(pads), context)
    planes = volume.axes.as_planes(block)[..., beyond["Y"] :, beyond["X"] :]
    windows = context.windows(planes, lead, volume.axes.names)
    return Padded(windows, (core["Y"], core["X"]), tuple(lead), halo, context)


def _read_finite(
    volume: Volume, region: Region, pads: tuple[int, ...], context: Context
) -> npt.NDArray[Any]:
    block = context.read(volume, region, pads)
    if block.dtype.kind == "f" and not np.isfinite(block.sum(dtype=np.float64)):
        # Reflected pixels all come from this part of the image, whose positions, unlike
        # those of a padded block, can be named.
        real = tuple(
            slice(max(0, span.start - pad), min(span.stop + pad, size))
            for span, pad, size in zip(
                context.grown(volume, region), pads, volume.shape, strict=True
            )
        )
        require_finite(volume.read(real), real, volume.axes, volume.name)
    return block


def unstack(
    planes: npt.NDArray[Any], source: str, lead: Sequence[int], target: str
) -> npt.NDArray[Any]:
    """Turn planes back into a block: the inverse of `Axes.as_planes`.

    Parameters
    ----------
    planes : ndarray
        (N, C, h, w), N running over the T and Z axes in the order of `source`.
    source : str
        Axes of the image the planes came from.
    lead : sequence of int
        Sizes along its T and Z axes.
    target : str
        Axes wanted, the same letters in any order.
    """
    order = [name for name in source if name not in "CYX"] + list("CYX")
    block = planes.reshape(*lead, *planes.shape[1:])
    if "C" not in source:
        block = block[..., 0, :, :]
        order.remove("C")
    return block.transpose([order.index(name) for name in target])
