"""What a thread takes care of that computes beside a graphical interface."""

from __future__ import annotations

import sys
import threading
import traceback


def leave_a_core() -> None:
    """Let torch compute on one core fewer in this thread, and in this one alone."""
    # A denoiser that needs torch has brought it along.
    torch = sys.modules.get("torch")
    if torch is None:
        return
    use_cores(max(1, torch.get_num_threads() - 1))


def use_cores(count: int) -> None:
    """Let torch compute on so many cores in this thread, and in this one alone."""
    import torch

    # Asking settles the number; the first computation would else set it anew.
    before = torch.get_num_threads()
    if count == before:
        return
    torch.set_num_threads(count)
    # It became the number of all threads to come as well, whose sums depend on it.
    other = threading.Thread(target=torch.set_num_threads, args=(before,))
    other.start()
    other.join()


def bare(error: Exception) -> Exception:
    """The error without the frames it came through, whose variables hold models."""
    chain: BaseException | None = error
    while chain is not None:
        traceback.clear_frames(chain.__traceback__)
        chain.__traceback__ = None
        chain = chain.__cause__ or chain.__context__
    return error
