"""Quality on natural images with synthetic noise, beside the papers' numbers.

Trains on 400 gray images of 180 x 180 pixels (train400) and tests on Set12 and BSD68.
Images lie in [0, 1]; noise is alpha Poisson(x / alpha) + N(0, sigma^2), drawn from a
fixed seed. By default every training image has one noisy copy, as a microscope's would;
the papers draw new noise in every epoch, for which there is --redraw. PSNR and SSIM are
the means over a set's images, clipped to [0, 1], noisy ones too, with a data range of 1
(--round: as the papers' 8 bits). Seconds are wall time of training alone.

Run: ``python benchmarks/synthetic.py $BLINDSOUND_DATA --settings sigma25 --budget 300``
"""

from __future__ import annotations

import argparse
import csv
import platform
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image

from napari_blindsound import methods
from napari_blindsound.images.array import LazyArray
from napari_blindsound.images.open import open_volume
from napari_blindsound.quality.metrics import Scores, psnr, ssim, to_uint8
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_blindsound.images.array import Region
    from napari_blindsound.images.volume import Volume

    Plane = np.ndarray
    Pair = tuple[Plane, Plane]

TRAINING, TESTS = "train400", ("set12", "bsd68")
NOISE_SEED = 2025
COPIES = 1000
"""Noisy copies of a training image with --redraw, made as they are read."""


class Noise(NamedTuple):
    """Photon noise of variance alpha x, and Gaussian noise of deviation sigma."""

    alpha: float
    sigma: float

    def add(self, clean: Plane, random: np.random.Generator) -> Plane:
        """Noisy copy in float32, neither clipped nor rounded."""
        noisy = self.alpha * random.poisson(clean / self.alpha) if self.alpha else clean
        noise = random.normal(0, self.sigma, clean.shape)
        return (noisy + noise).astype(np.float32)


SETTINGS = {
    "sigma25": Noise(0, 25 / 255),
    "0.01-0.0002": Noise(0.01, 0.0002),
    "0.01-0.02": Noise(0.01, 0.02),
    "0.05-0.02": Noise(0.05, 0.02),
}

# Blind2Unblind's table 2; the others at second hand, see METHODS 3.3.
PUBLISHED = {
    ("sigma25", "blind2unblind"): {"set12": "30.09", "bsd68": "28.99"},
    ("0.01-0.0002", "blind2unblind"): {"set12": "31.45", "bsd68": "30.61"},
    ("0.01-0.0002", "blind2sound"): {"set12": "31.68 / .886", "bsd68": "30.83 / .875"},
    ("0.05-0.02", "blind2unblind"): {"set12": "27.65", "bsd68": "27.02"},
    ("0.05-0.02", "blind2sound"): {"set12": "27.96", "bsd68": "27.17"},
}


@dataclass(frozen=True)
class Row:
    """One training and its scores on one set."""

    noise: str
    method: str
    preset: str
    settings: str
    redrawn: bool
    tested_on: str
    images: int
    budget: float
    seconds: float
    steps: int
    noisy_psnr: float
    noisy_ssim: float
    psnr: float
    ssim: float
    published: str


def main() -> None:
    """Train and score each method on each noise; print a table, and a CSV if asked."""
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} "
        f"threads, torch {torch.__version__}, device {options.device}, seed "
        f"{options.seed}; PSNR / SSIM, "
        f"{'rounded to 8 bits' if options.round else 'clipped, not rounded'}; training "
        f"noise {'redrawn' if options.redraw else 'drawn once'}"
    )
    clean = _read(options.root / TRAINING)
    tests = {name: _read(options.root / name)[: options.first] for name in TESTS}
    rows = []
    for setting in options.settings:
        training = _training_set(clean, SETTINGS[setting], redraw=options.redraw)
        pairs = {
            name: _pairs(images, SETTINGS[setting], 1 + TESTS.index(name))
            for name, images in tests.items()
        }
        for method in options.methods:
            for row in _run(setting, method, training, pairs, options):
                print(_line(row), flush=True)
                rows.append(row)
    if options.csv:
        _write_csv(options.csv, rows)


def _run(
    setting: str,
    method: str,
    images: Sequence[Volume],
    tests: dict[str, list[Pair]],
    options: argparse.Namespace,
) -> Iterable[Row]:
    started = time.perf_counter()
    changes = _changes(options.set, method)
    recipe = Recipe(
        method=method,
        preset=options.preset,
        settings=changes,
        train=TrainConfig(
            seconds=options.budget or None,
            steps=options.steps,
            seed=options.seed,
            device=options.device,
        ),
    )
    training = Training(images, recipe)
    *_, finished = training.run()
    training.close()
    seconds = time.perf_counter() - started
    denoiser = training.denoiser(options.output)
    for name, pairs in tests.items():
        before, after = (
            np.mean(
                [_scores(plane, truth, rounded=options.round) for plane, truth in each],
                0,
            )
            for each in (pairs, [(denoiser(noisy), truth) for noisy, truth in pairs])
        )
        yield Row(
            noise=setting,
            method=method,
            preset=options.preset,
            settings=" ".join(f"{key}={value}" for key, value in changes.items()),
            redrawn=options.redraw,
            tested_on=name,
            images=len(pairs),
            budget=options.budget,
            seconds=round(seconds, 1),
            steps=finished.step,
            noisy_psnr=round(before[0], 2),
            noisy_ssim=round(before[1], 3),
            psnr=round(after[0], 2),
            ssim=round(after[1], 3),
            published=PUBLISHED.get((setting, method), {}).get(name, ""),
        )


def _training_set(
    clean: Sequence[Plane], noise: Noise, *, redraw: bool
) -> list[Volume]:
    if redraw:
        return [
            open_volume(_Redrawn(plane, noise, number), axes="TYX", name=f"{number}")
            for number, plane in enumerate(clean)
        ]
    return [
        open_volume(noisy, name=f"{number}")
        for number, (noisy, _) in enumerate(_pairs(clean, noise, 0))
    ]


class _Redrawn(LazyArray):
    """Many noisy copies of an image; each region has its own noise, always the same.

    So that a small sample is quickly read; training reads whole planes.
    """

    def __init__(self, clean: Plane, noise: Noise, number: int) -> None:
        super().__init__((COPIES, *clean.shape), np.float32, (1, *clean.shape))
        self._clean, self._noise, self._number = clean, noise, number

    def read(self, region: Region) -> Plane:
        copies, rows, columns = region
        place = self._number, rows.start, columns.start
        return np.stack(
            [
                self._noise.add(self._clean[rows, columns], _random(0, *place, copy))
                for copy in range(copies.start, copies.stop)
            ]
        )


def _pairs(clean: Sequence[Plane], noise: Noise, group: int) -> list[Pair]:
    """Noisy and clean images; the noise depends on the group and the place alone."""
    return [
        (noise.add(plane, _random(group, number)), plane)
        for number, plane in enumerate(clean)
    ]


def _random(*key: int) -> np.random.Generator:
    return np.random.default_rng([NOISE_SEED, *key])


def _scores(image: Plane, truth: Plane, *, rounded: bool) -> Scores:
    shown = to_uint8(image, 1.0) / 255 if rounded else np.clip(image, 0, 1)
    return Scores(psnr(shown, truth, 1.0), ssim(shown, truth, 1.0))


def _read(folder: Path) -> list[Plane]:
    """Gray images of a folder, in [0, 1]."""
    files = sorted(folder.glob("*.png"))
    if not files:
        sys.exit(f"no PNG in {folder}: give the folder that holds {TRAINING}, {TESTS}")
    return [
        np.asarray(Image.open(file).convert("L"), np.float64) / 255 for file in files
    ]


def _changes(pairs: Sequence[str], method: str) -> dict[str, str]:
    """Settings of one method out of NAME=VALUE, for all, and METHOD.NAME=VALUE."""
    changes = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        whose, dot, own = name.rpartition(".")
        if not dot or whose == method:
            changes[own] = value
    return changes


def _line(row: Row) -> str:
    return (
        f"{row.noise:11s}  {row.method:13s} {row.preset} {row.settings:s}  "
        f"{row.tested_on:5s} ({row.images:2d})  {row.seconds:6.1f} s {row.steps:6d} "
        f"steps   noisy {row.noisy_psnr:.2f} / {row.noisy_ssim:.3f}   denoised "
        f"{row.psnr:.2f} / {row.ssim:.3f}   published {row.published or 'nothing'}"
    )


def _write_csv(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _options() -> argparse.Namespace:
    names = list(methods.available())
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("root", type=Path, help="folder of train400, set12 and bsd68")
    parser.add_argument("--methods", nargs="*", default=names, choices=names)
    parser.add_argument(
        "--settings", nargs="*", default=list(SETTINGS), choices=list(SETTINGS)
    )
    parser.add_argument(
        "--budget", type=float, default=300, help="seconds; 0: the method's own steps"
    )
    parser.add_argument("--steps", type=int, help="end at this step, if not before")
    parser.add_argument("--preset", default="fast")
    parser.add_argument(
        "--set",
        nargs="*",
        default=[],
        metavar="NAME=VALUE",
        help="changes to the preset; METHOD.NAME=VALUE for one method",
    )
    parser.add_argument("--output", help="estimate; the method's default if not given")
    parser.add_argument("--first", type=int, help="test on the first N of each set")
    parser.add_argument("--redraw", action="store_true", help="new noise as it is read")
    parser.add_argument("--round", action="store_true", help="score 8-bit images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="write the table here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
