"""Parts of images by what users call them: a channel, a range along an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_blindsound.errors import AxesError, ImageFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_blindsound.images.volume import Volume


def with_channel(volume: Volume, wanted: str) -> Volume:
    """One channel of an image, by number, counted from 0, or by name.

    Raises
    ------
    AxesError
        If there is no such channel.
    """
    if "C" not in volume.axes:
        if wanted == "0":
            return volume
        msg = (
            f"{volume.name} has no channels (its axes are {volume.axes.names}); leave "
            f"the channel out, or say which of the axes is C"
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


def check_alike(volumes: Sequence[Volume]) -> None:
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
                f"{other.n_channels}; train on images alike, or on one channel of each"
            )
            raise ImageFormatError(msg)


def part_of(volume: Volume, spans: Mapping[str, tuple[int, int]]) -> Volume:
    """Part of an image that may end earlier than asked for.

    Parameters
    ----------
    volume : Volume
        The whole.
    spans : mapping of str to tuple of int
        By the letter of the axis, from a position up to but not including another.

    Raises
    ------
    AxesError
        If there is no such axis, or it ends before the part begins.
    """
    for name, (start, stop) in spans.items():
        if name not in volume.axes:
            msg = (
                f"{volume.name} has no axis {name} of which to train on a part (its "
                f"axes are {volume.axes.names}); leave that part out"
            )
            raise AxesError(msg)
        size = volume.shape[volume.axes.index(name)]
        if start >= size:
            msg = (
                f"{volume.name} ends at {name}={size - 1}, before the part to train "
                f"on, {start}:{stop}; give a part that is inside"
            )
            raise AxesError(msg)
    return volume.select(**{name: slice(*span) for name, span in spans.items()})
