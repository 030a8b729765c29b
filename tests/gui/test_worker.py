from __future__ import annotations

import gc
import threading
import weakref

import pytest

from napari_blindsound.gui.worker import Worker


def told(worker):
    heard = []
    worker.yielded.connect(lambda event: heard.append(("yielded", event)))
    worker.failed.connect(lambda error: heard.append(("failed", error)))
    worker.finished.connect(lambda: heard.append(("finished", None)))
    return heard


def test_events_come_in_order_on_the_gui_thread(qtbot):
    threads = []
    worker = Worker(lambda stop: iter(range(100)))
    heard = told(worker)
    worker.yielded.connect(lambda _: threads.append(threading.current_thread()))
    worker.start()
    qtbot.waitUntil(lambda: heard[-1:] == [("finished", None)], timeout=5000)
    assert heard[:-1] == [("yielded", number) for number in range(100)]
    assert set(threads) == {threading.main_thread()}


def test_stop_lets_the_work_end(qtbot):
    def work(stop):
        while not stop.wait(0.01):
            pass
        yield "last words"

    worker = Worker(work)
    heard = told(worker)
    worker.start()
    worker.stop()
    qtbot.waitUntil(lambda: ("finished", None) in heard, timeout=5000)
    assert heard[0] == ("yielded", "last words")
    assert worker.join(1)


def test_an_error_holds_nothing_of_what_failed(qtbot):
    class Model:
        pass

    kept = []

    def work(stop):
        model = Model()
        kept.append(weakref.ref(model))
        yield "begun"
        msg = "no memory"
        raise MemoryError(msg)

    worker = Worker(work)
    heard = told(worker)
    worker.start()
    qtbot.waitUntil(lambda: ("finished", None) in heard, timeout=5000)
    kind, error = heard[1]
    assert kind == "failed"
    assert isinstance(error, MemoryError)
    worker.join(1)
    gc.collect()
    assert kept[0]() is None


def test_a_worker_nobody_keeps_ends_by_itself(qtbot):
    begun, ended = threading.Event(), threading.Event()

    def work(stop):
        begun.set()
        while not stop.wait(0.01):
            yield 1
        ended.set()

    worker = Worker(work)
    worker.start()
    assert begun.wait(5)
    worker.stop()
    del worker
    assert ended.wait(5)


@pytest.mark.parametrize("wait", [0, 1])
def test_join_says_whether_it_has_ended(qtbot, wait):
    release = threading.Event()

    def work(stop):
        release.wait(5)
        yield 1

    worker = Worker(work)
    worker.start()
    if wait:
        release.set()
    assert worker.join(wait) is bool(wait)
    release.set()
    assert worker.join(5)
