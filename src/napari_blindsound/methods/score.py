"""Score: learn the gradient of the noisy images' density, then solve for the clean one.

Nothing of the noise enters the training. So its kind and its parameters may be chosen,
and changed, when the training is over.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from napari_blindsound.methods.base import Method
from napari_blindsound.methods.score_config import ScoreConfig
from napari_blindsound.networks.unet import UNet
from napari_blindsound.noise import growth
from napari_blindsound.noise.base import MOST_SIGMAS
from napari_blindsound.noise.kernel import Kernel
from napari_blindsound.noise.models import Parameters
from napari_blindsound.noise.taken import Taken

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from napari_blindsound.images.intensity import Intensity
    from napari_blindsound.noise.base import Noise, Solved
    from napari_blindsound.noise.calibration import NoiseModel

_LOOKS = 48  # steps whose crops the noise is measured in
_MOST_PRECISION = 6.0  # logarithm of the largest, against the noise as a whole
_MOST_ROUGH = 20.0  # deviations of the noise
_SHARED = 0.08  # of a pixel's noise is in that of a neighbor beside and one across
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
    go, m(y), and how sure that is, P(y): s = P (m - y). Noise that neighbors share has
    little in the finest details, where the score is then largest. If so, the network
    also sees these in units of the noise, and says what else there is, s = P (m - y) +
    r: else it would take long to learn of what is a hundredth of the image.

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
    camera: Tensor
    scale: Tensor
    base: Tensor

    def __init__(self, config: ScoreConfig, channels: int = 1) -> None:
        super().__init__(config, channels)
        self.network = UNet(
            2 * channels, 3 * channels, width=config.width, depth=config.depth
        )
        self._judged = 0, False
        self._kept: tuple[Any, list[dict[str, float]]] | None = None
        levels = channels, growth.SUMS, growth.LEVELS
        for name, value in {
            "unit": torch.zeros(channels, 1, 1),
            "smoothing": torch.tensor(config.smoothing_end),
            "looks": torch.zeros((), dtype=torch.int64),
            "seen": torch.zeros(levels),
            "shared": torch.zeros(channels, len(growth.LAGS)),
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
        """The network's, a pixel for details, and what the solver looks at."""
        return self.network.halo + 1 + self._margin

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
        gain, dark, read = (part[:, None, None] for part in self.camera.unbind(1))
        if not self.looks:
            variance = gain * (plane - dark).clamp(min=0) + read
            self.unit.copy_(variance.mean((0, 2, 3))[:, None, None].sqrt() + _TINY)
        for index, crops in enumerate(plane.movedim(1, 0)):
            sums, shared = growth.look(crops.float().cpu().numpy())
            self.seen[index] += torch.from_numpy(sums).to(self.seen)
            pace = 1 / (int(self.looks) + 1)
            self.shared[index].lerp_(torch.from_numpy(shared).to(self.shared), pace)
        self.looks += 1

    def _is_shared(self) -> bool:
        """Whether neighbors share the noise, as far as that has been measured."""
        looks = int(self.looks)
        if self._judged[0] != looks:
            found = [
                growth.filter_of(channel.double().cpu().numpy())
                for channel in self.shared
            ]
            most = max(weights["edge"] + weights["corner"] for weights in found)
            self._judged = looks, most > _SHARED
        return self._judged[1]

    def losses(
        self, noisy: Tensor, progress: float, weight: Tensor | None = None
    ) -> Iterator[dict[str, Tensor]]:
        """Yield ``score``: AR-DAE's loss less its constant, of one scale throughout.

        With the square taken out, it is s^2 + 2 u s / sigma_a, in units of the noise:
        -1 where the score knows all noise, 0 where it knows nothing.
        """
        self._look(noisy)
        shared = self._is_shared()
        self.smoothing.fill_(self.config.smoothing(progress, shared=shared))
        added = self.smoothing * self.unit
        drawn = torch.randn(noisy.shape, generator=self.random).to(noisy)
        u = torch.cat([drawn, -drawn]) if self.config.pairs else drawn
        crops = noisy.repeat(2, 1, 1, 1) if self.config.pairs else noisy
        score = self.score(crops + added * u)
        each = (score**2 + 2 * u * score / added) * (self.unit**2 + added**2)
        if weight is None:
            yield {"score": each.mean()}
            return
        share = weight.repeat(len(u) // len(weight), 1, 1, 1)
        yield {"score": (share * each).sum() / share.sum().clamp(min=1)}

    def curve(self, terms: Mapping[str, float], progress: float) -> float:
        """Part of the noise that the score does not know, from 1 down to about 0."""
        del progress
        return max(1 + sum(terms.values()), _LEAST_CURVE)

    def score(self, noisy: Tensor, halo: int = 0) -> Tensor:
        """Gradient of the logarithm of the density of noisy images.

        Parameters
        ----------
        noisy : Tensor
            Normalized, (B, C, H + 2 halo, W + 2 halo).
        halo : int
            As of the network.

        Returns
        -------
        Tensor
            (B, C, H, W), in units of 1 / noisy.
        """
        unit = self.unit.clamp(min=_TINY)
        is_fine = float(self._is_shared())
        rough = (_rough(noisy) / unit).clamp(-_MOST_ROUGH, _MOST_ROUGH) * is_fine
        numbers = self.network(torch.cat([noisy, rough], dim=1), halo).float()
        mean, sure, rest = numbers.split(self.channels, dim=1)
        precision = sure.clamp(-_MOST_PRECISION, _MOST_PRECISION).exp()
        away = precision * (mean - _crop(noisy, halo)) / unit
        known: Tensor = (away + is_fine * rest) / unit
        return known

    def denoise(
        self, noisy: Tensor, *, halo: int = 0, output: str | None = None
    ) -> Tensor:
        """Score in one pass, then the solver of the noise model."""
        if output not in (None, *self.outputs):
            msg = f"no output {output!r}; there are {', '.join(self.outputs)}"
            raise ValueError(msg)
        margin = self._margin if halo else 0
        score = self.score(noisy, halo - margin)
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
            (B, H, W), normalized, of one channel.
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
        # What was added in training is part of the noise whose score was learned.
        step = (added * score).clamp(-MOST_SIGMAS, MOST_SIGMAS)
        light = (plane + added * step) * scale + shift
        taken = Taken.of(added * scale, Kernel.of(0.0, 0.0))
        found = self._noise(channel).solve(light, score / scale, taken)
        return replace(found, clean=(found.clean - shift) / scale)

    def numbers(self, channel: int = 0) -> dict[str, float]:
        """The noise model's parameters and offset, in counts, given or estimated."""
        key = self.config, int(self.looks), self.camera.tolist(), self.scale.tolist()
        if self._kept is None or self._kept[0] != key:
            found = [self._estimated(index) for index in range(self.channels)]
            self._kept = key, found
        return self._kept[1][channel]

    def _estimated(self, channel: int) -> dict[str, float]:
        config = self.config
        kind, given = config.kind, config.given
        scale, base = float(self.scale[channel]), float(self.base[channel])
        gain, dark, read = self.camera[channel].tolist()
        seen = self.seen[channel].double().cpu().numpy()
        shared = self.shared[channel].double().cpu().numpy()
        if not seen.any():
            seen, shared = growth.of_line(gain, dark, read), np.zeros(len(growth.LAGS))
        offset = config.offset
        if offset is None:
            whole = growth.Growth.of(seen, shared, scale, base)
            offset = growth.dark_level(kind, whole)
        if offset is None:
            offset = dark * scale + base
        found = {"gain": gain * scale, "sigma": max(math.sqrt(read), _TINY) * scale}
        if kind.first != "camera":
            light = growth.Growth.of(seen, shared, scale, base - offset)
            found = growth.estimated(kind, light, given)
        found |= given
        return {**{name: found[name] for name in kind.needs}, "offset": offset}

    def _noise(self, channel: int) -> Noise:
        numbers = self.numbers(channel).copy()
        del numbers["offset"]
        return self.config.kind.noise(Parameters(**numbers))

    def _zero(self, channel: int) -> float:
        return self.numbers(channel)["offset"]

    @property
    def _margin(self) -> int:
        """Pixels that solving needs on each side, in whole strides."""
        radius = max(self._noise(index).radius for index in range(self.channels))
        return -(-radius // self.stride) * self.stride


def _rough(images: Tensor) -> Tensor:
    """What a 3 x 3 binomial filter takes away, (B, C, H, W)."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    smooth = rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]
    return images - smooth / 16


def _crop(x: Tensor, pixels: int) -> Tensor:
    return x[..., pixels:-pixels, pixels:-pixels] if pixels else x
