from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.inference.killed import writer

from napari_blindsound.errors import OutputError, OutputExistsError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.resume import Resumable, resumable
from napari_blindsound.inference.store import WriteConfig, write

FORMATS = ["out.ome.zarr", "out.ome.tif"]
SMALL = WriteConfig(chunk=32, shard=64)
ANEW = SMALL.model_copy(update={"resume": False})


def volume_of(array, axes="ZYX", **more):
    return Volume((array,), Axes.parse(axes), "cells", **more)


def contents(path):
    """All files of a result, byte by byte."""
    if path.is_file():
        return path.read_bytes()
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return {str(p.relative_to(path)): p.read_bytes() for p in files}


def stopped(operator, volume, path, config=SMALL, after=3):
    """Stop after a number of tiles; the last event."""
    stop = threading.Event()

    class Stopping(operator):
        def core(self, padded, halo):
            if len(self.shapes) + 1 == after:
                stop.set()
            return super().core(padded, halo)

    *_, last = write(Stopping(), volume, path, config, stop=stop)
    return last


@pytest.mark.parametrize("name", FORMATS)
def test_goes_on_where_it_was(name, tmp_path, pyramid, noisy):
    volume = volume_of(noisy((9, 300, 64)))
    whole, path = tmp_path / f"whole-{name}", tmp_path / name
    *_, reference = write(pyramid(), volume, whole, SMALL)
    last = stopped(pyramid, volume, path, after=7)
    assert last.stopped
    assert last.path is None
    assert 0 < last.done < last.total
    left = {f"{name}.partial", f"{name}.partial.jsonl"}
    assert {p.name for p in tmp_path.iterdir()} == {*left, whole.name}
    found = resumable(path)
    assert found == Resumable(path, last.done, last.total, "cells", "pyramid-1")
    operator = pyramid()
    first, *_, again = write(operator, volume, path, SMALL)
    assert first.done == last.done
    assert first.message == "continuing"
    assert first.seconds_left is None
    tiles = sum(np.prod([n, h - 32, w - 32]) for n, _, h, w in operator.shapes)
    assert tiles == pytest.approx(last.total - last.done, rel=0.1)
    assert again.path == path
    assert again.done == again.total
    assert again.mean_in == pytest.approx(reference.mean_in)
    assert again.mean_out == pytest.approx(reference.mean_out)
    assert contents(path) == contents(whole)
    assert {p.name for p in tmp_path.iterdir()} == {name, whole.name}
    assert resumable(path) is None


def test_statistics_and_display_settings_go_on(tmp_path, pyramid, noisy):
    class Shifted(pyramid):
        def core(self, padded, halo):
            return super().core(padded, halo) - 150

    array = (noisy((2, 7, 70, 64)) // 16).astype(np.uint8)
    array[0, 0] = 255  # seen by the first run only
    volume = volume_of(array, "CZYX", channel_names=("a", "b"))
    config = SMALL.model_copy(update={"dtype": "source"})
    whole, path = tmp_path / "whole.ome.zarr", tmp_path / "out.ome.zarr"
    *_, reference = write(Shifted(n_channels=2), volume, whole, config)
    operator = type("Two", (Shifted,), {"__init__": lambda s: Shifted.__init__(s, 2)})
    assert stopped(operator, volume, path, config).done > 0
    *_, last = write(Shifted(n_channels=2), volume, path, config)
    assert last.clipped == reference.clipped > 0
    assert contents(path) == contents(whole)


@pytest.mark.parametrize("name", FORMATS)
def test_many_stops_are_one_run(name, tmp_path, pyramid, noisy):
    volume = volume_of(noisy((12, 64, 64)))
    whole, path = tmp_path / f"whole-{name}", tmp_path / name
    list(write(pyramid(), volume, whole, SMALL))
    done = []
    while not path.exists():
        done.append(stopped(pyramid, volume, path, after=4).done)
    assert done == sorted(done)
    assert len(done) > 2
    assert contents(path) == contents(whole)


@pytest.mark.parametrize("name", FORMATS)
def test_a_failed_run_is_continued(name, tmp_path, pyramid, noisy):
    class Failing(pyramid):
        def core(self, padded, halo):
            if len(self.shapes) == 5:
                msg = "cosmic ray"
                raise RuntimeError(msg)
            return super().core(padded, halo)

    volume, path = volume_of(noisy((9, 64, 64))), tmp_path / name
    with pytest.raises(RuntimeError, match="cosmic ray"):
        list(write(Failing(), volume, path, SMALL))
    assert resumable(path).done > 0
    first, *_, last = write(pyramid(), volume, path, SMALL)
    assert first.done > 0
    assert last.path == path


@pytest.mark.parametrize("name", FORMATS)
def test_a_source_that_goes_away_and_comes_back(name, tmp_path, pyramid, noisy):
    source = tmp_path / "in.npy"
    np.save(source, noisy((9, 64, 64)))
    array = np.load(source, mmap_mode="r")

    class Disk:
        shape, dtype, ndim, gone = array.shape, array.dtype, 3, False

        def __dask_tokenize__(self):
            return "disk"

        def __getitem__(self, region):
            if self.gone and region[0].start > 4:
                msg = "no such disk"
                raise OSError(msg)
            return np.asarray(array[region])

    disk = Disk()
    disk.gone = True
    volume, path = volume_of(disk), tmp_path / name
    with pytest.raises(ValueError, match="no such disk"):
        list(write(pyramid(), volume, path, SMALL))
    disk.gone = False
    first, *_ = write(pyramid(), volume, path, SMALL)
    assert first.message == "continuing"
    list(write(pyramid(), volume, tmp_path / f"whole-{name}", SMALL))
    assert contents(path) == contents(tmp_path / f"whole-{name}")


@pytest.mark.parametrize("name", FORMATS)
def test_started_anew_it_replaces_what_was_left(name, tmp_path, pyramid, noisy):
    volume, path = volume_of(noisy((9, 64, 64))), tmp_path / name
    stopped(pyramid, volume, path)
    first, *_ = write(pyramid(), volume, path, ANEW)
    assert first.done == 0
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_nothing_to_continue_is_a_start(tmp_path, pyramid, noisy):
    volume, path = volume_of(noisy((3, 64, 64))), tmp_path / "out.ome.zarr"
    first, *_, last = write(pyramid(), volume, path, SMALL)
    assert first.message == "denoising"
    assert last.path == path
    with pytest.raises(OutputExistsError):
        write(pyramid(), volume, path, SMALL)


@pytest.mark.parametrize("name", FORMATS)
def test_another_run_is_refused_and_told_why(name, tmp_path, pyramid, noisy):
    volume, path = volume_of(noisy((9, 64, 64))), tmp_path / name
    stopped(pyramid, volume, path)
    before = contents(tmp_path)
    other = volume_of(noisy((9, 64, 64), seed=1))
    part = volume.select(Z=slice(1, 9))
    cases = [
        (pyramid(), other, {}, "another image"),
        (pyramid(), part, {}, r"another part .*\[9, 64, 64\], now \[8, 64, 64\]"),
        (pyramid(revision="x"), volume, {}, "another model"),
        (pyramid(), volume, {"dtype": "source"}, "then float32, now uint16"),
        (pyramid(), volume, {"shard": 128}, "then 64, now 128"),
    ]
    if name.endswith("zarr"):
        cases.append((pyramid(), volume, {"levels": 2}, "then None, now 2"))
    for operator, image, changes, reason in cases:
        config = SMALL.model_copy(update=changes)
        with pytest.raises(OutputError, match=f"{reason}.*start it anew"):
            write(operator, image, path, config)
    assert contents(tmp_path) == before


def test_a_file_that_was_rewritten_is_another_image(tmp_path, pyramid, noisy):
    from tifffile import imwrite

    source, path = tmp_path / "in.tif", tmp_path / "out.ome.zarr"
    imwrite(source, noisy((9, 64, 64)))
    stopped(pyramid, open_volume(source, axes="ZYX"), path)
    assert resumable(path).source.startswith("in")
    write(pyramid(), open_volume(source, axes="ZYX"), path, SMALL)
    imwrite(source, noisy((9, 64, 64), seed=1))
    os.utime(source, (10**9, 10**9))
    with pytest.raises(OutputError, match="another image, or the image was changed"):
        write(pyramid(), open_volume(source, axes="ZYX"), path, SMALL)


def test_shards_that_went_missing_are_made_again(tmp_path, pyramid, noisy):
    volume = volume_of(noisy((9, 64, 64)))
    whole, path = tmp_path / "whole.ome.zarr", tmp_path / "out.ome.zarr"
    list(write(pyramid(), volume, whole, SMALL))
    done = stopped(pyramid, volume, path, after=6).done
    shards = [p for p in Path(f"{path}.partial", "0", "c").rglob("*") if p.is_file()]
    shards[0].unlink()
    shards[1].write_bytes(b"torn")
    first, *_ = write(pyramid(), volume, path, SMALL)
    assert first.done == done - 2 * 64 * 64
    assert contents(path) == contents(whole)


def test_what_is_damaged_is_refused(tmp_path, pyramid, noisy):
    volume = volume_of(noisy((9, 64, 64)))
    for name, file in (("a.ome.zarr", "zarr.json"), ("b.ome.zarr", "0/zarr.json")):
        path = tmp_path / name
        stopped(pyramid, volume, path)
        Path(f"{path}.partial", file).unlink()
        with pytest.raises(OutputError, match=r"damaged.*start it anew"):
            list(write(pyramid(), volume, path, SMALL))
    path = tmp_path / "c.ome.tif"
    stopped(pyramid, volume, path)
    Path(f"{path}.partial").write_bytes(b"coffee")
    with pytest.raises(OutputError, match=r"damaged.*start it anew"):
        list(write(pyramid(), volume, path, SMALL))
    *_, last = write(pyramid(), volume, path, ANEW)
    assert last.path == path


def test_shards_of_nothing_but_zeros(tmp_path, pyramid):
    volume = volume_of(np.zeros((9, 64, 64), np.uint16))
    whole, path = tmp_path / "whole.ome.zarr", tmp_path / "out.ome.zarr"
    list(write(pyramid(), volume, whole, SMALL))
    done = stopped(pyramid, volume, path, after=6).done
    first, *_ = write(pyramid(), volume, path, SMALL)
    assert first.done == done > 0
    assert contents(path) == contents(whole)


@pytest.mark.parametrize("name", FORMATS)
def test_two_writers_at_once(name, tmp_path, pyramid, noisy):
    volume, path = volume_of(noisy((5, 64, 64))), tmp_path / name
    late = write(pyramid(), volume, path, SMALL)
    events = write(pyramid(), volume, path, SMALL)
    next(events)
    assert resumable(path) is None
    for config in (SMALL, ANEW):
        with pytest.raises(OutputError, match="being written"):
            write(pyramid(), volume, path, config)
    with pytest.raises(OutputError, match="being written"):
        next(late)
    *_, last = events
    assert last.path == path
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_the_pace_is_that_of_this_run(tmp_path, pyramid, noisy):
    volume, path = volume_of(noisy((40, 64, 64))), tmp_path / "out.ome.zarr"
    stopped(pyramid, volume, path, after=38)
    for event in write(pyramid(), volume, path, SMALL):
        if event.seconds_left:
            rest = event.total - event.done
            new = event.done - 37 * 64 * 64
            assert event.seconds_left >= 0.9 * event.seconds * rest / new


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.parametrize("name", FORMATS)
def test_killed_at_any_moment_it_goes_on(name, tmp_path, pyramid, noisy):
    source, path = tmp_path / "in.npy", tmp_path / "out" / name
    np.save(source, noisy((3, 300, 290)))
    volume = open_volume(np.load(source), axes="ZYX", name="cells")
    with writer() as process:
        code, moments, error = process.write(source, tmp_path / f"whole-{name}")
        assert code == 0, error
        expected = contents(tmp_path / f"whole-{name}")
        # Twice in the same result, then finished here; and once at the very end.
        rng = np.random.default_rng(0)
        for limits in (rng.integers(1, moments, 2), [moments - 1]):
            for limit in limits:
                code, _, error = process.write(source, path, limit)
                assert code in (0, -signal.SIGKILL), error
            if not path.exists():
                *_, last = write(pyramid(), volume, path, SMALL)
                assert last.path == path
                assert [p.name for p in path.parent.iterdir()] == [name]
            assert contents(path) == expected
            for leftover in path.parent.glob(f"{name}.partial*"):
                leftover.unlink()
            path.rename(tmp_path / f"done-{len(limits)}-{name}")
