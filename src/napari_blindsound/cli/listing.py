"""``blindsound methods``: what is there, from what methods say of themselves."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from napari_blindsound.cli.messages import table
from napari_blindsound.cli.options import CONSOLE, Console
from napari_blindsound.inference.estimate import estimates
from napari_blindsound.methods import DEFAULT, available
from napari_blindsound.methods.base import DEVIATION

if TYPE_CHECKING:
    from napari_blindsound.methods.base import Method


def methods(*, console: Console = CONSOLE) -> int:
    """List the denoising methods, their presets and estimates."""
    found = available()
    lines: list[str] = []
    for name, method in found.items():
        is_default = " (the default)" if name == DEFAULT else ""
        lines += [*([""] if lines else []), f"{name}{is_default}", *_rows(method)]
    lines += ["", "Options of a method: blindsound train --method NAME --help"]
    data = {"command": "methods", "methods": [_data(m) for m in found.values()]}
    console.report(lines, data)
    return 0


def _rows(method: type[Method]) -> list[str]:
    rows = {
        "title": method.title,
        "in short": (inspect.getdoc(method) or "").partition("\n")[0],
        "reference": method.reference,
        "estimates": ", ".join(estimates(method)),
        "uncertainty": "yes" if DEVIATION in method.outputs else "",
    }
    for preset in method.Config.presets:
        changes = method.Config.presets[preset].items()
        words = [f"--{name.replace('_', '-')} {value}" for name, value in changes]
        rows[f"preset {preset}"] = "  ".join(words) or "the defaults"
    return table(rows)


def _data(method: type[Method]) -> dict[str, Any]:
    config = method.Config
    return {
        "name": method.name,
        "title": method.title,
        "reference": method.reference,
        "estimates": list(estimates(method)),
        "uncertainty": DEVIATION in method.outputs,
        "presets": {name: config.preset(name).model_dump() for name in config.presets},
    }
