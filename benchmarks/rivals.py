"""Other trainings to hold ours against, each written from its paper in a few lines.

They are given what ours has: normalized images, the same crops where they take crops,
and a schedule that knows the budget. All work in the network's range, (N, 1, H, W).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_blindsound.training.schedules import halving, one_cycle
from plain import PlainUNet, plain_loss

if TYPE_CHECKING:
    from collections.abc import Callable

_SYNCHRONIZED = 20  # steps, after which a device that runs behind is waited for


class Rival:
    """A network, a loss and a schedule."""

    title: ClassVar[str]
    words: ClassVar[str]
    rate = 3e-3
    schedule: Callable[[float], float] = staticmethod(one_cycle)
    patch: int | None = 64
    """Side of the crops; None takes one whole image a step."""
    batch = 4
    stride = 8

    def __init__(self) -> None:
        self.network: nn.Module = PlainUNet(8, 3)

    def loss(self, noisy: Tensor, progress: float) -> Tensor:
        """What is minimized, of (B, 1, H, W)."""
        raise NotImplementedError

    def denoise(self, noisy: Tensor) -> Tensor:
        """Whole images, with what lies beyond the border reflected."""
        height, width = noisy.shape[-2:]
        pad = 0, -width % self.stride, 0, -height % self.stride
        whole = F.pad(noisy, pad, mode="reflect")
        with torch.inference_mode():
            made = [self.network(image[None]) for image in whole]
        return torch.cat(made)[..., :height, :width]

    def train(
        self, images: Tensor, seconds: float, *, seed: int = 0, steps: int | None = None
    ) -> int:
        """Train on (N, 1, H, W) for a time, or some steps; say how many were done."""
        random = torch.Generator().manual_seed(seed)
        network = self.network.to(images.device).train()
        adam = torch.optim.Adam(network.parameters(), lr=self.rate)
        started, done = time.perf_counter(), 0
        while True:
            spent = time.perf_counter() - started
            progress = done / steps if steps else spent / seconds
            if progress >= 1:
                break
            for group in adam.param_groups:
                group["lr"] = self.rate * self.schedule(progress)
            adam.zero_grad()
            self.loss(self._drawn(images, done, random), progress).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            adam.step()
            done += 1
            if images.is_cuda and done % _SYNCHRONIZED == 0:
                torch.cuda.synchronize(images.device)
        return done

    def _drawn(self, images: Tensor, step: int, random: torch.Generator) -> Tensor:
        if self.patch is None:
            return images[step % len(images)][None]
        side = min(
            self.patch, *(size - size % self.stride for size in images.shape[2:])
        )
        rooms = (len(images), *(size - side + 1 for size in images.shape[-2:]))
        crops = []
        for _ in range(self.batch):
            i, y, x = (int(torch.randint(r, (1,), generator=random)) for r in rooms)
            crop = images[i, :, y : y + side, x : x + side]
            turns = int(torch.randint(4, (1,), generator=random))
            crops.append(torch.rot90(crop, turns, (-2, -1)))
        return torch.stack(crops)


class Plain(Rival):
    """Blind2Unblind as it is published, all 16 masked copies a step."""

    title = "plain Blind2Unblind"
    words = (
        "16 masked copies a step, width 48, depth 5, learning rate 3e-4 halved four "
        "times, without the average of the weights; crops of 64"
    )
    rate = 3e-4
    schedule = staticmethod(halving)
    stride = 32

    def __init__(self) -> None:
        super().__init__()
        self.network = PlainUNet(48, 5)

    def loss(self, noisy: Tensor, progress: float) -> Tensor:
        """Re-visible loss, its weight rising from 2 to 20."""
        return plain_loss(self.network, noisy, 2 + 18 * progress)


class Noise2Void(Rival):
    """One mask of blind pixels (Krull et al., CVPR 2019), and nothing else."""

    title = "Noise2Void-style"
    words = (
        "1.5 % of the pixels replaced by a random neighbor within 5 x 5, the squared "
        "error there; width 8, depth 3, crops and schedule as ours"
    )
    share, reach, neighbors = 0.015, 2, 8

    def loss(self, noisy: Tensor, progress: float) -> Tensor:
        """Squared error of predicting the masked pixels."""
        del progress
        mask = torch.rand_like(noisy) < self.share
        reach = range(-self.reach, self.reach + 1)
        shifts = [(y, x) for y in reach for x in reach if (y, x) != (0, 0)]
        drawn = torch.randperm(len(shifts))[: self.neighbors].tolist()
        others = torch.stack([noisy.roll(shifts[i], (-2, -1)) for i in drawn])
        which = torch.randint_like(noisy, len(drawn)).long()
        masked = torch.where(mask, others.gather(0, which[None])[0], noisy)
        errors = (self.network(masked) - noisy) ** 2
        return errors[mask].mean() if mask.any() else errors.mean() * 0


class ZeroShot(Rival):
    """Zero-Shot Noise2Noise (Mansour and Heckel, CVPR 2023, arXiv:2303.11253).

    Two images of half the size, each the mean of one diagonal of every 2 x 2 pixels,
    teach a small network to predict the noise of one from the other; what it makes of
    the whole, halved, should be what it makes of the halves.
    """

    title = "ZS-N2N"
    words = (
        "3 convolutions of 48 channels, whole images in turns, residual and "
        "consistency loss, learning rate 1e-3, halved after half the time"
    )
    rate = 1e-3
    patch = None
    stride = 2

    def __init__(self) -> None:
        super().__init__()
        self.network = _Residual()

    @staticmethod
    def schedule(progress: float) -> float:
        """Half after half."""
        return 1.0 if progress < 1 / 2 else 1 / 2

    def loss(self, noisy: Tensor, progress: float) -> Tensor:
        """Residual and consistency, each both ways."""
        del progress
        height, width = noisy.shape[-2:]
        noisy = noisy[..., : height - height % 2, : width - width % 2]
        first, second = diagonals(noisy)
        denoised = [self.network(half) for half in (first, second)]
        of_whole = diagonals(self.network(noisy))
        residual = F.mse_loss(denoised[0], second) + F.mse_loss(denoised[1], first)
        consistency = sum(
            F.mse_loss(one, other)
            for one, other in zip(denoised, of_whole, strict=True)
        )
        return (residual + consistency) / 2


class _Residual(nn.Module):
    """Takes away the noise that it predicts."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.noise = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 1, 1),
        )

    def forward(self, noisy: Tensor) -> Tensor:
        return noisy - self.noise(noisy)


def diagonals(image: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of each diagonal of every 2 x 2 pixels, (B, 1, H, W) to half the size."""
    a, b = image[..., 0::2, 0::2], image[..., 0::2, 1::2]
    c, d = image[..., 1::2, 0::2], image[..., 1::2, 1::2]
    return (b + c) / 2, (a + d) / 2


RIVALS: dict[str, type[Rival]] = {
    "plain": Plain,
    "n2v": Noise2Void,
    "zs-n2n": ZeroShot,
}
