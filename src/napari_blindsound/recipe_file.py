"""Recipe files: what a job is, as TOML that people can read, change and send around.

Files that end in .yaml are read and written, too: earlier versions had no others.
"""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tomli_w
import yaml
from pydantic import AfterValidator, Field, ValidationError, ValidationInfo

from napari_blindsound import __version__
from napari_blindsound.errors import RecipeError
from napari_blindsound.inference.destination import output_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_YAML = (".yaml", ".yml")
SUFFIXES = (".toml", *_YAML)
"""How the names of recipe files end; the first is the usual one."""

_HEADER = """\
# A recipe of napari-blindsound {version}, {date}: what was denoised, and how.
# To do it again:  blindsound repeat FILE
# The same bytes come out on the same machine, where steps are given and no seconds.
# Paths may be relative to this file.
{line}
"""


def _place(text: str, info: ValidationInfo) -> str:
    """Absolute path, or a URL as it is."""
    if "://" in text:
        return text
    folder = Path((info.context or {}).get("folder", ""))
    return str((folder / Path(text).expanduser()).absolute())


def _forward(span: tuple[int, int]) -> tuple[int, int]:
    if span[0] >= span[1]:
        msg = f"{span[0]}:{span[1]} is empty; the second number must be the larger one"
        raise ValueError(msg)
    return span


Place = Annotated[str, Field(min_length=1), AfterValidator(_place)]
"""A path, absolute once it is checked, or a URL."""
_Number = Annotated[int, Field(ge=0)]
Span = Annotated[tuple[_Number, _Number], AfterValidator(_forward)]
"""From a position, counted from 0, up to but not including another."""


def write_recipe(path: Path, data: Mapping[str, Any], line: str) -> Path:
    """Write a recipe file.

    Parameters
    ----------
    path : Path
        Where to; the end of the name says whether TOML or YAML is written.
    data : mapping
        Plain data; what is None is left out.
    line : str
        The command line that does the same.

    Returns
    -------
    Path
        Where it lies.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    header = _HEADER.format(
        version=__version__,
        date=datetime.now(UTC).date().isoformat(),
        # Names of files may hold anything, even the end of a line.
        line=f"# In one line:\n#   {line}" if line.isprintable() else "#",
    )
    known = _known(dict(data))
    if path.suffix.lower() in _YAML:
        body = yaml.safe_dump(
            known,
            sort_keys=False,
            allow_unicode=True,
            default_flow_style=None,
            width=1000,
        )
    else:
        body = tomli_w.dumps(known)
    with output_errors(path):
        path.write_text(header + body, encoding="utf-8")
    return path


def read_recipe(path: Path) -> dict[str, Any]:
    """Plain data of a recipe file, unchecked.

    Raises
    ------
    RecipeError
        If there is none, or it holds no fields.
    """
    read = yaml.safe_load if path.suffix.lower() in _YAML else tomllib.loads
    try:
        data = read(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"cannot read the recipe {path} ({error.strerror}); check the path"
        raise RecipeError(msg) from error
    except (yaml.YAMLError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        msg = f"{path} is not a recipe file ({reason}); give one that was saved"
        raise RecipeError(msg) from error
    if not isinstance(data, dict) or not data:
        msg = f"{path} is not a recipe file; give one that was saved"
        raise RecipeError(msg)
    return data


def _known(data: Any) -> Any:  # noqa: ANN401 - plain data of any depth
    """Plain data without what is None, for which TOML has no word."""
    if isinstance(data, dict):
        return {str(n): _known(value) for n, value in data.items() if value is not None}
    if isinstance(data, list | tuple):
        return [_known(value) for value in data if value is not None]
    return data


def sentence(error: ValidationError, below: Sequence[str] = ()) -> str:
    """What pydantic says about the first field that is wrong, with its name.

    Parameters
    ----------
    error : ValidationError
        What it raised.
    below : sequence of str
        Names of the fields that hold what was checked.
    """
    first = error.errors()[0]
    where = ".".join(map(str, [*below, *first["loc"]]))
    if first["type"] == "extra_forbidden":
        return f"there is no field {where}; check its spelling"
    reason = first["msg"].removeprefix("Value error, ").replace("tuple", "list")
    if not first["loc"]:
        return f"{where}: {reason}" if where else reason
    return f"{where} is {first['input']!r}: {reason[:1].lower()}{reason[1:]}"
