"""``blindsound methods``: what is there, from what methods say of themselves.

The table of ``docs/methods.md`` is what ``--markdown`` writes.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

from napari_blindsound.cli.messages import table
from napari_blindsound.cli.options import CONSOLE, FLAG, Console
from napari_blindsound.inference.estimate import estimates
from napari_blindsound.methods import DEFAULT, available, package_of
from napari_blindsound.methods.base import DEVIATION
from napari_blindsound.networks.weights import seeded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_blindsound.methods.base import Method

_COLUMNS = (
    "method",
    "noise it assumes",
    "cost",
    "what it cannot do",
    "estimates",
    "presets",
)


def methods(
    *, markdown: Annotated[bool, FLAG] = False, console: Console = CONSOLE
) -> int:
    """List the denoising methods: what they assume, what they cost, what they cannot.

    Parameters
    ----------
    markdown
        Write a table in Markdown, such as for a paper's supplement.
    console
        Options.
    """
    found = available()
    data = {"command": "methods", "methods": [_data(m) for m in found.values()]}
    console.report(_as_markdown(found) if markdown else _as_lines(found), data)
    return 0


def _as_lines(found: Mapping[str, type[Method]]) -> list[str]:
    lines: list[str] = []
    for name, method in found.items():
        is_default = " (the default)" if name == DEFAULT else ""
        lines += [*([""] if lines else []), f"{name}{is_default}", *_rows(method)]
    return [
        *lines,
        "",
        "Options of a method: blindsound train --method NAME --help",
        "What is adjustable can be changed after training: blindsound denoise --help",
    ]


def _rows(method: type[Method]) -> list[str]:
    rows = {
        "title": method.title,
        "in short": (inspect.getdoc(method) or "").partition("\n")[0],
        "assumes": method.assumes,
        "cost": method.cost,
        "limits": method.limits,
        "reference": method.reference,
        "package": package_of(method),
        "estimates": ", ".join(estimates(method)),
        "uncertainty": "yes" if DEVIATION in method.outputs else "",
        "stages": ", then ".join(_stages(method)),
        "adjustable": ", ".join(method.Config.adjustable),
    }
    for preset, changes in method.Config.presets.items():
        words = [
            f"--{name.replace('_', '-')} {value}" for name, value in changes.items()
        ]
        length = method.Config.length_in_words(preset)
        rows[f"preset {preset}"] = f"{length}; {'  '.join(words) or 'the defaults'}"
    return table(rows)


def _as_markdown(found: Mapping[str, type[Method]]) -> list[str]:
    rows = [_COLUMNS, ["---"] * len(_COLUMNS), *map(_cells, found.values())]
    return [f"| {' | '.join(cells)} |" for cells in rows]


def _cells(method: type[Method]) -> Sequence[str]:
    """Row of the table, in the order of its columns."""
    known = [*estimates(method)]
    if DEVIATION in method.outputs:
        known.append("standard deviation")
    stages, adjustable = _stages(method), method.Config.adjustable
    cost, limits = method.cost, method.limits
    if stages:
        cost += f"; in stages: {', then '.join(stages)}"
    if adjustable:
        limits += f"; adjustable after training: {', '.join(adjustable)}"
    cells = (
        f"{method.title} (`{method.name}`; {method.reference})",
        method.assumes,
        cost,
        limits,
        ", ".join(known),
        ", ".join(f"`{preset}`" for preset in method.Config.presets),
    )
    return [cell.replace("|", "\\|") for cell in cells]


def _stages(method: type[Method]) -> list[str]:
    """Names of the parts of a training, if it has several."""
    config = method.Config.preset(next(iter(method.Config.presets)))
    with seeded(0):  # only so that nobody else's draws are disturbed
        stages = method(config).stages
    return [stage.name for stage in stages] if len(stages) > 1 else []


def _data(method: type[Method]) -> dict[str, Any]:
    config = method.Config
    return {
        "name": method.name,
        "title": method.title,
        "assumes": method.assumes,
        "cost": method.cost,
        "limits": method.limits,
        "reference": method.reference,
        "package": package_of(method),
        "estimates": list(estimates(method)),
        "uncertainty": DEVIATION in method.outputs,
        "stages": _stages(method),
        "adjustable": list(config.adjustable),
        "presets": {name: config.preset(name).model_dump() for name in config.presets},
        "lengths": {name: config.length_in_words(name) for name in config.presets},
    }
