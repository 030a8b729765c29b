"""What a training is made of: a method, its settings, its length, its seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from napari_blindsound import methods as registry
from napari_blindsound.training.trainer import TrainConfig

if TYPE_CHECKING:
    from napari_blindsound.methods.base import MethodConfig


class Recipe(BaseModel):
    """Everything that decides what a training makes of an image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = Field(registry.DEFAULT, description="denoising method")
    preset: str = Field("fast", description="named settings of the method")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="changes to the preset"
    )
    channels: Literal["each", "joint"] = Field(
        "each",
        description="train one network a channel, or one on all channels jointly",
    )
    train: TrainConfig = Field(
        TrainConfig(), description="how long to train, where, and from which seed"
    )
    stop_after: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        None,
        description="step at which each network ended, where a training was stopped "
        "early: repeats that training",
    )

    one_thread_after: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        None,
        description="step from which each network was trained with one processor "
        "thread, where other programs kept the others busy: repeats that training",
    )

    def config(self) -> MethodConfig:
        """Settings of the method.

        Raises
        ------
        ValueError
            If there is no such method, preset or setting.
        """
        return registry.find(self.method).Config.preset(self.preset, self.settings)

    def settled(self) -> Self:
        """The recipe with the length and the ending that it leaves to its preset.

        What is given always counts. Where neither steps, seconds nor an ending are, the
        training is that of the preset. An ending alone comes after the preset's number
        of steps; a length alone is used up with the last weights, unless the preset is
        open-ended.

        Raises
        ------
        ValueError
            If there is no such method.
        """
        train = self.train
        length = registry.find(self.method).Config.length(self.preset)
        changes: dict[str, Any] = {"least_gain": train.least_gain or length.least_gain}
        given = train.steps, train.seconds, self.settings.get("steps")
        if train.ending is None and given == (None, None, None):
            changes |= {"seconds": length.seconds, "ending": length.ending}
        elif train.ending is None:
            is_open = length.seconds is None
            changes |= {"ending": length.ending if is_open else "last"}
        changed = train.model_copy(update=changes)
        return self.model_copy(update={"train": changed})
