"""How one method on the bench is judged: in the same way as every other.

The gain is estimated by frames of the same scene where the image has some, whatever
their noise; else by Stein's formula along one random direction, which holds for any
operator whose result does not jump with its input, as far as the noise is that of the
calibrated camera.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_blindsound.comparison.rows import known
from napari_blindsound.errors import DataError
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.inference.tiling import Tiler, denoise_region
from napari_blindsound.quality.references import Reference
from napari_blindsound.quality.unseen import estimate_quality

if TYPE_CHECKING:
    import threading

    from numpy.typing import NDArray

    from napari_blindsound.comparison.sample import Sample
    from napari_blindsound.inference.tiling import TileOperator
    from napari_blindsound.quality.judged import Judged
    from napari_blindsound.quality.references import Kind
    from napari_blindsound.training.preprocessing import Preprocessing

    Planes = tuple[NDArray[np.float32], ...]

PIXELS = 2**18
"""Of the image that quality is estimated on, at most."""


class StoppedError(Exception):
    """The row was ended from outside."""


class Stoppable(Reference):
    """A reference that ends between two planes: some take seconds for each.

    Parameters
    ----------
    kind, preprocessing
        As of a `Reference`.
    stop : threading.Event
        Set it to end with a `StoppedError`.
    """

    def __init__(
        self, kind: Kind, preprocessing: Preprocessing, stop: threading.Event
    ) -> None:
        super().__init__(kind, preprocessing)
        self._stop = stop

    def unbound(self) -> Reference:
        """The same one, for good."""
        return Reference(self.kind, self.preprocessing)

    def _planes(self, planes: NDArray[Any]) -> NDArray[np.float32]:
        if self._stop.is_set():
            raise StoppedError
        return super()._planes(planes)


class Bench:
    """Measures one operator.

    Parameters
    ----------
    sample : Sample
        What is denoised and held against the truth.
    operator : Denoiser or Reference
    stop : threading.Event
        Set it to end with a `StoppedError`.
    """

    def __init__(
        self, sample: Sample, operator: Denoiser | Reference, stop: threading.Event
    ) -> None:
        self._sample, self._operator, self._stop = sample, operator, stop
        self._tiler = Tiler(operator)

    def warm_up(self) -> None:
        """Do once what the first time takes longer."""
        sample = self._sample
        denoise_region(self._operator, sample.volume, sample.glance, tiler=self._tiler)

    def denoised(self) -> Planes:
        """The sample denoised, (C, h, w) float32 counts each.

        Raises
        ------
        DataError
            If a pixel of it is no number.
        StoppedError
            If it was told to stop.
        """
        planes = self._applied(self._operator, self._tiler)
        if not all(np.isfinite(plane).all() for plane in planes):
            msg = (
                "its result holds pixels that are no numbers: give it more time, or "
                "another preset"
            )
            raise DataError(msg)
        return planes

    def found(self, planes: Planes, seed: int) -> dict[str, Any]:
        """Fields of a row: the estimated gain, true scores, uncertainty."""
        sample = self._sample
        estimate = estimate_quality(
            cast("Judged", self._operator),
            sample.volume,
            seed=seed,
            pixels=PIXELS,
            alike=True,
        )
        low, high = (
            known(estimate.gain + bound - estimate.psnr)
            for bound in (estimate.low, estimate.high)
        )
        scores = sample.scores(planes)
        gain = known(estimate.gain)
        return {
            "gain": gain,
            "gain_low": low,
            "gain_high": high,
            "source": "" if gain is None else estimate.source,
            "psnr": known(scores.psnr) if scores else None,
            "ssim": known(scores.ssim) if scores else None,
            **self._uncertainty(planes),
        }

    def _uncertainty(self, planes: Planes) -> dict[str, Any]:
        operator = self._operator
        deviation = operator.deviation() if isinstance(operator, Denoiser) else None
        if deviation is None:
            return {"has_deviation": False}
        if self._sample.truth is None:
            return {"has_deviation": True}
        made = self._applied(deviation, Tiler(deviation))
        covered = self._sample.covered(planes, made)
        return {"has_deviation": True, "coverage": covered}

    def _applied(self, operator: TileOperator, tiler: Tiler) -> Planes:
        volume, made = self._sample.volume, []
        for region in self._sample.regions:
            if self._stop.is_set():
                raise StoppedError
            block = denoise_region(operator, volume, region, tiler=tiler)
            made.append(volume.axes.as_planes(block)[0])
        return tuple(made)
