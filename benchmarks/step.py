"""Cost of one training step with the exact loss: ours against the plain one.

Same network, same weights, same crops, in one process, alternating; checks first that
loss and gradients agree. Run: ``python benchmarks/step.py [--patch 64] [--rounds 5]``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING

import torch

from napari_blindsound.methods.blind2unblind import Blind2Unblind, Blind2UnblindConfig
from plain import PlainUNet, plain_loss

if TYPE_CHECKING:
    from collections.abc import Callable

LAM = 8.0


def main() -> None:
    """Print a table: seconds a step, ratio, differences."""
    options = _options()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    plain = PlainUNet(options.width, options.depth)
    ours = Blind2Unblind(
        Blind2UnblindConfig.preset(
            "paper",
            {
                "width": options.width,
                "depth": options.depth,
                "lam_start": LAM,
                "lam_end": LAM,
            },
        )
    )
    ours.network.load_state_dict(plain.state_dict())
    noisy = torch.rand(options.batch, 1, options.patch, options.patch)
    adam = torch.optim.Adam(plain.parameters(), lr=1e-4)
    fused = torch.optim.Adam(ours.parameters(), lr=1e-4, fused=True)

    def step_plain() -> float:
        adam.zero_grad()
        loss = plain_loss(plain, noisy, LAM)
        loss.backward()
        adam.step()
        return loss.item()

    def step_ours() -> float:
        fused.zero_grad()
        total = 0.0
        for part in ours.losses(noisy, 0.0):
            loss = torch.stack(list(part.values())).sum()
            loss.backward()
            total += loss.item()
        fused.step()
        return total

    _check(step_plain(), step_ours(), plain, ours.network)
    times = _alternate({"plain": step_plain, "ours": step_ours}, options.rounds)
    medians = {name: statistics.median(spent) for name, spent in times.items()}
    print(
        f"width {options.width}, depth {options.depth}, {options.batch} crops of "
        f"{options.patch} px, 16 of 16 masks, {options.threads} thread(s)"
    )
    for name, seconds in medians.items():
        ratio = medians["plain"] / seconds
        print(f"{name:6s} {seconds:8.3f} s a step   {ratio:5.2f} x")


def _check(
    loss_plain: float, loss_ours: float, plain: PlainUNet, ours: torch.nn.Module
) -> None:
    assert abs(loss_plain - loss_ours) < 1e-5 * loss_plain, (loss_plain, loss_ours)
    theirs = dict(plain.named_parameters())
    worst = max(
        float((p.grad - theirs[n].grad).norm() / theirs[n].grad.norm())
        for n, p in ours.named_parameters()
    )
    assert worst < 1e-3, worst
    print(f"loss {loss_plain:.6f} and {loss_ours:.6f}, gradients differ by {worst:.1e}")


def _alternate(
    steps: dict[str, Callable[[], float]], rounds: int
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - started)
    return times


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--depth", type=int, default=5)
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


if __name__ == "__main__":
    main()
