"""What the batch dock has done in threads: generators, which end when told to stop."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_blindsound.batch import Found, RowEvent
    from napari_blindsound.gui.batch_choice import Choice
    from napari_blindsound.images.layers import LayerData

EVENTS_PER_SECOND = 10


@dataclass(frozen=True)
class Began:
    """A run has begun to compute.

    Parameters
    ----------
    device : str
        Where.
    """

    device: str


@dataclass(frozen=True)
class Looked:
    """What was found below some paths.

    Parameters
    ----------
    images : tuple of Found
        In their order.
    missing : tuple of str
        Why there is nothing in some of them.
    """

    images: tuple[Found, ...]
    missing: tuple[str, ...]


def finding(paths: Sequence[Path], stop: threading.Event) -> Iterator[Looked]:
    """List the images in files and folders."""
    from napari_blindsound.batch import find_images
    from napari_blindsound.errors import BlindsoundError

    images: list[Found] = []
    missing = []
    for path in paths:
        try:
            found = find_images([path])
        except BlindsoundError as error:
            missing.append(str(error))
            continue
        if not found:
            missing.append(f"{path.name} holds no image: drop another folder")
        images += found
    if not stop.is_set():
        yield Looked(tuple(images), tuple(missing))


def running(
    images: Sequence[Found], choice: Choice, command: str, stop: threading.Event
) -> Iterator[Began | tuple[RowEvent, ...]]:
    """Denoise them, and tell the last of each row, not more often than can be seen."""
    from napari_blindsound.batch import run_batch
    from napari_blindsound.networks.device import pick_device

    config = choice.config()
    yield Began(str(pick_device(choice.device)))
    yield from _paced(run_batch(images, config, stop=stop, command=command))


def opening(path: Path, stop: threading.Event) -> Iterator[list[LayerData]]:
    """Open a result lazily."""
    from napari_blindsound.images.layers import volume_to_layers
    from napari_blindsound.images.open import open_volume

    layers = volume_to_layers(open_volume(path))
    if not stop.is_set():
        yield layers


def _paced(events: Iterator[RowEvent]) -> Iterator[tuple[RowEvent, ...]]:
    """Pass on events, several at once where they come too fast.

    Ten may follow each other at once, so that what begins is told when it begins; then
    as many a second.
    """
    latest: dict[int | None, RowEvent] = {}
    saved, before = float(EVENTS_PER_SECOND), time.monotonic()
    for event in events:
        latest[event.row] = event
        now = time.monotonic()
        saved = min(saved + (now - before) * EVENTS_PER_SECOND, EVENTS_PER_SECOND)
        before = now
        if saved >= 1:
            saved -= 1
            yield tuple(latest.values())
            latest.clear()
    if latest:
        yield tuple(latest.values())
