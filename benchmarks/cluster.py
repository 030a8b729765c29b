"""Several processes, and what is lost when they are killed.

    python benchmarks/cluster.py                    # all three tables
    python benchmarks/cluster.py --only workers     # two local workers against one
    python benchmarks/cluster.py --only workers --hold   # each on one core
    python benchmarks/cluster.py --only worker      # a worker killed in the middle
    python benchmarks/cluster.py --only command     # the command killed again and again

The first is a ratio of times on this machine and wants it quiet; the workers have one
thread each, and the start of their processes is not counted, as it does not grow with
the image. Reading and writing happen beside the network: with two cores the one worker
borrows the other core for them, unless ``--hold`` keeps each worker to one core, which
is what two machines or a full one are like. The other two are the same on any machine:
every result is compared with an undisturbed one, byte by byte, and the pixels computed
again are counted by the model itself in both runs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import zarr

from napari_blindsound import load, open_volume
from napari_blindsound.inference.cluster import Cluster, Workers, started
from napari_blindsound.inference.store import WriteConfig, WriteEvent, write
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.threads import fixed
from napari_blindsound.training.trainer import TrainConfig

SHARD = WriteConfig(chunk=256, shard=512)


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=["workers", "worker", "command"])
    parser.add_argument("--planes", type=int, default=64)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--width", type=int, default=16, help="of the network")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of kills")
    parser.add_argument("--repeats", type=int, default=3, help="of the timing")
    parser.add_argument("--hold", action="store_true", help="a worker to a core")
    arguments = parser.parse_args()
    if arguments.child:
        work(arguments.child)
        return
    wanted = arguments.only or "workers worker command"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, arguments)
        if "workers" in wanted.split():
            compare(folder, arguments.repeats, hold=arguments.hold)
        if "worker" in wanted.split():
            kill_worker(folder)
        if "command" in wanted.split():
            kill_command(folder, arguments.kills, random.Random(arguments.seed))


def prepare(folder: Path, arguments: argparse.Namespace) -> None:
    """A noisy Zarr, a model that has seen some of it, and the undisturbed result."""
    shape = (arguments.planes, arguments.side, arguments.side)
    source = zarr.create_array(
        folder / "noisy.zarr",
        shape=shape,
        chunks=(1, min(256, shape[1]), min(256, shape[2])),
        dtype="u2",
        dimension_names=["t", "y", "x"],
    )
    rng = np.random.default_rng(0)
    for plane in range(arguments.planes):
        source[plane] = rng.poisson(90, shape[1:])
    settings = {"width": arguments.width}
    recipe = Recipe(settings=settings, train=TrainConfig(steps=3, threads=1))
    images = [open_volume(folder / "noisy.zarr").select(T=slice(0, 2))]
    training = Training(images, recipe)
    for _ in training.run():
        pass
    training.close()
    training.denoiser().save(folder / "model.blindsound")
    with fixed(1):
        last = run(folder, "undisturbed")
    pixels = np.prod(shape) / 1e6
    level = zarr.open_array(place(folder, "undisturbed") / "0", mode="r")
    count = np.prod([-(-n // m) for n, m in zip(shape, level.shards, strict=True)])
    print(
        f"{shape} uint16, {count} shards, width {arguments.width}; one "
        f"process, one thread: {last.seconds:.1f} s, {pixels / last.seconds:.2f} "
        "million pixels a second"
    )


def run(folder: Path, name: str, workers: Workers | None = None) -> WriteEvent:
    """Denoise, with workers or alone; the last event."""
    model = load(folder / "model.blindsound", "cpu")
    volume = open_volume(folder / "noisy.zarr")
    events = write(model, volume, place(folder, name), SHARD, scheduler=workers)
    *_, last = events
    return last


def compare(folder: Path, repeats: int, *, hold: bool) -> None:
    """Two workers of one thread against one such worker, in turns."""
    held = ", each held to one core" * hold
    print(f"\nworkers of one thread{held}\nworkers  seconds  (each)  identical")
    times: dict[int, list[float]] = {1: [], 2: []}
    same = dict.fromkeys(times, True)
    for count in [*times] * repeats:
        with started(Cluster(workers=count)) as workers:
            # Torch and zarr are imported before the clock starts.
            workers.client.wait_for_workers(count)
            workers.client.run(import_module, write.__module__)
            if hold:
                hold_to_cores(workers)
            last = run(folder, f"by {count}", workers)
        times[count].append(last.seconds)
        same[count] &= digest(folder, f"by {count}") == digest(folder, "undisturbed")
        clear(folder, f"by {count}")
    for count, seconds in times.items():
        each = " ".join(f"{one:.1f}" for one in seconds)
        print(f"{count:7}  {min(seconds):7.1f}  ({each})  {same[count]}")
    print(f"two are {min(times[1]) / min(times[2]):.2f} times as fast as one")


def hold_to_cores(workers: Workers) -> None:
    """Let every worker run, read and write on one core of its own."""
    cores = sorted(os.sched_getaffinity(0))
    addresses = workers.client.scheduler_info()["workers"]
    for core, address in zip(cores, addresses, strict=False):
        workers.client.run(_hold, core, workers=[address])


def _hold(core: int) -> None:
    # Threads that are there already stay where they were asked to be.
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def kill_worker(folder: Path) -> None:
    """One of two workers is killed when half of the work is done."""
    model, name = load(folder / "model.blindsound", "cpu"), "worker killed"
    volume, killed = open_volume(folder / "noisy.zarr"), False
    with started(Cluster(workers=2)) as workers:
        path = place(folder, name)
        for event in write(model, volume, path, SHARD, scheduler=workers):
            if not killed and event.done > event.total / 2:
                pid = next(iter(workers.client.run(os.getpid).values()))
                os.kill(pid, signal.SIGKILL)
                killed = True
    same = digest(folder, name) == digest(folder, "undisturbed")
    print(
        f"\na worker killed at half of the work: done {event.path is not None}, ",
        end="",
    )
    print(f"identical {same}")


def kill_command(folder: Path, kills: int, chance: random.Random) -> None:
    """The command is killed at a random moment of its work, and given again."""
    print("\nkill  after  computed, in all  identical")
    total = np.prod(open_volume(folder / "noisy.zarr").shape)
    again, seconds = [], 0.0
    for number in range(1, kills + 1):
        first, took = child(folder, chance.random() * seconds if seconds else None)
        if not seconds:
            # The first one shows how long it takes, and is not killed.
            seconds = took
            clear(folder, "killed")
            first, took = child(folder, chance.random() * seconds)
        second, _ = child(folder, None)
        same = digest(folder, "killed") == digest(folder, "undisturbed")
        again.append((first + second) / total - 1)
        share = f"{first / total:.1%} + {second / total:.1%}"
        print(f"{number:4}  {took:4.1f} s  {share:>16}  {same}", flush=True)
        clear(folder, "killed")
    print(f"computed again a kill: mean {np.mean(again):.2%}, most {max(again):.2%}")


def child(folder: Path, kill_after: float | None) -> tuple[float, float]:
    """Write in a process of its own; pixels that it computed, and seconds of work.

    Parameters
    ----------
    folder : Path
        With image and model.
    kill_after : float or None
        Seconds of work after which it is killed, if it is not done before.
    """
    counter = folder / "computed"
    counter.write_bytes(bytes(16))
    words = [sys.executable, __file__, "--child", str(folder)]
    with subprocess.Popen(words) as process:
        computed = np.memmap(counter, np.float64, "r+")
        while not computed[1] and process.poll() is None:
            time.sleep(0.01)
        began = time.monotonic()
        try:
            process.wait(kill_after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        return float(computed[0]), time.monotonic() - began


def work(folder: Path) -> None:
    """What the process that is killed does; every pixel that it computes is counted."""
    computed = np.memmap(folder / "computed", np.float64, "r+")
    model = load(folder / "model.blindsound", "cpu")
    core = model.core

    def counted(padded: np.ndarray, halo: int) -> np.ndarray:
        made = core(padded, halo)
        computed[0] += made.size
        return made

    model.core = counted  # type: ignore[method-assign] # that is all it is for
    volume = open_volume(folder / "noisy.zarr")
    with fixed(1):
        for event in write(model, volume, place(folder, "killed"), SHARD):
            computed[1] = 1
            del event


def place(folder: Path, name: str) -> Path:
    """Where a result lies."""
    return folder / f"{name}.ome.zarr"


def clear(folder: Path, name: str) -> None:
    """Remove a result."""
    shutil.rmtree(place(folder, name))


def digest(folder: Path, name: str) -> str:
    """Fingerprint of all files of a result."""
    found, root = hashlib.sha256(), place(folder, name)
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        found.update(str(path.relative_to(root)).encode())
        found.update(path.read_bytes())
    return found.hexdigest()


if __name__ == "__main__":
    main()
