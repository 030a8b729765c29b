"""Which channels are denoised, and by how many networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_blindsound.gui.combo import Combo

if TYPE_CHECKING:
    from napari_blindsound.images.volume import Volume

_EACH, _JOINT = "all, one network each", "all, jointly"


class ChannelChoice(Combo):
    """One channel, or all of them; empty where there is only one."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Channel")
        self.setToolTip(
            "Which channels to denoise. One network for all jointly where they show "
            "the same structures; otherwise one each"
        )

    @property
    def is_needed(self) -> bool:
        """Whether there are channels to choose from."""
        return self.count() > 0

    @property
    def channel(self) -> int | None:
        """The one chosen, None for all."""
        at = self.currentIndex()
        return at if 0 <= at < self.count() - 2 else None

    @property
    def joint(self) -> bool:
        """Whether one network learns all channels."""
        return self.is_needed and self.currentIndex() == self.count() - 1

    def show_image(self, image: Volume | None, channel: int | None = None) -> None:
        """Offer the channels of an image.

        Parameters
        ----------
        image : Volume or None
            None offers nothing.
        channel : int, optional
            The one to begin with; all if not given.
        """
        self.clear()
        if image is None or image.n_channels < 2:
            return
        names = image.channel_names or [f"channel {n}" for n in range(image.n_channels)]
        self.addItems([*names, _EACH, _JOINT])
        self.setCurrentIndex(len(names) if channel is None else channel)
