"""Warm against cold: whether first weights ever leave a training behind a random one.

One training of each start, case and number of steps, with one seed and the last
weights, as short trainings have them; 1000 and 4000 steps are about 15 and 60 seconds
of one quiet core. Beside them what the first weights make of the image before any
step. Warm is what a user gets: the first weights where the image says so, and random
ones where it does not, which is then told. A case that ends behind the cold training by
more than 0.02 dB is marked.

Cases: FMDD, captures of one view denoised by themselves; phantoms of every kind, also
with few and many photons, saturated, of two channels, without an offset, with noise
that neighbors share; two images of W2S, against their truth on the image's own scale;
and the ``stacks`` folder by estimated quality, on the same pixels for all.

Run: ``python benchmarks/warm.py --data $BLINDSOUND_DATA --csv warm.csv``, or without
data on phantoms alone
"""

from __future__ import annotations

import argparse
import csv
import platform
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from cases import Case, captures
from napari_blindsound.errors import RecipeError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import Camera, phantom
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.tiling import denoise_region
from napari_blindsound.quality.metrics import affine_fit, psnr
from napari_blindsound.quality.unseen import estimate_quality
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig
from structured import draw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from napari_blindsound.inference.denoiser import Denoiser

    Score = Callable[[Denoiser, Volume], float]

ALLOWED = 0.02
"""Decibels that a warm training may be behind a cold one."""
PHANTOMS: Mapping[str, Mapping[str, Any]] = {
    "2d": {},
    "zstack": {"kind": "zstack", "planes": 8},
    "timelapse": {"kind": "timelapse", "frames": 8},
    "two channels": {"channels": 2},
    "4 photons": {"photons": 4.0},
    "300 photons": {"photons": 300.0},
    "saturated": {"photons": 120.0, "camera": Camera(2.2, 20.0, 2.0, 8)},
    "no offset": {"camera": Camera(1.0, 0.0, 1.0, 16)},
    "high offset": {"camera": Camera(0.5, 2000.0, 12.0, 16)},
}
SHARED = ("rows", "columns", "filtered")
"""Of `structured.AXES`: noise that neighbors share."""
W2S = ("081_0", "093_2")
STACKS = {
    "low": ("low_512_u16.tif", "YX"),
    "cells": ("xy_calibrated_16bit__cells_eres_noisy.tif", "YX"),
    "repeats": ("frames_20x512x512_u8.tif", "TYX"),
    "calcium": ("example_20x128x256_u16.tif", "TYX"),
    "chromosomes": ("xyz_8bit__chromosomes.tif", "ZYX"),
    "nucleus": ("xyz_8bit__nucleus.tif", "ZYX"),
    "envelope": ("xyz_nuclear_envelope_drosophila.tif", "ZYX"),
}
_PLANES = 8  # of a stack at most
_PEAKS = (0.1, 99.9)  # percentiles of a clean phantom, its range


@dataclass(frozen=True, eq=False)
class Scored:
    """An image to train on, and how good a denoiser of it is, in decibels."""

    name: str
    volume: Volume
    score: Score
    context: str = "auto"


@dataclass(frozen=True)
class Row:
    """Both trainings of one case; NaN where nothing can be said."""

    case: str
    method: str
    steps: int
    start: float
    cold: float
    warm: float
    difference: float
    misses: bool
    started_from: str


def main() -> None:
    """Train both for each case and number of steps; print a table, write CSV."""
    options = _options()
    torch.set_num_threads(1)
    print(
        f"{platform.processor() or platform.machine()}, 1 thread, torch "
        f"{torch.__version__}, training seed {options.seed}; dB"
    )
    rows = []
    for method in options.methods:
        for case in _cases(options):
            for row in _rows(case, method, options):
                print(_line(row), flush=True)
                rows.append(row)
    missed = [row for row in rows if row.misses]
    print(f"{len(missed)} of {len(rows)} behind by more than {ALLOWED} dB")
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)


def _rows(case: Scored, method: str, options: argparse.Namespace) -> Iterator[Row]:
    first, member = _trained(case, method, "auto", 0, options)
    for steps in options.steps:
        cold, _ = _trained(case, method, "cold", steps, options)
        # The same training twice where nobody would take the first weights.
        warm, taken = cold, ""
        if member:
            warm, taken = _trained(case, method, "auto", steps, options)
        away = warm - cold
        misses = away < -ALLOWED
        yield Row(case.name, method, steps, first, cold, warm, away, misses, taken)


def _trained(
    case: Scored, method: str, start: str, steps: int, options: argparse.Namespace
) -> tuple[float, str]:
    """Decibels after a training, and the first weights; NaN and none without."""
    recipe = Recipe(
        method=method,
        settings={"start": start, "context": case.context},
        train=TrainConfig(
            steps=steps, seed=options.seed, threads=1, ending=options.ending
        ),
    )
    try:
        training = Training([case.volume], recipe)
    except RecipeError:  # no steps from random weights
        return float("nan"), ""
    for _ in training.run():
        pass
    training.close()
    members = dict.fromkeys(start.member or "random" for start in training.starts)
    known = " ".join(members) if set(members) != {"random"} else ""
    return case.score(training.denoiser(), case.volume), known


def _cases(options: argparse.Namespace) -> Iterator[Scored]:
    """All that are asked for."""
    found = _phantoms(options)
    for case in (*found, *(_measured(options.data) if options.data else ())):
        if not options.only or any(part in case.name for part in options.only):
            yield case


def _phantoms(options: argparse.Namespace) -> Iterator[Scored]:
    for name, changes in PHANTOMS.items():
        made = phantom(**{"size": options.size, "seed": options.phantom, **changes})
        yield Scored(f"phantom {name}", made.volume(), _against(made.clean))
    for kind in SHARED:
        clean, noisy = draw(kind, options.phantom, options.size)
        volume = Volume((noisy,), Axes.parse("YX"), kind)
        yield Scored(f"phantom shared {kind}", volume, _against(clean))


def _measured(data: Path) -> Iterator[Scored]:
    """Real images."""
    for case in captures(data / "fmdd", None, "19", 4):
        yield Scored(
            f"fmdd {case.name}",
            case.volume,
            _as_papers(case),
            "none",
        )
    for name in W2S:
        noisy, truth = (
            np.asarray(Image.open(data / "w2s" / part / f"{name}.png"))
            for part in ("noisy", "gt")
        )
        line = affine_fit(truth, noisy)
        clean = line.slope * truth.astype(np.float64) + line.intercept
        volume = Volume((noisy,), Axes.parse("YX"), name)
        yield Scored(f"w2s {name}", volume, _against(clean, 255.0))
    for name, (file, axes) in STACKS.items():
        volume = open_volume(data / "stacks" / file, axes=axes)
        if len(axes) > 2:
            volume = volume.select(**{axes[0]: slice(0, _PLANES)})
        yield Scored(
            f"stacks {name}",
            volume,
            _estimated,
            "none" if name == "repeats" else "auto",
        )


def _against(clean: NDArray[np.floating], data_range: float | None = None) -> Score:
    """PSNR against the truth; its range is the peak by default."""
    low, high = np.percentile(clean, _PEAKS)
    peak = data_range or float(high - low)

    return lambda denoiser, volume: psnr(_whole(denoiser, volume), clean, peak)


def _as_papers(case: Case) -> Score:
    return lambda denoiser, volume: case.scores(_whole(denoiser, volume))[0]


def _whole(denoiser: Denoiser, volume: Volume) -> NDArray[np.float32]:
    return denoise_region(
        denoiser, volume, tuple(slice(0, size) for size in volume.shape)
    )


def _estimated(denoiser: Denoiser, volume: Volume) -> float:
    return estimate_quality(denoiser, volume).psnr


def _line(row: Row) -> str:
    found = f"{row.difference:+6.2f}{' MISS' * row.misses}" if row.started_from else ""
    return (
        f"{row.method:14s} {row.case:24s} {row.steps:5d} steps  start {row.start:6.2f}"
        f"  cold {row.cold:6.2f}  warm {row.warm:6.2f} {found or ' (random)'}"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with fmdd, w2s and stacks")
    methods = ["blind2unblind", "blind2sound"]
    parser.add_argument("--methods", nargs="*", default=methods)
    parser.add_argument("--steps", type=int, nargs="*", default=[1000, 4000])
    parser.add_argument("--only", nargs="*", help="cases whose names have one of these")
    parser.add_argument("--phantom", type=int, default=11, help="seed of phantoms")
    parser.add_argument("--size", type=int, default=256, help="side of a phantom")
    parser.add_argument("--seed", type=int, default=0, help="of the trainings")
    parser.add_argument("--ending", default="last", choices=["last", "best", "auto"])
    parser.add_argument("--csv", type=Path, help="write the table here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
