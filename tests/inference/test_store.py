from __future__ import annotations

import itertools
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
import zarr
from pydantic import ValidationError

from napari_blindsound.errors import (
    DataError,
    ModelMismatchError,
    OutputError,
    OutputExistsError,
)
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.pipeline import converted
from napari_blindsound.inference.store import WriteConfig, write
from napari_blindsound.inference.tiling import denoise_region

SMALL = WriteConfig(chunk=32, shard=64)
FORMATS = ["out.ome.zarr", "out.ome.tif"]


def volume_of(array, axes="ZYX", source=None):
    return Volume((array,), Axes.parse(axes), "cells", source=source)


def whole(volume):
    return tuple(slice(0, n) for n in volume.shape)


@pytest.mark.parametrize("name", FORMATS)
def test_events_tell_how_far_it_is(name, tmp_path, pyramid, noisy):
    volume = volume_of(noisy((6, 150, 130)))
    operator = pyramid()
    events = list(write(operator, volume, tmp_path / name, SMALL))
    *before, last = events
    assert all(event.path is None for event in before)
    assert last.path == tmp_path / name
    assert last.done == last.total == 6 * 150 * 130
    assert last.seconds_left == 0
    assert not last.stopped
    done = [event.done for event in events]
    assert done == sorted(done)
    assert done[0] == 0
    times = [event.seconds for event in before]
    assert all(b - a > 0.09 for a, b in itertools.pairwise(times))
    reference = denoise_region(operator, volume, whole(volume))
    assert last.mean_in == pytest.approx(volume.levels[0].mean())
    assert last.mean_out == pytest.approx(reference.mean(dtype=np.float64))
    assert operator.threads == {threading.get_ident()}


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_done_before_the_first_event_is_taken(
    name, tmp_path, pyramid, noisy
):
    operator = pyramid()
    write(operator, volume_of(noisy((2, 40, 40))), tmp_path / name)
    assert operator.shapes == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FORMATS)
def test_stopped_before_a_shard_is_finished_leaves_nothing(
    name, tmp_path, pyramid, noisy
):
    stop = threading.Event()
    stop.set()
    volume = volume_of(noisy((9, 64, 64)))
    (event,) = write(pyramid(), volume, tmp_path / name, SMALL, stop=stop)
    assert event.stopped
    assert event.path is None
    assert event.done == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FORMATS)
def test_an_abandoned_run_ends_its_threads(name, tmp_path, pyramid, noisy):
    # Those that read for other tests of this process may live on.
    before = threading.enumerate()
    events = write(pyramid(), volume_of(noisy((5, 64, 64))), tmp_path / name, SMALL)
    next(events)
    assert (tmp_path / f"{name}.partial").exists()
    events.close()
    assert list(tmp_path.iterdir()) == []
    left = [thread for thread in threading.enumerate() if thread not in before]
    assert not [thread for thread in left if thread.name.startswith("blindsound")]


@pytest.mark.parametrize("name", FORMATS)
def test_a_failure_is_followed_by_a_good_run(name, tmp_path, pyramid, noisy):
    class Failing(pyramid):
        def core(self, padded, halo):
            if len(self.shapes) == 3:
                msg = "cosmic ray"
                raise RuntimeError(msg)
            return super().core(padded, halo)

    volume = volume_of(noisy((9, 64, 64)))
    with pytest.raises(RuntimeError, match="cosmic ray"):
        list(write(Failing(), volume, tmp_path / name, SMALL))
    *_, last = write(pyramid(), volume, tmp_path / name, SMALL)
    assert list(tmp_path.iterdir()) == [last.path]


@pytest.mark.parametrize("name", FORMATS)
def test_overwritten_only_when_complete(name, tmp_path, pyramid, noisy):
    first, second = volume_of(noisy((3, 64, 64))), volume_of(noisy((3, 64, 64), seed=1))
    path = tmp_path / name
    list(write(pyramid(), first, path, SMALL))
    with pytest.raises(OutputExistsError):
        write(pyramid(), second, path, SMALL)
    events = write(
        pyramid(), second, path, SMALL.model_copy(update={"overwrite": True})
    )
    next(events)
    expected = denoise_region(pyramid(), first, whole(first))
    old = open_volume(path)
    np.testing.assert_allclose(old.read(whole(old)), expected, rtol=1e-6)
    list(events)
    expected = denoise_region(pyramid(), second, whole(second))
    new = open_volume(path)
    np.testing.assert_allclose(new.read(whole(new)), expected, rtol=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", FORMATS)
def test_the_sources_type_is_rounded_and_clipped(name, tmp_path, pyramid, noisy):
    class Shifted(pyramid):
        def core(self, padded, halo):
            return super().core(padded, halo) - 150

    volume = volume_of((noisy((3, 64, 64)) // 16).astype(np.uint8))
    config = SMALL.model_copy(update={"dtype": "source"})
    exact = denoise_region(Shifted(), volume, whole(volume))
    *_, last = write(Shifted(), volume, tmp_path / name, config)
    result = open_volume(tmp_path / name)
    assert result.dtype == np.uint8
    expected = np.rint(exact).clip(0, 255)
    np.testing.assert_array_equal(result.read(whole(result)), expected)
    assert last.clipped == ((np.rint(exact) < 0) | (np.rint(exact) > 255)).sum() > 0
    assert last.mean_out == pytest.approx(expected.mean())


@pytest.mark.parametrize(
    "dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]
)
def test_conversion_never_wraps(dtype):
    dtype = np.dtype(dtype)
    counts = np.array([-1e30, -1e6, -1, -0.4, 0.6, 100.5, 1e6, 1e30], np.float32)
    result, clipped = converted(counts, dtype)
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    inside = (counts.astype("f8") > float(limits.min)) & (
        counts.astype("f8") < float(limits.max)
    )
    inside |= (dtype.kind == "u") & (np.rint(counts) == 0)
    assert result.dtype == dtype
    assert (np.diff(result.astype("f8")) >= 0).all()
    assert clipped == (~inside).sum()
    exact = np.rint(counts) if dtype.kind in "iu" else counts
    np.testing.assert_allclose(
        result[inside].astype("f8"), exact[inside].astype("f8"), rtol=1e-3
    )


@pytest.mark.parametrize("name", FORMATS)
def test_pixels_that_are_no_numbers(name, tmp_path, pyramid, noisy):
    array = noisy((5, 64, 64), dtype=np.float32)
    array[3, 10, 20] = np.inf
    with pytest.raises(DataError, match="Z=3, Y=10, X=20"):
        list(write(pyramid(), volume_of(array), tmp_path / name, SMALL))
    assert not (tmp_path / name).exists()


def test_what_cannot_be_is_refused_before_any_work(tmp_path, pyramid, noisy):
    volume = volume_of(noisy((2, 64, 64)))
    with pytest.raises(OutputError, match=r"\.ome\.zarr"):
        write(pyramid(), volume, tmp_path / "out.png")
    with pytest.raises(ModelMismatchError, match="2 channel"):
        write(pyramid(n_channels=2), volume, tmp_path / "out.ome.zarr")
    source = tmp_path / "in.zarr"
    array = zarr.create_array(source, data=noisy((2, 64, 64)))
    with pytest.raises(OutputError, match="inside the source"):
        write(pyramid(), volume_of(array, source=str(source)), source / "out.ome.zarr")
    huge = volume_of(np.broadcast_to(np.uint16(0), (2**30, 2048, 2048)))
    for name in FORMATS:
        with pytest.raises(OutputError, match="not enough space"):
            write(pyramid(), huge, tmp_path / name)
    with pytest.raises(ValidationError, match="give a multiple"):
        WriteConfig(chunk=100, shard=250)


def test_every_setting_says_what_it_does():
    for name, setting in WriteConfig.model_fields.items():
        assert setting.description, name


@pytest.mark.parametrize("name", FORMATS)
def test_small_planes_and_odd_shapes(name, tmp_path, pyramid, noisy):
    for axes, shape in (
        ("YX", (1, 37)),
        ("TYX", (20, 9, 5)),
        ("ZTCYX", (2, 3, 1, 33, 1)),
    ):
        volume = volume_of(noisy(shape), axes)
        path = tmp_path / f"{axes}-{name}"
        list(write(pyramid(), volume, path, SMALL))
        expected = denoise_region(pyramid(), volume, whole(volume))
        result = open_volume(path)
        names = "".join(n for n in "TCZYX" if n in axes)
        order = [axes.index(n) for n in names]
        pixels = result.read(whole(result)).reshape([shape[i] for i in order])
        np.testing.assert_allclose(pixels, expected.transpose(order), rtol=1e-6)


def run(code, *arguments, limit=""):
    """Run code in a process of its own, below this file's stand-in."""
    script = (
        "import sys\nfrom pathlib import Path\nimport numpy as np\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from conftest import Pyramid\n"
        "from napari_blindsound.errors import OutputError\n"
        "from napari_blindsound.images.open import open_volume\n"
        "from napari_blindsound.inference.store import WriteConfig, write\n"
    ) + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", limit + script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


WRITE_NOISE = """
    rng = np.random.default_rng(0)
    volume = open_volume(rng.normal(size=(8, 512, 512)).astype("f4"), axes="ZYX")
    path = Path(sys.argv[1])
    config = WriteConfig(shard=512, compression=0)
    try:
        for event in write(Pyramid(), volume, path, config):
            pass
        print("written")
    except OutputError as error:
        print("refused:", error)
    print("left:", sorted(p.name for p in path.parent.iterdir()))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of file sizes are POSIX")
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_may_not_grow(name, tmp_path):
    limit = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))\n"
    )
    done = run(WRITE_NOISE, tmp_path / name, limit=limit)
    assert "refused: cannot write" in done.stdout, done.stderr
    assert "free some space" in done.stdout
    assert "left: []" in done.stdout


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 9 MB, where one can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=9m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_too_small(small_disk, pyramid, noisy):
    volume = volume_of(noisy((8, 2048, 2048)))
    for name in FORMATS:
        with pytest.raises(OutputError, match="not enough space"):
            write(pyramid(), volume, small_disk / name)


@pytest.mark.parametrize("name", FORMATS)
def test_a_disk_that_runs_full(name, small_disk):
    # 8 MiB of pixels: enough for the check; not with a pyramid, and not beside others.
    if name.endswith("tif"):
        code = WRITE_NOISE.replace(
            "    path = Path",
            "    other = Path(sys.argv[1]).parent / 'other'\n    path = Path",
        ).replace("            pass", "            other.write_bytes(bytes(4_000_000))")
    else:
        code = WRITE_NOISE
    path = small_disk / name
    done = run(code, path)
    assert "refused: cannot write" in done.stdout, done.stdout + done.stderr
    assert "No space left" in done.stdout
    assert "is kept and can be continued" in done.stdout
    size = ["mount", "-o", "remount,size=40m", str(small_disk)]
    subprocess.run(size, check=True)
    done = run(code.replace("compression=0", "compression=0, resume=True"), path)
    assert "written" in done.stdout, done.stdout + done.stderr
    rest = set(done.stdout.rsplit("left: ", 1)[1].split("'")[1::2]) - {"other"}
    assert rest == {name}


def test_memory_does_not_grow_with_the_image(tmp_path):
    code = """
        import resource
        import zarr
        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        array = zarr.create_array(
            Path(sys.argv[1]), shape=(64, 1024, 1024), chunks=(1, 512, 512), dtype="u2"
        )
        for plane in range(64):
            array[plane] = np.full((1024, 1024), plane, "u2")
        class Passing(Pyramid):
            def core(self, padded, halo):
                return padded[..., halo:-halo, halo:-halo].astype("f4")
        volume = open_volume(Path(sys.argv[1]), axes="ZYX")
        config = WriteConfig(shard=1024, overwrite=True)
        for planes in (8, 64):
            part = volume.select(Z=slice(0, planes))
            *_, last = write(Passing(), part, Path(sys.argv[2]), config)
            print(peak())
        print(last.mean_in, last.mean_out)
    """
    done = run(code, tmp_path / "in.zarr", tmp_path / "out.ome.zarr")
    assert done.returncode == 0, done.stderr
    few, many, means = done.stdout.splitlines()
    assert means == "31.5 31.5"
    # 56 planes more would be 235 MB as float32; ru_maxrss is in kB (bytes on macOS).
    unit = 1 if sys.platform == "darwin" else 1024
    assert (int(many) - int(few)) * unit < 60e6
