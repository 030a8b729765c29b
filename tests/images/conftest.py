"""Pictures that all tests of the room share."""

from __future__ import annotations

import os
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def real_data():
    if "BLINDSOUND_DATA" not in os.environ:
        pytest.skip("BLINDSOUND_DATA does not name the folder of real images")
    return Path(os.environ["BLINDSOUND_DATA"])


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def hyperstack(rng):
    """Counts of a small two-channel movie of stacks, TZCYX."""
    return rng.integers(0, 60_000, (3, 4, 2, 30, 45)).astype(np.uint16)


class _Ranges(SimpleHTTPRequestHandler):
    """Answers requests for parts of files, as stores do and Python's own does not."""

    def log_message(self, *_):
        pass

    def end_headers(self):
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def do_GET(self):
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if wanted is None or not path.is_file():
            super().do_GET()
            return
        self.server.parts += 1
        whole = path.read_bytes()
        first, last = wanted.groups()
        start = int(first) if first else len(whole) - int(last)
        stop = min(int(last) + 1, len(whole)) if first and last else len(whole)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(whole)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        self.wfile.write(whole[start:stop])


@pytest.fixture
def served(tmp_path):
    """Folder of a web server, and its address."""
    pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(_Ranges, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.parts, server.daemon_threads = 0, True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}", server
        server.shutdown()
        thread.join()
