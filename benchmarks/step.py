"""Cost of a training step: ours against the plain one, and against the machine's peak.

    python benchmarks/step.py                       # widths 8, 16 and 48
    python benchmarks/step.py --networks 48x5 --patch 128

Same network, same weights, same crops, in one process, alternating. Checks first, in
double precision, that loss and gradients of the exact step are those of the plain one.
"One phase" is the step that the package takes: one of the 16 masks, drawn at random,
an unbiased estimate of the same loss.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from machine import Clock, add_options, operations, peak
from napari_blindsound.methods.blind2unblind import Blind2Unblind, Blind2UnblindConfig
from napari_blindsound.networks.device import pick_device
from napari_blindsound.networks.memory import keep_freed_memory
from napari_blindsound.training.threads import fixed
from plain import PlainUNet, plain_loss

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

LAM = 8.0
MASKS = 16


@dataclass(frozen=True)
class Size:
    """Width and depth of a network."""

    width: int
    depth: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """From ``48x5``."""
        width, depth = map(int, text.split("x"))
        return cls(width, depth)

    def __str__(self) -> str:
        return f"width {self.width}, depth {self.depth}"


def main() -> None:
    """Print a table for each network."""
    options = _options()
    device = pick_device(options.device)
    keep_freed_memory()
    clock = Clock(options.clock, device)
    with fixed(options.threads):
        print(
            f"{options.batch} crops of {options.patch} px, {device}, "
            f"{torch.get_num_threads()} thread(s), {options.clock} clock"
        )
        for size in options.networks:
            check(size)
            measure(size, options, device, clock)


def check(size: Size) -> None:
    """Stop if loss or gradients of the exact step differ from the plain one's."""
    torch.manual_seed(0)
    plain = PlainUNet(size.width, size.depth).double()
    ours = make_method(size, MASKS, plain).double()
    noisy = torch.rand(1, 1, 2**size.depth, 2**size.depth, dtype=torch.float64)
    losses = backward_plain(plain, noisy), backward_ours(ours, noisy)
    theirs = dict(plain.named_parameters())
    worst = max(
        float((p.grad - theirs[n].grad).norm() / theirs[n].grad.norm())
        for n, p in ours.network.named_parameters()
    )
    loss = abs(losses[0] - losses[1]) / losses[0]
    print(f"\n{size}: loss differs by {loss:.0e}, gradients by {worst:.0e} (float64)")
    assert max(loss, worst) < 1e-6, (losses, worst)


def measure(
    size: Size, options: argparse.Namespace, device: torch.device, clock: Clock
) -> None:
    """Time the steps in turns, and print medians, ratios and shares of the peak."""
    plain = PlainUNet(size.width, size.depth).to(device)
    shape = (options.batch, 1, options.patch, options.patch)
    noisy = torch.rand(shape, device=device)
    steps = {
        "plain": step_of(plain, lambda: backward_plain(plain, noisy), fused=False),
        "exact": our_step(make_method(size, MASKS, plain).to(device), noisy),
        "one phase": our_step(make_method(size, 1, plain).to(device), noisy),
    }
    work = {name: operations(step) for name, step in steps.items()}
    most = peak(2 * size.width, device, clock)
    times = alternate(steps, options.rounds, clock)
    medians = {name: statistics.median(spent) for name, spent in times.items()}
    print(most)
    print(f"{'step':10s} {'ms':>9s} {'x plain':>8s} {'GFLOP':>9s} {'of peak':>8s}")
    for name, seconds in medians.items():
        ratio, share = medians["plain"] / seconds, work[name] / seconds / most.most
        print(
            f"{name:10s} {1e3 * seconds:9.2f} {ratio:8.2f} {work[name] / 1e9:9.3f} "
            f"{share:8.0%}"
        )


def make_method(size: Size, phases: int, plain: PlainUNet) -> Blind2Unblind:
    """The package's method with the weights of the plain network."""
    config = Blind2UnblindConfig.preset(
        "paper",
        {
            "width": size.width,
            "depth": size.depth,
            "phases": phases,
            "lam_start": LAM,
            "lam_end": LAM,
        },
    )
    method = Blind2Unblind(config)
    method.network.load_state_dict(plain.state_dict())
    return method


def our_step(method: Blind2Unblind, noisy: Tensor) -> Callable[[], float]:
    """One step of the package."""
    return step_of(method, lambda: backward_ours(method, noisy), fused=True)


def step_of(
    network: torch.nn.Module, backward: Callable[[], float], *, fused: bool
) -> Callable[[], float]:
    """A step: forget the gradient, find a new one, follow it."""
    adam = torch.optim.Adam(network.parameters(), lr=1e-4, fused=fused)

    def step() -> float:
        adam.zero_grad()
        loss = backward()
        adam.step()
        return loss

    return step


def backward_plain(network: PlainUNet, noisy: Tensor) -> float:
    """Gradients of the loss as the paper has it."""
    loss = plain_loss(network, noisy, LAM)
    loss.backward()
    return loss.item()


def backward_ours(method: Blind2Unblind, noisy: Tensor) -> float:
    """Gradients of the package's loss, a group of masks at a time."""
    total = torch.zeros((), device=noisy.device)
    for part in method.losses(noisy, 0.0):
        loss = torch.stack(list(part.values())).sum()
        loss.backward()
        total = total + loss.detach()
    return total.item()


def alternate(
    steps: dict[str, Callable[[], float]], rounds: int, clock: Clock
) -> dict[str, list[float]]:
    """Seconds of each step; short ones are taken several times a round."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            spent = [clock.seconds(step)]
            while sum(spent) < 0.2:
                spent.append(clock.seconds(step))
            times[name].append(statistics.median(spent))
    return times


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--networks",
        nargs="+",
        type=Size.parse,
        default=[Size(8, 3), Size(16, 3), Size(48, 5)],
        metavar="WIDTHxDEPTH",
    )
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    add_options(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
