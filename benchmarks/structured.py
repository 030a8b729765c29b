"""What a blind region gains where neighbors share their noise, on phantoms.

Phantoms with photon and read noise that a filter [0.5, 1, 0.5] shares along rows, along
columns or both, so that neighbors correlate by 2/3 and the next but one by 1/6. Each is
denoised with a single blind pixel, with the region that the correlation of the noise
asks for, and, beside them, with noise of the same variance that is not shared: what the
shape of the noise costs. PSNR, peak the range of the clean image.

Run: ``python benchmarks/structured.py --seconds 60 --seeds 1 2 3``
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import convolve1d

from napari_blindsound.images.axes import Axes
from napari_blindsound.images.phantom import phantom
from napari_blindsound.images.volume import Volume
from napari_blindsound.quality.metrics import psnr
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

AXES = {"rows": (1,), "columns": (0,), "filtered": (0, 1), "white": ()}
"""Axes along which noise is shared."""

_FILTER = (0.5, 1.0, 0.5)


def main() -> None:
    """Train on each phantom with and without a region; print a table."""
    options = _options()
    torch.set_num_threads(options.threads)
    print(f"{options.seconds or options.steps} {'s' if options.seconds else 'steps'}")
    for seed in options.seeds:
        for kind in options.kinds:
            clean, noisy = draw(kind, seed, options.size)
            scores = {
                region: _score(clean, noisy, region, options)
                for region in ("1x1", "auto")
            }
            white = _score(clean, draw("white", seed, options.size)[1], "1x1", options)
            print(
                f"{kind:9s} seed {seed}  noisy {_psnr(noisy, clean):.2f} dB   "
                f"one pixel {scores['1x1'][0]:.2f}   "
                f"region {scores['auto'][1]} {scores['auto'][0]:.2f}   "
                f"(not shared, one pixel {white[0]:.2f})",
                flush=True,
            )


def draw(
    kind: str, seed: int, size: int
) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """Clean and noisy counts, (size, size), with noise shared along :data:`AXES`."""
    made = phantom("2d", size=size, photons=40.0, seed=seed)
    camera = made.camera
    light = np.maximum(made.clean - camera.offset, 0)
    variance = camera.gain * light + camera.read_noise**2
    noise = np.random.default_rng((seed, 7)).normal(size=made.clean.shape)
    for axis in AXES[kind]:
        noise = convolve1d(noise, _FILTER, axis=axis, mode="wrap")
    counts = made.clean + np.sqrt(variance) * noise / noise.std()
    noisy = np.clip(np.rint(counts), 0, camera.saturation).astype(np.uint16)
    return made.clean, noisy


def _score(
    clean: NDArray[np.float32],
    noisy: NDArray[np.uint16],
    region: str,
    options: argparse.Namespace,
) -> tuple[float, str]:
    """PSNR after a training, and the region that was used."""
    recipe = Recipe(
        method=options.method,
        settings={"region": region, "context": "none"},
        train=TrainConfig(
            seconds=options.seconds, steps=options.steps, threads=options.threads
        ),
    )
    training = Training([Volume((noisy,), Axes.parse("YX"), "phantom")], recipe)
    for _ in training.run():
        pass
    training.close()
    denoiser = training.denoiser()
    used = getattr(denoiser.methods[0].config, "region", "none")
    return _psnr(denoiser(noisy), clean), used


def _psnr(image: NDArray[np.generic], clean: NDArray[np.float32]) -> float:
    return float(psnr(image, clean, float(np.ptp(clean))))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kinds", nargs="*", default=["rows", "columns", "filtered"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[1])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--method", default="blind2unblind")
    parser.add_argument("--threads", type=int, default=1)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--seconds", type=float)
    length.add_argument("--steps", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    main()
