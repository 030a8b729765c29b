"""Where a model comes from: written into it, and read by whoever doubts it."""

from __future__ import annotations

import math
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_blindsound import methods as registry
from napari_blindsound.training.several import seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.noise.neighbors import Choice
    from napari_blindsound.recipe.recipe import Recipe
    from napari_blindsound.training.start import Start
    from napari_blindsound.training.trainer import Trainer


def provenance(
    recipe: Recipe,
    images: Sequence[Volume],
    trainers: Sequence[Trainer],
    *,
    ended: str,
    starts: Sequence[Start],
    choice: Choice | None,
) -> dict[str, Any]:
    """What is known of a training as it is now, for JSON.

    Parameters
    ----------
    recipe : Recipe
        As it was given, with what its preset says.
    images : sequence of Volume
        Trained on.
    trainers : sequence of Trainer
        One a network.
    ended : str
        Why the training is over, or that it has not begun.
    starts : sequence of Start
        First weights of the networks.
    choice : Choice or None
        Of the neighboring planes, where it was left to the images.
    """
    package = registry.package_of(registry.find(recipe.method))
    return {
        "recipe": recipe.model_dump(mode="json"),
        "trained_on": [
            {
                "name": image.name,
                "source": image.source,
                "axes": image.axes.names,
                "shape": list(image.shape),
                "dtype": str(image.dtype),
                "channels": list(image.channel_names),
            }
            for image in images
        ],
        "steps": [trainer.step for trainer in trainers],
        "one_thread_after": [t.one_thread_after for t in trainers],
        "seconds": round(seconds(trainers), 3),
        "device": str(trainers[0].device),
        "ended": ended,
        **({} if choice is None else {"context": choice.words}),
        **_started(starts),
        **_judged(trainers),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        **({"package": package} if package else {}),
    }


def _started(starts: Sequence[Start]) -> dict[str, Any]:
    """First weights of the networks, and why these, where there was a choice."""
    if not any(start.words for start in starts):
        return {}
    return {
        "started_from": [start.member for start in starts],
        "start": [start.words for start in starts],
    }


def _judged(trainers: Sequence[Trainer]) -> dict[str, Any]:
    """What the networks found of themselves, where they were asked to."""
    judged = [(t.stopping, t.step) for t in trainers if t.stopping]
    kept = [stopping.kept for stopping, _ in judged]
    if not any(kept):
        return {}
    gains = [found.gain if found else math.nan for found in kept]
    return {
        "kept_steps": [stopping.kept_step(step) for stopping, step in judged],
        # JSON has no word for what is no number.
        "estimated_gain": [g if math.isfinite(g) else None for g in gains],
        "estimated_from": judged[0][0].source,
    }


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    return {
        "napari-blindsound": version("napari-blindsound"),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
