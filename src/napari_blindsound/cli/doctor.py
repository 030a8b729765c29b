"""``blindsound doctor``: is this computer ready, shown by really doing it."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from napari_blindsound import __version__, methods
from napari_blindsound.cli.messages import table
from napari_blindsound.cli.options import CONSOLE, Console
from napari_blindsound.errors import BlindsoundError
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import phantom
from napari_blindsound.inference.store import write
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig
from napari_blindsound.wording import size

_NEEDED = ("torch", "numpy", "zarr", "tifffile", "dask", "pydantic")
_WELCOME = ("napari", "bioio", "distributed")
_QT = ("PyQt6", "PySide6", "PyQt5", "PySide2")
_STEPS = 50  # a second or two on a small computer


def doctor(*, device: str = "auto", console: Console = CONSOLE) -> int:
    """Check that this computer is ready: versions, devices, and a small real run.

    Trains for a moment on a synthetic image, applies the model, writes the result,
    reads it back and compares it with the truth. Please add the output of this command
    to a report of a problem.

    Parameters
    ----------
    device
        Where to compute the small run: auto, cpu, cuda (or cuda:1), mps.
    console
        Options.
    """
    facts = {**_software(), **_hardware()}
    trial: dict[str, Any]
    try:
        trial = _trial(device)
    except (BlindsoundError, RuntimeError, OSError) as error:
        trial = {"passed": False, "error": " ".join(str(error).split())}
    verdict = "ready" if trial["passed"] else "NOT READY"
    lines = [f"napari-blindsound {__version__}", *table(facts), "", "Small run"]
    lines += [*table(_rows(trial)), "", verdict]
    data = {"command": "doctor", "ready": trial["passed"], "facts": facts}
    console.report(lines, {**data, "trial": trial})
    return 0 if trial["passed"] else 1


def _software() -> dict[str, str]:
    found = {"python": f"{platform.python_version()} on {platform.platform()}"}
    found |= {name: _version(name) or "MISSING" for name in _NEEDED}
    found |= {name: _version(name) or "not installed" for name in _WELCOME}
    bindings = [f"{name} {_version(name)}" for name in _QT if _version(name)]
    found["Qt"] = ", ".join(bindings) or "not installed (needed for napari only)"
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _hardware() -> dict[str, str]:
    memory, folder = psutil.virtual_memory(), Path.cwd()
    return {
        "devices": ", ".join(_devices()),
        "threads": f"{torch.get_num_threads()} used, {os.cpu_count()} processor cores",
        "memory": f"{size(memory.available)} free of {size(memory.total)}",
        "disk": f"{size(shutil.disk_usage(folder).free)} free in {folder}",
    }


def _devices() -> list[str]:
    found = ["cpu"]
    if torch.cuda.is_available():
        count = range(torch.cuda.device_count())
        found += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in count]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def _trial(device: str) -> dict[str, Any]:
    """Train, apply, write and read back; the errors before and after."""
    started = time.perf_counter()
    made = phantom("2d", size=128, photons=10.0)
    config = TrainConfig(steps=_STEPS, device=device)
    training = Training([made.volume()], Recipe(method=methods.DEFAULT, train=config))
    try:
        for _ in training.run():
            pass
        denoiser = training.denoiser()
    finally:
        training.close()
    with tempfile.TemporaryDirectory(prefix="blindsound-") as folder:
        path = Path(folder) / "result.ome.zarr"
        for _ in write(denoiser, made.volume(), path):
            pass
        volume = open_volume(path)
        denoised = volume.read(tuple(slice(0, n) for n in volume.shape))
    before, after = (_error(image, made.clean) for image in (made.noisy, denoised))
    return {
        "passed": bool(after < before),
        "seconds": round(time.perf_counter() - started, 2),
        "steps": denoiser.provenance["steps"][0],
        "device": str(denoiser.device),
        "error_before": before,
        "error_after": after,
    }


def _error(image: np.ndarray, truth: np.ndarray) -> float:
    """Root mean square difference, in counts."""
    return float(np.sqrt(np.mean((image.astype(np.float64) - truth) ** 2)))


def _rows(trial: dict[str, Any]) -> dict[str, str]:
    if "error" in trial:
        return {"failed": trial["error"]}
    before, after = trial["error_before"], trial["error_after"]
    better = f"{before:.3g} counts before, {after:.3g} after"
    return {
        "training": f"{trial['steps']} steps on {trial['device']}",
        "error": better if trial["passed"] else f"{better}: it should have fallen",
        "time": f"{trial['seconds']} s in all",
    }
