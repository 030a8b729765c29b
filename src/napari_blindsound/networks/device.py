"""Where networks run, and at which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from napari_blindsound.errors import BlindsoundError

Device = Literal["auto", "cpu", "cuda", "mps"]

_HALF_PRECISION_WIDTH = 32
"""Narrower networks are bound by kernel launches, which bf16 does not make cheaper."""


class DeviceError(BlindsoundError, ValueError):
    """The device asked for is not there."""


def pick_device(name: str = "auto") -> torch.device:
    """Device by name; ``auto`` takes CUDA, then Apple's MPS, then the CPU.

    Raises
    ------
    DeviceError
        If the device is not there.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, found in there.items() if found))
    kind = name.partition(":")[0]
    if not there.get(kind, False) or (":" in name and name not in devices()):
        found = ", ".join(devices())
        msg = f"no device {name!r} on this machine; there is {found} (or auto)"
        raise DeviceError(msg)
    return torch.device(name)


def devices() -> list[str]:
    """Names of the devices of this machine, the best first."""
    names = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return [*names, "cpu"]


def mixed_precision(
    device: torch.device, width: int | None
) -> AbstractContextManager[object]:
    """Forward passes in bfloat16 where the device gains from it; losses stay float32.

    That is CUDA with native bfloat16 and a network of `width` 32 or more. Never
    float16: the loss holds factors up to (1 + lambda)^2 = 441.
    """
    if (
        device.type == "cuda"
        and (width or 0) >= _HALF_PRECISION_WIDTH
        and torch.cuda.is_bf16_supported()
    ):
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()
