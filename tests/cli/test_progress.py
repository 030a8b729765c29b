from __future__ import annotations

import io
import logging
import os
import struct
import sys
import threading

import pytest

from napari_blindsound.cli import interruption, messages
from napari_blindsound.cli.progress import Meter


def test_few_lines_where_stderr_is_no_terminal(capsys):
    with Meter("training") as meter:
        for step in range(10_001):
            meter.show(step / 10_000, f"step {step}")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training   0%  step 0"
    assert lines[-1] == "training 100%  step 10000"
    assert len(lines) <= 12


def test_nothing_at_all_when_quiet(capsys):
    with Meter("training", quiet=True) as meter:
        meter.show(0.5, "half")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("lines", "columns"), [(0, 0), (24, 60), (1, 120)])
def test_a_bar_in_a_terminal(monkeypatch, lines, columns):
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    ours, theirs = os.openpty()
    size = struct.pack("HHHH", lines, columns, 0, 0)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
    with open(theirs, "w", encoding="utf-8") as terminal:  # noqa: PTH123 - a number
        monkeypatch.setattr(sys, "stderr", terminal)
        with Meter("training") as meter:
            meter.show(0.25, "34 s left")
            messages.say("a remark")
            meter.show(1.0, "done")
        terminal.flush()
        shown = ""
        # A terminal hands over what it has, which may be a part.
        while "| done" not in shown:
            shown += os.read(ours, 10_000).decode()
    os.close(ours)
    assert "training  25 % |" in shown
    assert "| 34 s left" in shown
    assert "a remark\r\n" in shown


def test_warnings_of_the_library_are_shown_once(capsys):
    with messages.shown():
        logging.getLogger("napari_blindsound.training").warning("step %d is odd", 3)
    logging.getLogger("napari_blindsound.training").info("not shown")
    assert capsys.readouterr().err == "blindsound: step 3 is odd\n"


def test_signals_are_left_alone_in_other_threads():
    found = []

    def work():
        with interruption.stoppable("work") as stop:
            found.append(stop.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]


def test_a_reader_that_leaves_is_no_error(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as gone:  # noqa: PTH123 - a number
        monkeypatch.setattr(sys, "stdout", gone)
        messages.report(["text"], {}, as_json=False)


def test_remedies_are_said_in_options():
    said = messages.in_options("pass axes='ZYX', or image=N, or volume.select(C=0)")
    assert said == "pass --axes ZYX, or --image N, or --channel 0"
    assert messages.in_options("axes 'ZYX' are odd") == "axes 'ZYX' are odd"


def test_table_and_json(monkeypatch):
    assert messages.table({"a": "1", "long": "2", "none": ""}) == [
        "  a     1",
        "  long  2",
    ]
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    messages.report([], {"a": 1}, as_json=True)
    assert sys.stdout.getvalue() == '{"a": 1}\n'
