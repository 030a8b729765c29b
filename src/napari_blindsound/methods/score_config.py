"""Settings of the score method, of which the noise may be chosen after the training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from napari_blindsound.methods.base import MethodConfig
from napari_blindsound.noise.models import Kind, Name, Parameters, models

_SETTING = "; estimated where it is not given"

PARAMETERS = tuple(Parameters.model_fields)
"""Names of what noise models have."""


class ScoreConfig(MethodConfig):
    """Settings of the score method; the defaults are the preset ``fast``."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "fast": {},
        "best": {"steps": 60_000},
        "paper": {
            "width": 48,
            "depth": 5,
            "patch": 128,
            "batch": 32,
            "learning_rate": 1e-4,
            "schedule": "halving",
            "clip": 0.0,
            "weight_decay": 1e-8,
            "augment": False,
            "pairs": False,
            "smoothing_start": 1.5,
            "smoothing_end": 0.05,
            "steps": 5000,
        },
    }
    adjustable: ClassVar[tuple[str, ...]] = ("noise", *PARAMETERS, "offset")

    width: int = Field(8, ge=1, description="channels of the network's downward path")
    depth: int = Field(3, ge=1, le=7, description="poolings by 2 in the network")
    smoothing_start: float = Field(
        1.0,
        gt=0,
        description="noise that is added in training, at its start, in standard "
        "deviations of the image's own noise",
    )
    smoothing_end: float = Field(
        0.9,
        gt=0,
        description="the same at its end, which the result is corrected for",
    )
    pairs: bool = Field(
        True,
        description="add the noise and its opposite to every crop, which lets most of "
        "its chance cancel",
    )
    noise: Name = Field(
        "camera",
        description="kind of the noise, which can be changed after the training: the "
        "camera's (photons and read noise), or one of the 16 of the paper",
    )
    sigma: float | None = Field(
        None,
        ge=0,
        description="standard deviation of Gaussian noise, or read noise, in counts"
        + _SETTING,
    )
    gain: float | None = Field(
        None, ge=0, description="camera: counts a photoelectron" + _SETTING
    )
    a: float | None = Field(
        None,
        ge=0,
        description="linear deviation a x + b: its growth with the light" + _SETTING,
    )
    b: float | None = Field(
        None,
        gt=0,
        description="linear deviation a x + b: counts in the dark" + _SETTING,
    )
    alpha: float | None = Field(
        None, gt=1, description="Gamma noise: shape alpha" + _SETTING
    )
    lam: float | None = Field(
        None, gt=0, description="Poisson noise: photoelectrons a count" + _SETTING
    )
    spread: float | None = Field(
        None,
        gt=0,
        description="Rayleigh noise: parameter of its distribution" + _SETTING,
    )
    edge: float | None = Field(
        None,
        description="correlated noise: weight, in the filter of 3 x 3 pixels, of those "
        "beside" + _SETTING,
    )
    corner: float | None = Field(
        None, description="correlated noise: weight of those across" + _SETTING
    )
    offset: float | None = Field(
        None, description="counts of a pixel without any light" + _SETTING
    )

    @model_validator(mode="after")
    def _makes_a_noise(self) -> Self:
        if self.smoothing_end > self.smoothing_start:
            msg = (
                f"smoothing_end ({self.smoothing_end:g}) is above smoothing_start "
                f"({self.smoothing_start:g}); the noise that is added must decrease"
            )
            raise ValueError(msg)
        # Whatever is given must make a noise with what is not.
        self.kind.noise(Parameters(**self.given))
        return self

    def smoothing(self, progress: float) -> float:
        """Noise that is added, in the noise's deviations; falls geometrically.

        Parameters
        ----------
        progress : float
            Of the training.
        """
        ratio = self.smoothing_end / self.smoothing_start
        return float(self.smoothing_start * ratio ** min(1.0, progress))

    @property
    def kind(self) -> Kind:
        """The noise model, without its parameters."""
        return models()[self.noise]

    @property
    def given(self) -> dict[str, float]:
        """Parameters that are not to be estimated."""
        values = {name: getattr(self, name) for name in PARAMETERS}
        return {name: value for name, value in values.items() if value is not None}

    def facts(self) -> dict[str, Any]:
        """Without what is left to the images."""
        found = super().facts()
        return {name: value for name, value in found.items() if value is not None}
