"""How close Noise2Info's bound of the noise is, and what it gains, on phantoms.

The true level is the root mean square of noisy minus clean, of all pixels. Gaussian
noise has the same level everywhere, a camera's (Poisson and Gaussian) grows with the
light. Gain is in PSNR over the noisy image. Pixels that are saturated or hot, of which
there are hardly any here, teach nothing.

Run: ``python benchmarks/noise2info.py --seconds 60 --seeds 0 1``
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_blindsound.images.phantom import Kind, phantom
from napari_blindsound.images.volume import Volume
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

GAUSSIAN = (0.05, 0.1, 0.2)
"""Standard deviations, in parts of the range of the clean image."""
PHOTONS = (5, 20, 80)
KINDS: tuple[Kind, ...] = ("2d", "zstack", "timelapse")


@dataclass(frozen=True)
class Case:
    """A noisy recording and its truth."""

    title: str
    noisy: Volume
    clean: np.ndarray

    @property
    def pixels(self) -> np.ndarray:
        """The noisy ones."""
        return np.asarray(self.noisy.levels[0], np.float64)


def main() -> None:
    """Train on each phantom, and print a row of it."""
    options = _options()
    torch.set_num_threads(options.threads)
    print(
        f"{platform.processor() or platform.machine()}, {options.threads} threads, "
        f"torch {torch.__version__}, {options.method} {' '.join(options.set)}"
    )
    print(f"{'phantom':34s} {'steps':>6s} {'noisy':>6s} {'gain':>6s}", end="")
    print(f"  {'true':>7s} {'found':>7s} {'ratio':>7s}")
    ratios, gains = [], []
    for seed in options.seeds:
        for case in _cases(options, seed):
            ratio, gain = _row(case, options)
            ratios.append(ratio)
            gains.append(gain)
    print(
        f"found / true from {min(ratios) - 1:+.1%} to {max(ratios) - 1:+.1%}, "
        f"mean {np.mean(ratios) - 1:+.1%}; gain from {min(gains):.2f} dB, "
        f"mean {np.mean(gains):.2f} dB"
    )


def _cases(options: argparse.Namespace, seed: int) -> Iterator[Case]:
    for kind in options.kinds:
        size = {"size": options.size, "planes": 4, "frames": 4, "seed": seed}
        bright = phantom(kind, photons=80, **size)
        span = float(np.ptp(bright.clean))
        for level in options.gaussian:
            random = np.random.default_rng([seed, 77])
            noise = random.normal(0, level * span, bright.clean.shape)
            noisy = (bright.clean + noise).astype(np.float32)
            title = f"{kind}, seed {seed}, Gaussian {level:g}"
            yield Case(title, Volume((noisy,), bright.axes, title), bright.clean)
        for photons in options.photons:
            made = phantom(kind, photons=photons, **size)
            title = f"{kind}, seed {seed}, {photons:g} photons"
            yield Case(title, made.volume(), made.clean)


def _row(case: Case, options: argparse.Namespace) -> tuple[float, float]:
    recipe = Recipe(
        method=options.method,
        preset=options.preset,
        settings=dict(pair.split("=") for pair in options.set),
        train=TrainConfig(
            steps=options.steps,
            seconds=None if options.steps else options.seconds,
            seed=options.training_seed,
            threads=options.threads,
        ),
    )
    training = Training([case.noisy], recipe)
    *_, last = training.run()
    training.close()
    model = training.denoiser()
    denoised = model(np.asarray(case.noisy.levels[0]))
    noise = _error(case.pixels, case.clean)
    gain = 20 * math.log10(noise / _error(denoised, case.clean))
    found = model.provenance.get("found", [{}])[0].get("noise, at most", math.nan)
    noisy_psnr = 20 * math.log10(float(np.ptp(case.clean)) / noise)
    print(
        f"{case.title:34s} {last.step:6d} {noisy_psnr:6.2f} {gain:+6.2f}  "
        f"{noise:7.2f} {found:7.2f} {found / noise - 1:+7.1%}",
        flush=True,
    )
    return found / noise, gain


def _error(image: np.ndarray, clean: np.ndarray) -> float:
    """Root mean square of the difference."""
    return float(np.sqrt(np.mean((image - clean.astype(np.float64)) ** 2)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--steps", type=int, help="in place of the seconds")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0], help="of phantoms")
    parser.add_argument("--training-seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=256, help="side, in pixels")
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    parser.add_argument("--photons", type=float, nargs="*", default=PHOTONS)
    parser.add_argument("--gaussian", type=float, nargs="*", default=GAUSSIAN)
    parser.add_argument("--method", default="noise2info")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if not (options.photons or options.gaussian):
        sys.exit("give photons or levels of Gaussian noise")
    return options


if __name__ == "__main__":
    main()
