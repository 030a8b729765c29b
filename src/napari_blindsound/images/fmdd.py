"""The FMDD data set as it comes: ``TYPE/raw/FOV/*.png``, ``TYPE/gt/FOV/avg50.png``.

Y. Zhang et al., A Poisson-Gaussian denoising dataset with real fluorescence microscopy
images, CVPR 2019. Each view (FOV) was captured 50 times; its ground truth is the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_blindsound.errors import ImageFormatError, ImageNotFoundError
from napari_blindsound.images.frames import (
    PNG,
    frame_kind,
    open_frames,
    read_frame,
)
from napari_blindsound.images.sorting import natural_order

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_blindsound.images.volume import Volume

_RAW, _GROUND_TRUTH = "raw", Path("gt")
_MEAN = "avg50.png"


@dataclass(frozen=True)
class FmddView:
    """One field of view of one microscope and sample.

    Parameters
    ----------
    type : str
        Microscope and sample, "Confocal_FISH".
    fov : str
        Number of the view, "19" being the one that papers test on.
    captures : tuple of pathlib.Path
        Noisy single captures, in the order of their names.
    truth : pathlib.Path or None
        The mean of 50 captures, where it is there.
    """

    type: str
    fov: str
    captures: tuple[Path, ...]
    truth: Path | None

    def noisy(self) -> Volume:
        """Open the captures as one lazy stack, (T, Y, X)."""
        folder = self.captures[0].parent
        name = f"{self.type} {self.fov}"
        return open_frames(self.captures, name=name, source=str(folder))

    def ground_truth(self) -> npt.NDArray[Any]:
        """Read the mean of 50 captures, (Y, X) uint8.

        Raises
        ------
        ImageNotFoundError
            If it is not there.
        """
        if self.truth is None:
            msg = (
                f"view {self.fov} of {self.type} has no ground truth: it belongs in "
                f"{_GROUND_TRUTH / self.fov / _MEAN}, beside the folder {_RAW}"
            )
            raise ImageNotFoundError(msg)
        shape, _ = frame_kind(self.truth)
        return read_frame(self.truth, (slice(0, shape[0]), slice(0, shape[1])), shape)


def find_fmdd(path: Path) -> list[FmddView]:
    """List the views below a folder, in the natural order of their names.

    Parameters
    ----------
    path : pathlib.Path
        Root of the data set, or one TYPE, its ``raw``, or one FOV in it.

    Returns
    -------
    list of FmddView
        Empty where the folder has another layout.
    """
    path = path.absolute()
    if path.parent.name == _RAW:
        return _views([path])
    if path.name == _RAW:
        return _views(_folders(path))
    if (path / _RAW).is_dir():
        return _views(_folders(path / _RAW))
    kinds = [kind for kind in _folders(path) if (kind / _RAW).is_dir()]
    return [view for kind in kinds for view in _views(_folders(kind / _RAW))]


def open_fmdd(views: list[FmddView], path: Path, *, axes: str | None = None) -> Volume:
    """Open all captures of the views of one type as one lazy stack, (T, Y, X).

    Parameters
    ----------
    views : list of FmddView
        What `find_fmdd` found; not empty.
    path : pathlib.Path
        The folder they were found in.
    axes : str, optional
        "TYX" by default.

    Raises
    ------
    ImageFormatError
        If the views are of several types, whose noise differs.
    """
    types = list(dict.fromkeys(view.type for view in views))
    if len(types) > 1:
        msg = (
            f"{path} holds {len(types)} types of images, each with noise of its own: "
            f"give one of {', '.join(str(path / kind) for kind in types)}"
        )
        raise ImageFormatError(msg)
    name = types[0] if len(views) > 1 else f"{types[0]} {views[0].fov}"
    captures = [capture for view in views for capture in view.captures]
    return open_frames(captures, axes=axes, name=name, source=str(path))


def _views(fovs: list[Path]) -> list[FmddView]:
    """Views of the FOV folders below one ``raw`` that hold captures."""
    views = []
    for fov in fovs:
        captures = natural_order(p for p in fov.iterdir() if p.suffix.lower() == PNG)
        if captures:
            kind = fov.parent.parent
            truth = kind / _GROUND_TRUTH / fov.name / _MEAN
            found = truth if truth.is_file() else None
            views.append(FmddView(kind.name, fov.name, tuple(captures), found))
    return views


def _folders(path: Path) -> list[Path]:
    return natural_order(entry for entry in path.iterdir() if entry.is_dir())
