"""Blind2Sound: visible blind spots, a sense of the noise, and how sure one can be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field
from torch.nn import functional as F

from napari_blindsound.methods.base import DEVIATION
from napari_blindsound.methods.masking import split_phases
from napari_blindsound.methods.revisible import GROUP, Revisible, RevisibleConfig
from napari_blindsound.networks.noise_estimator import NoiseEstimator
from napari_blindsound.noise.sensing import blended_variance, sensing_loss

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn

    from napari_blindsound.images.intensity import Intensity
    from napari_blindsound.noise.calibration import NoiseModel

_LEAST_LIGHT = 1e-3
_LEAST_DETERMINANT = 1e-6
_ESTIMATOR_RATE = 0.5
_FLOOR = 1e-5  # of the variance, where nothing else keeps it above zero

_SHIFT_PACE = 0.005  # a mean over some 200 steps, whose weights hardly differ by then

# A first deviation of 0.3 times the noise's, about what an untrained network earns.
_SHIFT = math.log(math.expm1(0.3))

# The likelihood of the deviation is so much noisier than that of the image that the
# features, which both share, must hardly listen to it (-0.8 dB after 1500 steps else).
_CALM = 0.03


class Blind2SoundConfig(RevisibleConfig):
    """Settings of Blind2Sound; the defaults are the preset ``fast``."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "fast": {},
        "instant": {"steps": 0},
        "best": {"width": 16, "steps": 60_000},
        "paper": {
            "noise": "sensed",
            "variance": "square",
            "weighting": 1.0,
            "width": 48,
            "depth": 5,
            "phases": 16,
            "patch": 128,
            "learning_rate": 4e-4,
            "schedule": "halving",
            "clip": 10.0,
            "tighten": 237,
            "averaging": 0.0,
            "weight_decay": 1e-8,
            "augment": False,
            "context": "none",
            "start": "cold",
            "steps": 23_700,
        },
    }

    lam_start: float = Field(
        3.0, ge=0, description="weight of the visible branch at the start"
    )
    lam_end: float = Field(
        11.0, ge=0, description="weight of the visible branch at the end"
    )
    noise: Literal["calibrated", "sensed"] = Field(
        "calibrated",
        description="where the loss has the noise from: the image's calibration, or a "
        "network trained along, as in the paper",
    )
    sensing: float = Field(0.01, ge=0, description="weight of the loss of that network")
    weighting: float = Field(
        0.5,
        ge=0,
        le=1,
        description="power of the noise's variance by which pixels weigh less: 1 as "
        "the likelihood says, 0 all alike, as a squared error does",
    )
    variance: Literal["share", "square"] = Field(
        "share",
        description="the result's own variance: a share of the noise's, learned where "
        "the network is blind, or the square of its second output, as in the paper",
    )


class Blind2Sound(Revisible):
    r"""Blind spots, visible again, in a likelihood that knows the noise.

    The network returns a mean :math:`\mu` and a covariance :math:`\Sigma` of the clean
    pixel, blind (m) and visible (v, without gradient). With :math:`\lambda` rising from
    3 to 11, the blend

    .. math:: \mu_y = \frac{\mu_m + \lambda \mu_v}{1 + \lambda}, \quad
              \Sigma_y = \frac{\Sigma_m + \lambda^2 \Sigma_v}{(1 + \lambda)^2}
                         + \alpha \mu_y + \sigma^2

    enters the adaptive re-visible loss :math:`(y - \mu_y)^2 / \Sigma_y + \log
    \Sigma_y`; no gradient passes through :math:`\alpha \mu_y`. For C channels jointly,
    it is half the sum of Mahalanobis distance and log-determinant, and the network
    returns C means and the C (C + 1) / 2 factors of an upper triangular A with
    :math:`\Sigma = A A^T`.

    The preset ``paper`` learns :math:`\alpha` and :math:`\sigma` with a second network,
    from what the generalized Anscombe transform leaves of the noise (weight 0.01).
    Learned so they are no property of the camera, and the covariance takes up what they
    miss. The preset ``fast`` takes both from the calibration of the noise, and learns
    the variance where it can be known: at blind pixels, whose error is independent of
    their noise. There the variance is a share of the noise's, so that it starts right
    and never vanishes; its likelihood is a second term, :math:`(y - \mu_m)^2 /
    (\Sigma_m + \Sigma_n) + \log (\Sigma_m + \Sigma_n)`, for the variance alone. The
    first term is for the mean alone. Its weights follow :math:`\mu_y`, which knows a
    little of the pixel's own noise, and so trust the dark half of it more. That makes
    outliers harmless (+0.4 dB on images of few photons) but the result too dark by some
    hundredths of the noise; what is missing on average is kept and added (`shift`).
    The weights are the square root of the likelihood's: its own make the most of few
    photons, but a long training then spends itself on the dark, where the squared error
    of an image does not come from.

    Estimates: *visible*, *blind*, *blended* as in Blind2Unblind, and *deviation*, the
    standard deviation of the visible estimate, to be calibrated.

    Assumes noise of zero mean, independent from pixel to pixel; correlated noise needs
    a larger blind region.

    References
    ----------
    Wang, Liu, Zhai, Han: Blind2Sound: Self-Supervised Image Denoising without Residual
    Noise, ICCV 2025, equations (5) to (18); https://arxiv.org/abs/2303.05183
    """

    name = "blind2sound"
    title = "Blind2Sound"
    reference = "Wang et al., ICCV 2025, arXiv:2303.05183"
    assumes = (
        "Poisson and Gaussian noise as of a camera, calibrated on the image; of zero "
        "mean, and shared by no more pixels than the blind region hides"
    )
    cost = (
        "trains about as fast as Blind2Unblind; one pass to denoise, which gives the "
        "error bars, too"
    )
    limits = (
        "its error bars need a good calibration: patterns, gain maps and steps in "
        "brightness from frame to frame spoil them"
    )
    Config = Blind2SoundConfig
    outputs: ClassVar[tuple[str, ...]] = ("visible", "blind", "blended", DEVIATION)

    config: Blind2SoundConfig
    gain: Tensor
    dark: Tensor
    read_variance: Tensor
    shift: Tensor

    def __init__(self, config: Blind2SoundConfig, channels: int = 1) -> None:
        super().__init__(config, channels, channels + channels * (channels + 1) // 2)
        for name, value in (("gain", 0.0), ("dark", 0.0), ("read_variance", 1.0)):
            self.register_buffer(name, torch.full((channels, 1, 1), value))
        self.register_buffer("shift", torch.zeros(channels, 1, 1))
        self.estimator = NoiseEstimator(channels) if config.noise == "sensed" else None

    def calibrate(self, noise: Sequence[NoiseModel], intensity: Intensity) -> None:
        """Keep the noise for the loss, and for what a variance is a share of."""
        del intensity
        for index, model in enumerate(noise):
            self.gain[index] = model.gain
            self.dark[index] = model.offset
            self.read_variance[index] = model.read_variance

    def parts(self) -> Sequence[tuple[nn.Module, float]]:
        """The estimator of the noise learns half as fast as the denoiser."""
        if self.estimator is None:
            return super().parts()
        return [(self.network, 1.0), (self.estimator, _ESTIMATOR_RATE)]

    def losses(
        self, noisy: Tensor, progress: float, weight: Tensor | None = None
    ) -> Iterator[dict[str, Tensor]]:
        """Yield ``re-visible``, and what trains the variance or the noise estimator."""
        config, count = self.config, self.channels
        lam = self.lam_at(progress)
        self.lam.fill_(lam)
        phases = self.draw_phases()
        plane = self.center(noisy)
        target = split_phases(plane, config.cell)[phases]
        visible = self.visible_at(noisy, phases).float()
        share = self.shares(target, weight, phases)
        for group in torch.arange(len(phases)).split(GROUP):
            masked = self.masked(noisy, phases[group])
            blind = self.blind_at(masked, phases[group]).float()
            sensed = None if self.estimator is None else self.estimator(plane)
            alone = blind[:, :, :count]
            mean = (alone + lam * visible[group, :, :count]) / (1 + lam)
            own, terms = self.covariance(blind), {}
            beside = self.covariance(visible[group])
            around = (own + lam**2 * beside) / (1 + lam) ** 2
            if config.variance == "share":
                around = around.detach()
                noise = self._noise(alone.detach(), sensed, 0.0)
                error = target[group] - alone.detach()
                terms[DEVIATION] = self._likelihood(error, own, noise, share[group])
            noise = self._evened(self._noise(mean.detach(), sensed, lam))
            error = target[group] - mean
            terms["re-visible"] = self._likelihood(error, around, noise, share[group])
            if sensed is not None and config.sensing:
                blind_read, visible_read, gain = sensed.unbind(1)
                loss = sensing_loss(plane, blind_read, visible_read, gain, lam)
                terms["sensing"] = config.sensing * len(group) / len(phases) * loss
            yield terms
        # Not reached where the step was stopped, which is then taken again.
        self._note_shift(target - visible[:, :, :count], share)

    def curve(self, terms: Mapping[str, float], progress: float) -> float:
        """Variance that the likelihood stands for: positive, and lower is better.

        Linear above 1, where a training begins: else its first steps would be all that
        is seen of the curve.
        """
        del progress
        likelihood = terms.get(DEVIATION, terms.get("re-visible", 0.0))
        return likelihood if likelihood > 1 else math.exp(likelihood - 1)

    def denoise(
        self, noisy: Tensor, *, halo: int = 0, output: str | None = None
    ) -> Tensor:
        """As Blind2Unblind; *deviation* takes one pass."""
        if output != DEVIATION:
            return super().denoise(noisy, halo=halo, output=output) + self.shift
        covariance = self.covariance(self.network(noisy, halo)[None].float())[0]
        return covariance.diagonal(dim1=-2, dim2=-1).sqrt().movedim(-1, 1)

    def covariance(self, numbers: Tensor) -> Tensor:
        """Covariance of the clean channels, A times its transpose.

        Parameters
        ----------
        numbers : Tensor
            (P, B, numbers, H, W), as the network returns them.

        Returns
        -------
        Tensor
            (P, B, H, W, C, C), of normalized intensities.
        """
        count = self.channels
        mean, packed = numbers[:, :, :count], numbers[:, :, count:].movedim(2, -1)
        if self.config.variance == "share":
            packed = packed.detach() + _CALM * (packed - packed.detach())
        rows, columns = torch.triu_indices(count, count, device=numbers.device)
        factors = packed.new_zeros(*packed.shape[:-1], count, count)
        factors[..., rows, columns] = packed
        if self.config.variance == "share":
            unit = self._calibrated(mean.detach()).sqrt().movedim(2, -1)
            spread = F.softplus(factors.diagonal(dim1=-2, dim2=-1) + _SHIFT)
            factors = factors.triu(1) + torch.diag_embed(spread)
            factors = unit[..., None] * factors
        covariance: Tensor = factors @ factors.mT
        return covariance

    @torch.no_grad()
    def _note_shift(self, missing: Tensor, share: Tensor) -> None:
        """Follow the mean of noisy minus denoised, (P, B, C, H, W), a channel."""
        if self.config.variance == "share":
            mean = (share * missing).sum((0, 1, 3, 4)) * self.channels
            if mean.isfinite().all():
                self.shift.lerp_(mean[:, None, None], _SHIFT_PACE)

    def _likelihood(
        self, error: Tensor, covariance: Tensor, noise: Tensor, share: Tensor
    ) -> Tensor:
        """Mean of the negative logarithm, times two for one channel, as in the paper.

        Parameters
        ----------
        error, noise : Tensor
            (P, B, C, H, W), its variance without and the noise's.
        covariance : Tensor
            (P, B, H, W, C, C).
        share : Tensor
            Of each pixel in the mean, broadcastable to `error`.
        """
        if self.channels == 1:
            total = covariance[..., 0, 0].unsqueeze(2) + noise
            return (share * (error**2 / total + total.log())).sum()
        total = covariance + torch.diag_embed(noise.movedim(2, -1))
        # Without a check: a failure is not a number, and the trainer skips the step.
        factor, _ = torch.linalg.cholesky_ex(total)
        distance = torch.linalg.solve_triangular(
            factor, error.movedim(2, -1)[..., None], upper=False
        )
        volume = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        if self.config.variance == "square":
            volume = volume.clamp(min=math.log(_LEAST_DETERMINANT))
        pixel = 0.5 * (distance.square().sum((-2, -1)) + volume)
        # A pixel teaches if all its channels may.
        weight = share.expand(error.shape).amin(2) * self.channels
        likelihood: Tensor = (weight * pixel).sum()
        return likelihood

    def _noise(self, mean: Tensor, sensed: Tensor | None, lam: float) -> Tensor:
        """Variance of the noise at a mean, (P, B, C, H, W)."""
        if sensed is None:
            return self._calibrated(mean)
        blind, visible, gain = sensed[:, :, None, None, None].unbind(1)
        read_variance = blended_variance(blind, visible, lam)
        variance: Tensor = read_variance + gain * mean.clamp(min=_LEAST_LIGHT)
        return variance

    def _evened(self, noise: Tensor) -> Tensor:
        """Variances that differ less, as the weighting says, and are as large."""
        power = self.config.weighting
        if power == 1:
            return noise
        usual = noise.detach().mean((0, 1, 3, 4), keepdim=True)
        evened: Tensor = usual * (noise / usual) ** power
        return evened

    def _calibrated(self, mean: Tensor) -> Tensor:
        light = (mean - self.dark).clamp(min=_LEAST_LIGHT)
        variance: Tensor = self.read_variance + self.gain * light + _FLOOR
        return variance
