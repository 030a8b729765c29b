"""Score: learn the gradient of the noisy images' density, then solve for the clean one.

Nothing of the noise enters the training. So its kind and its parameters may be chosen,
and changed, when the training is over.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from napari_blindsound.methods.base import Method
from napari_blindsound.methods.score_config import ScoreConfig
from napari_blindsound.methods.score_gauge import Gauge
from napari_blindsound.networks.unet import UNet
from napari_blindsound.noise.base import MOST_SIGMAS
from napari_blindsound.noise.kernel import Kernel, filtered
from napari_blindsound.noise.models import Parameters
from napari_blindsound.noise.taken import Taken

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_blindsound.images.intensity import Intensity
    from napari_blindsound.noise.base import Noise, Solved
    from napari_blindsound.noise.calibration import NoiseModel

_MOST_PRECISION = 6.0  # logarithm of the largest, against the noise as a whole
_BORDER = 4  # pixels where a crop's mirrored border makes the filter's inverse wrong
_PROBED, _PROBE = 0.04, 0.02  # part of the steps; deviations of the noise
_TINY = 1e-6
_LEAST_CURVE = 1e-3


class Score(Method):
    r"""Learns where noisy images become likelier, and goes there as the noise demands.

    A network learns the score :math:`s(y) = \nabla_y \log p(y)` of noisy images from
    what noise added to them does (AR-DAE):

    .. math:: E \| u + \sigma_a s(y + \sigma_a u) \|^2, \quad u \sim N(0, I)

    with :math:`\sigma_a` decreasing over the training. The clean image solves
    :math:`s(y) = \nabla_y \log p(y | x)` for the model of the noise: 16 of them, and
    the camera's, :math:`x = (y + \sigma^2 s) / (1 - \alpha s)`.

    What is learned at a :math:`\sigma_a` above zero is the score of images that have
    this noise, too, so that every model becomes a mixture with it, and is solved as
    one. So it need not be small, which would make the loss a matter of chance; that is
    less of one, too, as each crop is seen with u and with -u. The network says where to
    go, m(y), and how sure that is, P(y): s = P (m - y).

    Noise that neighbors share has little in the finest details, where the score is then
    largest, and takes long to be learned. So the filter W that makes white noise alike
    is measured first, and the score is learned of z, where y = W z, whose noise is
    white: what is added in training is W u, and the score of y follows as :math:`s(y) =
    W^{-1} s(z)`, for whatever noise and filter is chosen later. The camera's noise is
    taken to have gone through W, as many a camera filters.

    Parameters that are not given follow from how the noise grows with the light, and,
    of filters, from how neighbors share it, both measured during the training. The
    camera's come from the calibration.

    References
    ----------
    Xie, Huang, Yuan, Cheng, Zhang: Unsupervised Image Denoising with Score Function,
    NeurIPS 2023; https://arxiv.org/abs/2304.08384
    """

    name = "score"
    title = "Score function"
    reference = "Xie et al., NeurIPS 2023, arXiv:2304.08384"
    assumes = (
        "noise of a known kind: a camera's, or one of 16 others, among them correlated "
        "and multiplicative noise; kind and parameters can be changed after training"
    )
    cost = "minutes of training; one pass to denoise"
    limits = (
        "a wrong kind of noise gives a wrong result; where the kind is a camera's, the "
        "blind-spot methods are the surer choice"
    )
    Config = ScoreConfig

    config: ScoreConfig
    smoothing: Tensor

    def __init__(self, config: ScoreConfig, channels: int = 1) -> None:
        super().__init__(config, channels)
        self.network = UNet(
            channels, 2 * channels, width=config.width, depth=config.depth
        )
        self._kept: tuple[Any, list[dict[str, float]]] | None = None
        self.gauge = Gauge(channels)
        self.register_buffer("smoothing", torch.tensor(config.smoothing_end))

    def calibrate(self, noise: Sequence[NoiseModel], intensity: Intensity) -> None:
        """Keep the camera's numbers, and what a count is."""
        self.gauge.calibrate(noise, intensity)

    def found(self) -> Mapping[str, float]:
        """Parameters of the noise model as it is solved for, given or estimated.

        And how much noise that is, and how much the score itself tells, where they are
        far apart: the kind or a parameter is then wrong, or the training too short.
        """
        several = self.channels > 1
        return {
            f"{name} of channel {index}" if several else name: value
            for index in range(self.channels)
            for name, value in (self.numbers(index) | self._doubt(index)).items()
        }

    def _doubt(self, channel: int) -> dict[str, float]:
        noise, zero = self._noise(channel), self._zero(channel)
        return self.gauge.doubt(channel, noise, zero)

    @property
    def halo(self) -> int:
        """The network's, and what the solver and the filters look at."""
        return self.network.halo + self._before + self._margin

    @property
    def stride(self) -> int:
        """The network's."""
        return self.network.stride

    @property
    def bytes_per_pixel(self) -> int:
        """The network's, and some images of the solver's."""
        return self.network.bytes_per_pixel + 64 * self.channels

    @torch.no_grad()
    def _feel(self, noisy: Tensor, white: Tensor) -> None:
        """How steeply the score falls, lately."""
        sign = torch.randint(0, 2, white.shape, generator=self.random).to(white) * 2 - 1
        small = _PROBE * self.gauge.unit * sign
        slope = (self.score(white + small) - self.score(white - small)) / (2 * small)
        self.gauge.feel(noisy, slope, self.smoothing * self.gauge.unit)

    def losses(
        self, noisy: Tensor, progress: float, weight: Tensor | None = None
    ) -> Iterator[dict[str, Tensor]]:
        """Yield ``score``: AR-DAE's loss less its constant, of one scale throughout.

        With the square taken out, it is s^2 + 2 u s / sigma_a, in units of the noise:
        -1 where the score knows all noise, 0 where it knows nothing.
        """
        self.gauge.look(noisy)
        self.smoothing.fill_(self.config.smoothing(progress))
        added = self.smoothing * self.gauge.unit
        filters = self.gauge.filters()
        white = _whitened(noisy, filters)
        if float(torch.rand((), generator=self.random)) < _PROBED:
            self._feel(noisy, white)
        drawn = torch.randn(noisy.shape, generator=self.random).to(noisy)
        u = torch.cat([drawn, -drawn]) if self.config.pairs else drawn
        crops = white.repeat(2, 1, 1, 1) if self.config.pairs else white
        score = self.score(crops + added * u)
        each = (score**2 + 2 * u * score / added) * (self.gauge.unit**2 + added**2)
        if any(kernel.inverse_radius for kernel in filters):
            each = _crop(each, _BORDER)
            weight = None if weight is None else _crop(weight, _BORDER)
        if weight is None:
            yield {"score": each.mean()}
            return
        share = weight.repeat(len(u) // len(weight), 1, 1, 1)
        yield {"score": (share * each).sum() / share.sum().clamp(min=1)}

    def curve(self, terms: Mapping[str, float], progress: float) -> float:
        """Part of the noise that the score does not know, from 1 down to about 0."""
        del progress
        return max(1 + sum(terms.values()), _LEAST_CURVE)

    def score(self, white: Tensor, halo: int = 0) -> Tensor:
        """Gradient of the logarithm of the density of images with white noise.

        Parameters
        ----------
        white : Tensor
            Normalized, (B, C, H + 2 halo, W + 2 halo): noisy images as they were before
            the filter of their noise, if neighbors share it.
        halo : int
            As of the network.

        Returns
        -------
        Tensor
            (B, C, H, W), in units of 1 / white.
        """
        unit = self.gauge.unit.clamp(min=_TINY)
        mean, sure = self.network(white, halo).float().split(self.channels, dim=1)
        precision = sure.clamp(-_MOST_PRECISION, _MOST_PRECISION).exp()
        known: Tensor = precision * (mean - _crop(white, halo)) / unit**2
        return known

    def denoise(
        self, noisy: Tensor, *, halo: int = 0, output: str | None = None
    ) -> Tensor:
        """Score in one pass, then the solver of the noise model."""
        if output not in (None, *self.outputs):
            msg = f"no output {output!r}; there are {', '.join(self.outputs)}"
            raise ValueError(msg)
        margin, before = (self._margin, self._before) if halo else (0, 0)
        white = _crop(_whitened(noisy, self.gauge.filters()), before)
        score = self.score(white, halo - before - margin)
        plane = _crop(noisy, halo - margin).float()
        # A filter's inverse amplifies what half of the digits leave.
        with torch.autocast(plane.device.type, enabled=False):
            clean = [
                self.solved(plane[:, index], score[:, index], index).clean
                for index in range(self.channels)
            ]
        return _crop(torch.stack(clean, dim=1), margin)

    def solved(self, plane: Tensor, score: Tensor, channel: int) -> Solved:
        """Solve for the clean image, with a report.

        Parameters
        ----------
        plane, score : Tensor
            (B, H, W), normalized, of one channel; the score of what it was before the
            filter.
        channel : int
            Which.

        Returns
        -------
        Solved
            Of normalized intensities.
        """
        scale = float(self.gauge.scale[channel])
        zero = self._zero(channel)
        shift = float(self.gauge.base[channel]) - zero
        added = float(self.smoothing * self.gauge.unit[channel])
        kernel = self.gauge.filters()[channel]
        # What was added in training is part of the noise whose score was learned.
        step = (added * score).clamp(-MOST_SIGMAS, MOST_SIGMAS)
        light = (plane + added * kernel.apply(step)) * scale + shift
        taken = Taken.of(added * scale, kernel)
        if self.config.kind.first == "camera":
            # A camera's noise is of whatever filter it went through.
            known = kernel.apply(score) / (kernel.power * scale)
        else:
            known = kernel.invert(score) / scale
        found = self._noise(channel).solve(light, known, taken)
        easing, clean = self._easing(channel), found.clean
        if easing is not None:
            clean = filtered(clean, easing)
        return replace(found, clean=(clean - shift) / scale)

    def numbers(self, channel: int = 0) -> dict[str, float]:
        """The noise model's parameters and offset, in counts, given or estimated."""
        key = self.config, self.gauge.state()
        if self._kept is None or self._kept[0] != key:
            config = self.config
            found = [
                self.gauge.measured(i).numbers(config.kind, config.given, config.offset)
                for i in range(self.channels)
            ]
            self._kept = key, found
        return self._kept[1][channel]

    def _noise(self, channel: int) -> Noise:
        numbers = self.numbers(channel).copy()
        del numbers["offset"]
        return self.config.kind.noise(Parameters(**numbers))

    def _zero(self, channel: int) -> float:
        return self.numbers(channel)["offset"]

    def _easing(self, channel: int) -> NDArray[np.float64] | None:
        light = self.gauge.measured(channel).mean() - self._zero(channel)
        return self._noise(channel).easing(light)

    @property
    def _margin(self) -> int:
        """Pixels that solving needs on each side, in whole strides."""
        radius = 0
        for index, kernel in enumerate(self.gauge.filters()):
            easing = self._easing(index)
            more = 0 if easing is None else len(easing) // 2
            reach = self._noise(index).radius + kernel.inverse_radius + more
            radius = max(radius, reach)
        return self._in_strides(radius)

    @property
    def _before(self) -> int:
        """Pixels that the filters' inverses need on each side, in whole strides."""
        return self._in_strides(max(k.inverse_radius for k in self.gauge.filters()))

    def _in_strides(self, pixels: int) -> int:
        return -(-pixels // self.stride) * self.stride


def _whitened(noisy: Tensor, filters: Sequence[Kernel]) -> Tensor:
    """Images before the filters, (B, C, H, W)."""
    if not any(kernel.inverse_radius for kernel in filters):
        return noisy
    with torch.autocast(noisy.device.type, enabled=False):
        parts = zip(filters, noisy.float().unbind(1), strict=True)
        return torch.stack([kernel.invert(part) for kernel, part in parts], dim=1)


def _crop(x: Tensor, pixels: int) -> Tensor:
    return x[..., pixels:-pixels, pixels:-pixels] if pixels else x
