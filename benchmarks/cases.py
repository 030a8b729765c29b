"""Noisy images with their truth, for benchmarks: captures of FMDD, or phantoms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_blindsound.images.fmdd import find_fmdd
from napari_blindsound.images.phantom import phantom
from napari_blindsound.quality.metrics import fmdd_scores, psnr, ssim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_blindsound.images.volume import Volume

    Images = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Case:
    """Noisy images with their truth.

    Parameters
    ----------
    name : str
    volume : Volume
        What is trained on.
    noisy : ndarray
        (N, H, W) counts.
    truth : ndarray
        (H, W) or (N, H, W).
    data_range : float
    is_fmdd : bool
        Whether both are rounded to 8 bits.
    """

    name: str
    volume: Volume
    noisy: Images
    truth: Images
    data_range: float
    is_fmdd: bool

    def scores(self, images: Images) -> tuple[float, float]:
        """Mean PSNR and SSIM."""
        truths = np.broadcast_to(self.truth, images.shape)
        pairs = zip(images, truths, strict=True)
        found = [
            fmdd_scores(image, truth)
            if self.is_fmdd
            else (
                psnr(image, truth, self.data_range),
                ssim(image, truth, self.data_range),
            )
            for image, truth in pairs
        ]
        return tuple(np.mean(found, axis=0).tolist())


def phantoms(count: int, size: int) -> Iterator[Case]:
    """Synthetic cells, each an image by itself."""
    for seed in range(count):
        made = phantom("2d", size=size, seed=seed)
        wide = float(np.ptp(made.clean))
        noisy, clean, name = made.noisy[None], made.clean[None], f"phantom {seed}"
        yield Case(name, made.volume(), noisy, clean, wide, is_fmdd=False)


def captures(
    root: Path, types: Sequence[str] | None, fov: str, count: int
) -> Iterator[Case]:
    """The first captures of one field of view, type by type."""
    for view in find_fmdd(root):
        if view.fov == fov and view.type in (types or [view.type]):
            volume = view.noisy()
            volume = volume.select(T=slice(0, min(count, volume.shape[0])))
            noisy = volume.read(tuple(slice(0, size) for size in volume.shape))
            truth = view.ground_truth()
            yield Case(view.type, volume, noisy, truth, 255.0, is_fmdd=True)
