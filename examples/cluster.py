"""Denoise an image with several processes, on this computer or on a dask cluster.

    python examples/cluster.py noisy.ome.zarr --model cells.blindsound -o out.ome.zarr
    python examples/cluster.py noisy.ome.zarr ... --scheduler tcp://head:8786

Give the same line again after Ctrl-C, a crash or a power cut, and it goes on. All
processes must see image and result at these paths. Without arguments, a synthetic stack
is denoised in a temporary folder by two processes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from napari_blindsound import load, open_volume, train
from napari_blindsound.images.phantom import phantom
from napari_blindsound.inference.cluster import Cluster, started
from napari_blindsound.inference.convert import convert
from napari_blindsound.inference.store import WriteConfig, write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", nargs="?", help="a file, a Zarr folder, a URL")
    parser.add_argument("--model", type=Path, help="as blindsound train writes it")
    parser.add_argument("-o", "--output", type=Path, help="a name ending in .ome.zarr")
    parser.add_argument("--workers", type=int, default=2, help="on this computer")
    parser.add_argument("--scheduler", help="of a dask cluster, in place of these")
    options = parser.parse_args()

    cluster = Cluster(
        workers=None if options.scheduler else options.workers,
        scheduler=options.scheduler,
    )
    with tempfile.TemporaryDirectory() as folder, started(cluster) as workers:
        image = options.image or synthetic(Path(folder))
        volume = open_volume(image)
        model = load(options.model) if options.model else train(volume, steps=20)
        output = options.output or Path(folder) / "denoised.ome.zarr"
        # So small an image would be one shard, which one process does.
        config = WriteConfig() if options.image else WriteConfig(chunk=64, shard=64)
        for event in write(model, volume, output, config, scheduler=workers):
            print(f"{event.done / event.total:4.0%}  {event.message}")
        print(f"{workers.name}: {open_volume(output).shape}")


def synthetic(folder: Path) -> Path:
    made = phantom("zstack", size=96, planes=8, seed=1).volume()
    return convert(made, folder / "noisy.ome.zarr")


# Each local worker is a new Python that reads this file: without this line it would
# start workers of its own.
if __name__ == "__main__":
    main()
