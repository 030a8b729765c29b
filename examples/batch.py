"""Denoise many images with one model, told row by row; a broken one stops no other.

    python examples/batch.py recordings/ more/cells.tif --output denoised

Run it again, or after Ctrl-C, and it goes on: what is done is left alone. Without
arguments, a few synthetic recordings and a broken file are made in a temporary folder.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from napari_blindsound.batch import BatchConfig, find_images, run_batch
from napari_blindsound.images.phantom import phantom
from napari_blindsound.inference.convert import convert
from napari_blindsound.recipe import Recipe
from napari_blindsound.training.trainer import TrainConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="*", help="files and folders")
    parser.add_argument("--output", help="folder of the results")
    parser.add_argument("--steps", type=int, default=600, help="of the training")
    parser.add_argument("--each", action="store_true", help="one model for each image")
    parser.add_argument("--size", type=int, default=256, help="side of the synthetic")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        found = find_images(options.images or [synthetic(Path(folder), options.size)])
        config = BatchConfig(
            output=options.output or Path(folder) / "denoised",
            model="each" if options.each else "one",
            recipe=Recipe(train=TrainConfig(steps=options.steps)),
        )
        for event in run_batch(found, config):
            if event.is_final:
                name = "all" if event.row is None else found[event.row].name
                print(f"{event.state:8} {name}  {event.noise}{event.message}")
        print((config.output / "batch.csv").read_text())


def synthetic(folder: Path, size: int) -> Path:
    """Recordings of synthetic cells, and a file that is no image."""
    recordings = folder / "recordings"
    recordings.mkdir()
    for seed in range(2):
        made = phantom("timelapse", size=size, frames=3, seed=seed).volume()
        convert(made, recordings / f"cells {seed}.ome.zarr")
    (recordings / "broken.tif").write_text("no image")
    return recordings


if __name__ == "__main__":
    main()
