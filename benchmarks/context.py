"""Neighboring planes as context, against each plane alone: equal steps, equal seconds.

Phantom stacks and time-lapses (slow, usual and fast motion; seeds that nothing was
tuned on) by their true PSNR, whose data range is that of the clean image between its
0.1 and 99.9 percentiles; with ``--data`` the repeats and the calcium movie of the
``stacks`` folder by their estimated quality. The context is chosen by itself, forced
(``Z1``, ``T1``), or none; ``--convolutions 3d`` has every one of them by 3-D
convolutions, too. ``--start cold`` begins with random weights; no steps at all
(``--steps 0``) show what is begun with, which the rows name. ``--png FOLDER`` writes
noisy, alone and together, side by side.

Run: ``python benchmarks/context.py --steps 2000 --seconds 30 --data $BLINDSOUND_DATA``,
or ``--steps 0 1000 4000``
"""

from __future__ import annotations

import argparse
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import phantom
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.tiling import denoise_region
from napari_blindsound.quality.unseen import estimate_quality
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_blindsound.inference.denoiser import Denoiser

    Pixels = np.ndarray[Any, np.dtype[Any]]

SPEEDS = {"slow": 1, "usual": 3, "fast": 10}
REAL = {
    "repeats": ("frames_20x512x512_u8.tif", "TYX"),
    "calcium": ("example_20x128x256_u16.tif", "TYX"),
}
SEED_OF_TRAINING = 0


@dataclass(frozen=True)
class Case:
    """An image, with its truth where there is one."""

    name: str
    volume: Volume
    clean: Pixels | None = None


def main() -> None:
    """Print a row for each case, budget and context."""
    options = _options()
    torch.set_num_threads(1)
    print(
        f"{platform.processor() or platform.machine()}, 1 thread, torch "
        f"{torch.__version__}; {options.method}, {options.size} px, {options.planes} "
        f"planes, {options.photons:g} photons; dB"
    )
    for case in _cases(options):
        for budget in _budgets(options):
            _compare(case, budget, options)


def _compare(case: Case, budget: dict[str, float], options: argparse.Namespace) -> None:
    alone: float | None = None
    pictures = []
    for context, convolutions in _asked(options):
        recipe = _recipe(case.volume, context, convolutions, budget, options)
        denoiser, steps = _trained(case.volume, recipe)
        score, words = _score(denoiser, case)
        began = "/".join(denoiser.provenance.get("started_from", [])) or "cold"
        alone = score if alone is None else alone
        [(name, amount)] = budget.items()
        print(
            f"{case.name:16s} {amount:g} {name:7s} {context:5s}{convolutions:3s}"
            f"-> {denoiser.context.name:5s} {steps:6d} steps {score:6.2f} "
            f"{score - alone:+5.2f}  {began}  {words}",
            flush=True,
        )
        pictures.append(denoiser)
    if options.png:
        path = options.png / f"{case.name.replace(' ', '-')}-{amount:g}-{name}.png"
        _draw(case.volume, pictures[:2], path)


def _asked(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Contexts and convolutions in the order of the rows."""
    yield "none", "2d"
    for context in options.contexts:
        yield context, "2d"
        if options.convolutions == "3d":
            yield context, "3d"


def _recipe(
    volume: Volume,
    context: str,
    convolutions: str,
    budget: dict[str, float],
    options: argparse.Namespace,
) -> Recipe:
    if context not in ("none", "auto"):
        context = f"{volume.axes.names[0]}{context}"
    settings: dict[str, Any] = {
        "context": context,
        "convolutions": convolutions,
        "start": options.start,
    }
    if options.width:
        settings["width"] = options.width
    train = TrainConfig.model_validate({**budget, "seed": SEED_OF_TRAINING})
    return Recipe(method=options.method, settings=settings, train=train)


def _trained(volume: Volume, recipe: Recipe) -> tuple[Denoiser, int]:
    training = Training([volume], recipe)
    *_, finished = training.run()
    training.close()
    return training.denoiser(), finished.step


def _score(denoiser: Denoiser, case: Case) -> tuple[float, str]:
    """Decibels, and where they come from."""
    if case.clean is None:
        found = estimate_quality(denoiser, case.volume)
        return found.psnr, found.words
    whole = tuple(slice(0, size) for size in case.volume.shape)
    denoised = denoise_region(denoiser, case.volume, whole)
    low, high = np.percentile(case.clean, [0.1, 99.9])
    error = float(((denoised - case.clean) ** 2).mean(dtype=np.float64))
    return float(10 * np.log10((high - low) ** 2 / error)), ""


def _cases(options: argparse.Namespace) -> Iterator[Case]:
    common = {"size": options.size, "photons": options.photons}
    for seed in options.seeds:
        if "stack" in options.kinds:
            made = phantom("zstack", planes=options.planes, seed=seed, **common)
            yield Case(f"stack {seed}", made.volume(), made.clean)
        for name, speed in SPEEDS.items():
            if name not in options.kinds:
                continue
            frames = options.planes * speed
            made = phantom("timelapse", frames=frames, seed=seed, **common)
            volume = Volume((made.noisy[::speed],), made.axes, made.name)
            yield Case(f"{name} motion {seed}", volume, made.clean[::speed])
    for name, (file, axes) in REAL.items() if options.data else ():
        yield Case(name, open_volume(options.data / "stacks" / file, axes=axes))


def _budgets(options: argparse.Namespace) -> Iterator[dict[str, float]]:
    for steps in options.steps:
        yield {"steps": steps}
    if options.seconds:
        yield {"seconds": options.seconds}


def _draw(volume: Volume, denoisers: list[Denoiser], path: Path) -> None:
    """The middle plane: noisy, alone and together, with one range of gray."""
    region = volume.plane(volume.n_planes // 2)
    parts = [
        volume.read(region),
        *(denoise_region(d, volume, region) for d in denoisers),
    ]
    planes = [volume.axes.as_planes(part)[0, 0].astype(np.float32) for part in parts]
    low, high = np.percentile(planes[-1], [0.5, 99.8])
    gray = np.clip((np.concatenate(planes, axis=1) - low) / (high - low), 0, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((255 * gray).astype(np.uint8)).save(path)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--method", default="blind2unblind")
    parser.add_argument("--steps", type=int, nargs="*", default=[])
    parser.add_argument("--start", default="auto", choices=["auto", "warm", "cold"])
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--seeds", type=int, nargs="*", default=[101, 102])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--planes", type=int, default=12)
    parser.add_argument("--photons", type=float, default=20)
    parser.add_argument(
        "--contexts", nargs="*", default=["auto"], choices=["auto", "1", "2", "3"]
    )
    parser.add_argument("--convolutions", default="2d", choices=["2d", "3d"])
    parser.add_argument("--width", type=int, help="of the network")
    parser.add_argument("--kinds", nargs="*", default=["stack", *SPEEDS])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--png", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
