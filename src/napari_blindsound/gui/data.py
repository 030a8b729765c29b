"""What was chosen to be denoised, and which part of it teaches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from napari_blindsound.gui.view import Look
    from napari_blindsound.images.volume import Region, Volume


@dataclass(frozen=True)
class Data:
    """An image, as it is shown in a layer and as it is denoised.

    Parameters
    ----------
    image : Volume
        The whole file or layer, with all channels.
    shown : str
        Axes of the layer that shows it, a letter each.
    shown_channel : int, optional
        Which channel that layer shows, where the layer has no channel axis.
    paths : tuple of str
        Where it lies on disk; several are the frames of one stack. Empty for an image
        in memory.
    axes : str, optional
        What the user said of the axes, where the file does not.
    number : int, optional
        Which image of the file, where it holds several.
    channel : int, optional
        The one to denoise; all if not given.
    joint : bool
        One network for all channels instead of one each.
    ranges : mapping of str to slice
        By T, Z, Y or X: the part that is trained on. All of it is denoised.
    """

    image: Volume
    shown: str
    shown_channel: int | None = None
    paths: tuple[str, ...] = ()
    axes: str | None = None
    number: int | None = None
    channel: int | None = None
    joint: bool = False
    ranges: Mapping[str, slice] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The image's."""
        return self.image.name

    @property
    def volume(self) -> Volume:
        """What is denoised."""
        if self.channel is None or "C" not in self.image.axes:
            return self.image
        return self.image.select(C=self.channel)

    @property
    def training(self) -> Volume:
        """What is trained on."""
        return self.volume.select(**self.ranges) if self.ranges else self.volume

    @property
    def channels(self) -> Literal["each", "joint"]:
        """How several channels are trained."""
        return "joint" if self.joint else "each"

    def region(self, look: Look) -> Region | None:
        """Region of :attr:`volume` that a part of the layer shows, all its channels.

        None if it shows a channel that is not denoised.
        """
        if self.channel is not None and self._looked_channel(look) != self.channel:
            return None
        places = dict(zip(self.shown, look.region, strict=True))
        volume = self.volume
        return tuple(
            slice(0, size) if name == "C" else places[name]
            for name, size in zip(volume.axes.names, volume.shape, strict=True)
        )

    def on_layer(
        self, denoised: npt.NDArray[np.float32], look: Look
    ) -> npt.NDArray[np.float32]:
        """Pixels of :meth:`region` with the axes of the layer."""
        if "C" in self.volume.axes:
            axis = self.volume.axes.index("C")
            channel = self._looked_channel(look) or 0
            denoised = denoised.take([channel], axis=axis)
        return denoised.reshape(look.shape)

    def _looked_channel(self, look: Look) -> int | None:
        if "C" in self.shown:
            return int(look.region[self.shown.index("C")].start)
        return self.shown_channel
