from __future__ import annotations

import itertools
import threading

import pytest

from napari_blindsound.inference.ledger import (
    Header,
    Ledger,
    Record,
    Tally,
    is_ledger,
    read,
)

HEADER = Header("cells", 400, {"revision": "abc", "shape": [4, 10, 10]})


def record(shard):
    return Record(shard, 10 + shard, Tally(100, shard, 0.1 * shard, 1e9 / 3), [[1.5]])


def write(path, shards=range(4)):
    ledger = Ledger(path, HEADER)
    ledger.ready()
    for shard in shards:
        ledger.add(record(shard))
    ledger.close()
    return ledger


def test_reads_what_was_written(tmp_path):
    write(tmp_path / "ledger")
    contents = read(tmp_path / "ledger")
    assert contents.header == HEADER
    assert contents.records == {n: record(n) for n in range(4)}


def test_cut_anywhere_it_keeps_every_whole_line(tmp_path):
    path = tmp_path / "ledger"
    write(path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert is_ledger(path)
        lines = whole[:size].count(b"\n")
        contents = read(path)
        found = 0 if contents is None else len(contents.records)
        # A line that lacks nothing but its end is whole, too.
        assert found in {max(0, lines - 2), max(0, lines - 1)}


def test_goes_on_behind_a_torn_line(tmp_path):
    path = tmp_path / "ledger"
    write(path)
    path.write_bytes(path.read_bytes()[:-20])
    records = read(path).records
    ledger = Ledger(path, records=records)
    ledger.add(record(3))
    ledger.close()
    assert read(path).records == {n: record(n) for n in range(4)}


def test_without_an_empty_result_there_is_nothing_to_continue(tmp_path):
    Ledger(tmp_path / "ledger", HEADER).close()
    assert read(tmp_path / "ledger").records == {}


@pytest.mark.parametrize(
    "text", ["", "[1]", "\x00\xff", '{"blindsound": 99}', '{"blindsound": 1, "x": 2}']
)
def test_what_is_no_ledger_reads_as_none(text, tmp_path):
    path = tmp_path / "ledger"
    assert read(path) is None
    path.write_text(text)
    assert read(path) is None


def test_sums_do_not_depend_on_the_order():
    tallies = [record(n).tally for n in range(5)]
    sums = {Tally.over(order) for order in itertools.permutations(tallies)}
    assert len(sums) == 1
    assert Tally.over([]) == Tally()
    broken = Tally.over([Tally(1, 0, 1.0, float("inf")), Tally(1, 0, 1.0, -1.0)])
    assert broken.written == float("inf")


def test_threads_add_whole_lines(tmp_path):
    ledger = Ledger(tmp_path / "ledger", HEADER)
    ledger.ready()

    def work(first):
        for shard in range(first, first + 50):
            ledger.add(record(shard))

    threads = [threading.Thread(target=work, args=(50 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.close()
    assert read(tmp_path / "ledger").records == {n: record(n) for n in range(200)}
    assert ledger.tally.pixels == ledger.whole().pixels == 20_000
