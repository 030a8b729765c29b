"""What this machine can do at most, and how much arithmetic a piece of work is.

The peak is measured, in the process that measures the work: a product of two square
matrices and a 3x3 convolution of as many channels as the network at hand has. The share
is that of the faster one. Operations are counted, not estimated: two for each
multiplication and addition of convolutions and products of matrices, and none for the
rest (leaky ReLU, pooling, sums, the optimizer), so that shares are lower bounds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

SIDE = 2048  # of the matrices
PIXELS = 256**2  # of the convolution, whose maps then fit the caches
REPEATS = 20


@dataclass(frozen=True)
class Peak:
    """Operations a second."""

    product: float
    convolution: float

    @property
    def most(self) -> float:
        """Of the faster one."""
        return max(self.product, self.convolution)

    def __str__(self) -> str:
        return (
            f"peak: product of {SIDE} x {SIDE} matrices {self.product / 1e9:.0f} "
            f"GFLOP/s, fitting 3x3 convolution {self.convolution / 1e9:.0f} GFLOP/s"
        )


def operations(run: Callable[[], object]) -> int:
    """Of convolutions and products in one call, in this thread, gradients included."""
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def peak(channels: int, device: torch.device, clock: Clock) -> Peak:
    """Measure the machine with float32; `channels` are those of the convolution."""
    matrix = torch.rand(SIDE, SIDE, device=device)
    side = int(PIXELS**0.5)
    image = torch.rand(1, channels, side, side, device=device)
    image = image.contiguous(memory_format=torch.channels_last)
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1).to(device)
    layer = layer.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        rates = [
            operations(run) / min(clock.seconds(run) for _ in range(REPEATS))
            for run in (lambda: matrix @ matrix, lambda: layer(image))
        ]
    return Peak(*rates)


class Clock:
    """Seconds of a call: those that pass, or those that the processor works.

    Parameters
    ----------
    name : {"wall", "cpu"}
        ``cpu`` is for a processor that other programs share, with one thread.
    device : torch.device
        Waited for.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self._now = time.process_time if name == "cpu" else time.perf_counter
        self._device = device

    def seconds(self, run: Callable[[], object]) -> float:
        """Of one call."""
        self._wait()
        start = self._now()
        run()
        self._wait()
        return self._now() - start

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What both benchmarks of speed ask: threads, device, clock."""
    parser.add_argument("--threads", type=int, help="of torch; all cores if not given")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps, auto")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: the processor's own seconds, where other programs are at work",
    )
