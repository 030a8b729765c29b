"""What the score method measures of the noise while it learns, kept with the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from napari_blindsound.noise import growth
from napari_blindsound.noise.deduced import Measured
from napari_blindsound.noise.felt import felt
from napari_blindsound.noise.kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_blindsound.images.intensity import Intensity
    from napari_blindsound.noise.base import Noise
    from napari_blindsound.noise.calibration import NoiseModel

_LOOKS = 48  # steps whose crops the noise is measured in
_SHARED = 0.08  # of a pixel's noise is in that of a neighbor beside and one across
_PACE = 0.25  # weight of the last look at the score


class Gauge(nn.Module):
    """Noise of each channel, in buffers, so that it is saved and continued.

    Parameters
    ----------
    channels : int

    Attributes
    ----------
    unit : Tensor
        (C, 1, 1): deviation of the noise as a whole, normalized, before the filter.
    scale, base : Tensor
        (C,): counts a normalized unit, and those of its zero.
    """

    unit: Tensor
    looks: Tensor
    seen: Tensor
    wide: Tensor
    shared: Tensor
    filter: Tensor
    felt: Tensor
    camera: Tensor
    scale: Tensor
    base: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        levels = channels, growth.SUMS, growth.LEVELS
        for name, value in {
            "unit": torch.zeros(channels, 1, 1),
            "looks": torch.zeros((), dtype=torch.int64),
            "seen": torch.zeros(levels),
            "wide": torch.zeros(levels),
            "shared": torch.zeros(channels, len(growth.LAGS)),
            "filter": torch.zeros(channels, 2),
            "felt": torch.zeros(levels),
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

    @torch.no_grad()
    def look(self, plane: Tensor) -> None:
        """Measure the noise in the first crops, (B, C, H, W), a sample of all."""
        if int(self.looks) >= _LOOKS:
            return
        for index, crops in enumerate(plane.movedim(1, 0)):
            planes = crops.float().cpu().numpy()
            sums, shared = growth.look(planes)
            self.seen[index] += torch.from_numpy(sums).to(self.seen)
            sums, _ = growth.look(planes, growth.WIDE)
            self.wide[index] += torch.from_numpy(sums).to(self.wide)
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
        self.unit[channel] = self.measured(channel).deviation(**found)

    def filters(self) -> list[Kernel]:
        """Of each channel's noise as it was measured; of a pixel where it is white."""
        return [
            Kernel.of(round(edge, 6), round(corner, 6))
            for edge, corner in self.filter.tolist()
        ]

    def feel(self, noisy: Tensor, slope: Tensor, added: Tensor) -> None:
        """Keep how steeply the score falls.

        Parameters
        ----------
        noisy, slope : Tensor
            (B, C, H, W): normalized images; change of the score with each pixel.
        added : Tensor
            (C, 1, 1): deviation of the noise that was added.
        """
        for index in range(self.channels):
            planes = noisy[:, index].float().cpu().numpy()
            sums = felt(planes, slope[:, index].cpu().numpy(), float(added[index]))
            self.felt[index].lerp_(torch.from_numpy(sums).to(self.felt), _PACE)

    def doubt(self, channel: int, noise: Noise, zero: float) -> dict[str, float]:
        """Noise as it is solved for and as the score has it, where these are apart."""
        felt_sums = self.felt[channel].double().cpu().numpy()
        kernel = self.filters()[channel]
        return self.measured(channel).doubt(noise, zero, felt_sums, kernel)

    def measured(self, channel: int) -> Measured:
        """Of one channel, for numbers to be deduced from."""
        gain, dark, read = self.camera[channel].tolist()
        return Measured(
            self.seen[channel].double().cpu().numpy(),
            self.wide[channel].double().cpu().numpy(),
            self.shared[channel].double().cpu().numpy(),
            (gain, dark, read),
            float(self.scale[channel]),
            float(self.base[channel]),
        )

    def state(self) -> tuple[Any, ...]:
        """What decides on :meth:`measured`."""
        return int(self.looks), self.camera.tolist(), self.scale.tolist()
