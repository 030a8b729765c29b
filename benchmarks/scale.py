"""Does cost grow with the image and with nothing else? Three tables.

    python benchmarks/scale.py grow --gigabytes 1 4 16   # time a voxel, peak of memory
    python benchmarks/scale.py grow --stored             # the same, from a real zarr
    python benchmarks/scale.py share                     # of the bare network's speed
    python benchmarks/scale.py plan                      # a million shards, no network

*grow*: a process of its own for each size denoises a noisy image to OME-Zarr, and its
resident memory is sampled from outside; *of cores* is time of processors, which others
on the machine hardly change. Without ``--stored`` the source needs no disk:
one noisy plane, shifted from plane to plane. Gigabytes are those of the source, 16 bits
a pixel; the result takes as many again, or twice as many with ``--float``.

*share*: `Denoiser.core` alone on the padded tiles that `write` hands to it, all of them
in memory, against `write` from Zarr to OME-Zarr, in turns in one process.

*plan*: shards are put in order and found by number, a ledger of all of them is written,
read again and continued; and what a shard costs on its way through the pipeline when
there is next to nothing to compute.

Give ``OMP_NUM_THREADS`` or ``--threads``: the table says how many there were.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from napari_blindsound.images.array import LazyArray

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_blindsound.images.volume import Region, Volume
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.inference.shards import Shards

MIB, GB = 2**20, 10**9
SIDE, CHUNK, STRIP = 4096, 512, 128


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["grow", "share", "plan", "one"])
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[0.25, 1.0])
    parser.add_argument("--stored", action="store_true", help="grow: from a real zarr")
    parser.add_argument("--float", action="store_true", help="grow: float32 results")
    parser.add_argument("--repeats", type=int, default=5, help="share: rounds")
    parser.add_argument("--planes", type=int, default=4, help="share: of 4096 x 4096")
    parser.add_argument("--shards", type=int, default=1_000_000, help="plan: how many")
    parser.add_argument("--width", type=int, help="of the network; the preset's if not")
    parser.add_argument("--threads", type=int, help="of torch; all cores if not given")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--folder", type=Path, help="where to write, and clear away")
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    work = {"grow": grow, "share": share, "plan": plan, "one": one}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        work[arguments.what](arguments, Path(folder))


class Shifted(LazyArray):
    """A noisy volume of any depth that is one plane, shifted from plane to plane.

    Parameters
    ----------
    planes, side : int
    """

    def __init__(self, planes: int, side: int = SIDE) -> None:
        super().__init__((planes, side, side), "uint16", (1, CHUNK, CHUNK))
        self._plane = noisy_plane(side)

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Pixels of a region."""
        shape = [part.stop - part.start for part in region]
        out = np.empty(shape, self.dtype)
        rows, columns = region[1:]
        for plane, z in zip(out, range(region[0].start, region[0].stop), strict=True):
            taken = np.arange(columns.start, columns.stop) + 61 * z
            plane[...] = self._plane[rows].take(taken, axis=1, mode="wrap")
        return out


def noisy_plane(side: int) -> npt.NDArray[np.uint16]:
    """Poisson counts of waves and spots, with a camera's offset."""
    rng = np.random.default_rng(0)
    out = np.empty((side, side), np.uint16)
    # In strips: what is made of all at once would be the peak of memory.
    for top in range(0, side, STRIP):
        y, x = np.ogrid[top : top + STRIP, :side]
        mean = 60 + 40 * np.sin(x / 23) * np.cos(y / 31)
        mean[rng.integers(0, STRIP, 60), rng.integers(0, side, 60)] += 2000
        out[top : top + STRIP] = rng.poisson(mean) + 100
    return out


def grow(arguments: argparse.Namespace, folder: Path) -> None:
    """Denoise images of several sizes, each in a process of its own."""
    largest = max(arguments.gigabytes) * GB
    sizes = (1 + arguments.stored + arguments.float) * 4 / 3
    if shutil.disk_usage(folder).free < largest * sizes:
        sys.exit(f"too little space in {folder}: {largest * sizes / GB:.0f} GB needed")
    heads = f"{'s':>8} {'ns/voxel':>9} {'of cores':>9} {'MiB above':>10}"
    print(f"{'GB':>6} {'voxels':>14} {heads}", flush=True)
    for size in arguments.gigabytes:
        planes = max(1, round(size * GB / (2 * SIDE**2)))
        command = [sys.executable, __file__, "one", "--folder", str(folder)]
        command += ["--planes", str(planes), "--device", arguments.device]
        command += ["--float"] if arguments.float else []
        for name in ("width", "threads"):
            value = getattr(arguments, name)
            command += [f"--{name}", str(value)] if value else []
        if arguments.stored:
            source = folder / "source.zarr"
            store(source, planes)
            command += ["--source", str(source)]
        seconds, busy, above, words = watched(command)
        voxels = planes * SIDE**2
        print(
            f"{2 * voxels / GB:6.2f} {voxels:14,} {seconds:8.1f} "
            f"{1e9 * seconds / voxels:9.1f} {1e9 * busy / voxels:9.1f} "
            f"{above / MIB:10.0f}  {words}",
            flush=True,
        )
        shutil.rmtree(folder / "source.zarr", ignore_errors=True)


def watched(command: list[str]) -> tuple[float, float, int, str]:
    """Seconds of the work and of its cores, bytes above its start at peak, words."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(child.stdout or ()))
        before = int(child.stdout.readline())
        reader.start()
        process, peak = psutil.Process(child.pid), before
        while child.poll() is None:
            try:
                peak = max(peak, process.memory_info().rss)
            except psutil.Error:
                break
            time.sleep(0.01)
        reader.join()
    if child.returncode:
        sys.exit(f"failed: {' '.join(command)}")
    seconds, busy, words = lines[-1].split(maxsplit=2)
    return float(seconds), float(busy), peak - before, words.strip()


def one(arguments: argparse.Namespace, folder: Path) -> None:
    """Denoise one image; say how much memory there was with torch, and how long."""
    import torch

    torch.zeros(1)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(psutil.Process().memory_info().rss, flush=True)
    from napari_blindsound.inference.store import WriteConfig, write

    volume = opened(arguments)
    denoiser = make_denoiser(volume, arguments)
    dtype = "float32" if arguments.float else "source"
    start = clocks()
    *_, last = write(denoiser, volume, folder / "o.ome.zarr", WriteConfig(dtype=dtype))
    seconds, _, busy = clocks() - start
    assert last.done == last.total
    print(f"{seconds} {busy} {describe(denoiser)}")


def opened(arguments: argparse.Namespace) -> Volume:
    """The image of one process."""
    from napari_blindsound.images.open import open_volume

    if arguments.source:
        return open_volume(arguments.source, axes="ZYX")
    return open_volume(Shifted(arguments.planes), axes="ZYX")


def store(path: Path, planes: int) -> None:
    """Write the same image to a zarr with chunks of 512 pixels a side."""
    import zarr

    source = Shifted(planes)
    array = zarr.create_array(
        path, shape=source.shape, chunks=(1, CHUNK, CHUNK), dtype="uint16"
    )
    for z in range(planes):
        array[z] = source[z]


def share(arguments: argparse.Namespace, folder: Path) -> None:
    """Compare writing with the bare network on the very same tiles, in turns."""
    import torch

    from napari_blindsound.images.open import open_volume
    from napari_blindsound.inference.store import WriteConfig, write

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    source = folder / "source.zarr"
    store(source, arguments.planes)
    volume = open_volume(source, axes="ZYX")
    denoiser = make_denoiser(volume, arguments)
    recorder = Recorder(denoiser)
    dtype = "float32" if arguments.float else "source"
    config = WriteConfig(dtype=dtype)
    list(write(recorder, volume, folder / "tiles.ome.zarr", config))
    rounds = []
    for _ in range(arguments.repeats + 1):
        start = clocks()
        for tile in recorder.tiles:
            denoiser.core(tile, denoiser.halo)
        bare = clocks() - start
        start = clocks()
        *_, last = write(denoiser, volume, folder / "out.ome.zarr", config)
        rounds.append((bare, clocks() - start))
        shutil.rmtree(last.path)
    # The first round warms up.
    bare_all, written_all = np.array(rounds[1:]).transpose(1, 0, 2)
    pixels = volume.nbytes / volume.dtype.itemsize
    print(f"{describe(denoiser)}; {volume.shape} {volume.dtype} -> {dtype}")
    print(f"{'seconds':<22} {'bare':>8} {'write':>8} {'share':>7}  (each round)")
    for name, bare, written in zip(CLOCKS, bare_all.T, written_all.T, strict=True):
        each = " ".join(f"{ratio:.3f}" for ratio in bare / written)
        ratio = statistics.median(bare / written)
        print(
            f"{name:<22} {statistics.median(bare):8.2f} "
            f"{statistics.median(written):8.2f} {ratio:7.3f}  ({each})"
        )
    print(f"{pixels / statistics.median(written_all[:, 0]) / 1e6:.2f} Mpx/s written")


CLOCKS = ("wall", "computing thread", "all threads")
"""Where others use the machine, the first means little, and the second the most."""


def clocks() -> npt.NDArray[np.float64]:
    """Seconds by the wall, of this thread and of all threads of this process."""
    return np.array([time.perf_counter(), time.thread_time(), time.process_time()])


def plan(arguments: argparse.Namespace, folder: Path) -> None:
    """Do all that is done for many shards, but for reading, computing and writing."""
    from napari_blindsound.images.open import open_volume
    from napari_blindsound.inference.ledger import Header, Ledger, Records, records_of
    from napari_blindsound.inference.pipeline import Pipeline
    from napari_blindsound.inference.plan import Plan
    from napari_blindsound.inference.shards import Shards

    count, path = arguments.shards, folder / "ledger.jsonl"
    planes = (max(1, count // 1000), min(count, 1000))
    volume = open_volume(Zeros((*planes, 2048, 2048), (4, 8, 512, 512)), axes="TZYX")
    shards = Shards("TZYX", volume.shape, 512, 2048)
    process = psutil.Process()
    before, start = process.memory_info().rss, time.process_time()

    def told(what: str, since: float) -> float:
        now, above = time.process_time(), process.memory_info().rss - before
        print(f"{what:<32} {now - since:8.2f} s {above / MIB:8.0f} MiB", flush=True)
        return now

    print(f"{len(shards):,} shards of {shards.shard_shape}")
    stub = Stub()
    order = Plan(shards, volume, stub, range(len(shards))).order.tolist()
    at = told("put in order", start)
    for number in order:
        _ = shards[number]
    planned = at = told("found by number", at)
    ledger = Ledger(path, Header("noise", count))
    ledger.ready()
    for number in order:
        ledger.add(record_of(number))
    tally = ledger.tally
    ledger.close()
    size = path.stat().st_size / MIB
    at = told(f"noted in a ledger ({size:.0f} MiB)", at)
    records = Records(records_of(path))
    assert records.tally().pixels == tally.pixels
    at = told("read from it", at)
    rest = (number for number in range(len(shards)) if number not in records)
    assert not len(Plan(shards, volume, stub, rest).order)
    at = told("continued", at)
    print(f"planned in {planned - start:.1f} s, in all {at - start:.1f} s of one core")
    few = Shards("TZYX", (4, 500, 32, 32), 16, 32)
    small = open_volume(Zeros(few.shape, (1, 1, 32, 32)), axes="TZYX")
    pipeline = Pipeline(
        stub, small, Nothing(few), np.dtype("f4"), path, Ledger(path, Header("n", 1))
    )
    for _ in pipeline.steps():
        pass
    seconds = time.process_time() - at
    print(f"{1e3 * seconds / len(few):.2f} ms a shard through the pipeline")


def record_of(number: int) -> Any:  # noqa: ANN401 - it is imported late
    """What an OME-Zarr of one channel notes of a shard."""
    from napari_blindsound.inference.ledger import Record, Tally

    notes = {"windows": [(97.13, 104.71, 2318.9, 4095.25)], "built": []}
    return Record(number, 11_534_336, Tally(2**22, 0, 4.2e8 + number, 4.2e8), notes)


class Zeros(LazyArray):
    """An image of nothing, of any size."""

    def __init__(self, shape: tuple[int, ...], chunks: tuple[int, ...]) -> None:
        super().__init__(shape, "uint16", chunks)

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Pixels of a region."""
        return np.zeros([part.stop - part.start for part in region], self.dtype)


class Stub:
    """A denoiser that does nothing."""

    n_channels, halo, stride, bytes_per_pixel = 1, 8, 8, 64
    revision, device = "stub", "cpu"

    def core(self, padded: npt.NDArray[Any], halo: int) -> npt.NDArray[np.float32]:
        """Return the core as it is."""
        return padded[..., halo:-halo, halo:-halo].astype(np.float32)


class Nothing:
    """A format that writes nothing."""

    def __init__(self, shards: Shards) -> None:
        self.shards = shards

    def put(self, region: Region, pixels: npt.NDArray[Any]) -> None:
        """Write nothing."""

    def size(self, region: Region) -> int:
        """No bytes."""
        return 0


class Recorder:
    """A denoiser that keeps the tiles it is given.

    Parameters
    ----------
    denoiser : Denoiser
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self._denoiser = denoiser
        self.tiles: list[npt.NDArray[Any]] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all that it has
        return getattr(self._denoiser, name)

    def core(self, padded: npt.NDArray[Any], halo: int) -> npt.NDArray[np.float32]:
        """Denoise, and keep what was given."""
        self.tiles.append(padded.copy())
        return self._denoiser.core(padded, halo)


def make_denoiser(volume: Volume, arguments: argparse.Namespace) -> Denoiser:
    """Blind2Unblind with random weights: the arithmetic is that of a trained one."""
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.methods.blind2unblind import Blind2Unblind
    from napari_blindsound.training.preprocessing import Preprocessing

    changes = {"width": arguments.width} if arguments.width else {}
    method = Blind2Unblind(Blind2Unblind.Config.preset("fast", changes))
    fitted = Preprocessing.fit([volume.select(Z=slice(0, 1))], seed=0)
    return Denoiser([method], fitted, device=arguments.device)


def describe(denoiser: Denoiser) -> str:
    """Network, device and threads in words."""
    import torch

    config = denoiser.methods[0].config.model_dump()
    return (
        f"width {config['width']}, depth {config['depth']}, halo {denoiser.halo}, "
        f"{denoiser.device}, {torch.get_num_threads()} thread(s)"
    )


if __name__ == "__main__":
    main()
