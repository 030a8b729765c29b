"""How well the gain that the preflight expects foretells the one that training brings.

Images with a known truth: FMDD captures of view 00, phantoms, natural images with
photon noise, and some of them smoothed or shared along rows after the noise. Prints
what the filter of the preflight would gain, the range that is told, and what
Blind2Unblind (fast) gained. The truth of an FMDD view is the mean of 50 captures, which
has a fiftieth of the noise; that is taken off.

Run: ``python benchmarks/prospect.py $BLINDSOUND_DATA --steps 1500``; some minutes an
image with one thread.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import Camera, phantom
from napari_blindsound.noise.survey import survey
from napari_blindsound.quality.prospect import filter_gain, prospect
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array = NDArray[np.generic]

AVERAGED = 50
PHOTONS = ((3.0, 256, 3.5), (12.0, 256, 3.5), (40.0, 384, 3.5), (200.0, 256, 3.5))


class Known(NamedTuple):
    """Frames (t, h, w), their truth, and the part of the noise that the truth has."""

    name: str
    noisy: Array
    clean: Array
    share: float = 0.0


def main() -> None:
    """Train on each image and print a line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("root", type=Path, help="folder with fmdd and train400")
    options.add_argument("--steps", type=int, default=1500)
    options.add_argument("--only", default="", help="part of the names")
    given = options.parse_args()
    torch.set_num_threads(1)
    print("image: verdict, the filter's gain, told, Blind2Unblind's; all in dB")
    for image in (*images(given.root), *shared(given.root)):
        if given.only in image.name:
            print(line(image, given.steps), flush=True)


def images(root: Path) -> Iterator[Known]:
    """Images with noise that is independent from pixel to pixel."""
    for kind in ("Confocal_FISH", "Confocal_MICE"):
        capture = min((root / "fmdd" / kind / "raw" / "00").glob("*.png"))
        truth = root / "fmdd" / kind / "gt" / "00" / "avg50.png"
        pair = (np.array(Image.open(path))[None] for path in (capture, truth))
        yield Known(f"{kind} 00", *pair, 1 / AVERAGED)
    for index, (photons, size, read) in enumerate(PHOTONS):
        camera = Camera(read_noise=read)
        made = phantom("2d", size=size, photons=photons, camera=camera, seed=50 + index)
        yield Known(f"2d, {photons:g} photons", made.noisy[None], made.clean[None])
    noisy_camera = Camera(read_noise=12)
    made = phantom("2d", photons=30.0, camera=noisy_camera, seed=54)
    yield Known("2d, read noise", made.noisy[None], made.clean[None])
    movie = phantom("timelapse", size=192, frames=8, photons=20.0, seed=60)
    yield Known("timelapse", movie.noisy, movie.clean)
    stack = phantom("zstack", size=192, planes=8, photons=20.0, seed=61)
    yield Known("zstack", stack.noisy, stack.clean)
    for seed, photons in enumerate((60, 20)):
        path = sorted((root / "train400").iterdir())[3 + 17 * seed]
        light = np.array(Image.open(path)) / 255 * photons
        rng = np.random.default_rng(seed)
        counts = 100 + 2 * rng.poisson(light) + rng.normal(0, 2, light.shape)
        noisy = np.rint(counts).clip(0).astype(np.uint16)
        yield Known(f"natural {seed}", noisy[None], (100 + 2 * light)[None])


def shared(root: Path) -> Iterator[Known]:
    """Some of them, filtered after the noise."""
    for image in images(root):
        frames = zip(image.noisy, image.clean, strict=True)
        if image.name in ("Confocal_FISH 00", "2d, 40 photons", "zstack"):
            pairs = [[gaussian_filter(4.0 * p, 0.7) for p in pair] for pair in frames]
            how = "smoothed"
        elif image.name in ("2d, 12 photons", "natural 1"):
            pairs = [
                [gaussian_filter1d(4.0 * p, 0.55, axis=1) for p in pair]
                for pair in frames
            ]
            how = "shared along rows"
        else:
            continue
        noisy, clean = (np.stack(part) for part in zip(*pairs, strict=True))
        counts = np.rint(noisy).astype(np.uint16)
        yield Known(f"{image.name}, {how}", counts, clean, image.share)


def line(image: Known, steps: int) -> str:
    """What was told, and what came."""
    planes = list(image.noisy)
    found = survey(planes)
    told = prospect(planes, found)
    expected = filter_gain(planes, found.noise, found.correlation) or 0.0
    region = "x".join(str(2 * extent + 1) for extent in found.correlation.region)
    recipe = Recipe(
        settings={"region": region, "context": "none"}, train=TrainConfig(steps=steps)
    )
    training = Training([open_volume(image.noisy, axes="TYX")], recipe)
    for _ in training.run():
        pass
    denoiser = training.denoiser()
    training.close()
    result = np.concatenate([denoiser(frame[None]) for frame in image.noisy])
    before, after = (
        float(((each - image.clean.astype(np.float64)) ** 2).mean())
        for each in (image.noisy, result)
    )
    # A truth that is a mean with the capture in it is nearer to it than the scene is.
    noise = before / (1 - image.share)
    gain = 10 * np.log10(noise / (after - image.share * noise))
    is_told = told.low <= gain <= told.high
    return (
        f"{image.name}: {found.correlation.verdict} {region}, {expected:.2f}, "
        f"{told.low:.1f} to {told.high:.1f}, {gain:.2f}{'' if is_told else ' (!)'}"
    )


if __name__ == "__main__":
    main()
