"""Noise2Info: learns from what hidden pixels change, and bounds the noise on the way.

The images here are not z-scored, as the paper's are, but every length in the loss and
in Algorithm 1 grows with the image's scale. So all is computed in normalized units, and
where the paper begins with a noise of 1, this begins with the standard deviation of the
crops that have been seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field

from napari_blindsound.methods.base import Method, WarmConfig
from napari_blindsound.methods.masking import draw_mask, neighbor_mean
from napari_blindsound.networks.unet import UNet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from napari_blindsound.images.intensity import Intensity
    from napari_blindsound.noise.calibration import NoiseModel

_RANDOM_SPREAD = 0.2  # of what replaces a pixel, in standard deviations of the image
_LEAST = 1e-12  # under a root, whose slope at zero is infinite
_SLOWEST = 1e-3  # pace at which the mean and spread of the crops are followed

_SAMPLE = 1024  # pixels of a crop, its "image" in Algorithm 1
_POOL = 4096  # pixels of all crops
_COLLECTED = 0.5  # last part of a round from which the noise is estimated
_FEWEST_CROPS = 32
# Of L_in, added to it: else the least of several estimates is too small by chance.
_STANDARD_ERRORS = 2.0


class Noise2InfoConfig(WarmConfig):
    """Settings of Noise2Info; the defaults are the preset ``fast``."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "fast": {},
        "instant": {"steps": 0},
        "best": {"steps": 60_000},
        "paper": {
            "width": 48,
            "depth": 5,
            "batch": 64,
            "masked": 0.5,
            "learning_rate": 4e-4,
            "schedule": "halving",
            "clip": 0.0,
            "averaging": 0.0,
            "start": "cold",
            "steps": 50_000,
        },
    }

    width: int = Field(8, ge=1, description="channels of the network's downward path")
    depth: int = Field(3, ge=1, le=7, description="poolings by 2 in the network")
    replacement: Literal["donut", "random"] = Field(
        "donut",
        description="what a masked pixel becomes: the mean of its neighbors, or noise "
        "around the image's mean",
    )
    masked: float = Field(
        2.0,
        gt=0,
        le=25,
        description="percent of the pixels masked at once, one in each box of a grid",
    )
    update: float = Field(
        0.1,
        gt=0,
        le=0.5,
        description="part of the training after which the noise is estimated again",
    )
    draws: int = Field(
        10, ge=1, le=1000, description="bootstrap draws in an estimate of the noise"
    )

    @property
    def box(self) -> int:
        """Side of the boxes of which one pixel each is masked: 14 for 0.5 %."""
        side: float = (100 / self.masked) ** 0.5
        return max(2, round(side))


class Noise2Info(Method):
    r"""Pixels may be seen, but hiding them must change little.

    With y the noisy image, f the network, :math:`y_J` a copy in which a few pixels J
    are replaced, and :math:`\sigma` the noise's standard deviation,

    .. math:: L = L_{in} + 2 \sigma \sqrt{L_{ex}}, \quad
              L_{in} = \overline{(f(y) - y)^2}, \quad
              L_{ex} = \overline{(f(y) - f(y_J))_J^2}

    bounds the error of f(y) from above, but for a constant (Noise2Same). Both passes
    carry a gradient. Noise2Info finds :math:`\sigma` itself, from above, by what the
    network removes (:func:`noise_at_most`): again after each tenth of the training, and
    it never grows. Of photon noise it is the mean level: the root of the mean variance.

    The paper's network has batch normalization; this one has none, so that tiles equal
    the whole image.

    References
    ----------
    Wang, Wang, Li, Li, Wang, Zhang, Zha, Zhang: Noise2Info: Noisy Image to Information
    of Noise for Self-Supervised Image Denoising, ICCV 2023; the loss is that of Xie,
    Wang, Ji: Noise2Same, NeurIPS 2020, https://arxiv.org/abs/2010.11971
    """

    name = "noise2info"
    title = "Noise2Info"
    reference = "Wang et al., ICCV 2023"
    assumes = "noise of zero mean, whatever its kind, independent from pixel to pixel"
    cost = (
        "a step takes about twice as long as one of Blind2Unblind; one pass to denoise"
    )
    limits = (
        "one level of noise for the whole image, so that it smooths more where light "
        "is low; noise that neighbors share stays in the result"
    )
    Config = Noise2InfoConfig

    config: Noise2InfoConfig
    sigma: Tensor
    scale: Tensor
    seen: Tensor
    moments: Tensor
    round: Tensor
    collected: Tensor
    errors: Tensor
    squares: Tensor
    typical: Tensor
    pool: Tensor

    def __init__(self, config: Noise2InfoConfig, channels: int = 1) -> None:
        super().__init__(config, channels)
        self.network = UNet(channels, channels, width=config.width, depth=config.depth)
        buffers = {
            # At most this, normalized; and counts that are 1 there.
            "sigma": torch.full((channels,), torch.inf),
            "scale": torch.ones(channels),
            # Crops seen, and the means of their pixels and of their squares.
            "seen": torch.zeros(()),
            "moments": torch.zeros(2, channels),
            # Of this round: crops collected, their mean losses L_in and L_ex, the means
            # of a crop's mean square and of its square, samples of the removed noise in
            # order of size on average, and a random part of it all.
            "round": torch.zeros(()),
            "collected": torch.zeros(()),
            "errors": torch.zeros(2, channels),
            "squares": torch.zeros(2, channels),
            "typical": torch.zeros(channels, _SAMPLE),
            "pool": torch.zeros(channels, _POOL),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value)

    @property
    def halo(self) -> int:
        """The network's: nothing is masked when it denoises."""
        return self.network.halo

    @property
    def stride(self) -> int:
        """The network's."""
        return self.network.stride

    @property
    def bytes_per_pixel(self) -> int:
        """The network's."""
        return self.network.bytes_per_pixel

    @property
    def starter(self) -> UNet | None:
        """The network, where it denoises one channel."""
        return self.network if self.channels == 1 else None

    def calibrate(self, noise: Sequence[NoiseModel], intensity: Intensity) -> None:
        """Keep the scale, to tell the noise in counts; the noise is found anew."""
        del noise
        self.scale.copy_(torch.tensor(intensity.scale))

    def found(self) -> Mapping[str, float]:
        """Upper bound of the noise's standard deviation, a channel."""
        count = self.channels
        names = [f" of channel {i}" if count > 1 else "" for i in range(count)]
        numbers = (self.sigma * self.scale).tolist()
        return {
            f"noise{name}, at most": number
            for name, number in zip(names, numbers, strict=True)
            if number < float("inf")
        }

    def losses(
        self, noisy: Tensor, progress: float, weight: Tensor | None = None
    ) -> Iterator[dict[str, Tensor]]:
        """Yield ``reconstruction`` and ``invariance``, a mean over the channels."""
        batch = torch.stack([noisy.mean((0, 2, 3)), noisy.square().mean((0, 2, 3))])
        mean, square = self.moments if self.seen else batch
        spread = (square - mean**2).clamp(min=_LEAST).sqrt()
        hidden = self.draw_mask(noisy)
        masked = torch.where(hidden, self._filled(noisy, mean, spread), noisy)
        both = self.network(torch.cat([noisy, masked])).float()
        seen, unseen = both.chunk(2)
        teaches = torch.ones_like(noisy) if weight is None else weight
        removed = seen - noisy
        inside = _mean(removed**2, teaches)
        outside = _mean((seen - unseen) ** 2, teaches * hidden)
        sigma = torch.minimum(self.sigma, spread)
        yield {
            "reconstruction": inside.mean(),
            "invariance": (2 * sigma * (outside + _LEAST).sqrt()).mean(),
        }
        # Not reached where the step was stopped, which is then taken again.
        with torch.no_grad():
            self._follow(batch, len(noisy))
            self._estimate_when_due(progress)
            errors = torch.stack([inside, outside])
            if progress / self.config.update % 1 >= 1 - _COLLECTED:
                self._collect(removed, teaches, errors)

    def draw_mask(self, noisy: Tensor) -> Tensor:
        """Where pixels of (B, C, H, W) are hidden this time, in each channel others."""
        drawn = draw_mask(noisy.shape, self.config.box, self.random)
        return drawn.to(noisy.device)

    def denoise(
        self, noisy: Tensor, *, halo: int = 0, output: str | None = None
    ) -> Tensor:
        """One pass."""
        if output not in (None, *self.outputs):
            msg = f"no output {output!r}; there is {', '.join(self.outputs)}"
            raise ValueError(msg)
        denoised: Tensor = self.network(noisy, halo)
        return denoised

    def _filled(self, noisy: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        if self.config.replacement == "donut":
            return neighbor_mean(noisy)
        drawn = torch.randn(noisy.shape, generator=self.random).to(noisy)
        return mean[:, None, None] + _RANDOM_SPREAD * spread[:, None, None] * drawn

    def _follow(self, batch: Tensor, crops: int) -> None:
        """Mean and mean square of the crops seen, later ones with a fixed pace."""
        pace = (crops / (self.seen + crops)).clamp(min=_SLOWEST)
        self.moments.lerp_(batch, pace)
        self.seen += crops

    def _collect(self, removed: Tensor, teaches: Tensor, errors: Tensor) -> None:
        """Take note of the removed noise of some crops, (B, C, H, W)."""
        if not errors.isfinite().all():
            return
        crops = len(removed)
        chances = teaches.flatten(2).flatten(0, 1).cpu()
        chances = chances + (chances.sum(-1, keepdim=True) == 0)
        chosen = torch.multinomial(
            chances, _SAMPLE, replacement=True, generator=self.random
        )
        places = chosen.to(removed.device).unflatten(0, removed.shape[:2])
        sample = removed.flatten(2).gather(-1, places)
        pace = crops / (self.collected + crops)
        squares = sample.square().mean(-1)
        self.squares.lerp_(torch.stack([squares, squares**2]).mean(1), pace)
        self.typical.lerp_(sample.sort(-1).values.mean(0), pace)
        self.errors.lerp_(errors, pace)
        # Every place of the pool holds a pixel of any crop with the same chance.
        drawn = torch.randint(crops * _SAMPLE, (_POOL,), generator=self.random)
        fresh = torch.rand(_POOL, generator=self.random).to(removed.device) < pace
        others = sample.transpose(0, 1).flatten(1)[:, drawn.to(removed.device)]
        self.pool.copy_(torch.where(fresh, others, self.pool))
        self.collected += crops

    def _estimate_when_due(self, progress: float) -> None:
        """At the end of a round, lower the noise if what was collected says so."""
        number = int(progress / self.config.update)
        if number <= int(self.round) or self.collected < _FEWEST_CROPS:
            return
        inside, outside = self.errors
        square, fourth = self.squares
        error = ((fourth - square**2).clamp(min=0) / self.collected).sqrt()
        bound = noise_at_most(
            self.typical,
            square,
            self.pool,
            inside + _STANDARD_ERRORS * error,
            outside,
            draws=self.config.draws,
            random=self.random,
        )
        self.sigma.copy_(torch.minimum(self.sigma, bound))
        self.round.fill_(number)
        self.collected.zero_()


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of (B, C, H, W) a channel; 0 without weight."""
    total: Tensor = (weight * values).sum((0, 2, 3))
    return total / weight.sum((0, 2, 3)).clamp(min=1)


def noise_at_most(
    typical: Tensor,
    square: Tensor,
    pool: Tensor,
    inside: Tensor,
    outside: Tensor,
    *,
    draws: int,
    random: torch.Generator | None = None,
) -> Tensor:
    r"""Bound of the noise's standard deviation, by the paper's Algorithm 1.

    With :math:`E_l` the mean squared difference between the removed noise of a crop, in
    order of size, and as many values drawn from that of all crops, in order of size,

    .. math:: \sigma \le \sqrt{L_{ex}} + \sqrt{L_{ex} + L_{in} - E_l}

    The mean over crops is taken first, which changes nothing: of the crops, the squared
    difference knows only the mean square and the mean in each place of the order.

    Parameters
    ----------
    typical : Tensor
        (C, m), removed noise of a crop's m pixels in order of size, mean over crops.
    square : Tensor
        (C,), mean square of these pixels.
    pool : Tensor
        (C, n), removed noise of any crops.
    inside, outside : Tensor
        (C,), :math:`L_{in}` and :math:`L_{ex}`.
    draws : int
        From the pool, with replacement.
    random : torch.Generator, optional
        On the CPU.

    Returns
    -------
    Tensor
        (C,).
    """
    size = typical.shape[-1]
    chosen = torch.randint(pool.shape[-1], (draws, size), generator=random)
    drawn = pool[:, chosen.to(pool.device)].sort(-1).values
    products = (typical[:, None] * drawn).mean((1, 2))
    apart = square - 2 * products + drawn.square().mean((1, 2))
    return outside.sqrt() + (outside + inside - apart).clamp(min=0).sqrt()
