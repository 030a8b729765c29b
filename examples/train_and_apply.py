"""Train on a noisy recording and on nothing else, apply the model, look at both.

    python examples/train_and_apply.py --seconds 60 --output before_after.png

The recording is synthetic, so its truth is known and the gain can be measured. For a
file of yours, give its path to `train` and `denoise` in place of the array.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import napari_blindsound as nb
from napari_blindsound.images.phantom import phantom
from napari_blindsound.quality.metrics import psnr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--steps", type=int, help="end earlier, after so many steps")
    parser.add_argument("--size", type=int, default=256, help="side, in pixels")
    parser.add_argument("--output", type=Path, default=Path("before_after.png"))
    options = parser.parse_args()

    cells = phantom("timelapse", frames=4, size=options.size)
    length = {"seconds": options.seconds, "steps": options.steps}
    model = nb.train(cells.noisy, axes="TYX", **length)
    model.save(options.output.with_suffix(".blindsound"))
    denoised = nb.denoise(cells.noisy, model, axes="TYX")

    span = float(np.ptp(cells.clean))
    print(f"noisy     {psnr(cells.noisy, cells.clean, span):.2f} dB")
    print(f"denoised  {psnr(denoised, cells.clean, span):.2f} dB")

    # The first frame of each, side by side, at one contrast.
    panels = np.hstack([cells.noisy[0], denoised[0], cells.clean[0]])
    low, high = np.percentile(cells.clean[0], (0.1, 99.8))
    gray = np.clip((panels - low) / (high - low), 0, 1) * 255
    Image.fromarray(gray.astype(np.uint8)).save(options.output)
    print(f"noisy, denoised and truth: {options.output}")


if __name__ == "__main__":
    main()
