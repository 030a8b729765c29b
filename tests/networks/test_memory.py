from __future__ import annotations

import subprocess
import sys

import pytest

from napari_blindsound.networks.memory import CHOSEN

# Blocks as a layer takes them: freed and taken again, they need no new pages.
FAULTS = """
import ctypes
import resource
from napari_blindsound.networks.memory import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.memset.argtypes = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
libc.free.argtypes = (ctypes.c_void_p,)

def take(times):
    for _ in range(times):
        block = libc.malloc(2**24)
        libc.memset(block, 1, 2**24)
        libc.free(block)

is_kept = keep_freed_memory()
assert keep_freed_memory() == is_kept
take(3)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
take(10)
print(is_kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(monkeypatch, **environment):
    """Page faults of ten blocks of 16 MiB, in a process of its own."""
    for name in (CHOSEN, "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    is_kept, count = done.stdout.split()
    return is_kept == "True", int(count)


@pytest.mark.skipif(sys.platform != "linux", reason="only of the GNU C library")
def test_freed_blocks_are_taken_again_even_where_dask_forbids_it(monkeypatch):
    is_kept, count = faults(monkeypatch, MALLOC_TRIM_THRESHOLD_="65536")
    if not is_kept:
        pytest.skip("not the GNU C library")
    assert count < 5000


@pytest.mark.skipif(sys.platform != "linux", reason="only of the GNU C library")
def test_who_chose_otherwise_is_left_alone(monkeypatch):
    is_kept, count = faults(monkeypatch, **{CHOSEN: "65536"})
    assert not is_kept
    assert count > 10_000
