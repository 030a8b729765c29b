"""The trust tests and their report, done in a thread; torch is imported there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from pathlib import Path

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.quality.trust import Trust


@dataclass(frozen=True, eq=False)
class Tested:
    """What the tests found, and of what.

    Parameters
    ----------
    trust : Trust
    model : Denoiser
    volume : Volume
    """

    trust: Trust
    model: Denoiser
    volume: Volume


def testing(model: Denoiser, volume: Volume, stop: threading.Event) -> Iterator[Tested]:
    """Test a model on an image; nothing is told if it is stopped."""
    from napari_blindsound.quality.trust import trust

    found = trust(model, volume, stop=stop)
    if not found.stopped:
        yield Tested(found, model, volume)


def reporting(
    tested: Tested,
    path: Path,
    overwrite: bool,  # noqa: FBT001 - handed over by place, as all work is
    stop: threading.Event,
) -> Iterator[Path]:
    """Write the page about it."""
    from napari_blindsound.quality.report import report

    if not stop.is_set():
        yield report(
            tested.trust, tested.model, tested.volume, path, overwrite=overwrite
        )
