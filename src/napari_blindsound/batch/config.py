"""What a batch is to do with every image: plain data, checked when it is made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from napari_blindsound import methods
from napari_blindsound.batch.finding import RESULT, Found
from napari_blindsound.batch.places import stems
from napari_blindsound.batch.stamps import digest
from napari_blindsound.images.parts import with_channel
from napari_blindsound.inference.denoiser import SUFFIX
from napari_blindsound.inference.deviation import check_deviation
from napari_blindsound.inference.estimate import Estimate
from napari_blindsound.inference.store import WriteConfig
from napari_blindsound.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.denoiser import Denoiser


class BatchConfig(BaseModel):
    """How a batch is done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    output: Path = Field(description="folder of the results, and of the report")
    model: Literal["one", "folder", "each"] | Path = Field(
        "one",
        description="train one model for all images, one for each folder, or one for "
        "each image, or take a file",
    )
    recipe: Recipe = Field(
        Recipe(), description="how to train; its device is where a file's model runs"
    )
    format: Literal[".ome.zarr", ".ome.tif"] = Field(
        ".ome.zarr", description="of the results"
    )
    dtype: Literal["float32", "source"] = Field(
        "float32", description="pixels of the results: float32, or the source's own"
    )
    overwrite: bool = Field(
        False,
        description="replace results, and the model for all, that were made otherwise; "
        "those that are as they would be made again are kept in any case",
    )
    turns: bool = Field(
        False, description="denoise in all eight orientations and take the mean"
    )
    uncertainty: bool = Field(
        False, description="write the standard deviation of each result beside it, too"
    )
    blend: float | None = Field(
        None, ge=0, le=1, description="weight of the second of the method's two ends"
    )
    estimate: str | None = Field(
        None, description="which of the method's estimates; its default if not given"
    )
    axes: str | None = Field(
        None, description="what the axes mean, where the files do not say"
    )
    channel: str | None = Field(
        None, description="take one channel only: its number, or its name"
    )
    image: int | None = Field(
        None, ge=0, description="which image, where a file holds several"
    )

    def results(self, images: Sequence[Found]) -> list[Path]:
        """Where the result of each image goes; no two are the same."""
        return [
            self.output / stem.with_name(f"{stem.name}{RESULT}{self.format}")
            for stem in stems(images)
        ]

    def model_beside(self, result: Path) -> Path:
        """Where the model of one image is kept."""
        name = result.name.removesuffix(f"{RESULT}{self.format}")
        return result.with_name(f"{name}{SUFFIX}")

    def open(self, image: Found) -> Volume:
        """Open an image as the configuration says.

        Raises
        ------
        BlindsoundError
            If it cannot be read, or has no such channel.
        """
        volume = image.open(self.axes, self.image)
        return volume if self.channel is None else with_channel(volume, self.channel)

    def applied(self, model: Denoiser) -> Denoiser:
        """The model, returning the estimate that was asked for.

        Of a model in a file, settings that no weight depends on are the recipe's.
        """
        model = model.adjusted(self.adjust)
        if self.estimate is None and self.blend is None and not self.turns:
            return model
        return model.with_output(self.estimate, turns=self.turns, blend=self.blend)

    @property
    def adjust(self) -> dict[str, Any]:
        """Settings of the recipe that a model in a file takes on."""
        if not isinstance(self.model, Path):
            return {}
        offered = methods.find(self.recipe.method).Config.adjustable
        settings = self.recipe.settings
        return {name: settings[name] for name in offered if name in settings}

    def check_uncertainty(self, model: Denoiser | None = None) -> None:
        """Refuse to write deviations that nobody knows.

        Parameters
        ----------
        model : Denoiser, optional
            As it is applied; without, what would be trained.

        Raises
        ------
        ModelError
            With what to do.
        """
        if not self.uncertainty:
            return
        if model is not None:
            model.check_deviation()
        elif not isinstance(self.model, Path):
            method = methods.find(self.recipe.method)
            output = self.estimate or method.outputs[0]
            check_deviation(method, Estimate(method, output, self.blend).name)

    def writing(self, *, resume: bool) -> WriteConfig:
        """How results are stored, and whether one half-written is continued."""
        return WriteConfig(dtype=self.dtype, overwrite=self.overwrite, resume=resume)

    @property
    def training_key(self) -> str:
        """Name of how models are trained: where, and how fast, makes no difference."""
        return digest(
            self.recipe.settled().model_dump(
                mode="json", exclude={"train": {"device", "threads"}}
            )
        )

    @property
    def result_key(self) -> str:
        """Name of all that decides on a result, besides its source and its model."""
        names = {"dtype", "turns", "blend", "estimate", "axes", "channel", "image"}
        facts = self.model_dump(mode="json", include=names)
        return digest({**facts, **({"adjust": self.adjust} if self.adjust else {})})
