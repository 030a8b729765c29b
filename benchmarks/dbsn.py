"""D-BSN on phantoms: the blind mean, Bayes' fusion, and the student beside its teacher.

Of each phantom (never one that settings were chosen on) PSNR against its clean image,
data range that of the clean image, of every estimate; seconds a megapixel of teacher
and student, in processor time of one thread; and, for the preset ``paper``, what the
learned noise is beside the camera's. The last line is the mean.

Run: ``OMP_NUM_THREADS=1 python benchmarks/dbsn.py --seconds 120 --phantoms 3``
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from napari_blindsound.images.phantom import phantom
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig

if TYPE_CHECKING:
    from napari_blindsound.images.phantom import Phantom
    from napari_blindsound.inference.denoiser import Denoiser

_FIRST_SEED = 900
_OUTPUTS = ("blind", "fused", "denoised")


class Row(NamedTuple):
    """One phantom: decibels of noisy, blind, fused, denoised; seconds a megapixel."""

    photons: float
    noisy: float
    blind: float
    fused: float
    denoised: float
    teacher_seconds: float
    student_seconds: float
    steps: int
    found: str


def main() -> None:
    """Train on each phantom and print a table."""
    options = _options()
    torch.set_num_threads(1)
    settings = dict(one.split("=", 1) for one in options.set)
    recipe = Recipe(
        method="dbsn",
        preset=options.preset,
        settings=settings,
        train=TrainConfig(
            seconds=options.seconds, steps=options.steps, threads=1, device="cpu"
        ),
    )
    print(
        "photons  noisy  blind  fused  student  fused-blind  student-fused  "
        "teacher s/MP  student s/MP  ratio  steps"
    )
    rows = []
    for number in range(options.phantoms):
        photons = options.photons[number % len(options.photons)]
        image = phantom(size=options.size, photons=photons, seed=options.seed + number)
        rows.append(_row(image, photons, recipe))
        print(_line(rows[-1]), rows[-1].found, flush=True)
    print(_line(_mean(rows)), "mean")


def _row(image: Phantom, photons: float, recipe: Recipe) -> Row:
    training = Training([image.volume()], recipe)
    try:
        for _ in training.run():
            pass
        model = training.result()
    finally:
        training.close()
    found = {
        name: _psnr(model.with_output(name)(image.noisy), image.clean)
        for name in _OUTPUTS
    }
    return Row(
        photons,
        _psnr(image.noisy, image.clean),
        *found.values(),
        _seconds(model.with_output("fused"), image.noisy),
        _seconds(model, image.noisy),
        model.provenance["steps"][0],
        ", ".join(f"{n} {v:.3g}" for n, v in model.methods[0].found().items()),
    )


def _psnr(image: np.ndarray, clean: np.ndarray) -> float:
    error = np.mean((image.astype(np.float64) - clean) ** 2)
    return float(10 * np.log10(np.ptp(clean) ** 2 / error))


def _seconds(model: Denoiser, noisy: np.ndarray) -> float:
    """Processor seconds a megapixel, the fastest of three, without a tile's halo."""
    method = model.methods[0]
    crop = torch.from_numpy(model.preprocessing.normalize(noisy[None, None]))
    height, width = (side // method.stride * method.stride for side in noisy.shape)
    crop = crop[..., :height, :width]
    spent = []
    with torch.inference_mode():
        for _ in range(3):
            started = time.process_time()
            method.denoise(crop, output=model.output)
            spent.append(time.process_time() - started)
    return min(spent) / crop.numel() * 1e6


def _mean(rows: list[Row]) -> Row:
    means = [float(np.mean(column)) for column in list(zip(*rows, strict=True))[:-1]]
    return Row(*means[:-1], round(means[-1]), "")


def _line(row: Row) -> str:
    decibels = "  ".join(
        f"{value:6.2f}" for value in (row.noisy, row.blind, row.fused, row.denoised)
    )
    return (
        f"{row.photons:7.0f}  {decibels}  {row.fused - row.blind:+.2f}  "
        f"{row.denoised - row.fused:+.2f}  {row.teacher_seconds:7.2f}  "
        f"{row.student_seconds:7.2f}  "
        f"{row.teacher_seconds / row.student_seconds:5.1f}  {row.steps:6d}"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=None)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--phantoms", type=int, default=3)
    parser.add_argument("--photons", type=float, nargs="+", default=[8, 32, 100])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=_FIRST_SEED)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
