"""What the dock of comparisons has done in threads; torch is imported here, on use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from pathlib import Path

    from napari_blindsound.comparison import CompareConfig
    from napari_blindsound.comparison.run import Comparison, Told
    from napari_blindsound.images.volume import Volume


@dataclass(frozen=True)
class Contestant:
    """What can take part.

    Parameters
    ----------
    name, title : str
        What it is asked for by, and shown as.
    words : str
        What it assumes, costs and cannot do.
    is_reference : bool
        Whether it is classical: nothing is learned.
    is_installed : bool
        Whether it can be used here.
    """

    name: str
    title: str
    words: str
    is_reference: bool
    is_installed: bool = True


@dataclass(frozen=True)
class Began:
    """A comparison has begun.

    Parameters
    ----------
    comparison : Comparison
        To read when it is done.
    """

    comparison: Comparison


def offering(stop: threading.Event) -> Iterator[tuple[Contestant, ...]]:
    """Import what is large, and tell what can take part, references first."""
    from napari_blindsound.comparison import run
    from napari_blindsound.methods import available
    from napari_blindsound.quality.references import references

    # Needed when Start is pressed; what it imports takes seconds.
    del run
    classical = [
        Contestant(
            kind.name,
            kind.title,
            f"{kind.words}." if kind.is_installed else f"{kind.remedy}.",
            is_reference=True,
            is_installed=kind.is_installed,
        )
        for kind in references().values()
    ]
    trained = [
        Contestant(
            name,
            method.title,
            f"Assumes: {method.assumes}. Cost: {method.cost}. Limits: {method.limits}.",
            is_reference=False,
        )
        for name, method in available().items()
    ]
    if not stop.is_set():
        yield (*classical, *trained)


def comparing(
    volume: Volume, truth: Volume | None, config: CompareConfig, stop: threading.Event
) -> Iterator[Began | Told]:
    """Run a comparison on all cores but one, which the window needs."""
    from napari_blindsound.comparison.run import Comparison
    from napari_blindsound.inference.background import leave_a_core

    leave_a_core()
    comparison = Comparison(volume, config, truth)
    yield Began(comparison)
    yield from comparison.run(stop)


def reporting(
    comparison: Comparison, folder: Path, stop: threading.Event
) -> Iterator[Path]:
    """Write tables, pictures and models, in place of an earlier comparison."""
    from napari_blindsound.comparison.report import check_folder, write_report

    check_folder(folder, overwrite=True)
    if not stop.is_set():
        yield write_report(comparison, folder)
