"""How often the verdict on correlation is right, on phantoms and on real images.

Phantoms of two kinds, 256 to 512 pixels wide, with 5 to 200 photons, carry noise of
known correlation: white; correlated along x or along y by a filter [a, 1, a], by an
exponential or by shifts of whole lines; blurred by a Gaussian of 0.5 to 1.2 pixels,
alone or with the image; and, beside those that are counted, the sum of noise along x
and of noise along y. Real single captures and repeats are compared with their ground
truth where there is one.

Run: ``python benchmarks/correlation.py --draws 200 --data $BLINDSOUND_DATA``
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import convolve1d, gaussian_filter
from scipy.signal import lfilter
from tifffile import imread

from napari_blindsound.images.phantom import phantom
from napari_blindsound.noise.correlation import measure_correlation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CLASSES = ("white", "rows", "columns", "filtered")
_TYPES = ("Confocal_FISH", "Confocal_MICE", "TwoPhoton_MICE", "WideField_BPAE_G")


class Draw(NamedTuple):
    """Noisy counts (h, w), the verdict they deserve, and how they were made."""

    noisy: NDArray[np.uint16]
    truth: str
    words: str


def draw(seed: int, truth: str | None = None) -> Draw:
    """One phantom with noise of a random strength and correlation.

    Parameters
    ----------
    seed
        Same seed, same pixels; it also chooses the class if ``truth`` is None.
    truth
        One of `CLASSES`, or "both".

    Returns
    -------
    Draw
        The noise is correlated before it is scaled to
        ``gain * (mean - offset) + read_noise**2`` around the clean image, and rounded.
    """
    rng = np.random.default_rng([seed, 77])
    truth = truth or CLASSES[seed % len(CLASSES)]
    size = int(rng.choice([256, 384, 512]))
    photons = float(np.exp(rng.uniform(np.log(5), np.log(200))))
    kind: Literal["2d", "zstack"] = "2d" if rng.integers(2) else "zstack"
    made = phantom(kind, size=size, planes=3, photons=photons, seed=seed)
    clean = made.clean.reshape(-1, size, size)[-1 if kind == "2d" else 1]
    clean = clean.astype(np.float64)
    camera = made.camera
    sigma = np.sqrt(camera.gain * (clean - camera.offset) + camera.read_noise**2)
    white = rng.normal(size=clean.shape)
    if truth == "filtered" and rng.integers(2):
        width = rng.uniform(0.5, 1.2)
        counts = gaussian_filter(clean + sigma * white, width)
        words = f"all blurred {width:.2f}"
    else:
        noise, words = _correlated(white, truth, rng)
        counts = clean + sigma * noise
    noisy = np.clip(np.rint(counts), 0, camera.saturation).astype(np.uint16)
    return Draw(noisy, truth, f"{kind} {size} px {photons:.0f} photons {words}")


def _correlated(
    white: Floats, truth: str, rng: np.random.Generator
) -> tuple[Floats, str]:
    match truth:
        case "white":
            return white, ""
        case "rows":
            return _along(white, 1, rng)
        case "columns":
            return _along(white, 0, rng)
        case "both":
            first, words = _along(white, 1, rng)
            second, more = _along(rng.normal(size=white.shape), 0, rng)
            return (first + second) / np.sqrt(2), f"{words}, {more}"
        case _:
            width = rng.uniform(0.5, 1.2)
            blurred = gaussian_filter(white, width, mode="wrap")
            return blurred / blurred.std(), f"noise blurred {width:.2f}"


def _along(white: Floats, axis: int, rng: np.random.Generator) -> tuple[Floats, str]:
    """Noise of unit variance that is correlated along one axis."""
    match int(rng.integers(3)):
        case 0:
            side = rng.uniform(0.2, 1.0)
            kernel = np.array([side, 1, side]) / np.sqrt(1 + 2 * side**2)
            noise = convolve1d(white, kernel, axis=axis, mode="wrap")
            return noise, f"[a 1 a] {side:.2f}"
        case 1:
            last = rng.uniform(0.25, 0.8)
            noise = lfilter([np.sqrt(1 - last**2)], [1, -last], white, axis=axis)
            return np.asarray(noise), f"exponential {last:.2f}"
        case _:
            part = rng.uniform(0.2, 0.6)
            lines = np.expand_dims(rng.normal(size=white.shape[1 - axis]), axis)
            noise = np.sqrt(1 - part) * white + np.sqrt(part) * lines
            return noise, f"lines shifted {part:.2f}"


def main() -> None:
    """Print the confusion table, and the table of real images if there are any."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--data", type=Path, help="folder of real images")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.draws)
    _print_confusion([draw_verdict(seed) for seed in seeds])
    both = range(seeds.stop, seeds.stop + options.draws // 5)
    print("not counted above, noise along x and along y:")
    _print_confusion([draw_verdict(seed, "both") for seed in both])
    if options.data:
        _print_real(options.data)


def draw_verdict(seed: int, truth: str | None = None) -> tuple[str, str]:
    """Print a wrong one; return the true and the found verdict of one draw."""
    made = draw(seed, truth)
    found = measure_correlation([made.noisy])
    if found.verdict != made.truth:
        print(f"  seed {seed}, {made.truth}, {made.words}: {found.words}")
    return made.truth, found.verdict


def _print_confusion(pairs: list[tuple[str, str]]) -> None:
    counts = Counter(pairs)
    names = (*CLASSES, "both", "unknown")
    print(f"{'true / found':>14}" + "".join(f"{name:>10}" for name in names))
    for truth in dict.fromkeys(truth for truth, _ in pairs):
        print(f"{truth:>14}" + "".join(f"{counts[truth, name]:>10}" for name in names))
    right = sum(truth == found for truth, found in pairs)
    print(f"right: {right} of {len(pairs)} ({right / len(pairs):.1%})")


def _print_real(root: Path) -> None:
    head = ("image", "verdict", "region", "x", "y", "corner", "x2", "y2", "ms")
    print("  ".join([f"{head[0]:<44}", f"{head[1]:<9}", *head[2:]]))
    for name, planes, frames in _real_images(root):
        start = time.perf_counter()
        found = measure_correlation(planes, frames=frames)
        seconds = time.perf_counter() - start
        numbers = _row(name, found.verdict, str(found.region), found.map)
        print(numbers, f" {1000 * seconds:.0f}")
    print("against ground truth:")
    for kind in _TYPES:
        truth = _png(root / "fmdd" / kind / "gt" / "19" / "avg50.png")
        captures = _captures(root, kind, "19")
        maps = [_autocorrelation(capture - truth) for capture in captures]
        mean = np.mean(maps, axis=0)
        print(_row(f"{kind} captures - truth", "", "", mean))


def _row(name: str, verdict: str, region: str, rho: Floats) -> str:
    corner = (rho[4, 4] + rho[4, 2]) / 2
    numbers = (rho[3, 4], rho[4, 3], corner, rho[3, 5], rho[5, 3])
    return f"{name:<44}  {verdict:<9}  {region:<6}  " + "  ".join(
        f"{number:5.2f}" for number in numbers
    )


def _real_images(root: Path) -> Iterator[tuple[str, list[Floats], list[Floats]]]:
    for kind in _TYPES:
        for view in ("00", "19"):
            captures = _captures(root, kind, view)
            for index, capture in enumerate(captures, 1):
                yield f"{kind} {view} capture {index}", [capture], []
            if len(captures) > 1:
                yield f"{kind} {view} repeats", captures, [np.stack(captures)]
    for path in sorted((root / "stacks").glob("*.tif")):
        stack = imread(path)
        planes = list(stack.reshape(-1, *stack.shape[-2:]))
        yield path.name, planes, []
        if len(planes) > 1:
            yield f"{path.name} middle plane", [planes[len(planes) // 2]], []
            yield f"{path.name} as frames", planes, [stack]
    for path in sorted((root / "w2s" / "noisy").glob("*.png")):
        yield f"w2s {path.name}", [_png(path)], []


def _captures(root: Path, kind: str, view: str) -> list[Floats]:
    folder = root / "fmdd" / kind / "raw" / view
    return [_png(path) for path in sorted(folder.glob("*.png"))]


def _png(path: Path) -> Floats:
    return np.asarray(Image.open(path), dtype=np.float64)


def _autocorrelation(noise: Floats) -> Floats:
    """(7, 7) autocorrelation of known noise."""
    noise = noise - noise.mean()
    power = np.abs(np.fft.fft2(noise)) ** 2
    waves = np.fft.fftshift(np.fft.ifft2(power).real)
    y, x = (size // 2 for size in waves.shape)
    return np.asarray(waves[y - 3 : y + 4, x - 3 : x + 4] / waves[y, x])


if __name__ == "__main__":
    main()
