"""Whether the planes next to a plane tell of it what its own pixels do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_blindsound.images.context import NO_CONTEXT, Context

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindsound.images.volume import Volume


@dataclass(frozen=True)
class Choice:
    """Neighbors that pay, and why."""

    context: Context
    words: str


def choose_context(
    volumes: Sequence[Volume], *, region: tuple[int, int] = (0, 0), seed: int = 0
) -> Choice:
    """Choose."""
    del volumes, region, seed
    return Choice(NO_CONTEXT, "not looked at")
