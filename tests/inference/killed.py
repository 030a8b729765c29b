"""Writes results in processes that are killed at one of their touches of a file.

As a script it reads what to write, a line each, and forks for it: that takes no time,
while a new interpreter takes seconds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path

TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}


class Writer:
    """A process whose forks write."""

    def __init__(self, process):
        self._process = process

    def write(self, source, path, limit=0, part=None):
        """Write, and be killed at the `limit`-th touch; exit status, touches, error."""
        job = [str(source), str(path), int(limit), part]
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def writer():
    """Start the process, and end it."""
    with subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        yield Writer(process)


def _serve():
    # Imported before any fork, and below the file's stand-in for a model.
    sys.path.insert(0, str(Path(__file__).parent))
    import conftest  # noqa: F401
    import napari_blindsound.inference.store  # noqa: F401

    for line in sys.stdin:
        sys.stdout.write(json.dumps(_forked(*json.loads(line))) + "\n")
        sys.stdout.flush()


def _forked(*job):
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        touches = 0
        try:
            touches = _write(*job)
        finally:
            error = traceback.format_exc() if sys.exc_info()[0] else ""
            os.write(send, json.dumps([touches, error[-9000:]]).encode())
            os._exit(bool(error))
    os.close(send)
    with os.fdopen(receive) as pipe:
        said = json.loads(pipe.read() or '[0, ""]')
    _, status = os.waitpid(child, 0)
    return [os.waitstatus_to_exitcode(status), *said]


def _write(source, path, limit, part):
    import numpy as np

    from conftest import Pyramid
    from napari_blindsound.images.open import open_volume
    from napari_blindsound.inference.parts import Part
    from napari_blindsound.inference.store import WriteConfig, write

    volume = open_volume(np.load(source), axes="ZYX", name="cells")
    count = 0

    def hook(event, args):
        nonlocal count
        if event in TOUCHES and ".partial" in str(args[0]):
            count += 1
            if count == limit:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    config = WriteConfig(chunk=32, shard=64)
    part = part and Part.parse(part)
    for _ in write(Pyramid(), volume, Path(path), config, part=part):
        pass
    return count


if __name__ == "__main__":
    _serve()
