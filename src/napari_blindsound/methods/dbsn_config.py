"""The settings of D-BSN: its networks, its stages, and what is known of the noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from napari_blindsound.methods.base import Length, WarmConfig
from napari_blindsound.networks.blind_spot import Kernel

if TYPE_CHECKING:
    from typing import Self

# A sub-image of a crop has so many pixels a side, or more.
_LEAST_SUBSAMPLED = 48
_MOST_APART = 4


class DBSNConfig(WarmConfig):
    """Settings of D-BSN; the defaults are the preset ``fast``."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "fast": {},
        "best": {"steps": 20_000},
        "paper": {
            "width": 96,
            "blocks": 7,
            "noise": "learned",
            "likelihood": "constrained",
            "variance": "square",
            "covariance": "full",
            "end_to_end": True,
            "student": "mwcnn",
            "student_width": 160,
            "start": "cold",
            "patch": 96,
            "batch": 8,
            "learning_rate": 3e-4,
            "schedule": "halving",
            "clip": 0.0,
            "averaging": 0.0,
            "steps": 100_000,
        },
    }
    # Each stage needs its share of a length that is known.
    lengths: ClassVar[Mapping[str, Length]] = {"fast": Length(240.0)}

    batch: int = Field(1, ge=1, description="training crops in one step")
    width: int = Field(16, ge=1, description="channels of the blind-spot network")
    blocks: int = Field(
        4, ge=1, description="blocks of dilated convolutions in each of its branches"
    )
    kernel: Kernel = Field(
        "3x3",
        description="convolutions of a block's wide path: two of 3x3, as the paper says"
        ", or one of 5x5, as its code has it",
    )
    noise: Literal["calibrated", "learned"] = Field(
        "calibrated",
        description="where the noise is known from: the image's calibration, or a "
        "network trained along, as in the paper",
    )
    likelihood: Literal["plain", "constrained"] = Field(
        "plain",
        description="what the second stage minimizes: the likelihood (6), or (8), "
        "which keeps apart what the noise and what the network does not know",
    )
    variance: Literal["share", "square"] = Field(
        "share",
        description="doubt of the network: a share of the noise, or a free square, as "
        "in the paper",
    )
    covariance: Literal["diagonal", "full"] = Field(
        "diagonal",
        description="of channels that are denoised jointly: none between them, or any, "
        "as in the paper",
    )
    end_to_end: bool = Field(
        False,
        description="let the likelihood teach the mean, too, as in the paper",
    )
    subsampling: Literal["auto", "1", "2", "3", "4"] = Field(
        "auto",
        description="take every so many pixels for an image of their own, for noise "
        "that neighbors share; auto follows the correlation of the noise",
    )
    student: Literal["none", "unet", "mwcnn"] = Field(
        "unet", description="fast network that learns to do the same in one pass"
    )
    student_width: int = Field(
        8, ge=1, description="channels of the student's first level"
    )
    student_depth: int = Field(
        3, ge=1, le=7, description="how often the student halves the image"
    )
    clean: str = Field(
        "",
        description="clean image or folder of such, of whatever kind, from which the "
        "student learns with noise drawn for it; none if empty",
    )
    pairs: float = Field(
        0.1,
        ge=0,
        description="weight of the noisy images beside the clean ones for the student",
    )
    mean_until: float = Field(
        0.45, gt=0, lt=1, description="part of the training for the mean alone"
    )
    likelihood_until: float = Field(
        0.5,
        gt=0,
        le=1,
        description="part of the training before the student is taught",
    )

    @field_validator("subsampling", mode="before")
    @classmethod
    def _in_words(cls, value: object) -> object:
        return str(value) if isinstance(value, int) else value

    @model_validator(mode="after")
    def _check_stages(self) -> Self:
        if self.mean_until >= self.likelihood_until:
            msg = (
                f"mean_until is {self.mean_until:g} and likelihood_until "
                f"{self.likelihood_until:g}: the second must be the larger"
            )
            raise ValueError(msg)
        if self.student != "none" and self.likelihood_until == 1:
            msg = (
                "likelihood_until is 1, which leaves no time for the student: give "
                "less, or student none"
            )
            raise ValueError(msg)
        return self

    @property
    def apart(self) -> int:
        """Pixels from one of a sub-image to the next; 1 where ``auto`` is not settled.

        With 1 there is one sub-image, the image itself.
        """
        return 1 if self.subsampling == "auto" else int(self.subsampling)

    def suited(self, region: tuple[int, int]) -> Self:
        """Take pixels so far apart that they share no noise, in place of ``auto``."""
        if self.subsampling != "auto":
            return self
        apart = min(_MOST_APART, max(region) + 1)
        patch = self.patch if apart == 1 else max(self.patch, _LEAST_SUBSAMPLED * apart)
        return self.model_copy(update={"subsampling": str(apart), "patch": patch})
