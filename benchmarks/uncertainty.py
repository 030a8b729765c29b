"""Whether bands of one deviation, and of k95 of them, hold 68 and 95 % of the truth.

On phantoms the clean image is known. On FMDD it is not: the mean a of 50 captures
stands for it, and has noise of its own, w, of which a 50th is that of the capture at
hand. With f the result and x the scene, the variance of f - a = (f - x) - w is that of
f - x, plus that of w, less twice what they share: (variance - 2 variance df/dy) / 50,
since f has kept df/dy of the noise of a capture that is 1/50 of a. Both bands are
widened by that, pixel by pixel, as the sum of independent normal errors is; df/dy is
taken along random directions and averaged over 33 x 33 pixels. The columns "as it is"
are without, and too low where the truth is noisier than the result.

Everything is trained on nothing but what it is tested on, and calibrated without the
truth. Levels are those of the result: below its median, to its 90th percentile, above.

Run: ``python benchmarks/uncertainty.py --fmdd $BLINDSOUND_DATA/fmdd --budget 300
--captures 1 4``
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.ndimage import uniform_filter

from napari_blindsound.images.fmdd import find_fmdd
from napari_blindsound.images.phantom import phantom
from napari_blindsound.quality.uncertainty import calibrated
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.denoiser import Denoiser

AVERAGED = 50
"""Captures in FMDD's ground truth."""

TYPES = ("Confocal_FISH", "Confocal_MICE", "TwoPhoton_MICE")
_PROBES = 4
_WINDOW = 33  # px
_QUANTILE = 1.96  # of a normal distribution, for 95 %


class Case(NamedTuple):
    """An image, what it is trained on, and its truth."""

    name: str
    seen: Volume
    noisy: NDArray[np.generic]
    truth: NDArray[np.generic]
    averaged: int | None


def main() -> None:
    """Train on each case, calibrate, and print a line for each."""
    options = _options()
    torch.set_num_threads(options.threads)
    print(
        f"{platform.processor() or platform.machine()}, {options.threads} threads, "
        f"torch {torch.__version__}, seed {options.seed}"
    )
    print(
        f"{'':36s} {'within 1':>9s} {'within k95':>10s} {'k95':>5s}  by level"
        f"{'':17s} {'as it is':>12s}  {'deviation/error':>15s}"
    )
    covered = [_run(case, options) for case in _cases(options)]
    worst = np.abs(np.array(covered) - (68, 95)).max(axis=0)
    print(f"farthest from 68 and 95 %: {worst[0]:.1f} and {worst[1]:.1f} points")


def _cases(options: argparse.Namespace) -> Iterator[Case]:
    for photons in options.photons:
        for seed in options.seeds:
            made = phantom("2d", size=options.size, photons=photons, seed=seed)
            name = f"phantom, {photons:g} photons, seed {seed}"
            yield Case(name, made.volume(), made.noisy[None], made.clean, None)
    for view in find_fmdd(options.fmdd) if options.fmdd else ():
        if view.type not in options.types or view.fov != options.fov:
            continue
        volume, truth = view.noisy(), view.ground_truth().astype(np.float32)
        whole = volume.read(tuple(slice(0, size) for size in volume.shape))
        noisy = whole.reshape(-1, *whole.shape[-2:])
        for count in options.captures:
            seen = volume.select(T=slice(0, min(count, len(noisy))))
            name = f"{view.type} FOV {view.fov}, {count} seen"
            yield Case(name, seen, noisy, truth, AVERAGED)


def _run(case: Case, options: argparse.Namespace) -> tuple[float, float]:
    """Train, calibrate and judge; shares within the two bands, in percent."""
    recipe = Recipe(
        method="blind2sound",
        preset=options.preset,
        # Captures of the same scene, each denoised without the others.
        settings={"context": "none", **dict(pair.split("=") for pair in options.set)},
        train=TrainConfig(
            steps=options.steps,
            seconds=None if options.steps else options.budget,
            seed=options.seed,
            device=options.device,
        ),
    )
    training = Training([case.seen], recipe)
    for _ in training.run():
        pass
    training.close()
    started = time.perf_counter()
    model = calibrated(training.denoiser().with_uncertainty(None), [case.seen])
    seconds = time.perf_counter() - started
    found, deviation = model.uncertainty, model.deviation()
    assert found is not None
    assert deviation is not None
    estimate, one = model(case.noisy), deviation(case.noisy)
    error, two = np.abs(estimate - case.truth), found.k95[0] * one
    blur = np.zeros_like(one)
    if case.averaged:
        blur = _variance_of_truth(model, case.noisy, estimate) / case.averaged
    first = error <= np.sqrt(one**2 + blur)
    second = error <= np.sqrt(two**2 + _QUANTILE**2 * blur)
    low, high = np.quantile(estimate, (0.5, 0.9))
    levels = (
        estimate < low,
        (low <= estimate) & (estimate < high),
        estimate >= high,
    )
    by_level = "  ".join(
        f"{100 * first[level].mean():.0f}/{100 * second[level].mean():.0f}"
        for level in levels
    )
    as_it_is = 100 * (error <= one).mean(), 100 * (error <= two).mean()
    square = max(float((error**2 - blur).mean()), 1e-12)
    shares = 100 * float(first.mean()), 100 * float(second.mean())
    print(
        f"{case.name:36s} {shares[0]:7.1f} % {shares[1]:8.1f} % {found.k95[0]:5.2f}  "
        f"{by_level:25s} {as_it_is[0]:5.1f}, {as_it_is[1]:5.1f}  "
        f"{np.sqrt((one**2).mean() / square):15.2f}  {found.observed}, "
        f"{100 * found.error:.0f} % uncertain, {seconds:.1f} s",
        flush=True,
    )
    return shares


def _variance_of_truth(
    model: Denoiser, noisy: NDArray[np.generic], estimate: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Variance - 2 variance df/dy at each pixel, (T, h, w), of one capture's noise."""
    [noise] = model.preprocessing.noise
    variance = np.maximum(noise.variance(estimate), 0)
    step = np.float32(0.1 * np.sqrt(variance.mean()))
    kept = np.zeros_like(variance)
    rng = np.random.default_rng(0)
    for _ in range(_PROBES):
        signs = rng.choice((-1, 1), estimate.shape).astype(np.float32)
        moved = model(noisy.astype(np.float32) + step * signs)
        kept += signs * (moved - estimate) / step / _PROBES
    smooth = uniform_filter(kept, (0, _WINDOW, _WINDOW))
    return np.asarray(np.maximum(variance * (1 - 2 * smooth), 0))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photons", nargs="*", type=float, default=[5, 15, 40, 100])
    parser.add_argument("--seeds", nargs="*", type=int, default=[31, 32])
    parser.add_argument("--size", type=int, default=256, help="of the phantoms")
    parser.add_argument("--fmdd", type=Path, help="FMDD tree: TYPE/raw/FOV/*.png")
    parser.add_argument("--types", nargs="*", default=TYPES)
    parser.add_argument("--fov", default="19")
    parser.add_argument("--captures", nargs="*", type=int, default=[1, 4])
    parser.add_argument("--budget", type=float, default=60, help="seconds")
    parser.add_argument("--steps", type=int, help="in place of the seconds")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
