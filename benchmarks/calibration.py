"""How often the calibrated camera is right, on phantoms and on real captures.

Phantoms of 512 x 512 pixels are exposed by random cameras: gain 0.5 to 20 (log-uniform)
counts a photon, offset 0 to 500 and read noise 0 to 10 counts, 8 to 16 bits, and 2 to
200 photons (log-uniform) at the brightest structures. Where that would saturate most of
it, there are fewer photons, and where 2 photons would, a smaller gain. An answer is a
number that the calibration calls known; counted are those within 10 % of the gain and
15 % of the read noise, and the 95 % intervals that hold the truth.

Real captures of FMDD are compared with the line of (capture - gt)^2 * 50 / 49 against
the ground truth gt, after the capture's brightness was fitted to it.

Run: ``python benchmarks/calibration.py --draws 200 --data $BLINDSOUND_DATA``
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from napari_blindsound.images.phantom import Camera, phantom
from napari_blindsound.noise.camera import calibrate
from napari_blindsound.noise.correlation import measure_correlation
from napari_blindsound.noise.survey import laplacian_response

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_blindsound.noise.camera import Calibration, Estimated

SEED = 12
"""Of the draws that are reported; other ones were looked at while writing the code."""
GAIN, READ = 0.10, 0.15
_TYPES = ("Confocal_FISH", "Confocal_MICE", "TwoPhoton_MICE", "WideField_BPAE_G")


class Draw(NamedTuple):
    """Exposures (4, h, w) of one scene by one camera."""

    captures: NDArray[np.uint16]
    camera: Camera
    photons: float


def draw(index: int, seed: int = SEED) -> Draw:
    """Scene, camera and four exposures; same numbers, same pixels."""
    rng = np.random.default_rng([seed, index])
    bits = int(rng.integers(8, 17))
    highest = 2.0**bits - 1
    gain = float(np.exp(rng.uniform(np.log(0.5), np.log(20))))
    read = float(rng.uniform(0, 10))
    photons = float(np.exp(rng.uniform(np.log(2), np.log(200))))
    offset = float(rng.uniform(0, min(500, highest / 3)))
    room = (highest - offset - 4 * read) / 1.5
    photons = min(photons, max(2.0, room / gain))
    gain = min(gain, room / photons)
    camera = Camera(gain, offset, read, bits)
    scene = phantom(photons=photons, camera=camera, seed=1000 * seed + index)
    light = np.maximum((scene.clean.astype(np.float64) - offset) / gain, 0)
    captures = [scene.noisy, *(camera.expose(light, rng) for _ in range(3))]
    return Draw(np.stack(captures), camera, photons)


def within(found: Estimated, truth: float, share: float) -> bool:
    """Whether the value is nearer to the truth than a share of it."""
    return abs(found.value - truth) <= share * truth


def slope_against(
    captures: Iterable[NDArray[np.uint8]], truth: NDArray[np.uint8]
) -> float:
    """Gain from the squared differences to the mean of 50 captures."""
    clean = truth.astype(np.float64)
    squares = np.zeros_like(clean)
    captures = list(captures)
    for capture in captures:
        scale, shift = np.polyfit(clean.ravel(), capture.ravel().astype(float), 1)
        squares += (capture - scale * clean - shift) ** 2 * 50 / 49
    order = np.argsort(clean, axis=None)
    means, variances = [], []
    for group in np.array_split(order, 24):
        if any((capture.ravel()[group] == 255).mean() > 0.002 for capture in captures):
            continue
        means.append(clean.ravel()[group].mean())
        variances.append(squares.ravel()[group].mean() / len(captures))
    weights = 1 / np.maximum(variances, 0.1 * np.mean(variances))
    for _ in range(5):
        slope, shift = np.polyfit(means, variances, 1, w=weights)
        line = slope * np.array(means) + shift
        weights = 1 / np.maximum(line, 0.1 * np.mean(variances))
    return float(slope)


def _row(what: str, found: list[tuple[Estimated, float]], share: float) -> str:
    known = [(one, truth) for one, truth in found if one.known]
    right = sum(within(one, truth, share) for one, truth in known)
    all_right = sum(within(one, truth, share) for one, truth in found)
    held = sum(one.low <= truth <= one.high for one, truth in known)
    every = sum(one.low <= truth <= one.high for one, truth in found)
    answered = max(1, len(known))
    return (
        f"{what:28s} {len(known):4d} of {len(found)}   {100 * right / answered:5.1f} %"
        f"   {100 * held / answered:5.1f} %   {100 * all_right / len(found):5.1f} %"
        f"   {100 * every / len(found):5.1f} %"
    )


def _print_phantoms(draws: int, seed: int, *, verbose: bool) -> None:
    found: dict[str, list[tuple[Estimated, float]]] = {}
    seconds = 0.0
    for index in range(draws):
        one = draw(index, seed)
        camera = one.camera
        for way in ("image", "4 frames", "image, offset given"):
            start = time.perf_counter()
            result = calibrate(
                [one.captures[0]],
                frames=[one.captures] if way == "4 frames" else [],
                offset=camera.offset if way.endswith("given") else None,
            )
            seconds += time.perf_counter() - start
            found.setdefault(f"{way}: gain", []).append((result.gain, camera.gain))
            found.setdefault(f"{way}: read noise", []).append(
                (result.read_noise, camera.read_noise)
            )
            if not way.endswith("given"):
                found.setdefault(f"{way}: offset", []).append(
                    (result.offset, camera.offset)
                )
            if verbose:
                print(index, way, f"{one.photons:.1f} photons", camera)
                print("   ", _words(result))
    print(f"{'phantoms':28s}  known of all   right   interval   all: right, interval")
    for what, pairs in found.items():
        share = READ if what.endswith("read noise") else GAIN
        print(_row(what, pairs, share))
    print(f"{seconds / (3 * draws):.2f} s each")


def _words(result: Calibration) -> str:
    numbers = (result.gain, result.offset, result.read_noise)
    parts = [
        f"{one.value:.4g} [{one.low:.4g}, {one.high:.4g}] {one.reason or 'known'}"
        for one in numbers
    ]
    return " | ".join((result.source, *parts, *result.signs))


def _print_captures(root: Path, *, verbose: bool) -> None:
    print("FMDD                        truth   gain  ratio")
    for kind in _TYPES:
        for folder in sorted((root / "fmdd" / kind / "raw").iterdir()):
            truth = _image(root / "fmdd" / kind / "gt" / folder.name / "avg50.png")
            captures = [_image(path) for path in sorted(folder.glob("*.png"))]
            ways = [("1 capture", captures[:1])]
            if len(captures) > 1:
                ways.append((f"{len(captures)} frames", captures))
            for way, used in ways:
                frames = [np.stack(used)] if len(used) > 1 else []
                shared = measure_correlation(used[:1], frames=frames)
                response = laplacian_response(shared).gain
                result = calibrate(used[:1], frames=frames, response_gain=response)
                slope = slope_against(used, truth)
                noted = "" if frames else f", response gain {response:.2f}"
                print(
                    f"{kind:18s} {folder.name} {way:10s} {slope:6.2f} "
                    f"{result.gain.value:6.2f} {result.gain.value / slope:5.2f}"
                    f" {result.source}{noted}"
                )
                if verbose:
                    print("   ", _words(result))


def _image(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path), dtype=np.uint8)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    if options.draws:
        _print_phantoms(options.draws, options.seed, verbose=options.verbose)
    if options.data:
        _print_captures(options.data, verbose=options.verbose)


if __name__ == "__main__":
    main()
