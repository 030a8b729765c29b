"""Throughput of bare, tiled, lazy and written results against the plain network.

    python benchmarks/inference.py             # ratios, one process, alternating
    python benchmarks/inference.py --memory    # peak of writing 16 x 2048 x 2048 uint16

"Plain" is one forward pass of the published graph, as anybody would write it down, with
the same weights, over the whole plane, already normalized and on its device: no
reading, no repair of hot pixels, no halo, no tiles. "Bare" is our network likewise,
"bare tiles" that in the tiles that the package chooses, without their halo. Arithmetic
is counted where this thread does it, and its share of the peak is that of the machine,
measured in the same process (see machine.py).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from machine import Clock, add_options, operations, peak
from napari_blindsound.training.threads import fixed
from plain import PlainUNet

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.denoiser import Denoiser

MIB = 2**20


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2048, help="side of the plane")
    parser.add_argument("--planes", type=int, default=16, help="with --memory")
    parser.add_argument("--width", type=int, help="of the network; the preset's if not")
    parser.add_argument("--depth", type=int, help="of the network; the preset's if not")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--skip", nargs="*", default=[], help="ways, such as lazy")
    add_options(parser)
    parser.add_argument("--memory", action="store_true", help="measure memory instead")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with fixed(arguments.threads):
        if arguments.measure:
            measure_memory(arguments.measure, arguments)
        elif arguments.memory:
            memory(arguments)
        else:
            throughput(arguments)


def throughput(arguments: argparse.Namespace) -> None:
    """Time each way in turn, and print medians, ratios and shares of the peak."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source.zarr")
        volume = make_source(source, (1, arguments.size, arguments.size))
        denoiser = make_denoiser(volume, arguments)
        clock = Clock(arguments.clock, denoiser.device)
        ways = make_ways(denoiser, volume, Path(folder))
        ways = {name: run for name, run in ways.items() if name not in arguments.skip}
        most = peak(2 * denoiser.methods[0].config.width, denoiser.device, clock)
        # The first round warms up, and counts.
        work = {name: operations(run) for name, run in ways.items()}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(arguments.repeats):
            for name, run in ways.items():
                seconds[name].append(clock.seconds(run))
    print(f"{describe(denoiser)}, {arguments.clock} clock; {volume.shape}")
    print(most)
    print(
        f"{'way':<10} {'seconds':>8} {'Mpx/s':>8} {'x plain':>8} {'of bare':>8} "
        f"{'kFLOP/px':>9} {'of peak':>8}"
    )
    pixels = arguments.size**2
    for name, values in seconds.items():
        median = statistics.median(values)
        counted = f"{work[name] / pixels / 1e3:9.1f}" if work[name] else f"{'':>9}"
        share = f"{work[name] / median / most.most:8.0%}" if work[name] else ""
        print(
            f"{name:<10} {median:8.3f} {pixels / median / 1e6:8.2f} "
            f"{ratio(seconds, 'plain', name)} {ratio(seconds, 'bare', name)} "
            f"{counted} {share}"
        )


def ratio(seconds: dict[str, list[float]], other: str, name: str) -> str:
    """How many times as fast as another way, the median over rounds."""
    if other not in seconds:
        return " " * 8
    pairs = zip(seconds[other], seconds[name], strict=True)
    return f"{statistics.median(theirs / ours for theirs, ours in pairs):8.3f}"


def make_ways(
    denoiser: Denoiser, volume: Volume, folder: Path
) -> dict[str, Callable[[], object]]:
    """The things to compare, the plain network first."""
    from napari_blindsound.inference.lazy import lazy
    from napari_blindsound.inference.store import WriteConfig, write
    from napari_blindsound.inference.tiling import Tiler, denoise_region, tile_size

    whole = tuple(slice(0, size) for size in volume.shape)
    counts = volume.read(whole)[None]
    plane = torch.from_numpy(denoiser.preprocessing.normalize(counts))
    plane = plane.to(denoiser.device)
    config = WriteConfig(overwrite=True)

    halo, stride = denoiser.halo, denoiser.stride
    pixels = Tiler(denoiser).pixels
    tall, wide = tile_size(*volume.shape[1:], halo=halo, stride=stride, pixels=pixels)

    settings = denoiser.methods[0].config
    published = PlainUNet(settings.width, settings.depth)
    published.load_state_dict(denoiser.methods[0].network.state_dict())
    published = published.to(denoiser.device).eval()

    def plain() -> None:
        with torch.inference_mode():
            published(plane)

    def network(tall: int, wide: int) -> None:
        for y in range(0, volume.shape[1], tall):
            for x in range(0, volume.shape[2], wide):
                with torch.inference_mode():
                    part = plane[..., y : y + tall, x : x + wide]
                    denoiser.methods[0].denoise(part)

    return {
        "plain": plain,
        "bare": lambda: network(*volume.shape[1:]),
        "bare tiles": lambda: network(tall, wide),
        "tiled": lambda: denoise_region(denoiser, volume, whole),
        "lazy": lambda: lazy(denoiser, volume)[0].compute(),
        "written": lambda: list(
            write(denoiser, volume, folder / "out.ome.zarr", config)
        ),
    }


def memory(arguments: argparse.Namespace) -> None:
    """Write in a fresh process, and print by how much its memory grew."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source.zarr")
        make_source(source, (arguments.planes, arguments.size, arguments.size))
        command = [sys.executable, __file__, "--measure", str(source)]
        for name in ("width", "depth", "threads", "device"):
            value = getattr(arguments, name)
            command += [f"--{name}", str(value)] if value else []
        subprocess.run(command, check=True)


def measure_memory(source: Path, arguments: argparse.Namespace) -> None:
    """Denoise to disk; this process has done nothing else."""
    torch.zeros(1)
    before = resident()
    from napari_blindsound.images.open import open_volume
    from napari_blindsound.inference.store import write

    volume = open_volume(source, axes="ZYX")
    denoiser = make_denoiser(volume, arguments)
    start = time.perf_counter()
    *_, last = write(denoiser, volume, source.with_name("out.ome.zarr"))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    rate = volume.nbytes / volume.dtype.itemsize / seconds / 1e6
    print(f"{describe(denoiser)}; {volume.shape} {volume.dtype} -> {last.path}")
    print(f"interpreter with torch {before / MIB:.0f} MiB, peak {peak / MIB:.0f} MiB")
    print(f"above it: {(peak - before) / MIB:.0f} MiB; {rate:.2f} Mpx/s")


def make_source(path: Path, shape: tuple[int, int, int]) -> Volume:
    """A zarr of Poisson counts, in chunks of 512, written plane by plane."""
    import numpy as np
    import zarr

    from napari_blindsound.images.open import open_volume

    rng = np.random.default_rng(0)
    array = zarr.create_array(path, shape=shape, chunks=(1, 512, 512), dtype="uint16")
    wave = 200 + 100 * np.sin(np.arange(shape[2]) / 20)
    for number in range(shape[0]):
        array[number] = rng.poisson(wave, shape[1:]).astype(np.uint16)
    return open_volume(path, axes="ZYX")


def make_denoiser(volume: Volume, arguments: argparse.Namespace) -> Denoiser:
    """Blind2Unblind with random weights: the arithmetic is that of a trained one."""
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.methods.blind2unblind import Blind2Unblind
    from napari_blindsound.training.preprocessing import Preprocessing

    given = {"width": arguments.width, "depth": arguments.depth}
    changes = {name: value for name, value in given.items() if value}
    method = Blind2Unblind(Blind2Unblind.Config.preset("fast", changes))
    preprocessing = Preprocessing.fit([volume], seed=0)
    return Denoiser([method], preprocessing, device=arguments.device)


def describe(denoiser: Denoiser) -> str:
    """Network, device and threads in words."""
    config = denoiser.methods[0].config.model_dump()
    return (
        f"width {config['width']}, depth {config['depth']}, halo {denoiser.halo}, "
        f"{denoiser.device}, {torch.get_num_threads()} thread(s)"
    )


def resident() -> int:
    """Memory of this process now, in bytes."""
    import psutil

    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    main()
