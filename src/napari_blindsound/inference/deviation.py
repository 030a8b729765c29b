"""How sure a denoised pixel is: standard deviations that say what they mean.

A network's own deviation orders its errors well, and is wrong about their size. What
was found of that is kept with the model, as plain numbers, and applied here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from napari_blindsound.errors import ModelError
from napari_blindsound.inference.tiling import denoise_array
from napari_blindsound.methods import available
from napari_blindsound.methods.base import DEVIATION

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from numpy.typing import NDArray

    from napari_blindsound.images.context import Context
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.methods.base import Method

Observed = Literal["repeats", "residual", "nothing"]
"""What a calibration compared its simulation with."""

WITHIN = 0.68, 0.95
"""Shares of the pixels that the two bands are meant to cover."""

_LEAST = 1e-12
_NOT_CALIBRATED = (
    "the standard deviation that the network says, which was not calibrated"
)


def knows_deviation(
    method: type[Method], estimate: str, meant: str | None = None
) -> bool:
    """Whether a method knows the standard deviation of an estimate.

    Parameters
    ----------
    method : type of Method
        The method.
    estimate : str
        Name of the estimate that is returned.
    meant : str, optional
        The estimate whose deviations were calibrated; by default the method's first.
    """
    return DEVIATION in method.outputs and estimate == (meant or method.outputs[0])


def check_deviation(
    method: type[Method], estimate: str, meant: str | None = None
) -> None:
    """Refuse to give a standard deviation that is not known.

    Parameters
    ----------
    method, estimate, meant
        As of :func:`knows_deviation`.

    Raises
    ------
    ModelError
        With what is known, and what to do.
    """
    if knows_deviation(method, estimate, meant):
        return
    if DEVIATION not in method.outputs:
        known = [
            kind.name for kind in available().values() if DEVIATION in kind.outputs
        ]
        msg = (
            f"{method.title} does not say how uncertain its results are: leave the "
            f"uncertainty out, or train with method {' or '.join(known)}"
        )
    else:
        meant = meant or method.outputs[0]
        msg = (
            f"the standard deviation is known of the estimate {meant}, not of "
            f"{estimate}: choose {meant}, or leave the uncertainty out"
        )
    raise ModelError(msg)


@dataclass(frozen=True)
class Band:
    """From a network's deviation to that of the errors, for one channel.

    Parameters
    ----------
    predicted : tuple of float
        Deviations that the network says, normalized, above zero, rising.
    actual : tuple of float
        Distance, normalized, within which 68 % of the clean pixels lie around the
        estimate there, never falling. Between these the line is straight in logarithms;
        beyond them the ratio stays.
    k95 : float
        Within so many times that distance lie 95 %.
    """

    predicted: tuple[float, ...]
    actual: tuple[float, ...]
    k95: float

    def __post_init__(self) -> None:
        predicted, actual = np.array(self.predicted), np.array(self.actual)
        fits = predicted.size > 0 and predicted.shape == actual.shape
        numbers = np.concatenate([predicted, actual, [self.k95]])
        if not (
            fits
            and (np.isfinite(numbers) & (numbers > 0)).all()
            and (np.diff(predicted) > 0).all()
            and (np.diff(actual) >= 0).all()
        ):
            msg = f"the calibration of deviations is damaged: {self}"
            raise ValueError(msg)

    def of(self, predicted: NDArray[np.float32]) -> NDArray[np.float32]:
        """Calibrated deviations, float32, of the same shape."""
        known, actual = np.log(self.predicted), np.log(self.actual)
        given = np.log(np.maximum(predicted, np.float32(_LEAST)))
        beyond = given - np.clip(given, known[0], known[-1])
        found = np.exp(np.interp(given, known, actual) + beyond)
        return np.asarray(found, np.float32)


@dataclass(frozen=True)
class Uncertainty:
    """How a model's deviations were calibrated, and what may be expected of them.

    Parameters
    ----------
    bands : tuple of Band
        One a channel.
    output : str
        The estimate they are of.
    observed : {"repeats", "residual", "nothing"}
        What told the size of the errors beside simulated noise: frames of the same
        scene; what denoising took away; neither.
    coverage : tuple of float
        Shares of the clean pixels expected within one deviation of the estimate, and
        within `k95` of them.
    error : float
        Standard error of the deviations' overall scale, as a share of it.
    pixels : int
        Of the sample, channels counted.
    words : str
        All this in a sentence or two.
    """

    bands: tuple[Band, ...]
    output: str
    observed: Observed
    coverage: tuple[float, float]
    error: float
    pixels: int
    words: str

    @property
    def k95(self) -> tuple[float, ...]:
        """Within so many deviations lie 95 % of the clean pixels, one a channel."""
        return tuple(band.k95 for band in self.bands)

    def of_channel(self, index: int) -> Uncertainty:
        """The part for one channel."""
        return Uncertainty(**{**vars(self), "bands": (self.bands[index],)})

    def to_json(self) -> dict[str, Any]:
        """Plain data, exactly reversible by :meth:`from_json`."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_json`.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is damaged.
        """
        bands = tuple(
            Band(tuple(band["predicted"]), tuple(band["actual"]), band["k95"])
            for band in data["bands"]
        )
        low, high = data["coverage"]
        return cls(
            bands,
            data["output"],
            data["observed"],
            (low, high),
            data["error"],
            data["pixels"],
            data["words"],
        )


class Deviation:
    """The standard deviation of a denoiser's result, as an image of its own.

    Applied to data as the denoiser itself is: tile by tile, lazily, or to disk. Safe to
    call from several threads.

    Parameters
    ----------
    denoiser : Denoiser
        Whose method has the output ``deviation``.

    Notes
    -----
    Of a mean over eight orientations it is the mean of their deviations: an upper bound
    that is reached where their errors are the same, as they nearly are.

    Shares of pixels are those of an image as a whole. Detail that was lost is seen in
    what was taken away only from many pixels together, so that the deviation at a place
    where much was lost is too small, and elsewhere a little too large.

    Without a calibration it is what the network says.
    """

    is_deviation = True

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        uncertainty = denoiser.uncertainty
        scale = np.array(denoiser.preprocessing.intensity.scale, np.float32)
        self._bands = uncertainty.bands if uncertainty is not None else None
        # An offset shifts estimate and truth alike.
        self._scale = scale[:, None, None]

    @property
    def halo(self) -> int:
        """The denoiser's."""
        return self.denoiser.halo

    @property
    def stride(self) -> int:
        """The denoiser's."""
        return self.denoiser.stride

    @property
    def n_channels(self) -> int:
        """The denoiser's."""
        return self.denoiser.n_channels

    @property
    def context(self) -> Context:
        """The denoiser's."""
        return self.denoiser.context

    @property
    def bytes_per_pixel(self) -> int:
        """The denoiser's."""
        return self.denoiser.bytes_per_pixel

    @property
    def device(self) -> torch.device:
        """The denoiser's."""
        return self.denoiser.device

    @cached_property
    def revision(self) -> str:
        """Name that changes whenever the deviations would."""
        found = self.denoiser.uncertainty
        bands = None if found is None else found.to_json()["bands"]
        facts = [DEVIATION, self.denoiser.revision, bands]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    @property
    def provenance(self) -> dict[str, Any]:
        """The denoiser's, and what the numbers mean."""
        found = self.denoiser.uncertainty
        told = {} if found is None else found.to_json()
        told["words"] = meaning(self.denoiser)
        return {**self.denoiser.provenance, "deviation": told}

    def __call__(self, noisy: NDArray[Any]) -> NDArray[np.float32]:
        """Deviations of an array's result; as of a denoiser, in counts.

        Raises
        ------
        ModelMismatchError
            If the array has no such axes, or another number of channels.
        DataError
            If a pixel is not finite.
        """
        return denoise_array(self, noisy)

    def core(self, padded: NDArray[Any], halo: int) -> NDArray[np.float32]:
        """Deviations of the core of tiles, (N, C, h, w), counts, float32.

        Parameters
        ----------
        padded, halo
            As of `Denoiser.core`.
        """
        deviation = self.denoiser.predicted_deviation(padded, halo)
        if self._bands is not None:
            for channel, band in enumerate(self._bands):
                deviation[:, channel] = band.of(deviation[:, channel])
        return deviation * self._scale


def meaning(denoiser: Denoiser) -> str:
    """What the deviations of a model mean, in words."""
    found = denoiser.uncertainty
    return _NOT_CALIBRATED if found is None else found.words
