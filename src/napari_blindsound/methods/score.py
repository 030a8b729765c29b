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
from napari_blindsound.networks.unet import UNet
from napari_blindsound.noise import growth
from napari_blindsound.noise.base import MOST_SIGMAS
from napari_blindsound.noise.deduced import Measured
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

_LOOKS = 48  # steps whose crops the noise is measured in
_MOST_PRECISION = 6.0  # logarithm of the largest, against the noise as a whole
_SHARED = 0.08  # of a pixel's noise is in that of a neighbor beside and one across
_BORDER = 4  # pixels where a crop's mirrored border makes the filter's inverse wrong
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
    W^{-1} s(z)`, for whatever noise and filter is chosen later.

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
    unit: Tensor
    smoothing: Tensor
    looks: Tensor
    seen: Tensor
    shared: Tensor
    filter: Tensor
    camera: Tensor
    scale: Tensor
    base: Tensor

    def __init__(self, config: ScoreConfig, channels: int = 1) -> None:
        super().__init__(config, channels)
        self.network = UNet(
            channels, 2 * channels, width=config.width, depth=config.depth
        )
        self._kept: tuple[Any, list[dict[str, float]]] | None = None
        levels = channels, growth.SUMS, growth.LEVELS
        for name, value in {
            "unit": torch.zeros(channels, 1, 1),
            "smoothing": torch.tensor(config.smoothing_end),
            "looks": torch.zeros((), dtype=torch.int64),
            "seen": torch.zeros(levels),
            "shared": torch.zeros(channels, len(growth.LAGS)),
            "filter": torch.zeros(channels, 2),
            "camera": torch.tensor([[0.0, 0.0, 0.01]] * channels),
            "scale": torch.ones(channels),
            "base": torch.zeros(channels),
        }.items():
            self.register_buffer(name, value)

    def calibrate(self, noise: Sequence[NoiseModel], intensity: Intensity) -> None:
        """Keep the camera's numbers, and what a count is."""
        for index, model in enumerate(noise):
            numbers = model.gain, model.offset, model.read_variance
            self.camera[index] = torch.tensor(numbers)
            self.scale[index] = intensity.scale[index]
            self.base[index] = intensity.offset[index]

    def found(self) -> Mapping[str, float]:
        """Parameters of the noise model as it is solved for, given or estimated."""
        several = self.channels > 1
        return {
            f"{name} of channel {index}" if several else name: value
            for index in range(self.channels)
            for name, value in self.numbers(index).items()
        }

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
    def _look(self, plane: Tensor) -> None:
        """Measure the noise in the first crops, which are a sample of all."""
        if int(self.looks) >= _LOOKS:
            return
        for index, crops in enumerate(plane.movedim(1, 0)):
            sums, shared = growth.look(crops.float().cpu().numpy())
            self.seen[index] += torch.from_numpy(sums).to(self.seen)
            pace = 1 / (int(self.looks) + 1)
            self.shared[index].lerp_(torch.from_numpy(shared).to(self.shared), pace)
        self.looks += 1
        # Seldom, so that the network need not follow.
        if int(self.looks).bit_count() == 1 or int(self.looks) == _LOOKS:
            for index in range(self.channels):
                self._judge(index)

    def _judge(self, channel: int) -> None:
        """Filter that neighbors share the noise by, and what the noise was before."""
        found = growth.filter_of(self.shared[channel].double().cpu().numpy())
        if found["edge"] + found["corner"] <= _SHARED:
            found = {"edge": 0.0, "corner": 0.0}
        self.filter[channel] = torch.tensor([found["edge"], found["corner"]])
        self.unit[channel] = self._measured(channel).deviation(**found)

    def _filters(self) -> list[Kernel]:
        """Of each channel's noise as it was measured; of a pixel where it is white."""
        return [
            Kernel.of(round(edge, 6), round(corner, 6))
            for edge, corner in self.filter.tolist()
        ]

    def losses(
        self, noisy: Tensor, progress: float, weight: Tensor | None = None
    ) -> Iterator[dict[str, Tensor]]:
        """Yield ``score``: AR-DAE's loss less its constant, of one scale throughout.

        With the square taken out, it is s^2 + 2 u s / sigma_a, in units of the noise:
        -1 where the score knows all noise, 0 where it knows nothing.
        """
        self._look(noisy)
        self.smoothing.fill_(self.config.smoothing(progress))
        added = self.smoothing * self.unit
        filters = self._filters()
        white = _whitened(noisy, filters)
        drawn = torch.randn(noisy.shape, generator=self.random).to(noisy)
        u = torch.cat([drawn, -drawn]) if self.config.pairs else drawn
        crops = white.repeat(2, 1, 1, 1) if self.config.pairs else white
        score = self.score(crops + added * u)
        each = (score**2 + 2 * u * score / added) * (self.unit**2 + added**2)
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
        unit = self.unit.clamp(min=_TINY)
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
        white = _crop(_whitened(noisy, self._filters()), before)
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
        scale = float(self.scale[channel])
        zero = self._zero(channel)
        shift = float(self.base[channel]) - zero
        added = float(self.smoothing * self.unit[channel])
        kernel = self._filters()[channel]
        # What was added in training is part of the noise whose score was learned.
        step = (added * score).clamp(-MOST_SIGMAS, MOST_SIGMAS)
        light = (plane + added * kernel.apply(step)) * scale + shift
        taken = Taken.of(added * scale, kernel)
        known = kernel.invert(score) / scale
        found = self._noise(channel).solve(light, known, taken)
        easing, clean = self._easing(channel), found.clean
        if easing is not None:
            clean = filtered(clean, easing)
        return replace(found, clean=(clean - shift) / scale)

    def numbers(self, channel: int = 0) -> dict[str, float]:
        """The noise model's parameters and offset, in counts, given or estimated."""
        key = self.config, int(self.looks), self.camera.tolist(), self.scale.tolist()
        if self._kept is None or self._kept[0] != key:
            config = self.config
            found = [
                self._measured(i).numbers(config.kind, config.given, config.offset)
                for i in range(self.channels)
            ]
            self._kept = key, found
        return self._kept[1][channel]

    def _measured(self, channel: int) -> Measured:
        gain, dark, read = self.camera[channel].tolist()
        return Measured(
            self.seen[channel].double().cpu().numpy(),
            self.shared[channel].double().cpu().numpy(),
            (gain, dark, read),
            float(self.scale[channel]),
            float(self.base[channel]),
        )

    def _noise(self, channel: int) -> Noise:
        numbers = self.numbers(channel).copy()
        del numbers["offset"]
        return self.config.kind.noise(Parameters(**numbers))

    def _zero(self, channel: int) -> float:
        return self.numbers(channel)["offset"]

    def _easing(self, channel: int) -> NDArray[np.float64] | None:
        light = self._measured(channel).mean() - self._zero(channel)
        return self._noise(channel).easing(light)

    @property
    def _margin(self) -> int:
        """Pixels that solving needs on each side, in whole strides."""
        radius = 0
        for index, kernel in enumerate(self._filters()):
            easing = self._easing(index)
            more = 0 if easing is None else len(easing) // 2
            reach = self._noise(index).radius + kernel.inverse_radius + more
            radius = max(radius, reach)
        return self._in_strides(radius)

    @property
    def _before(self) -> int:
        """Pixels that the filters' inverses need on each side, in whole strides."""
        return self._in_strides(max(k.inverse_radius for k in self._filters()))

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
