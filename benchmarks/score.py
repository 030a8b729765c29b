"""What the score method gains with each of the paper's 16 noise models, on phantoms.

A phantom of intensities 20 to 235 gets each kind of noise in turn, with the paper's
parameters: sigma 25 (10 beside another noise), Gamma alpha 26, Poisson lambda 0.2,
Rayleigh 0.3, the filter .05 .1 .05 / .1 .4 .1. Of nos. 3 and 4, the printed a = .98, b
= 25 would be more noise than image; here a = 0.1, b = 15. A network is trained on each
noisy image alone, and solved with the parameters known, as in the paper, then with all
of them estimated. PSNR with a peak of 255. The last two columns are the paper's, whose
networks learned from 500 images: noisy is not told there, so it is its result, and what
a supervised network reaches, on Kodak.

With ``--robust``, all parameters are 10 % too small, and too large (figure 2 there).
Some of what that costs is the brightness of the whole image, of which a multiplicative
model's parameter decides: Rayleigh noise of 0.3 brightens by 38 %. No viewer sees it,
as contrast follows; what is in brackets is without it, after the line that makes each
result fit the clean image best.

Run: ``python benchmarks/score.py --seconds 60 --seeds 1``
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_blindsound.images.axes import Axes
from napari_blindsound.images.phantom import phantom
from napari_blindsound.images.volume import Volume
from napari_blindsound.noise.models import Kind, Parameters, models
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig

if TYPE_CHECKING:
    from napari_blindsound.inference.denoiser import Denoiser

PAPER = {
    1: (31.92, 32.44),
    2: (33.99, 34.80),
    3: (29.68, 30.92),
    4: (31.88, 33.02),
    5: (32.61, 33.51),
    6: (31.90, 33.02),
    7: (32.38, 32.90),
    8: (31.84, 32.55),
    9: (34.25, 35.29),
    10: (32.87, 34.63),
    11: (32.13, 32.86),
    12: (30.74, None),
    13: (32.10, 32.49),
    14: (31.11, 31.44),
    15: (33.54, 34.38),
    16: (31.14, 32.83),
}
"""PSNR of the paper's method and of a supervised network, Kodak, table 1."""

_DARK, _BRIGHT, _PEAK = 20.0, 235.0, 255.0
_PHOTONS = 1000.0  # so many that the phantom's own light is not rounded
_OFF = (0.9, 1.1)


def main() -> None:
    """Train on each kind of noise; print a table."""
    options = _options()
    torch.set_num_threads(options.threads)
    length = f"{options.steps} steps" if options.steps else f"{options.seconds} s"
    print(f"{length} each, {options.size} x {options.size}, dB")
    off = "  (line)    -10 % (line)     +10 % (line)" if options.robust else ""
    heading = f"{'no. noise':33s} noisy  known   gain  estimated{off}"
    print(f"{heading}   paper  supervised")
    for seed in options.seeds:
        clean = scene(options.size, seed)
        for name, kind in models().items():
            if kind.number and (not options.only or kind.number in options.only):
                print(_row(name, kind, clean, seed, options), flush=True)


def scene(size: int, seed: int) -> torch.Tensor:
    """A clean image of intensities 20 to 235 and a few above."""
    made = phantom(size=size, photons=_PHOTONS, seed=seed)
    camera = made.camera
    light = (made.clean - camera.offset) / (camera.gain * _PHOTONS)
    scaled = _DARK + (_BRIGHT - _DARK) * np.clip(light, 0, 1)
    return torch.from_numpy(scaled.astype(np.float32))


def parameters(kind: Kind) -> dict[str, float]:
    """The paper's numbers of a kind of noise."""
    numbers = Parameters(sigma=10.0 if kind.is_mixed else 25.0).model_dump()
    return {name: numbers[name] for name in kind.needs}


def train(noisy: torch.Tensor, kind: Kind, options: argparse.Namespace) -> Denoiser:
    """A model of a noisy image, which is told the kind of the noise only."""
    volume = Volume((noisy.numpy(),), Axes.parse("YX"), kind.name)
    recipe = Recipe(
        method="score",
        settings={"noise": kind.name},
        train=TrainConfig(
            steps=options.steps,
            seconds=None if options.steps else options.seconds,
            threads=options.threads,
        ),
    )
    training = Training([volume], recipe)
    try:
        for _ in training.run():
            pass
        return training.result()
    finally:
        training.close()


def _row(
    name: str,
    kind: Kind,
    clean: torch.Tensor,
    seed: int,
    options: argparse.Namespace,
) -> str:
    numbers = parameters(kind)
    noise = kind.noise(Parameters(**numbers))
    noisy = noise.sample(clean, torch.Generator().manual_seed(seed))
    model = train(noisy, kind, options)

    def solved(changes: dict[str, float]) -> np.ndarray:
        return model.adjusted(changes)(noisy.numpy())

    exact = solved({**numbers, "offset": 0.0})
    before, known = _psnr(noisy.numpy(), clean), _psnr(exact, clean)
    words = f"{kind.number:2d}  {name:29s} {before:5.2f}  {known:5.2f} "
    words += f"{known - before:+6.2f}"
    words += f"  {_psnr(solved({}), clean):5.2f}    "
    if options.robust:
        lined = _psnr(_lined(exact, clean), clean)
        words += f"   ({lined:5.2f})"
        for factor in _OFF:
            wrong = {
                n: v * (factor if n not in ("edge", "corner") else 1)
                for n, v in numbers.items()
            }
            image = solved({**wrong, "offset": 0.0})
            after = _psnr(_lined(image, clean), clean) - lined
            words += f"   {_psnr(image, clean) - known:+5.2f} ({after:+5.2f})"
    ours, supervised = PAPER[kind.number]
    return f"{words}   {ours:5.2f}  {supervised or float('nan'):5.2f}"


def _psnr(image: np.ndarray, clean: torch.Tensor) -> float:
    error = float(np.mean((image.astype(np.float64) - clean.numpy()) ** 2))
    return 10 * float(np.log10(_PEAK**2 / error))


def _lined(image: np.ndarray, clean: torch.Tensor) -> np.ndarray:
    """A result on the line that fits it best to the clean image."""
    slope, base = np.polyfit(image.astype(np.float64).ravel(), clean.numpy().ravel(), 1)
    return np.asarray(slope * image.astype(np.float64) + base)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--steps", type=int, help="of training, in place of seconds")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--only", type=int, nargs="+", help="numbers of models")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--robust", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
