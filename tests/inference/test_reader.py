from __future__ import annotations

import threading
import time

import pytest

from napari_blindsound.inference.reader import THREAD, Reader


def eventually(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


class Desk:
    """Work that is done when told to, and notes in which order."""

    def __init__(self):
        self.done = []
        self.go = threading.Event()

    def job(self, name):
        def work():
            assert self.go.wait(20)
            self.done.append(name)

        return name, work


@pytest.fixture
def desk():
    desk = Desk()
    yield desk
    desk.go.set()


def read_all(reader, *jobs):
    threads = [threading.Thread(target=reader.read, args=job) for job in jobs]
    for thread in threads:
        thread.start()
        time.sleep(0.01)
    return threads


def test_it_is_waited_for(desk):
    reader = Reader(20, lambda: None)
    desk.go.set()
    reader.read(*desk.job("a"))
    assert desk.done == ["a"]


def test_it_is_not_waited_for_long_and_told_later(desk):
    late = []
    reader = Reader(0.01, lambda: late.append(threading.current_thread().name))
    reader.read(*desk.job("a"))
    assert desk.done == []
    desk.go.set()
    eventually(lambda: late == [THREAD])


def test_what_was_asked_for_last_comes_first_and_before_what_may_come(desk):
    reader = Reader(20, lambda: None)
    reader.expect("level", [desk.job("next"), desk.job("later")])
    eventually(lambda: reader._busy is not None)
    threads = read_all(reader, *(desk.job(name) for name in "abcdefg"))
    desk.go.set()
    eventually(lambda: len(desk.done) == 6)
    assert desk.done == ["next", "g", "f", "e", "d", "later"]
    for thread in threads:  # nor does anybody wait for what was dropped
        thread.join(10)
        assert not thread.is_alive()


def test_the_same_is_not_read_twice(desk):
    reader = Reader(0.01, lambda: None)
    reader.read(*desk.job("a"))
    reader.read(*desk.job("a"))
    reader.expect("level", [desk.job("b")])
    reader.expect("level", [desk.job("c")])
    desk.go.set()
    eventually(lambda: len(desk.done) == 2)
    assert desk.done == ["a", "c"]


def test_who_waited_in_vain_does_not_wait_again_at_once(desk):
    reader = Reader(0.2, lambda: None)
    reader.read(*desk.job("a"))
    start = time.monotonic()
    reader.read(*desk.job("b"))
    assert time.monotonic() - start < 0.1


def test_the_thread_ends_without_work(desk, monkeypatch):
    monkeypatch.setattr("napari_blindsound.inference.reader.IDLE_SECONDS", 0.01)
    reader = Reader(20, lambda: None)
    desk.go.set()
    for name in "ab":
        reader.read(*desk.job(name))
        eventually(lambda: not reader._is_working)
    assert desk.done == ["a", "b"]


def test_close_drops_what_is_not_begun(desk):
    reader = Reader(0.01, lambda: None)
    for name in "abc":
        reader.read(*desk.job(name))
    reader.expect("level", [desk.job("d")])
    reader.close()
    desk.go.set()
    eventually(lambda: reader._busy is None)
    assert desk.done == ["a"]
