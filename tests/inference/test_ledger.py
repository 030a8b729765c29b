from __future__ import annotations

import itertools
import threading
import time
import tracemalloc

import pytest

from napari_blindsound.inference.ledger import (
    Header,
    Ledger,
    Notepad,
    Record,
    Records,
    Tally,
    is_ledger,
    read,
    records_of,
)

HEADER = Header("cells", 400, {"revision": "abc", "shape": [4, 10, 10]})


def record(shard):
    return Record(shard, 10 + shard, Tally(100, shard, 0.1 * shard, 1e9 / 3), [[1.5]])


def told(path):
    return {record.shard: record for record in records_of(path)}


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
    assert contents.is_ready
    assert told(tmp_path / "ledger") == {n: record(n) for n in range(4)}


def test_cut_anywhere_it_keeps_every_whole_line(tmp_path):
    path = tmp_path / "ledger"
    write(path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert is_ledger(path)
        lines = whole[:size].count(b"\n")
        found = len(told(path))
        # A line that lacks nothing but its end is whole, too.
        assert found in {max(0, lines - 2), max(0, lines - 1)}


def test_goes_on_behind_a_torn_line(tmp_path):
    path = tmp_path / "ledger"
    write(path)
    path.write_bytes(path.read_bytes()[:-20])
    ledger = Ledger(path, records=Records(records_of(path)))
    assert list(ledger.records) == [0, 1, 2]
    ledger.add(record(3))
    ledger.add(record(3))
    ledger.close()
    assert told(path) == {n: record(n) for n in range(4)}


def test_without_an_empty_result_there_is_nothing_to_continue(tmp_path):
    Ledger(tmp_path / "ledger", HEADER).close()
    assert not read(tmp_path / "ledger").is_ready
    assert told(tmp_path / "ledger") == {}


@pytest.mark.parametrize(
    "text", ["", "[1]", "\x00\xff", '{"blindsound": 99}', '{"blindsound": 1, "x": 2}']
)
def test_what_is_no_ledger_reads_as_none(text, tmp_path):
    path = tmp_path / "ledger"
    assert read(path) is None
    path.write_text(text)
    assert read(path) is None
    assert told(path) == {}


def test_sums_do_not_depend_on_the_order():
    orders = itertools.permutations(record(n) for n in range(5))
    sums = {Records(order).tally() for order in orders}
    assert len(sums) == 1
    assert Records().tally() == Tally()
    broken = [Record(0, 1, Tally(1, 0, 1.0, float("inf"))), record(1)]
    assert Records(broken).tally().written == float("inf")


def test_records_in_any_order_and_again():
    records = Records(record(n) for n in (900, 3, 70, 3))
    assert list(records) == [3, 70, 900]
    assert len(records) == 3
    assert 4 not in records
    assert 10**9 not in records
    assert -1 not in records
    assert records.size(70) == 80
    records.discard(70)
    records.discard(70)
    assert list(records) == [3, 900]
    assert records.tally().pixels == 200
    records.add(Record(3, 1, Tally(7)))
    assert (records.size(3), records.tally().pixels) == (1, 107)


def test_a_notepad_keeps_notes_and_tells():
    told = []
    notepad = Notepad(told.append)
    for n in (2, 0):
        notepad.add(record(n))
    assert notepad.is_begun  # maybe by others
    assert notepad.added == told == [record(2), record(0)]
    assert list(notepad.records) == [0, 2]


def test_a_million_shards_are_read_in_seconds_and_little_memory(tmp_path):
    path, count = tmp_path / "ledger", 20_000
    ledger = Ledger(path, Header("cells", 10**12))
    ledger.ready()
    ledger.close()
    line = '{{"shard": {}, "size": 9, "tally": {}, "notes": [[0.5, 1.0, 2.0, 3.0]]}}\n'
    tally = '{"pixels": 4194304, "clipped": 0, "noisy": 1.5, "written": 2.5}'
    with path.open("a") as file:
        file.writelines(line.format(n, tally) for n in range(count))
    tracemalloc.start()
    began = time.process_time()
    records = Records(records_of(path))
    seconds = time.process_time() - began
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(records) == count
    assert records.tally().pixels == count * 4194304
    # Fifty times that for a million; tracing makes it slower than it is.
    assert most < 2e7
    assert seconds < 5


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
    assert told(tmp_path / "ledger") == {n: record(n) for n in range(200)}
    assert ledger.tally.pixels == ledger.records.tally().pixels == 20_000
