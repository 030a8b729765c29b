"""Real processes: a local cluster of two, killed, lost and misfitting ones."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import dask
import numpy as np
import psutil
import pytest

from napari_blindsound.errors import ClusterError, DataError, OutputError
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import phantom
from napari_blindsound.inference import cluster, dealing
from napari_blindsound.inference.cluster import Cluster, started
from napari_blindsound.inference.ledger import Contents, Header
from napari_blindsound.inference.resume import resumable
from napari_blindsound.inference.store import WriteConfig, write
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.threads import each_fixed
from napari_blindsound.training.trainer import TrainConfig

pytest.importorskip("distributed")

SMALL = WriteConfig(chunk=32, shard=64)
FORMATS = ["out.ome.zarr", "out.ome.tif"]


def contents(path):
    """All files of a result, byte by byte."""
    if path.is_file():
        return path.read_bytes()
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return {str(p.relative_to(path)): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "cells.npy"
    np.save(path, np.random.default_rng(0).poisson(90, (24, 150, 130)).astype("u2"))
    return path


@pytest.fixture
def volume(source):
    return open_volume(source, axes="ZYX")


@pytest.fixture(scope="module")
def denoiser():
    """A real model, of which processes of their own can make a copy."""
    settings = {"width": 4, "depth": 2}
    recipe = Recipe(settings=settings, train=TrainConfig(steps=2, threads=1))
    training = Training([phantom("2d", size=64, seed=1).volume()], recipe)
    for _ in training.run():
        pass
    training.close()
    return training.denoiser()


@pytest.fixture(scope="module")
def workers():
    with started(Cluster(workers=2)) as found:
        yield found


@pytest.fixture(scope="module")
def alone(source, denoiser, tmp_path_factory):
    """What one process writes with one thread."""
    folder = tmp_path_factory.mktemp("alone")
    image, made = open_volume(source, axes="ZYX"), {}
    for name in FORMATS:
        events = write(denoiser, image, folder / name, SMALL)
        *_, made[name] = each_fixed(events, 1)
    return {name: (event, contents(event.path)) for name, event in made.items()}


@pytest.mark.parametrize("name", FORMATS)
def test_two_workers_give_the_same_bytes(
    name, workers, denoiser, volume, alone, tmp_path
):
    first, *_, last = write(denoiser, volume, tmp_path / name, SMALL, scheduler=workers)
    assert first.message == "denoising"
    reference, expected = alone[name]
    assert contents(last.path) == expected
    assert (last.mean_in, last.mean_out) == (reference.mean_in, reference.mean_out)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_stopped_it_goes_on_from_there_alone(
    workers, denoiser, volume, alone, tmp_path
):
    path, stop = tmp_path / "out.ome.zarr", threading.Event()
    for event in write(denoiser, volume, path, SMALL, stop=stop, scheduler=workers):
        if event.done:
            stop.set()
    assert event.stopped
    assert 0 < event.done < event.total
    assert resumable(path).done == event.done
    first, *_, last = each_fixed(write(denoiser, volume, path, SMALL), 1)
    assert first.done == event.done
    assert contents(last.path) == alone["out.ome.zarr"][1]


def test_left_in_the_middle_it_is_taken_up_by_workers(
    workers, denoiser, volume, alone, tmp_path
):
    path = tmp_path / "out.ome.zarr"
    events = write(denoiser, volume, path, SMALL, scheduler=workers)
    while next(events).done == 0:
        pass
    events.close()
    first, *_, last = write(denoiser, volume, path, SMALL, scheduler=workers)
    assert first.done > 0
    assert contents(last.path) == alone["out.ome.zarr"][1]


def test_a_worker_killed_in_the_middle(workers, denoiser, volume, alone, tmp_path):
    path, killed = tmp_path / "out.ome.zarr", []
    for event in write(denoiser, volume, path, SMALL, scheduler=workers):
        if event.done and not killed:
            killed += workers.client.run(os.getpid).values()
            os.kill(killed[0], signal.SIGKILL)
            assert event.done < event.total
    assert event.path == path
    assert contents(path) == alone["out.ome.zarr"][1]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of a few megabytes, which can be full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk can be mounted by the administrator of Linux only")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    """Take all the space that there is."""
    path = folder / "filling"
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert shutil.disk_usage(folder).free == 0
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_a_disk_that_is_full_in_the_middle(
    name, workers, denoiser, source, volume, alone, small_disk
):
    before, path, filling = source.read_bytes(), small_disk / name, []

    def watched():
        for event in write(denoiser, volume, path, SMALL, scheduler=workers):
            if event.done and not filling:
                filling.append(fill(small_disk))

    said = rf"cannot write .*{name} \(No space left.*free some space.*finished is kept"
    with pytest.raises(OutputError, match=said):
        watched()
    assert not path.exists()
    # As long as it is full, it is said again, and nothing is lost by that.
    with pytest.raises(OutputError, match=r"cannot write|not enough space"):
        watched()
    done = resumable(path).done
    assert done > 0
    filling[0].unlink()
    first, *_, last = write(denoiser, volume, path, SMALL, scheduler=workers)
    assert first.done == done
    assert contents(last.path) == alone[name][1]
    assert [p.name for p in small_disk.iterdir()] == [name]
    assert source.read_bytes() == before


def test_what_a_worker_cannot_read_is_told(workers, denoiser, tmp_path):
    pixels = np.full((3, 64, 64), 100, np.float32)
    pixels[1, 7, 9] = np.nan
    image = open_volume(pixels, axes="ZYX")
    with pytest.raises(DataError, match="Z=1, Y=7, X=9"):
        list(write(denoiser, image, tmp_path / "a.ome.zarr", SMALL, scheduler=workers))


def test_a_large_image_in_memory_is_not_sent(
    workers, denoiser, volume, tmp_path, monkeypatch
):
    monkeypatch.setattr(dealing, "MOST_BYTES", 1000)
    image = open_volume(np.zeros((3, 64, 64), np.uint16), axes="ZYX")
    with pytest.raises(ClusterError, match=r"is in memory.*save it to a file"):
        list(write(denoiser, image, tmp_path / "a.ome.zarr", SMALL, scheduler=workers))
    # That of a .npy file is opened by each worker.
    (*_, last) = write(
        denoiser, volume, tmp_path / "b.ome.zarr", SMALL, scheduler=workers
    )
    assert last.path == tmp_path / "b.ome.zarr"


def test_workers_that_see_another_disk_are_refused(
    workers, denoiser, volume, tmp_path, monkeypatch
):
    # As if their disk held what somebody else has begun there.
    contents = Contents(Header("cells", 1, token="theirs"), is_ready=True)
    monkeypatch.setattr(dealing, "read", lambda path: contents)
    path = tmp_path / "out.ome.zarr"
    with pytest.raises(OutputError, match=r"does not see .*partial.* share"):
        list(write(denoiser, volume, path, SMALL, scheduler=workers))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"workers": 2, "scheduler": "a"}, "workers and scheduler exclude"),
        ({"workers": 0}, "workers is 0"),
        ({"slurm": 1, "threads": 0}, "threads is 0"),
    ],
)
def test_clusters_that_cannot_be(wrong, words):
    with pytest.raises(ValueError, match=words):
        Cluster(**wrong)


def test_a_scheduler_that_does_not_answer(denoiser, volume, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 1)
    for address in ("tcp://127.0.0.1:9", "nonsense://x", "127.0.0.1"):
        events = write(
            denoiser, volume, tmp_path / "out.ome.zarr", SMALL, scheduler=address
        )
        with pytest.raises(ClusterError, match="no dask scheduler answers at"):
            next(events)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def daemons(tmp_path):
    """A scheduler and workers as an administrator would start them."""
    started = []

    def start(what, *words, **variables):
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *words]
        file = ["--scheduler-file", str(tmp_path / "scheduler.json"), "--no-dashboard"]
        process = subprocess.Popen(
            [*command, *file],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **variables},
        )
        started.append(process)
        return process

    def address():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(FileNotFoundError, ValueError):
                return json.loads((tmp_path / "scheduler.json").read_text())["address"]
            time.sleep(0.1)
        raise TimeoutError

    start.address = address
    yield start
    for process in reversed(started):
        process.kill()
        process.wait()


WORKER = ("worker", "--nthreads", "1", "--no-nanny")


def test_a_scheduler_that_goes_away(daemons, denoiser, volume, alone, tmp_path):
    scheduler = daemons("scheduler", "--host", "127.0.0.1", "--port", "0")
    path = tmp_path / "out.ome.zarr"
    events = write(denoiser, volume, path, SMALL, scheduler=daemons.address())
    first, waiting = itertools.islice(events, 2)
    assert (first.message, first.done) == ("denoising", 0)
    assert waiting.message.startswith("waiting for the workers of tcp://127.0.0.1")
    daemons(*WORKER)

    def watched():
        for event in events:
            if event.done:
                scheduler.kill()

    with pytest.raises(ClusterError, match="is gone: what is finished is kept"):
        watched()
    assert resumable(path).done > 0
    *_, last = each_fixed(write(denoiser, volume, path, SMALL), 1)
    assert contents(last.path) == alone["out.ome.zarr"][1]


def test_workers_of_another_version_are_refused(daemons, denoiser, volume, tmp_path):
    fake = tmp_path / "older" / "napari_blindsound-0.0.1.dist-info"
    fake.mkdir(parents=True)
    metadata = "Metadata-Version: 2.1\nName: napari-blindsound\nVersion: 0.0.1\n"
    (fake / "METADATA").write_text(metadata)
    daemons("scheduler", "--host", "127.0.0.1", "--port", "0")
    daemons(*WORKER, PYTHONPATH=str(fake.parent))
    path = tmp_path / "out.ome.zarr"
    said = r"napari-blindsound 0\.0\.1 \(here .*same versions on all computers"
    with pytest.raises(ClusterError, match=said):
        list(write(denoiser, volume, path, SMALL, scheduler=daemons.address()))
    assert not list(tmp_path.glob("out*"))


# dask-jobqueue leaves a half-made cluster behind where its configuration lacks numbers.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(not hasattr(os, "setsid"), reason="no process groups here")
def test_jobs_of_slurm(denoiser, volume, alone, tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue")
    bin_, jobs = tmp_path / "bin", tmp_path / "jobs"
    bin_.mkdir()
    # What Slurm does as far as it is seen from here: jobs run, and are ended.
    scripts = {
        "sbatch": f'cp "$1" {tmp_path}/job\n'
        f"setsid bash {tmp_path}/job > {tmp_path}/log 2>&1 &\necho $! > {jobs}\n"
        "echo Submitted batch job $!",
        "scancel": 'for job; do kill -- -"$job"; done',
    }
    for name, text in scripts.items():
        (bin_ / name).write_text(f"#!/bin/bash\n{text}\n")
        (bin_ / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    with (
        pytest.raises(ClusterError, match=r"say their cores.*jobqueue\.yaml"),
        started(Cluster(slurm=1)),
    ):
        pass
    settings = {"cores": 1, "memory": "2GB", "log-directory": str(tmp_path)}
    with (
        dask.config.set({f"jobqueue.slurm.{k}": v for k, v in settings.items()}),
        started(Cluster(slurm=1)) as workers,
    ):
        assert workers.name == "1 Slurm job"
        path = tmp_path / "out.ome.zarr"
        messages = [
            e.message for e in write(denoiser, volume, path, SMALL, scheduler=workers)
        ]
    assert "waiting for 1 Slurm job" in messages
    assert contents(path) == alone["out.ome.zarr"][1]
    pid = int(jobs.read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie"
