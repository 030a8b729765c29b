"""D-BSN: a network with a blind spot, a sense of its doubt, and a fast student."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch.nn import functional as F

from napari_blindsound.methods.base import DEVIATION, Method, Stage
from napari_blindsound.methods.belief import deviation, fused, likelihood
from napari_blindsound.methods.clean_images import CleanImages
from napari_blindsound.methods.dbsn_config import DBSNConfig
from napari_blindsound.networks.blind_spot import BlindSpotNet, NoiseLevel, SpreadHead
from napari_blindsound.networks.mwcnn import MWCNN
from napari_blindsound.networks.unet import UNet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from napari_blindsound.images.intensity import Intensity
    from napari_blindsound.networks.family import Member
    from napari_blindsound.noise.calibration import NoiseModel

log = logging.getLogger(__name__)

_STAGES = ("mean", "likelihood", "distillation")
_FLOOR = 1e-5  # of a variance
_DARKNESS = 0.05  # of the normalized range: less light is taken for none

# Before a spread was learned, it is 0.3 of the noise's deviation.
_SHIFT = math.log(math.expm1(0.3))

# Part of its stage after which the student is better than a student half taught.
_TRUSTED = 0.5
# Part of a crop's side, each, where there is too little context to learn from.
_MARGIN = 16
_SPREAD_OF_LEVELS = 0.1  # of noise drawn for clean images, as a share of its deviation


class DBSN(Method):
    r"""A dilated blind-spot network, Bayes' rule, and a student that is fast.

    The network predicts each pixel from those around it: a mean :math:`\mu` and a
    variance :math:`\Sigma_\mu`. With the noise's variance :math:`\Sigma_n`, known from
    the mean, the noisy pixel y itself is used by Bayes' rule,

    .. math:: \hat x = (\Sigma_\mu y + \Sigma_n \mu) / (\Sigma_\mu + \Sigma_n)

    The training has three stages. First the mean is learned by its squared error, then
    the variances by the likelihood of the noisy pixels: the plain one (6), or (8),

    .. math:: \tfrac12 \left[(y - \mu)^T (\Sigma_\mu + \Sigma_n)^{-1} (y - \mu)
              + \log |\Sigma_n| + tr(\Sigma_n^{-1} \Sigma_\mu)\right]

    Then a small network without blind spot, the student, is taught to return
    :math:`\hat x` for y at once. Clean images of any kind, where there are some
    (``clean``), are a second set to teach it with: noise is drawn for them, of the
    level learned, :math:`\Sigma_n`, and ten times their weight. They are brought to
    the range of the noisy images, each by its own. Without them the student learns
    from the noisy images alone: it follows the teacher in its faults, too, and what
    the paper gains by clean images (0.2 to 0.3 dB over the teacher) is not gained.

    Preset ``paper``: a network trained along tells the noise, (8) teaches all, and the
    student is MWCNN. In ``fast`` the noise is that of the calibration, and the plain
    likelihood teaches the variances alone: noise that is known need not be kept apart,
    and the mean stays that of the least squared error. Where (8) learns the noise, too,
    it calls nearly all error noise: on a phantom of 32 photons Bayes' rule then added
    nothing to the mean in a short training, and 0.4 dB in ``fast``.

    For noise that neighbors share, pixels so far apart that they share none make
    images of their own (``subsampling``), and the student is taught on the whole again.
    Clean images are left out then: noise drawn for them would not be like it.

    Estimates: *denoised*, the student's (before it has learned enough, or without one,
    that of Bayes' rule), *fused*, *blind*, and *deviation*, the square root of the
    posterior variance, to be calibrated.

    References
    ----------
    Wu, Liu, Cao, Ren, Zuo: Unpaired Learning of Deep Image Denoising, ECCV 2020,
    equations (4) to (9); https://arxiv.org/abs/2008.13711
    """

    name = "dbsn"
    title = "D-BSN"
    reference = "Wu et al., ECCV 2020, arXiv:2008.13711"
    assumes = (
        "noise of zero mean and Gaussian, of a variance that the brightness tells, "
        "independent from pixel to pixel; shared noise by leaving out pixels"
    )
    cost = (
        "slow to train, several times Blind2Unblind; the student denoises in one fast "
        "pass, its teacher in one that takes ten times as long or more"
    )
    limits = (
        "detail finer than its blind spot is smoothed; a training needs the time for "
        "its three stages, and cannot be ended as soon as it improves no more"
    )
    Config = DBSNConfig
    outputs: ClassVar[tuple[str, ...]] = ("denoised", "fused", "blind", DEVIATION)

    config: DBSNConfig
    gain: Tensor
    dark: Tensor
    read_variance: Tensor
    scale: Tensor
    distilled: Tensor

    def __init__(self, config: DBSNConfig, channels: int = 1) -> None:
        super().__init__(config, channels)
        self._is_full = config.covariance == "full" and channels > 1
        numbers = channels * (channels + 1) // 2 if self._is_full else channels
        self.network = BlindSpotNet(
            channels,
            channels,
            width=config.width,
            blocks=config.blocks,
            kernel=config.kernel,
        )
        self.spread = SpreadHead(config.width, numbers)
        if config.variance == "share":
            # Before it has learned, it says the same everywhere.
            torch.nn.init.zeros_(self.spread.layers[-1].weight)  # type: ignore[arg-type]
        self.level = NoiseLevel(channels) if config.noise == "learned" else None
        self.student = _student(config, channels)
        # Before a calibration there is much noise, and Bayes' rule keeps to the mean.
        for name, value in (("gain", 0.0), ("dark", 0.0), ("read_variance", 1.0)):
            self.register_buffer(name, torch.full((channels, 1, 1), value))
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("distilled", torch.zeros((), dtype=torch.bool))
        self._clean: CleanImages | None = None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Mean, likelihood, and distillation if there is a student."""
        config = self.config
        ends = [config.mean_until, config.likelihood_until, 1.0]
        if self.student is None:
            ends = [config.mean_until / config.likelihood_until, 1.0]
        return tuple(Stage(name, end) for name, end in zip(_STAGES, ends, strict=False))

    @property
    def halo(self) -> int:
        """The farther look of teacher and student."""
        taught = 0 if self.student is None else self.student.halo
        return max(self.network.halo * self.config.apart, taught)

    @property
    def stride(self) -> int:
        """Whole sub-images, and what the student needs."""
        taught = 1 if self.student is None else self.student.stride
        return math.lcm(self.config.apart, taught)

    @property
    def bytes_per_pixel(self) -> int:
        """The teacher's, or the student's where that is all that is used."""
        taught = 0 if self.student is None else self.student.bytes_per_pixel
        return max(self.network.bytes_per_pixel, taught)

    @property
    def starter(self) -> UNet | None:
        """The student, where it denoises one channel."""
        if self.channels == 1 and isinstance(self.student, UNet):
            return self.student
        return None

    @property
    def is_delicate(self) -> bool:
        """Never: the teacher learns first, from nothing."""
        return False

    def start_from(self, member: Member) -> None:
        """Begin with a student that synthetic images taught, before it is taught."""
        super().start_from(member)
        self.distilled.fill_(value=True)

    def parts(self) -> Sequence[tuple[torch.nn.Module, float]]:
        """Teacher, its sense of the noise and student are clipped apart."""
        found = [self.network, self.spread, self.level, self.student]
        return [(part, 1.0) for part in found if part is not None]

    def calibrate(self, noise: Sequence[NoiseModel], intensity: Intensity) -> None:
        """Keep the noise, and read the clean images if there are any.

        Raises
        ------
        BlindsoundError
            If the clean images cannot be read or do not fit.
        """
        for index, model in enumerate(noise):
            self.scale[index] = intensity.scale[index]
            self.dark[index] = model.offset
            if not (model.gain or model.read_variance):
                continue  # Nothing is known of it.
            self.gain[index] = model.gain
            self.read_variance[index] = model.read_variance
            if self.level is not None:
                middle = float(model.variance(model.offset + 0.25))
                self.level.begin_at(index, math.sqrt(middle))
        if not self.config.clean or self.student is None:
            return
        found = CleanImages.read(self.config.clean, self.channels, self.config.patch)
        if self.config.apart == 1:
            self._clean = found
        else:
            log.warning(
                "the clean images are not used: neighboring pixels share noise, and "
                "noise drawn for clean images would not be like it"
            )

    def found(self) -> Mapping[str, float]:
        """The learned noise in the dark and in full light, in counts."""
        if self.level is None:
            return {}
        told: dict[str, float] = {}
        with torch.inference_mode():
            dark = self._noise(self.dark[None]).flatten()
            light = self._noise((self.dark + 1)[None]).flatten()
        for channel in range(self.channels):
            name = f"channel {channel}: " if self.channels > 1 else ""
            scale = float(self.scale[channel])
            low, high = float(dark[channel]), float(light[channel])
            told[f"{name}noise in the dark"] = scale * math.sqrt(low)
            told[f"{name}noise in full light"] = scale * math.sqrt(high)
            told[f"{name}gain"] = scale * (high - low)
        return told

    def losses(
        self, noisy: Tensor, progress: float, weight: Tensor | None = None
    ) -> Iterator[dict[str, Tensor]]:
        """Yield ``mean``, ``likelihood``, or ``noisy pairs`` and ``clean pairs``."""
        number, within = self.stage_at(progress)
        # A student that began well is good until its teacher's mean has been learned.
        begins = bool(self.started_from) and number == 0
        self.distilled.fill_(begins or (number == 2 and within >= _TRUSTED))
        if number == 2:
            yield self._distillation(noisy, weight)
            return
        part = self._some(noisy)
        share = _share(part, None if weight is None else self._some(weight))
        if number == 0:
            yield {"mean": (share * (self.network(part).float() - part) ** 2).sum()}
        else:
            yield {"likelihood": self._likelihood(part, share)}

    def curve(self, terms: Mapping[str, float], progress: float) -> float:
        """The squared error, or the variance that the likelihood stands for."""
        del progress
        if "likelihood" not in terms:
            return sum(terms.values())
        found = 2 * terms["likelihood"]
        return found if found > 1 else math.exp(found - 1)

    def denoise(
        self, noisy: Tensor, *, halo: int = 0, output: str | None = None
    ) -> Tensor:
        """The student's or Bayes' estimate in one pass of either."""
        output = output or self.outputs[0]
        if output not in self.outputs:
            msg = f"no output {output!r}; there are {', '.join(self.outputs)}"
            raise ValueError(msg)
        if output == "denoised" and self.student is not None and self.distilled:
            taught: Tensor = self.student(noisy, halo)
            return taught
        apart = self.config.apart
        mean, own, noise = self._belief(_apart(noisy, apart), halo // apart)
        if output == DEVIATION:
            return _together(deviation(own, noise), apart)
        if output != "blind":
            core = noisy[..., halo:-halo, halo:-halo] if halo else noisy
            mean = fused(_apart(core, apart), mean, own, noise)
        return _together(mean, apart)

    def _belief(self, noisy: Tensor, halo: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, its (co)variance and the noise's, of sub-images."""
        features = self.network.features(noisy, halo)
        mean = self.network.tail(features).float()
        noise = self._noise(mean.detach())
        return mean, *self._variances(self.spread(features).float(), noise)

    def _likelihood(self, noisy: Tensor, share: Tensor) -> Tensor:
        """Loss of the second stage."""
        config = self.config
        with torch.set_grad_enabled(config.end_to_end):
            features = self.network.features(noisy)
            mean = self.network.tail(features).float()
        noise = self._noise(mean.detach())
        own, noise = self._variances(self.spread(features).float(), noise)
        is_constrained = config.likelihood == "constrained"
        pixel = likelihood(noisy - mean, own, noise, constrained=is_constrained)
        if self._is_full:
            # A pixel teaches if all its channels may.
            share = share.amin(1, keepdim=True)
        return (share * pixel).sum()

    def _distillation(self, noisy: Tensor, weight: Tensor | None) -> dict[str, Tensor]:
        """Loss (4), of noisy pairs and, where there are clean images, of clean ones."""
        assert self.student is not None
        edge = noisy.shape[-1] // _MARGIN
        core = (..., slice(edge, -edge), slice(edge, -edge))
        with torch.no_grad():
            target = self.denoise(noisy, output="fused")[core]
        share = _share(target, None if weight is None else weight[core])
        off = self.student(noisy).float()[core] - target
        terms = {"noisy pairs": (share * off**2).sum()}
        if self._clean is not None:
            clean = self._clean.draw(len(noisy), noisy.shape[-1], self.random)
            clean = clean.to(noisy.device)
            off = self.student(self._with_noise(clean)).float() - clean
            terms["noisy pairs"] = self.config.pairs * terms["noisy pairs"]
            terms["clean pairs"] = (off[core] ** 2).mean()
        return terms

    @torch.no_grad()
    def _with_noise(self, clean: Tensor) -> Tensor:
        """Clean crops with Gaussian noise of the level known, a little more or less."""
        levels = torch.rand(len(clean), 1, 1, 1, generator=self.random) * 2 - 1
        drawn = torch.randn(clean.shape, generator=self.random)
        drawn = (drawn * (1 + _SPREAD_OF_LEVELS * levels)).to(clean.device)
        return clean + self._noise(clean).sqrt() * drawn

    def _noise(self, mean: Tensor) -> Tensor:
        """Variance of the noise at a mean, (B, C, H, W)."""
        if self.level is not None:
            learned: Tensor = self.level(mean) ** 2
            return learned
        light = (mean - self.dark).clamp(min=0)
        variance: Tensor = self.read_variance + self.gain * light + _FLOOR
        return variance

    def _variances(self, raw: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """(Co)variances of the mean and of the noise, in the form that is used.

        Parameters
        ----------
        raw : Tensor
            (B, numbers, H, W), as the head returns them.
        noise : Tensor
            (B, C, H, W).
        """
        is_share, count = self.config.variance == "share", self.channels
        if not self._is_full:
            if is_share:
                return noise.detach() * F.softplus(raw + _SHIFT) ** 2 + _FLOOR, noise
            return raw**2 + _FLOOR, noise
        rows, columns = torch.tril_indices(count, count, device=raw.device)
        packed = raw.movedim(1, -1)
        factors = packed.new_zeros(*packed.shape[:-1], count, count)
        factors[..., rows, columns] = packed
        if is_share:
            unit = noise.detach().sqrt().movedim(1, -1)
            on = F.softplus(factors.diagonal(dim1=-2, dim2=-1) + _SHIFT)
            factors = unit[..., None] * (factors.tril(-1) + torch.diag_embed(on))
        ones = torch.eye(count, device=raw.device)
        own = factors @ factors.mT + _FLOOR * ones
        return own, torch.diag_embed(noise.movedim(1, -1))

    def _some(self, image: Tensor) -> Tensor:
        """One sub-image of crops, drawn at random; all of them without sub-sampling."""
        apart = self.config.apart
        if apart == 1:
            return image
        phase = int(torch.randint(apart**2, (), generator=self.random))
        return image[..., phase // apart :: apart, phase % apart :: apart]


def _student(config: DBSNConfig, channels: int) -> UNet | MWCNN | None:
    width, depth = config.student_width, config.student_depth
    if config.student == "unet":
        return UNet(channels, channels, width=width, depth=depth)
    if config.student == "mwcnn":
        return MWCNN(channels, width=width, levels=depth)
    return None


def _share(image: Tensor, weight: Tensor | None) -> Tensor:
    """Share of each pixel in a mean, (B, C, H, W)."""
    if weight is None:
        return torch.full_like(image, 1 / image.numel())
    return weight / weight.sum().clamp(min=1)


def _apart(image: Tensor, factor: int) -> Tensor:
    """Sub-images, (B, C, H, W) to (B factor^2, C, H / factor, W / factor)."""
    if factor == 1:
        return image
    channels = image.shape[1]
    parts: Tensor = F.pixel_unshuffle(image, factor).unflatten(1, (channels, factor**2))
    return parts.transpose(1, 2).flatten(0, 1)


def _together(parts: Tensor, factor: int) -> Tensor:
    """Inverse of :func:`_apart`."""
    if factor == 1:
        return parts
    joined = parts.unflatten(0, (-1, factor**2)).transpose(1, 2).flatten(1, 2)
    return F.pixel_shuffle(joined, factor)
