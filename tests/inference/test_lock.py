from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time

import pytest

from napari_blindsound.errors import OutputError
from napari_blindsound.inference.lock import check_unlocked, is_locked, locked


def owned(path, pid, host=None, since=None):
    host = platform.node() if host is None else host
    since = time.time() if since is None else since
    path.write_text(json.dumps({"pid": pid, "host": host, "since": since}))


def a_dead_process():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_one_at_a_time(tmp_path):
    lock = tmp_path / "a.lock"
    assert not is_locked(lock)
    with locked(lock, tmp_path / "a"):
        assert is_locked(lock)
        with (
            pytest.raises(OutputError, match="another task of this program"),
            locked(lock, tmp_path / "a"),
        ):
            pass
        assert is_locked(lock)
    assert list(tmp_path.iterdir()) == []


def test_a_dead_process_is_succeeded(tmp_path):
    lock = tmp_path / "a.lock"
    owned(lock, a_dead_process())
    check_unlocked(lock, tmp_path)
    with locked(lock, tmp_path / "a"):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
        assert [p.name for p in tmp_path.iterdir()] == ["a.lock"]


def test_a_process_that_was_born_later_is_not_the_owner(tmp_path):
    lock = tmp_path / "a.lock"
    owned(lock, os.getpid(), since=time.time() - 10**8)
    assert not is_locked(lock)


def test_other_computers_are_not_judged(tmp_path):
    lock = tmp_path / "a.lock"
    owned(lock, 1, host="elsewhere")
    with pytest.raises(OutputError, match=r"1 on elsewhere\).* delete .*a\.lock"):
        check_unlocked(lock, tmp_path / "a")


def test_a_living_process_is_told(tmp_path):
    lock = tmp_path / "a.lock"
    owned(lock, os.getppid())
    with pytest.raises(OutputError, match=f"another process \\({os.getppid()} on"):
        check_unlocked(lock, tmp_path / "a")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_a_torn_lock_is_respected_while_it_is_young(text, tmp_path):
    lock = tmp_path / "a.lock"
    lock.write_text(text)
    with pytest.raises(OutputError, match="another process"):
        check_unlocked(lock, tmp_path / "a")
    os.utime(lock, (0, 0))
    check_unlocked(lock, tmp_path / "a")
    with locked(lock, tmp_path / "a"):
        pass
