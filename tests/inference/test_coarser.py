from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr

from napari_blindsound.images.axes import Axes
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.coarser import halved
from napari_blindsound.inference.ngff import NgffSink
from napari_blindsound.inference.shards import Shards


@pytest.fixture
def sink(tmp_path):
    """Open an OME-Zarr to be written, or to be continued."""

    def opened(array, chunk=16, side=32, levels=4, **options):
        names = "TZYX"[-array.ndim :]
        axes = Axes.parse(names)
        volume = Volume((array,), axes, "cells")
        return NgffSink(
            tmp_path / "o.ome.zarr",
            volume,
            axes,
            Shards(names, array.shape, chunk, side),
            dtype=array.dtype,
            facts={},
            levels=levels,
            compression=1,
            **options,
        )

    return opened


def level(path, number):
    return zarr.open_array(path / str(number), mode="r")[:]


def check(sink, array):
    """All levels are those of the whole image, halved at once."""
    path = sink.path
    np.testing.assert_array_equal(level(path, 0), array)
    for number in range(1, len(list(path.glob("[0-9]")))):
        array = halved(array)
        np.testing.assert_array_equal(level(path, number), array)
    assert number > 1


def regions(sink, seed=0):
    """All shards, in any order."""
    found = list(sink.shards)
    np.random.default_rng(seed).shuffle(found)
    return [tuple(region) for region in found]


SHAPES = [
    ((100, 71), 16, 32),
    ((3, 84, 150), 16, 32),  # shards of the levels are not nested
    ((40, 33, 20), 16, 64),  # several planes a shard, more of them above
    ((2, 3, 65, 131), 16, 32),
    ((120, 100), 17, 17),  # the border of a shard cuts through 2 x 2 pixels
    ((5, 3, 90), 16, 32),
]


@pytest.mark.parametrize(("shape", "chunk", "side"), SHAPES)
@pytest.mark.parametrize("most", [0, 10_000, 10**9])
def test_it_grows_with_the_finest_level(shape, chunk, side, most, sink, noisy):
    array = noisy(shape)
    one = sink(array, chunk, side)
    one._coarser._most = most
    with ThreadPoolExecutor(3) as pool:
        list(
            pool.map(one.put, *zip(*((r, array[r]) for r in regions(one)), strict=True))
        )
    assert list(one.finish({})) == []
    check(one, array)


def test_halves_are_kept_within_a_bound(sink, noisy):
    array = noisy((1, 300, 300))
    for most in (0, 3_000, 10**9):
        one = sink(array)
        one._coarser._most = most
        for region in one.shards:
            one.put(region, array[region])
            assert one._coarser._held <= most
        held = one._coarser._held
        assert held == sum(half.nbytes for half in one._coarser._halves.values())
        check(one, array)
        (one.path / "zarr.json").unlink()
        one.path.rename(one.path.with_name(f"{most}"))
    # Two thirds of a row of shards wait for the next one at most.
    assert held < array.nbytes / 8


def test_no_disk_is_read_while_there_is_memory(sink, noisy, monkeypatch):
    array = noisy((2, 128, 128))
    one = sink(array)

    def read(*_):
        raise AssertionError

    monkeypatch.setattr(zarr.Array, "__getitem__", read)
    for region in one.shards:
        one.put(region, array[region])
    monkeypatch.undo()
    check(one, array)


@pytest.mark.parametrize("shared", [False, True])
def test_what_an_earlier_run_built_is_not_built_again(shared, sink, noisy):
    array = noisy((3, 120, 150))
    first = sink(array)
    todo = regions(first)
    # As the ledger has them.
    notes = [json.loads(json.dumps(first.put(r, array[r]))) for r in todo[:40]]
    second = sink(array, resume=not shared, shared=shared)
    for note in notes:
        second.recall(note)
    before = {
        p: p.stat().st_mtime_ns for p in second.path.rglob("c/**/*") if p.is_file()
    }
    for region in todo[40:]:
        second.put(region, array[region])
    told = list(second.finish({}))
    check(second, array)
    assert all(p.stat().st_mtime_ns == time for p, time in before.items())
    total = sum(len(grid) for grid in second._grids[1:])
    assert 0 < len(told) < total  # only those that both had a hand in
    assert told[-1].endswith(f"of {len(second._grids[-1])}")


@pytest.mark.parametrize("damage", ["gone", "torn", "longer"])
def test_a_coarser_shard_that_is_no_longer_whole_is_built_again(damage, sink, noisy):
    array = noisy((3, 120, 150))
    first = sink(array)
    notes = [first.put(r, array[r]) for r in regions(first)]
    for number in (1, 2):
        victim = sorted((first.path / str(number) / "c").rglob("0"))[-1]
        if damage == "gone":
            victim.unlink()
        else:
            whole = victim.read_bytes()
            victim.write_bytes(whole[:50] if damage == "torn" else whole + b"more")
    second = sink(array, resume=True)
    for note in notes:
        second.recall(note)
    assert len(list(second.finish({}))) == 2
    check(second, array)


def test_a_draft_of_a_killed_run_is_cleared_away(sink, noisy):
    array = noisy((1, 64, 64))
    first = sink(array)
    draft = first.path / "1" / "c" / "0" / "0" / "0.1234.partial"
    draft.parent.mkdir(parents=True)
    draft.write_bytes(b"half")
    second = sink(array, shared=True)
    assert draft.exists()  # of another process, maybe
    for region in second.shards:
        second.put(region, array[region])
    list(second.finish({}))
    assert not draft.exists()
    check(second, array)


def test_a_shard_put_twice_does_not_stand_for_another(sink, noisy):
    array = noisy((64, 64))
    one = sink(array)
    *others, last = one.shards
    for region in others:
        for _ in range(2):
            assert one.put(region, array[region])["built"] == []
    built = one.put(last, array[last])["built"]
    assert [(number, shard) for number, shard, _ in built] == [(1, 0), (2, 0), (3, 0)]
    assert list(one.finish({})) == []
    check(one, array)


def test_processes_build_what_is_theirs_and_the_last_one_the_rest(sink, noisy):
    array = noisy((2, 140, 150))
    first = sink(array)
    workers = [sink(array, shared=True) for _ in range(3)]
    for number, region in enumerate(first.shards):
        notes = workers[number % 7 % 3].put(region, array[region])
        first.recall(notes)
    told = list(first.finish({}))
    assert told
    check(first, array)


def test_an_image_of_nothing_but_zeros_needs_no_files(sink):
    array = np.zeros((100, 100), np.uint8)
    first = sink(array)
    notes = [first.put(region, array[region]) for region in first.shards]
    second = sink(array, resume=True)
    for note in notes:
        second.recall(note)
    assert list(second.finish({})) == []
    check(second, array)
