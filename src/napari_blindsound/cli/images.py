"""Images as the options of a command say they are to be opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_blindsound.errors import AxesError, ImageFormatError
from napari_blindsound.images.open import open_volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindsound.cli.options import ImageOptions
    from napari_blindsound.images.volume import Volume


def opened(sources: Sequence[str], options: ImageOptions) -> list[Volume]:
    """Open images lazily, each restricted to the channel asked for.

    Raises
    ------
    BlindsoundError
        If one cannot be opened, or has no such channel.
    """
    volumes = [
        open_volume(source, axes=options.axes, image=options.image)
        for source in sources
    ]
    if options.channel is None:
        return volumes
    return [_one_channel(volume, options.channel) for volume in volumes]


def same_channels(volumes: Sequence[Volume]) -> None:
    """Refuse images that cannot be trained on together.

    Raises
    ------
    ImageFormatError
        If they differ in the number of channels.
    """
    first = volumes[0]
    for other in volumes[1:]:
        if other.n_channels != first.n_channels:
            msg = (
                f"{first.name} has {first.n_channels} channel(s) and {other.name} has "
                f"{other.n_channels}; train on images alike, or take one channel of "
                f"each (--channel 0)"
            )
            raise ImageFormatError(msg)


def _one_channel(volume: Volume, wanted: str) -> Volume:
    if "C" not in volume.axes:
        if wanted == "0":
            return volume
        msg = (
            f"{volume.name} has no channels (its axes are {volume.axes.names}); leave "
            f"--channel out, or say with --axes which axis is C"
        )
        raise AxesError(msg)
    names = volume.channel_names
    if wanted in names:
        return volume.select(C=names.index(wanted))
    if wanted.isdecimal() and int(wanted) < volume.n_channels:
        return volume.select(C=int(wanted))
    named = f", or a name: {', '.join(names)}" if names else ""
    msg = (
        f"{volume.name} has no channel {wanted!r}; give a number from 0 to "
        f"{volume.n_channels - 1}{named}"
    )
    raise AxesError(msg)
