"""One result of several commands, each its part."""

from __future__ import annotations

import itertools
import json
import os
import platform
import signal
import threading
import time

import numpy as np
import pytest
from tests.inference.killed import writer

from napari_blindsound.errors import OutputError, OutputExistsError
from napari_blindsound.images.open import open_volume
from napari_blindsound.inference.parts import Part
from napari_blindsound.inference.resume import resumable
from napari_blindsound.inference.store import WriteConfig, write

SMALL = WriteConfig(chunk=32, shard=64)
SHAPE = (9, 150, 140)
"""Of 81 shards."""


def contents(path):
    """All files of a result, byte by byte."""
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return {str(p.relative_to(path)): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def volume(noisy):
    return open_volume(noisy(SHAPE), axes="ZYX", name="cells")


@pytest.fixture(scope="module")
def expected(volume, pyramid, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "out.ome.zarr"
    list(write(pyramid(), volume, path, SMALL))
    return contents(path)


def test_parts_are_consecutive_and_make_up_the_whole():
    for shards, count in itertools.product((0, 1, 7, 100), (1, 3, 16)):
        parts = [Part(n, count).numbers(shards) for n in range(1, count + 1)]
        assert [n for part in parts for n in part] == list(range(shards))
        sizes = {len(part) for part in parts}
        assert max(sizes) - min(sizes) <= 1
    assert str(Part.parse(" 3/16 ")) == "3/16"
    for text in ("0/3", "4/3", "3", "a/b", "-1/3", ""):
        with pytest.raises(ValueError, match="part"):
            Part.parse(text)


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_one_after_the_other_in_any_order(order, volume, pyramid, expected, tmp_path):
    path = tmp_path / "out.ome.zarr"
    for place, number in enumerate(order, start=1):
        operator = pyramid()
        first, *_, last = write(operator, volume, path, SMALL, part=Part(number, 3))
        assert first.message == f"denoising part {number}/3"
        assert first.done == 0
        assert last.done == last.total
        assert (last.path is None) == (place < 3)
        if place < 3:
            assert f"part {number}/3 is done, {place / 3:.0%}"[:-3] in last.message
            assert resumable(path).done == pytest.approx(
                place / 3 * np.prod(SHAPE), rel=0.1
            )
    assert contents(path) == expected
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_more_parts_than_shards(pyramid, noisy, tmp_path):
    image = open_volume(noisy((2, 40, 40)), axes="ZYX", name="cells")
    path = tmp_path / "out.ome.zarr"
    for number in (1, 2, 3):
        *_, last = write(pyramid(), image, path, SMALL, part=Part(number, 3))
    assert last.path == path


def test_all_at_once(volume, pyramid, expected, tmp_path):
    path, ends = tmp_path / "out.ome.zarr", []

    def work(number):
        *_, last = write(pyramid(), volume, path, SMALL, part=Part(number, 4))
        ends.append(last.path)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == 4
    assert path in ends
    assert contents(path) == expected
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_stopped_and_started_again(volume, pyramid, expected, tmp_path):
    path, stop = tmp_path / "out.ome.zarr", threading.Event()

    class Stopping(pyramid):
        def core(self, padded, halo):
            if len(self.shapes) == 20:
                stop.set()
            return super().core(padded, halo)

    part = Part(1, 2)
    *_, last = write(Stopping(), volume, path, SMALL, part=part, stop=stop)
    assert last.stopped
    assert 0 < last.done < last.total
    first, *_ = write(pyramid(), volume, path, SMALL, part=part)
    assert first.message == "continuing part 1/2"
    assert first.done == last.done
    list(write(pyramid(), volume, path, SMALL, part=Part(2, 2)))
    assert contents(path) == expected


def test_one_command_goes_on_with_what_parts_left(volume, pyramid, expected, tmp_path):
    path = tmp_path / "out.ome.zarr"
    list(write(pyramid(), volume, path, SMALL, part=Part(2, 3)))
    list(write(pyramid(), volume, path, SMALL, part=Part(1, 5)))
    first, *_, last = write(pyramid(), volume, path, SMALL)
    assert first.message == "continuing"
    assert first.done > first.total / 3
    assert last.path == path
    assert contents(path) == expected
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_parts_of_another_model_or_image_are_refused(volume, pyramid, noisy, tmp_path):
    path = tmp_path / "out.ome.zarr"
    list(write(pyramid(), volume, path, SMALL, part=Part(1, 2)))
    other = open_volume(noisy(SHAPE, seed=1), axes="ZYX", name="cells")
    for operator, image, words in (
        (pyramid(revision="x"), volume, "another model"),
        (pyramid(), other, "another image"),
    ):
        with pytest.raises(OutputError, match=words):
            write(operator, image, path, SMALL, part=Part(2, 2))


def test_the_same_part_twice_at_once(volume, pyramid, tmp_path):
    path, part = tmp_path / "out.ome.zarr", Part(1, 2)
    late = write(pyramid(), volume, path, SMALL, part=part)
    events = write(pyramid(), volume, path, SMALL, part=part)
    next(events)
    with pytest.raises(OutputError, match="being written by another task"):
        write(pyramid(), volume, path, SMALL, part=part)
    with pytest.raises(OutputError, match="being written by another task"):
        next(late)
    for config in (SMALL, SMALL.model_copy(update={"resume": False})):
        with pytest.raises(OutputError, match="being written by another task"):
            write(pyramid(), volume, path, config)
    assert resumable(path) is None
    assert list(events)[-1].path is None


def test_no_part_joins_a_command_that_writes_all(volume, pyramid, tmp_path):
    path = tmp_path / "out.ome.zarr"
    events = write(pyramid(), volume, path, SMALL)
    next(events)
    with pytest.raises(OutputError, match="being written by another task"):
        list(write(pyramid(), volume, path, SMALL, part=Part(1, 2)))
    events.close()


def test_a_part_waits_for_one_that_begins(volume, pyramid, tmp_path):
    path, stop = tmp_path / "out.ome.zarr", threading.Event()
    lock = path.with_name(f"{path.name}.partial.lock")
    owner = {"pid": os.getppid(), "host": platform.node(), "since": time.time()}
    lock.write_text(json.dumps({**owner, "takes_turns": True}))
    events = write(pyramid(), volume, path, SMALL, part=Part(1, 1), stop=stop)
    assert f"nobody is at work, delete {lock}" in next(events).message
    lock.unlink()
    *_, last = events
    assert last.path == path
    lock.write_text(json.dumps({**owner, "takes_turns": True}))
    path.rename(tmp_path / "done")
    events = write(pyramid(), volume, path, SMALL, part=Part(1, 1), stop=stop)
    next(events)
    stop.set()
    *_, last = events
    assert last.stopped


def test_what_cannot_be_in_parts(volume, pyramid, tmp_path):
    with pytest.raises(OutputError, match=r"one file.*write an OME-Zarr"):
        write(pyramid(), volume, tmp_path / "out.ome.tif", SMALL, part=Part(1, 2))
    path = tmp_path / "out.ome.zarr"
    anew = SMALL.model_copy(update={"overwrite": True})
    with pytest.raises(OutputError, match="overwritten part by part"):
        write(pyramid(), volume, path, anew, part=Part(1, 2))
    list(write(pyramid(), volume, path, SMALL))
    with pytest.raises(OutputExistsError):
        write(pyramid(), volume, path, SMALL, part=Part(1, 2))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_killed_parts_are_started_again(volume, expected, tmp_path):
    source, path = tmp_path / "in.npy", tmp_path / "out" / "out.ome.zarr"
    np.save(source, volume.read(tuple(slice(0, n) for n in volume.shape)))
    # Before the empty result stands, in the middle of a part, and while completing.
    with writer() as process:
        for part, limit in (("1/2", 4), ("1/2", 60), ("1/2", 0), ("2/2", 0)):
            code, _, error = process.write(source, path, limit, part)
            assert code == (-signal.SIGKILL if limit else 0), error
    assert contents(path) == expected
    assert [p.name for p in path.parent.iterdir()] == [path.name]
