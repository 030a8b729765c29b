"""Freed memory is kept for the next tile instead of being given back to the system.

A network on the processor frees and takes the same megabytes for each of its layers. By
default the GNU C library gives large blocks back at once, and the system clears every
page anew when they are taken again: a third of the time that denoising took (10.1
against 6.5 s, 34 million pixels, width 8, one thread; 1.9 million page faults against
90 thousand, and no more memory at the peak). Workers of dask were even told to give
everything back, and were half as fast again.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from functools import cache

log = logging.getLogger(__name__)

CHOSEN = "MALLOC_MMAP_THRESHOLD_"
"""Environment variable by which somebody has chosen otherwise."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of malloc.h
_KEPT = 256 * 2**20  # bytes at the end of the heap
_LARGEST = 32 * 2**20  # bytes of a block that is kept; the library's upper limit
# Heaps that all threads share: with one for each thread, what they keep adds up, and a
# long run takes some percent more memory than a short one.
_ARENAS = 2


@cache
def keep_freed_memory() -> bool:
    """Let the C library keep freed memory, up to 256 MiB, from now on.

    Once a process, and only with the GNU C library; whoever sets the environment
    variable ``MALLOC_MMAP_THRESHOLD_`` is left alone.

    Returns
    -------
    bool
        Whether it was done.
    """
    if not sys.platform.startswith("linux") or CHOSEN in os.environ:
        return False
    try:
        choose = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        log.debug("no mallopt in this C library: freed memory is given back")
        return False
    chosen = (
        (_TRIM_THRESHOLD, _KEPT),
        (_MMAP_THRESHOLD, _LARGEST),
        (_ARENA_MAX, _ARENAS),
    )
    return all(choose(name, value) for name, value in chosen)
