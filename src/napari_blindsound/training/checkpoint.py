"""Tensors and plain data in one safetensors file, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from napari_blindsound.errors import ModelError, ModelNotFoundError
from napari_blindsound.images.whole_file import whole_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

_KEY = "blindsound"


def save_tensors(
    path: Path | str, tensors: Mapping[str, Tensor], header: Mapping[str, Any]
) -> Path:
    """Write a file that replaces an earlier one only once it is complete.

    Parameters
    ----------
    path : path
        Where to.
    tensors : mapping of str to Tensor
        On any device.
    header : mapping
        Plain data, stored as JSON.

    Returns
    -------
    Path
        Where it lies.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    path = Path(path)
    cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    size = sum(tensor.nbytes for tensor in cpu.values())
    with whole_file(path, size, (OSError, SafetensorError)) as draft:
        save_file(cpu, draft, metadata={_KEY: json.dumps(header)})
    return path


def load_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_tensors` wrote.

    Raises
    ------
    ModelNotFoundError
        If there is no such file.
    ModelError
        If it is truncated, or not a file of this package.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"no model at {path}; give the path of a .blindsound file"
        raise ModelNotFoundError(msg)
    try:
        with safe_open(str(path), framework="pt") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        msg = (
            f"{path} is not a model of this package, or it is cut off ({error}); train "
            f"it again, or copy it again from where it came"
        )
        raise ModelError(msg) from error


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put names below a prefix: ``weight`` becomes ``prefix.weight``."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inverse of :func:`prefixed`: what lies below the prefix, without it."""
    start = f"{prefix}."
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
