"""Tensors on their way to a device and back, while the device computes something else.

On CUDA copies go through pinned memory and on a stream of their own for each thread, so
that one thread's copies overlap another's computation. Elsewhere they are plain copies.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

_LOCAL = threading.local()


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the processor to a device.

    Parameters
    ----------
    tensor : Tensor
        Of any shape; it may be changed once this returns only where the device is no
        CUDA device.
    device : torch.device
        Where to.

    Returns
    -------
    Tensor
        What is computed with it from now on, in this thread, waits for the copy.
    """
    if device.type != "cuda":
        return tensor.to(device)
    side, main = _side(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(side):
        there = tensor.pin_memory().to(device, non_blocking=True)
    main.wait_stream(side)
    # Its memory is the side stream's: not to be given away while it is computed with.
    there.record_stream(main)
    return there


def download(tensor: Tensor) -> Tensor:
    """Copy a tensor to the processor, and wait for it alone.

    Parameters
    ----------
    tensor : Tensor
        On any device; computed in this thread.

    Returns
    -------
    Tensor
        On the processor; `tensor` itself if it is there.
    """
    device = tensor.device
    if device.type != "cuda":
        return tensor.cpu()
    side = _side(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        here = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        here.copy_(tensor, non_blocking=True)
    tensor.record_stream(side)
    side.synchronize()
    return here


def _side(device: torch.device) -> torch.cuda.Stream:
    """The stream on which this thread copies to and from a device."""
    streams: dict[torch.device, torch.cuda.Stream] = vars(_LOCAL).setdefault("of", {})
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)
    return streams[device]
