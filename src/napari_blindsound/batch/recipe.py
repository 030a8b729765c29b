"""A batch as a recipe file: its images and its configuration, below ``[batch]``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError

from napari_blindsound.batch.config import BatchConfig
from napari_blindsound.errors import RecipeError
from napari_blindsound.recipe_file import read_recipe, sentence, write_recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

TABLE = "batch"
_INPUTS = "inputs"
_KINDS = ("one", "folder", "each")


def write_batch(
    path: Path, inputs: Sequence[str | Path], config: BatchConfig, line: str
) -> Path:
    """Write what a batch does to a recipe file.

    Parameters
    ----------
    path : Path
        Where to.
    inputs : sequence of path
        Files, folders and patterns.
    config : BatchConfig
        What is done with each. The number of threads is added, on which the last
        digits depend.
    line : str
        The command line that does the same.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    train = config.recipe.train
    fixed = {"threads": train.threads or torch.get_num_threads()}
    recipe = config.recipe.model_copy(update={"train": train.model_copy(update=fixed)})
    told = config.model_copy(update={"recipe": recipe})
    places = [str(Path(place).expanduser().absolute()) for place in inputs]
    data = {_INPUTS: places, **told.model_dump(mode="json", exclude_none=True)}
    return write_recipe(path, {TABLE: data}, line)


def read_batch(path: Path) -> tuple[list[str], BatchConfig] | None:
    """Read what :func:`write_batch` wrote; None for a recipe of another kind.

    Paths may be relative to the file.

    Raises
    ------
    RecipeError
        If the file cannot be read, or a field is wrong; the message names it.
    """
    data = read_recipe(path).get(TABLE)
    if data is None:
        return None
    folder = path.absolute().parent
    try:
        fields = dict(data)
        inputs = [_placed(folder, place) for place in fields.pop(_INPUTS)]
        for name in {"output", "model"} & fields.keys():
            if name == "output" or fields[name] not in _KINDS:
                fields[name] = _placed(folder, fields[name])
        config = BatchConfig.model_validate(fields)
        config.recipe.config()
    except ValidationError as error:
        msg = f"{path}: {sentence(error, [TABLE])}"
        raise RecipeError(msg) from error
    except KeyError as error:
        msg = f"{path}: {TABLE}.{_INPUTS} is not there; name the files and folders"
        raise RecipeError(msg) from error
    except (TypeError, ValueError) as error:
        msg = f"{path}: {error}; give a recipe that was saved by batch"
        raise RecipeError(msg) from error
    return inputs, config


def _placed(folder: Path, place: Any) -> str:  # noqa: ANN401 - whatever a file says
    return str((folder / Path(place).expanduser()).absolute())
