"""From noisy images to a denoiser: a recipe, and the training it describes."""

from __future__ import annotations

from napari_blindsound.recipe.provenance import versions
from napari_blindsound.recipe.recipe import Recipe
from napari_blindsound.recipe.training import Training

__all__ = ["Recipe", "Training", "versions"]
