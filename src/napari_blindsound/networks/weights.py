"""First weights of a network: the same for the same seed, whoever else is at work."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

_DRAWING = threading.Lock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw weights from a seed in a ``with``, and leave torch's generator as it was.

    torch has one generator for all threads, so that networks are made one at a time:
    else two docks that start together would draw from each other's numbers.
    """
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
