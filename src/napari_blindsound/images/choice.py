"""Which of several images in one file is meant: the user's word, never a guess."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_blindsound.errors import ImageFormatError, SeveralImagesError

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN = 12


def choose(labels: Sequence[str], wanted: int | None, what: str) -> int:
    """Position of the image to open.

    Parameters
    ----------
    labels : sequence of str
        What to say of each image: its name, its shape.
    wanted : int or None
        The user's choice, needed where there are several.
    what : str
        The file, for the message.

    Raises
    ------
    SeveralImagesError
        If there are several and none was chosen.
    ImageFormatError
        If the chosen one is not there.
    """
    if wanted is None and len(labels) == 1:
        return 0
    if wanted is not None and 0 <= wanted < len(labels):
        return wanted
    listed = "; ".join(f"{i}: {label}" for i, label in enumerate(labels[:_SHOWN]))
    more = "; ..." if len(labels) > _SHOWN else ""
    asked = "" if wanted is None else f", none of them number {wanted}"
    count = f"{len(labels)} images" if len(labels) != 1 else "1 image"
    msg = f"{what} holds {count}{asked}: choose one with image=N from {listed}{more}"
    if wanted is None and labels:
        several = SeveralImagesError(msg)
        several.labels = tuple(labels)
        raise several
    raise ImageFormatError(msg)
