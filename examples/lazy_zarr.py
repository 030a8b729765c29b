"""Look at a denoised image of any size without denoising all of it.

    python examples/lazy_zarr.py stack.ome.zarr --model model.blindsound

What `lazy` returns is a dask array (one a pyramid level) with the shape of the image;
a block is denoised when its pixels are asked for. Without arguments, a synthetic stack
is written to a temporary folder and a model trained on it for some seconds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import napari_blindsound as nb
from napari_blindsound.images.phantom import phantom
from napari_blindsound.inference.convert import convert
from napari_blindsound.inference.lazy import lazy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", nargs="?", help="an OME-Zarr, or any other image")
    parser.add_argument("--model", help="a model trained on such images")
    parser.add_argument("--seconds", type=float, default=20, help="to train, without")
    parser.add_argument("--steps", type=int, help="end earlier, after so many steps")
    parser.add_argument("--size", type=int, default=512, help="side of the synthetic")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        image = options.image or synthetic(Path(folder), options.size)
        volume = nb.open_volume(image)
        if options.model:
            model = nb.load(options.model)
        else:
            length = {"seconds": options.seconds, "steps": options.steps}
            model = nb.train(volume, **length)

        denoised = lazy(model, volume)[0]
        print(f"{volume.axes.names} {denoised.shape}: {denoised.npartitions} blocks")

        # Indexing computes nothing; `compute` denoises the blocks of this plane alone.
        plane = denoised[(volume.shape[0] // 2,)] if volume.ndim > 2 else denoised
        start = time.perf_counter()
        pixels = plane.compute()
        seconds = time.perf_counter() - start
        print(
            f"middle plane: {plane.npartitions} blocks, {seconds:.2f} s, "
            f"mean {pixels.mean():.1f} counts"
        )


def synthetic(folder: Path, size: int) -> Path:
    """Z stack of synthetic cells as OME-Zarr."""
    return convert(phantom("zstack", size=size).volume(), folder / "cells.ome.zarr")


if __name__ == "__main__":
    main()
