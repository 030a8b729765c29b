"""Clean images of another source, which a denoiser may learn from beside noisy ones.

They need not show the same things, nor come from the same camera: each is brought to
the network's range by its own brightness, and noise is drawn for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from napari_blindsound.errors import DataError, ImageNotFoundError
from napari_blindsound.images.intensity import Intensity
from napari_blindsound.images.ngff import is_zarr
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.sample import sample_planes
from napari_blindsound.networks.symmetry import ALL_TURNS, turned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from napari_blindsound.images.volume import Volume

_PIXELS = 20_000_000  # of all images, held in memory
_FILES = 500
_SUFFIXES = (".png", ".tif", ".tiff", ".npy")


class CleanImages:
    """Normalized planes to cut random crops from.

    Parameters
    ----------
    planes : sequence of Tensor
        (C, h, w), normalized, at least as large as the crops.

    Notes
    -----
    Copies of a method share them: they are no part of what is learned.
    """

    def __init__(self, planes: Sequence[Tensor]) -> None:
        self._planes = tuple(planes)
        areas = [float(plane[0].numel()) for plane in planes]
        self._areas = torch.tensor(areas)

    @classmethod
    def read(cls, path: str, channels: int, side: int) -> Self:
        """Read an image, or all images of a folder.

        Parameters
        ----------
        path : str
            File, URL or folder, of any scale and bit depth.
        channels : int
            That they must have; for 1, channels are taken for images of their own.
        side : int
            Of the crops to come, in pixels.

        Raises
        ------
        BlindsoundError
            If there is no such image, it cannot be read, has other channels, is
            constant, or if none is large enough.
        """
        planes: list[Tensor] = []
        sizes: list[tuple[int, ...]] = []
        volumes = list(_volumes(path))
        share = _PIXELS // len(volumes)
        for volume in volumes:
            if channels not in (1, volume.n_channels):
                msg = (
                    f"the clean image {volume.name} has {volume.n_channels} channel(s),"
                    f" but {channels} are denoised jointly: give clean images with the "
                    f"same channels, or denoise each channel on its own"
                )
                raise DataError(msg)
            intensity = Intensity.fit([volume])
            for block in sample_planes(volume, pixels=share):
                sizes.append(block.shape[-2:])
                if min(sizes[-1]) < side:
                    continue
                plane = torch.from_numpy(intensity.normalize(block, channel_axis=0))
                planes += plane.split(1) if channels == 1 else [plane]
        if not planes:
            height, width = max(sizes)
            msg = (
                f"the clean images at {path} are {width} x {height} pixels or less, but"
                f" crops of {side} x {side} are cut from them: give larger ones, or a "
                f"smaller patch"
            )
            raise DataError(msg)
        return cls(planes)

    def draw(self, count: int, side: int, random: torch.Generator) -> Tensor:
        """Crops in random places and orientations, (count, C, side, side)."""
        chosen = torch.multinomial(
            self._areas, count, replacement=True, generator=random
        )
        return torch.stack([self._crop(int(i), side, random) for i in chosen])

    def _crop(self, index: int, side: int, random: torch.Generator) -> Tensor:
        plane = self._planes[index]
        height, width = plane.shape[-2:]
        top, left, turn = (
            int(torch.randint(most, (), generator=random))
            for most in (height - side + 1, width - side + 1, len(ALL_TURNS))
        )
        return turned(plane[:, top : top + side, left : left + side], turn)

    def __deepcopy__(self, memo: object) -> Self:
        return self


def _volumes(path: str) -> Iterator[Volume]:
    """The image at a path, or those of a folder, which may differ in size."""
    folder = Path(path)
    if not folder.is_dir() or is_zarr(folder):
        yield open_volume(path)
        return
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in _SUFFIXES)
    if not files:
        msg = (
            f"no clean image in the folder {path}: expected files that end in "
            f"{', '.join(_SUFFIXES)}"
        )
        raise ImageNotFoundError(msg)
    for index in np.unique(np.linspace(0, len(files) - 1, _FILES).astype(int)):
        yield open_volume(files[index])
