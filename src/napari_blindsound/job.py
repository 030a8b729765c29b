"""One run from image to result as data: said in one line, kept in a file, repeated.

The command line and the docks both make a `Job` of what the user chose and do what it
says, so that the same job gives the same bytes from either, on the same machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_blindsound import methods
from napari_blindsound.errors import (
    ImageFormatError,
    ImageNotFoundError,
    RecipeError,
)
from napari_blindsound.images.frames import find_frames, match_frames
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.parts import check_alike, part_of, with_channel
from napari_blindsound.inference.destination import deviation_place
from napari_blindsound.inference.deviation import check_deviation
from napari_blindsound.inference.estimate import Estimate
from napari_blindsound.inference.store import WriteConfig, write
from napari_blindsound.recipe import Recipe
from napari_blindsound.recipe_file import (
    Place,
    Span,
    read_recipe,
    sentence,
    write_recipe,
)
from napari_blindsound.training.threads import each_fixed
from napari_blindsound.wording import option, shell_line

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.cluster import Workers
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.inference.parts import Part
    from napari_blindsound.inference.store import WriteEvent
    from napari_blindsound.inference.tiling import TileOperator

NO_IMAGE, NO_RESULT = "IMAGE.ome.zarr", "RESULT.ome.zarr"
"""What stands in the line for an image or a result that has no place on disk."""


class Job(BaseModel):
    """What is denoised, how, and where the result goes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", coerce_numbers_to_str=True, protected_namespaces=()
    )

    inputs: tuple[Place, ...] = Field(
        (), description="image files, folders, patterns or URLs"
    )
    stack: bool = Field(
        False, description="the inputs are the frames of one image, in this order"
    )
    axes: str | None = Field(
        None, description="what the axes mean, in the file's order, such as TZYX"
    )
    image: int | None = Field(
        None, ge=0, description="which image, counted from 0, where a file has several"
    )
    channel: str | None = Field(
        None, min_length=1, description="the one channel to take: its number or name"
    )
    times: Span | None = Field(None, description="frames (T) to train on, start, stop")
    slices: Span | None = Field(None, description="slices (Z) to train on, start, stop")
    rows: Span | None = Field(None, description="rows (Y) to train on, start, stop")
    columns: Span | None = Field(
        None, description="columns (X) to train on, start, stop"
    )
    recipe: Recipe = Field(
        Recipe(),
        description="how to train; its device and threads also apply the model",
    )
    model_in: Place | None = Field(
        None, description="model file to apply, in place of training one"
    )
    model_out: Place | None = Field(None, description="file for the model trained")
    output: Place | None = Field(
        None, description="place of the result; a folder for several images"
    )
    dtype: Literal["float32", "source"] = Field(
        "float32", description="pixels of the result: float32, or the source's own"
    )
    overwrite: bool = Field(False, description="replace what lies at the places named")
    estimate: str | None = Field(
        None, description="which of the method's estimates; its default if not given"
    )
    blend: float | None = Field(
        None, ge=0, le=1, description="weight of the second of the method's two ends"
    )
    adjust: dict[str, str | float] = Field(
        default_factory=dict,
        description="settings of the model that no weight depends on, such as the kind "
        "of noise; estimated leaves one to the images",
    )
    turns: bool = Field(
        False, description="denoise in all eight orientations and take the mean"
    )
    uncertainty: bool = Field(
        False, description="write the standard deviation of the result beside it, too"
    )

    @model_validator(mode="after")
    def _one_estimate(self) -> Self:
        if self.estimate and self.blend is not None:
            msg = "estimate and blend exclude each other: give one of the two"
            raise ValueError(msg)
        return self

    def changed(self, **fields: object) -> Self:
        """The job with other values in some fields, checked.

        Raises
        ------
        pydantic.ValidationError
            If a value does not fit.
        """
        kept = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self).model_validate({**kept, **fields})

    @property
    def command(self) -> Literal["run", "train", "denoise"]:
        """Which command does this job: apply a model, train one, or both."""
        if self.model_in:
            return "denoise"
        return "train" if self.model_out and not self.output else "run"

    def volumes(self) -> list[Volume]:
        """Open the images, lazily, each with the channel asked for.

        Raises
        ------
        RecipeError
            If no image is named.
        BlindsoundError
            If one cannot be opened, or has no such channel.
        """
        if not self.inputs:
            msg = "no image is named; save it to a file first, and give that"
            raise RecipeError(msg)
        sources = [list(self.inputs)] if self.stack else list(self.inputs)
        volumes = [open_volume(s, axes=self.axes, image=self.image) for s in sources]
        if self.channel is None:
            return volumes
        return [with_channel(volume, self.channel) for volume in volumes]

    def training_volumes(self, volumes: Sequence[Volume] | None = None) -> list[Volume]:
        """Parts of the images to train on.

        Parameters
        ----------
        volumes : sequence of Volume, optional
            The images, if they are open.

        Raises
        ------
        AxesError
            If an image has no such axis, or ends before the part begins.
        ImageFormatError
            If the images differ in the number of channels.
        """
        parts = dict(zip("TZYX", self._spans, strict=True))
        wanted = {name: span for name, span in parts.items() if span}
        opened = self.volumes() if volumes is None else volumes
        check_alike(opened)
        return [part_of(volume, wanted) for volume in opened]

    def estimated(self, denoiser: Denoiser) -> Denoiser:
        """The model, returning what the job asks for; so it is saved.

        Raises
        ------
        ModelError
            If its method has no such estimate, or no such setting to adjust.
        """
        adjusted = denoiser.adjusted(self.adjust)
        return adjusted.with_output(self.estimate, blend=self.blend)

    def check_uncertainty(self, denoiser: Denoiser | None = None) -> None:
        """Refuse to write deviations that nobody knows, before any work is done.

        Parameters
        ----------
        denoiser : Denoiser, optional
            The model to apply; without, the one that would be trained.

        Raises
        ------
        ModelError
            With what to do.
        """
        if not self.uncertainty:
            return
        if denoiser is not None:
            self.estimated(denoiser).check_deviation()
            return
        method = methods.find(self.recipe.method)
        output = self.estimate or method.outputs[0]
        check_deviation(method, Estimate(method, output, self.blend).name)

    def write(
        self,
        denoiser: Denoiser,
        volume: Volume,
        place: Path | str | None = None,
        *,
        stop: threading.Event | None = None,
        resume: bool = True,
        scheduler: Workers | str | None = None,
        part: Part | None = None,
    ) -> Iterator[WriteEvent]:
        """Denoise one image to disk.

        Parameters
        ----------
        denoiser : Denoiser
            The model, whatever it returns by itself.
        volume : Volume
            The whole image, not only the part that was trained on.
        place : path, optional
            Where to, in place of `output`.
        stop : threading.Event, optional
            Set it to end the work.
        resume : bool
            Continue a result that was left unfinished, or start it anew.
        scheduler : Workers or str, optional
            Processes that do the work, as of `store.write`. They are no part of the
            job, as the result is the same.
        part : Part, optional
            Do this part only, as of `store.write`.

        Yields
        ------
        WriteEvent
            As :func:`napari_blindsound.inference.store.write` does.

        Raises
        ------
        BlindsoundError
            If the model does not fit, or the result cannot be written.
        """
        model = self.estimated(denoiser).with_output(turns=self.turns or None)
        config = WriteConfig(dtype=self.dtype, overwrite=self.overwrite, resume=resume)
        return self._write(
            model, volume, self.place(place), config, stop, scheduler, part
        )

    def write_deviation(
        self,
        denoiser: Denoiser,
        volume: Volume,
        place: Path | str | None = None,
        *,
        stop: threading.Event | None = None,
        resume: bool = True,
        scheduler: Workers | str | None = None,
        part: Part | None = None,
    ) -> Iterator[WriteEvent]:
        """Write the standard deviation of one result beside it, always as float32.

        Parameters, events and errors are those of :meth:`write`; `place` is that of the
        result.
        """
        self.check_uncertainty(denoiser)
        model = self.estimated(denoiser).with_output(turns=self.turns or None)
        config = WriteConfig(overwrite=self.overwrite, resume=resume)
        target = deviation_place(self.place(place))
        deviation = model.deviation()
        assert deviation is not None
        return self._write(deviation, volume, target, config, stop, scheduler, part)

    def place(self, chosen: Path | str | None = None) -> Path:
        """Where a result goes.

        Parameters
        ----------
        chosen : path, optional
            In place of `output`.

        Raises
        ------
        RecipeError
            If neither says it.
        """
        target = chosen or self.output
        if target is None:
            msg = "there is no place for the result; name one that ends in .ome.zarr"
            raise RecipeError(msg)
        return Path(target)

    def _write(
        self,
        operator: TileOperator,
        volume: Volume,
        target: Path,
        config: WriteConfig,
        stop: threading.Event | None,
        scheduler: Workers | str | None,
        part: Part | None,
    ) -> Iterator[WriteEvent]:
        events = write(
            operator,
            volume,
            target,
            config,
            stop=stop,
            provenance={"command": self.command_line()},
            scheduler=scheduler,
            part=part,
        )
        return each_fixed(events, self.recipe.train.threads)

    def settled(self, denoiser: Denoiser) -> Job:
        """The job as it was done, so that it can be repeated to the bit.

        Adds the number of threads, and the steps of a training that was stopped or is
        not over. A training by the clock cannot be repeated and is left as it is.

        Parameters
        ----------
        denoiser : Denoiser
            What the training made, or what was applied.
        """
        train, done = self.recipe.train, denoiser.provenance
        if not self.model_in and self.recipe.settled().train.seconds is not None:
            return self
        threads = train.threads or torch.get_num_threads()
        is_part = not self.model_in and done["ended"] not in ("done", "converged")
        alone = done.get("one_thread_after", []) if not self.model_in else []
        if all(step is None for step in alone):
            alone = []
        changes = {
            # A network that never had to keep its number to the end.
            "one_thread_after": tuple(
                reached if step is None else step
                for step, reached in zip(alone, done.get("steps", []), strict=False)
            )
            or None,
            "train": train.model_copy(update={"threads": threads}),
            "stop_after": tuple(done["steps"]) if is_part else None,
        }
        recipe = self.recipe.model_copy(update=changes)
        return self.model_copy(update={"recipe": recipe})

    def command_line(self) -> str:
        """One line for a shell that does this job, with all that is not the default."""
        return shell_line(["blindsound", self.command, *self.words()])

    def words(self) -> list[str]:
        """What stands behind the command in :meth:`command_line`."""
        output = self.model_out if self.command == "train" else self.output
        words = [*(self.inputs or [NO_IMAGE])]
        model = self.model_out if self.command == "run" else self.model_in
        words += ["-m", model] if model else []
        words += ["-o", output or NO_RESULT]
        words += option("stack", self.stack or None)
        for name in ("axes", "image", "channel"):
            words += option(name, getattr(self, name))
        if not self.model_in:
            words += self._part_words() + self._recipe_words()
        train = self.recipe.train
        words += option("device", train.device if train.device != "auto" else None)
        for name in ("estimate", "blend"):
            words += option(name, getattr(self, name))
        if self.model_in:
            for name, value in self.adjust.items():
                words += option("set", f"{name}={_short(value)}")
        words += option("threads", train.threads)
        if self.command != "train":
            words += option("dtype", self.dtype if self.dtype != "float32" else None)
            for name in ("turns", "uncertainty"):
                words += option(name, getattr(self, name) or None)
        return words + option("overwrite", self.overwrite or None)

    def save(self, path: Path | str) -> Path:
        """Write a recipe file, for :meth:`load` and ``blindsound repeat``.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        data = self.model_dump(mode="json", exclude_none=True)
        return write_recipe(Path(path), data, self.command_line())

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a recipe file.

        Raises
        ------
        RecipeError
            If there is none, or it is not one; the message names the field.
        """
        data, folder = read_recipe(Path(path)), Path(path).absolute().parent
        try:
            job = cls.model_validate(data, context={"folder": folder})
        except ValidationError as error:
            msg = f"{path}: {sentence(error)}"
            raise RecipeError(msg) from error
        try:
            job.recipe.config()
        except ValidationError as error:
            msg = f"{path}: {sentence(error, ['recipe', 'settings'])}"
            raise RecipeError(msg) from error
        except ValueError as error:
            msg = f"{path}: {error}"
            raise RecipeError(msg) from error
        return job

    @property
    def _spans(self) -> tuple[tuple[int, int] | None, ...]:
        return self.times, self.slices, self.rows, self.columns

    def _part_words(self) -> list[str]:
        times, slices, rows, columns = (
            f"{span[0]}:{span[1]}" if span else "" for span in self._spans
        )
        words = option("train-times", times or None)
        words += option("train-slices", slices or None)
        if rows or columns:
            words += option("train-region", f"{rows or ':'},{columns or ':'}")
        return words

    def _recipe_words(self) -> list[str]:
        recipe, train = self.recipe, self.recipe.train
        first = next(iter(methods.find(recipe.method).Config.presets))
        known = recipe.method != methods.DEFAULT
        words = option("method", recipe.method if known else None)
        words += option("preset", recipe.preset if recipe.preset != first else None)
        words += option("channels", "joint" if recipe.channels == "joint" else None)
        words += option("steps", train.steps) + option("seconds", train.seconds)
        words += option("ending", train.ending)
        words += option("seed", train.seed or None)
        if recipe.stop_after is not None:
            words += option("stop-after", ",".join(map(str, recipe.stop_after)))
        if recipe.one_thread_after is not None:
            steps = ",".join(map(str, recipe.one_thread_after))
            words += option("one-thread-after", steps)
        for name, value in recipe.settings.items():
            words += option(name.replace("_", "-"), value)
        return words


def _short(value: str | float) -> str:
    """As it is typed."""
    return value if isinstance(value, str) else f"{value:.9g}"


def frames_as_inputs(paths: Sequence[Path | str]) -> tuple[tuple[str, ...], bool]:
    """Shortest way to name the frames of one stack: `Job.inputs` and `Job.stack`.

    That is their folder, or a pattern, where these are all files that it stands for;
    otherwise the files themselves, in their order.
    """
    files = [Path(path).absolute() for path in paths]
    folder = files[0].parent
    for whole in (folder, folder / f"*{files[0].suffix}"):
        try:
            found = find_frames(whole) if whole is folder else match_frames(whole)
        except (ImageFormatError, ImageNotFoundError, OSError):
            continue
        if found == files:
            return (str(whole),), False
    return tuple(map(str, files)), True
