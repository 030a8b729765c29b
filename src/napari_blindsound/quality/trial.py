"""A model put on trial: all that is measured, before anything is judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

from napari_blindsound.errors import DataError
from napari_blindsound.images.context import read_around
from napari_blindsound.inference.tiling import Tiler, denoise_region
from napari_blindsound.inference.windows import denoise_windows, denoised_around
from napari_blindsound.quality.blank import Blank, blank_levels, blank_test
from napari_blindsound.quality.exposure import Exposure
from napari_blindsound.quality.flat import Bias, bias_of
from napari_blindsound.quality.grid import grid_peaks
from napari_blindsound.quality.injection import Injection, Repeats, injection_test
from napari_blindsound.quality.regions import regions
from napari_blindsound.quality.residual import Residual, identity_ratio, residual_of
from napari_blindsound.quality.ring import LEAST, Ring, ring_correlation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_blindsound.images.volume import Region, Volume
    from napari_blindsound.inference.denoiser import Denoiser

PIXELS = 1_000_000
"""The most pixels of the image that are looked at."""

_SCENE, _BLIND = 320, 192  # px a side
_DARK, _BRIGHT = 1.0, 99.0  # percentiles
_WIDE, _NEAR = 3.0, 5  # px: standard deviation of a Gaussian, side of a square
_SMALLEST = 16  # px


class Trial:
    """The tests one after the other, and what they have found so far.

    Parameters
    ----------
    denoiser : Denoiser
        The model.
    volume : Volume
        The image, of as many channels.
    seed : int
        Of the places and the noise.

    Attributes
    ----------
    is_done : bool
        Whether all tests were done that can be.

    Raises
    ------
    DataError
        If the image is smaller than 16 x 16 pixels.
    """

    def __init__(self, denoiser: Denoiser, volume: Volume, seed: int) -> None:
        height, width = (volume.shape[volume.axes.index(name)] for name in "YX")
        if min(height, width) < _SMALLEST:
            msg = (
                f"{volume.name} is only {height} x {width} pixels large; the tests need"
                f" an image of at least {_SMALLEST} x {_SMALLEST}"
            )
            raise DataError(msg)
        self._denoiser, self._volume = denoiser, volume
        self._exposure = Exposure.of(denoiser, volume.dtype)
        self._rng = np.random.default_rng(seed)
        self._regions = regions(volume, pixels=PIXELS, seed=seed)
        self._noisy: list[NDArray[Any]] = []
        self._denoised: list[NDArray[np.float32]] = []
        self._identity = [float("nan")] * volume.n_channels
        self._blank: list[Blank] | None = None
        self._injection: list[Injection | None] | None = None
        self._repeats: Repeats | None = None
        self.is_done = False

    def steps(self) -> Iterator[str]:
        """Work, and say after each part what it was.

        Raises
        ------
        DataError
            If a pixel of the image is not finite.
        """
        tiler = Tiler(self._denoiser)
        for region in self._regions:
            denoised = denoise_region(self._denoiser, self._volume, region, tiler=tiler)
            self._noisy.append(self._planes(self._volume.read(region)))
            self._denoised.append(self._planes(denoised))
            yield "image"
        if self.is_finite and self._exposure.is_noisy:
            levels = blank_levels(self._exposure, *self._range())
            self._blank = blank_test(self._denoiser, self._exposure, levels, self._rng)
            yield "blank"
            scene = self._scene()
            self._injection, self._repeats = injection_test(
                self._denoiser, self._exposure, scene, self._rng
            )
            yield "injection"
        if self.is_finite:
            self._identity = self._compare_blind()
        self.is_done = True

    @property
    def is_finite(self) -> bool:
        """Whether all pixels of the result are numbers."""
        return all(bool(np.isfinite(planes).all()) for planes in self._denoised)

    @property
    def pixels(self) -> int:
        """Pixels that were looked at in a channel."""
        return sum(planes[0].size for planes in self._noisy)

    @property
    def why_not(self) -> str:
        """Why a test is missing."""
        if not self.is_done:
            return "This test was not done: the tests were stopped."
        if not self._exposure.is_noisy:
            return "There was no noise in the images that the model was trained on."
        return "The image is too small to plant enough spots in it."

    def blank(self, channel: int) -> Blank | None:
        """What came of pure noise; None if it was not tried."""
        return self._blank[channel] if self._blank else None

    def injection(self, channel: int) -> Injection | None:
        """What became of planted beads; None if there were not enough."""
        return self._injection[channel] if self._injection else None

    def bias(self, channel: int) -> Bias:
        """What became of the mean."""
        return bias_of(*self._pair(channel), self._exposure.noise[channel])

    def residual(self, channel: int) -> Residual:
        """What was taken away."""
        noisy, denoised = self._pair(channel)
        return residual_of(
            noisy,
            denoised,
            self._exposure.noise[channel],
            identity=self._identity[channel],
            grid=grid_peaks(np.stack(denoised), (2, 4, self._denoiser.stride)),
        )

    def sigma(self, channel: int) -> float:
        """Standard deviation of the noise at the median of the image, counts."""
        median = np.median(self._denoised[0][channel])
        return float(self._exposure.noise[channel].variance(median) ** 0.5)

    def rings(self, channel: int) -> tuple[Ring, Ring] | None:
        """Agreement of two simulated exposures, before and after denoising."""
        pairs = self._repeats
        if pairs is None or min(pairs.noisy[0].shape[-2:]) < LEAST:
            return None
        noisy, denoised = (
            ring_correlation(first[channel], second[channel])
            for first, second in (pairs.noisy, pairs.denoised)
        )
        return noisy, denoised

    def _planes(self, block: NDArray[Any]) -> NDArray[Any]:
        """(C, h, w) of one plane of the volume."""
        planes: NDArray[Any] = self._volume.axes.as_planes(block)[0]
        return planes

    def _pair(
        self, channel: int
    ) -> tuple[list[NDArray[Any]], list[NDArray[np.float32]]]:
        noisy = [planes[channel] for planes in self._noisy]
        return noisy, [planes[channel] for planes in self._denoised]

    def _range(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Dark and bright counts of each channel, (C,) each, from the noisy image.

        Dark regions are wide and bright ones are small, and a mean over too few pixels
        would take what the noise adds for the range of the image.
        """
        ends = []
        for channel in range(self._volume.n_channels):
            planes = [p.astype(np.float64) for p in self._pair(channel)[0]]
            wide = [gaussian_filter(plane, _WIDE).ravel() for plane in planes]
            near = [uniform_filter(plane, _NEAR).ravel() for plane in planes]
            dark = float(np.percentile(np.concatenate(wide), _DARK))
            bright = float(np.percentile(np.concatenate(near), _BRIGHT))
            ends.append((dark, max(dark, bright)))
        low, high = np.array(ends).T
        return low, high

    def _corner(self, side: int) -> Region:
        """The first window, but no larger."""
        return tuple(
            slice(span.start, min(span.stop, span.start + side))
            if axis.name in "YX"
            else span
            for axis, span in zip(self._volume.axes, self._regions[0], strict=True)
        )

    def _scene(self) -> NDArray[np.float32]:
        """Part of the denoised image, among the planes seen beside it."""
        if not self._denoiser.context.planes:
            return self._denoised[0][None, :, :_SCENE, :_SCENE]
        return denoised_around(self._denoiser, self._volume, self._corner(_SCENE))

    def _compare_blind(self) -> list[float]:
        """Identity ratio of each channel; NaN where there is no blind estimate."""
        model, count = self._denoiser, self._volume.n_channels
        is_blind = model.output == "blind" and model.blend is None
        if "blind" not in model.method.outputs or is_blind:
            return [float("nan")] * count
        windows = read_around(self._volume, self._corner(_BLIND), model.context)
        noisy = windows[len(windows) // 2]
        visible, blind = (
            denoise_windows(estimate, windows[None])[0]
            for estimate in (model, model.with_output("blind", turns=False))
        )
        planes = zip(noisy, visible, blind, strict=True)
        return [identity_ratio(*three) for three in planes]
