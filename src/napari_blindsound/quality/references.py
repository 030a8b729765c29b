"""Classical denoisers to hold the trained ones against, each with the same knowledge.

They are applied as trained models are: tile by tile, lazily, to disk, counts in, counts
out, hot pixels repaired. What expects noise that is one everywhere is given the image
after the generalized Anscombe transform for the calibrated camera, and its result is
taken back without bias. Packages that are not ours are imported when they are used.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import median_filter

from napari_blindsound.errors import MissingExtraError
from napari_blindsound.images.context import NO_CONTEXT
from napari_blindsound.noise.anscombe import exact_inverse, stabilize

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_blindsound.images.context import Context
    from napari_blindsound.noise.calibration import NoiseModel
    from napari_blindsound.training.preprocessing import Preprocessing

    Floats = NDArray[Any]

NOISY = "noisy"
"""Name of the reference that does nothing."""

_MEDIAN = 3  # px
_PATCH, _REACH, _STRENGTH = 5, 6, 0.6  # of non-local means
_BM3D_REACH = 32  # px from which BM3D takes patches, and a patch
_BYTES = 200  # a pixel, of what works in float64 on several copies


@dataclass(frozen=True)
class Kind:
    """A classical method, as the user is told of it.

    Parameters
    ----------
    name, title : str
        What it is asked for by, and shown as.
    words : str
        What it does and assumes, in a sentence without a full stop.
    denoise : callable
        Takes a plane (h, w) of counts and the noise; returns counts (h, w).
    halo : int
        Pixels a side that a pixel of the result depends on.
    package, module : str
        What has to be installed for it, and what is then imported; empty for nothing.
    """

    name: str
    title: str
    words: str
    denoise: Callable[[Floats, NoiseModel], Floats]
    halo: int
    package: str = ""
    module: str = ""

    @property
    def is_installed(self) -> bool:
        """Whether it can be used here."""
        return not self.module or find_spec(self.module) is not None

    @property
    def remedy(self) -> str:
        """What to do about a package that is missing."""
        return (
            f"{self.title} needs the package {self.package}, which is not installed: "
            f"pip install {self.package}"
        )

    @property
    def versions(self) -> dict[str, str]:
        """Version of the package that it uses, by name; none without one."""
        try:
            return {self.package: version(self.package)} if self.package else {}
        except PackageNotFoundError:
            return {}


class Reference:
    """A classical method as an operator, for images of any size.

    Parameters
    ----------
    kind : Kind
        Of :func:`references`.
    preprocessing : Preprocessing
        What is known of the noise and of hot pixels, as a training finds it.

    Raises
    ------
    MissingExtraError
        If a package is not installed.
    """

    stride = 1
    context: Context = NO_CONTEXT
    output = "denoised"
    blend: float | None = None
    bytes_per_pixel = _BYTES

    def __init__(self, kind: Kind, preprocessing: Preprocessing) -> None:
        if not kind.is_installed:
            raise MissingExtraError(kind.remedy)
        self.kind, self.preprocessing = kind, preprocessing

    @property
    def halo(self) -> int:
        """Context a side, and a pixel for the repair of hot ones."""
        return self.kind.halo + 1

    @property
    def n_channels(self) -> int:
        """Channels of an image; each is denoised by itself."""
        return len(self.preprocessing.noise)

    @property
    def revision(self) -> str:
        """Name that changes whenever results would."""
        facts = self.preprocessing.noise, self.kind.versions
        return f"{self.kind.name} {facts}"

    @property
    def provenance(self) -> dict[str, Any]:
        """What was done, as plain data."""
        return {
            "reference": self.kind.name,
            "words": self.kind.words,
            "noise": [noise.to_json() for noise in self.preprocessing.noise],
            "versions": self.kind.versions,
        }

    def core(self, padded: Floats, halo: int) -> NDArray[np.float32]:
        """Denoise the core of tiles, (N, C, h + 2 halo, w + 2 halo) to (N, C, h, w)."""
        result = np.stack([self._planes(planes) for planes in padded])
        height, width = padded.shape[-2:]
        return result[..., halo : height - halo, halo : width - halo]

    def _planes(self, planes: Floats) -> NDArray[np.float32]:
        """Denoise one position, (C, h, w)."""
        if self.kind.name == NOISY:
            return planes.astype(np.float32)
        whole = self.preprocessing
        repaired = whole.restore(whole.normalize(planes))
        made = [
            self.kind.denoise(plane, noise)
            for plane, noise in zip(repaired, whole.noise, strict=True)
        ]
        return np.stack(made).astype(np.float32)


def references() -> dict[str, Kind]:
    """All classical references by name, installed or not, the noisy image first."""
    return {kind.name: kind for kind in _KINDS}


def find(name: str) -> Kind:
    """Reference of that name.

    Raises
    ------
    ValueError
        If there is none; the message lists the names there are.
    """
    try:
        return references()[name]
    except KeyError:
        msg = f"no reference {name!r}; there are {', '.join(references())}"
        raise ValueError(msg) from None


def _same(plane: Floats, _: NoiseModel) -> Floats:
    return plane


def _median(plane: Floats, _: NoiseModel) -> Floats:
    return np.asarray(median_filter(plane, _MEDIAN, mode="mirror"))


def _non_local_means(plane: Floats, noise: NoiseModel) -> Floats:
    restoration = importlib.import_module("skimage.restoration")
    stable = stabilize(plane, noise).astype(np.float64)
    made = restoration.denoise_nl_means(
        stable,
        patch_size=_PATCH,
        patch_distance=_REACH,
        h=_STRENGTH,
        sigma=1.0,
        fast_mode=True,
        preserve_range=True,
    )
    return exact_inverse(made, noise)


def _bm3d(plane: Floats, noise: NoiseModel) -> Floats:
    stable = stabilize(plane, noise).astype(np.float64)
    made = importlib.import_module("bm3d").bm3d(stable, sigma_psd=1.0)
    return exact_inverse(np.asarray(made).reshape(plane.shape), noise)


_WHITE = "noise that is independent from pixel to pixel, of the calibrated camera"
_KINDS = (
    Kind(NOISY, "Noisy image", "The image as it is, for comparison", _same, 0),
    Kind(
        "median",
        f"Median {_MEDIAN} × {_MEDIAN}",
        f"Median of {_MEDIAN} x {_MEDIAN} pixels; assumes nothing but fine sampling",
        _median,
        _MEDIAN // 2,
    ),
    Kind(
        "nlm",
        "Non-local means",
        f"Non-local means (Buades et al., CVPR 2005), patches of {_PATCH} pixels "
        f"within {_REACH}, strength {_STRENGTH} of the noise, after the generalized "
        f"Anscombe transform; assumes {_WHITE}",
        _non_local_means,
        _REACH + _PATCH // 2,
        "scikit-image",
        "skimage",
    ),
    Kind(
        "bm3d",
        "BM3D",
        "BM3D (Dabov et al., IEEE TIP 16, 2007) after the generalized Anscombe "
        f"transform; assumes {_WHITE}. The package's licence allows non-commercial "
        "use only",
        _bm3d,
        _BM3D_REACH,
        "bm3d",
        "bm3d",
    ),
)
