"""The 16 noise models of the paper's Table 1 and the camera's, by name.

All are described by the same few numbers, of which each takes those that it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from napari_blindsound.noise.correlated import Blurred, Filtered
from napari_blindsound.noise.gamma import Gamma
from napari_blindsound.noise.gaussian import Camera, Gaussian, LinearDeviation
from napari_blindsound.noise.kernel import Kernel
from napari_blindsound.noise.mixture import Mixture
from napari_blindsound.noise.poisson import Poisson
from napari_blindsound.noise.rayleigh import Rayleigh

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_blindsound.noise.base import Noise

Name = Literal[
    "camera",
    "gaussian",
    "gaussian-correlated",
    "linear-deviation",
    "linear-deviation-correlated",
    "gamma",
    "gamma-correlated",
    "poisson",
    "poisson-correlated",
    "rayleigh",
    "rayleigh-correlated",
    "gamma-gaussian",
    "gamma-gaussian-correlated",
    "poisson-gaussian",
    "poisson-gaussian-correlated",
    "rayleigh-gaussian",
    "rayleigh-gaussian-correlated",
]
"""``camera``, then the 16 of the paper in its order."""

CORRELATED, GAUSSIAN = "-correlated", "-gaussian"


class Parameters(BaseModel):
    """Numbers of all models; the paper's by default, for intensities up to 255."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    sigma: float = Field(25.0, ge=0, description="standard deviation, Gaussian part")
    gain: float = Field(5.0, ge=0, description="counts a photoelectron")
    a: float = Field(0.1, ge=0, description="growth of the deviation with the light")
    b: float = Field(15.0, ge=0, description="deviation in the dark")
    alpha: float = Field(26.0, gt=1, description="shape of the Gamma distribution")
    lam: float = Field(0.2, gt=0, description="photoelectrons a count")
    spread: float = Field(0.3, gt=0, description="of the Rayleigh distribution")
    edge: float = Field(0.1, description="weight of neighbors beside in the filter")
    corner: float = Field(0.05, description="weight of neighbors across in the filter")

    @property
    def kernel(self) -> Kernel:
        """The filter."""
        return Kernel.of(self.edge, self.corner)


_FIRST: dict[str, tuple[tuple[str, ...], Callable[[Parameters], Noise]]] = {
    "camera": (("gain", "sigma"), lambda p: Camera(gain=p.gain, sigma=p.sigma)),
    "gaussian": (("sigma",), lambda p: Gaussian(sigma=p.sigma)),
    "linear-deviation": (("a", "b"), lambda p: LinearDeviation(a=p.a, b=p.b)),
    "gamma": (("alpha",), lambda p: Gamma(alpha=p.alpha)),
    "poisson": (("lam",), lambda p: Poisson(lam=p.lam)),
    "rayleigh": (("spread",), lambda p: Rayleigh(spread=p.spread)),
}


@dataclass(frozen=True)
class Kind:
    """One of the models, without its numbers.

    Parameters
    ----------
    name : str
        One of `Name`.
    """

    name: str

    @property
    def first(self) -> str:
        """Name of the model without a filter and without more Gaussian noise."""
        return self.name.removesuffix(CORRELATED).removesuffix(GAUSSIAN)

    @property
    def is_correlated(self) -> bool:
        """Whether neighbors share the noise."""
        return self.name.endswith(CORRELATED)

    @property
    def is_mixed(self) -> bool:
        """Whether there is Gaussian noise beside the noise of the light."""
        return self.name.removesuffix(CORRELATED).endswith(GAUSSIAN)

    @property
    def number(self) -> int:
        """Of the paper's table; 0 for the camera, which is not in it."""
        return get_args(Name).index(self.name)

    @property
    def needs(self) -> tuple[str, ...]:
        """Numbers that it has, of :class:`Parameters`."""
        return (
            *_FIRST[self.first][0],
            *(("sigma",) if self.is_mixed else ()),
            *(("edge", "corner") if self.is_correlated else ()),
        )

    def noise(self, parameters: Parameters) -> Noise:
        """The model with its numbers.

        Raises
        ------
        pydantic.ValidationError
            If they make no noise, such as a standard deviation of 0.
        """
        made = _FIRST[self.first][1](parameters)
        if self.is_correlated and isinstance(made, Gaussian | LinearDeviation):
            return Filtered(first=made, kernel=parameters.kernel)
        if self.is_correlated:
            made = Blurred(first=made, kernel=parameters.kernel)
        if self.is_mixed:
            made = Mixture(first=made, sigma=parameters.sigma)
        return made


def models() -> dict[str, Kind]:
    """All models by name: the camera's, then the paper's nos. 1 to 16."""
    return {name: Kind(name) for name in get_args(Name)}
