"""What the batch dock is told to do: plain data, which no torch is needed for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_blindsound.wording import option, shell_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_blindsound.batch import BatchConfig
    from napari_blindsound.recipe import Recipe
    from napari_blindsound.training.events import Ending

_KINDS = {"each": ["--each"], "folder": ["--each-folder"]}


@dataclass(frozen=True)
class Choice:
    """What is done with each image.

    Parameters
    ----------
    model : {"one", "folder", "each", "file"}
        Train one for all, one for each folder, one for each image, or take that of
        `model_file`.
    model_file, output : str
        Paths, as they were typed; empty while not known.
    format : {".ome.zarr", ".ome.tif"}
    dtype : {"float32", "source"}
    overwrite : bool
        Replace results that were made otherwise.
    method, preset : str
    settings : mapping
        Changes to the preset.
    channels : {"each", "joint"}
    steps : int or None
        Length of the training; that of the preset if not given.
    seconds : float or None
        Only of a recipe from elsewhere.
    ending : {"last", "best", "auto"} or None
        Likewise.
    seed : int
    device : str
    threads : int or None
    """

    model: Literal["one", "folder", "each", "file"] = "one"
    model_file: str = ""
    output: str = ""
    format: Literal[".ome.zarr", ".ome.tif"] = ".ome.zarr"
    dtype: Literal["float32", "source"] = "float32"
    overwrite: bool = False
    method: str = "blind2unblind"
    preset: str = "fast"
    settings: Mapping[str, Any] = field(default_factory=dict)
    channels: Literal["each", "joint"] = "each"
    steps: int | None = None
    seconds: float | None = None
    ending: Ending | None = None
    seed: int = 0
    device: str = "auto"
    threads: int | None = None

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing that a run needs."""
        return bool(self.output) and (self.model != "file" or bool(self.model_file))

    def as_preset(self, method: str, preset: str) -> Choice:
        """Train as a preset of a method does, and as long."""
        named = replace(self, method=method, preset=preset, settings={})
        return replace(named, steps=None, seconds=None, ending=None)

    def with_recipe(self, recipe: Recipe) -> Choice:
        """Train as a recipe says; where it was stopped is a matter of its own image."""
        train = recipe.train
        return replace(
            self,
            model="one" if self.model == "file" else self.model,
            method=recipe.method,
            preset=recipe.preset,
            settings=dict(recipe.settings),
            channels=recipe.channels,
            steps=train.steps,
            seconds=train.seconds,
            ending=train.ending,
            seed=train.seed,
            device=train.device,
            threads=train.threads,
        )

    def config(self) -> BatchConfig:
        """The same for the library; torch is needed for it.

        Raises
        ------
        ValueError
            If a value is out of bounds.
        """
        from napari_blindsound.batch import BatchConfig
        from napari_blindsound.recipe import Recipe
        from napari_blindsound.training.trainer import TrainConfig

        recipe = Recipe(
            method=self.method,
            preset=self.preset,
            settings=dict(self.settings),
            channels=self.channels,
            train=TrainConfig(
                steps=self.steps,
                seconds=self.seconds,
                ending=self.ending,
                seed=self.seed,
                device=self.device,
                threads=self.threads,
            ),
        )
        is_file = self.model == "file"
        return BatchConfig(
            output=_path(self.output),
            model=_path(self.model_file) if is_file else self.model,
            recipe=recipe,
            format=self.format,
            dtype=self.dtype,
            overwrite=self.overwrite,
        )

    def command_line(self, inputs: Sequence[Path]) -> str:
        """One line for a shell that does the same with some files and folders."""
        words = ["blindsound", "batch", *map(str, inputs)]
        words += option("output", str(_path(self.output)))
        if self.model == "file":
            words += option("model", str(_path(self.model_file)))
        else:
            words += _KINDS.get(self.model, [])
            words += option("method", self.method) + option("preset", self.preset)
            words += option("channels", "joint" if self.channels == "joint" else None)
            words += option("steps", self.steps) + option("seconds", self.seconds)
            words += option("ending", self.ending)
            words += option("seed", self.seed or None)
            for name, value in self.settings.items():
                words += option(name.replace("_", "-"), value)
        words += option("device", self.device if self.device != "auto" else None)
        words += option("threads", self.threads)
        words += option("format", self.format if self.format != ".ome.zarr" else None)
        words += option("dtype", self.dtype if self.dtype != "float32" else None)
        words += option("overwrite", self.overwrite or None)
        return shell_line(words)


def _path(text: str) -> Path:
    return Path(text.strip()).expanduser().absolute()
