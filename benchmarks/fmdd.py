"""Quality on real FMDD captures, trained on nothing but what it is tested on.

For each type: trains on the noisy captures of one field of view (all of them, or the
first few), denoises every capture of that view, and reports PSNR and SSIM as the papers
do: both images as uint8, data range 255, mean over the captures. The ground truth is
read after training. Seconds are wall time, reading included.

Run: ``python benchmarks/fmdd.py $BLINDSOUND_DATA/fmdd --types Confocal_FISH
Confocal_MICE --budget 120``
"""

from __future__ import annotations

import argparse
import csv
import platform
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_blindsound.images.fmdd import FmddView, find_fmdd
from napari_blindsound.quality.metrics import fmdd_scores
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Row:
    """One training and its scores."""

    type: str
    fov: str
    trained_on: int
    tested_on: int
    preset: str
    settings: str
    output: str
    budget: float
    seconds: float
    steps: int
    noisy_psnr: float
    noisy_ssim: float
    psnr: float
    ssim: float


def main() -> None:
    """Train and score each type; print a table, and write it as CSV on request."""
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} "
        f"threads, torch {torch.__version__}, device {options.device}, "
        f"seed {options.seed}"
    )
    rows = []
    for view in find_fmdd(options.root):
        if view.fov == options.fov and view.type in (options.types or [view.type]):
            for row in _run(view, options):
                print(_line(row), flush=True)
                rows.append(row)
    if not rows:
        sys.exit(f"no view {options.fov} of {options.types} below {options.root}")
    if options.csv:
        _write_csv(options.csv, rows)


def _run(view: FmddView, options: argparse.Namespace) -> Iterable[Row]:
    started = time.perf_counter()
    noisy = view.noisy()
    seen = noisy.select(T=slice(0, options.captures or noisy.shape[0]))
    recipe = Recipe(
        preset=options.preset,
        settings=dict(pair.split("=") for pair in options.set),
        train=TrainConfig(
            seconds=options.budget, seed=options.seed, device=options.device
        ),
    )
    training = Training([seen], recipe)
    *_, finished = training.run()
    training.close()
    seconds = time.perf_counter() - started
    truth = view.ground_truth()
    captures = noisy.read(tuple(slice(0, size) for size in noisy.shape))
    before = np.mean([fmdd_scores(capture, truth) for capture in captures], axis=0)
    for output in options.outputs:
        denoiser = training.denoiser(output).with_output(turns=options.turns)
        denoised = denoiser(captures)
        after = np.mean([fmdd_scores(image, truth) for image in denoised], axis=0)
        yield Row(
            type=view.type,
            fov=view.fov,
            trained_on=seen.shape[0],
            tested_on=len(captures),
            preset=options.preset,
            settings=" ".join(options.set),
            output=f"{output}, 8 turns" if options.turns else output,
            budget=options.budget,
            seconds=round(seconds, 1),
            steps=finished.step,
            noisy_psnr=round(before[0], 2),
            noisy_ssim=round(before[1], 4),
            psnr=round(after[0], 2),
            ssim=round(after[1], 4),
        )


def _line(row: Row) -> str:
    return (
        f"{row.type:15s} FOV {row.fov}  trained on {row.trained_on:2d}, tested on "
        f"{row.tested_on:2d}  {row.preset} {row.settings} {row.output:8s} "
        f"{row.seconds:6.1f} s {row.steps:6d} steps   "
        f"noisy {row.noisy_psnr:.2f} / {row.noisy_ssim:.4f}   "
        f"denoised {row.psnr:.2f} / {row.ssim:.4f}"
    )


def _write_csv(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("root", type=Path, help="FMDD tree: TYPE/raw/FOV/*.png")
    parser.add_argument("--types", nargs="*", help="all by default")
    parser.add_argument("--fov", default="19", help="view trained and tested on")
    parser.add_argument("--captures", type=int, help="train on the first N only")
    parser.add_argument("--budget", type=float, default=120, help="seconds")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--outputs", nargs="*", default=["visible"])
    parser.add_argument("--turns", action="store_true", help="mean of 8 orientations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="write the table here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
