"""How to train, as it is chosen in a dock."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_blindsound.gui.data import Data
    from napari_blindsound.methods.base import Method
    from napari_blindsound.pace import Pace
    from napari_blindsound.recipe import Recipe

DEFAULT_SECONDS = 60.0


@dataclass(frozen=True)
class Plan:
    """How to train, as chosen in the dock.

    Parameters
    ----------
    method, preset : str
    settings : mapping
        Changes to the preset.
    unit : {"seconds", "steps", "preset"}
        What `amount` counts; "preset" takes the preset's number of steps.
    amount : float
    ending : {"last", "auto"}
        Whether training goes on to the end of that, or ends, with the best weights, as
        soon as more steps bring nothing. By default all is as in the preset ``fast``.
    seed : int
    device : str
    """

    method: str = "blind2unblind"
    preset: str = "fast"
    settings: Mapping[str, Any] = field(default_factory=dict)
    unit: Literal["seconds", "steps", "preset"] = "seconds"
    amount: float = DEFAULT_SECONDS
    ending: Literal["last", "auto"] = "auto"
    seed: int = 0
    device: str = "auto"

    def as_preset(self, method: type[Method], preset: str) -> Plan:
        """The plan with a preset of a method: its settings, length and ending."""
        length = method.Config.length(preset)
        return replace(
            self,
            method=method.name,
            preset=preset,
            settings={},
            unit="seconds" if length.seconds else "preset",
            amount=length.seconds or self.amount,
            ending="auto" if length.ending == "auto" else "last",
        )

    def recipe(self, data: Data, pace: Pace | None) -> Recipe:
        """The training, by a number of steps, so that it can be repeated.

        Raises
        ------
        ValueError
            If a setting does not fit.
        """
        from napari_blindsound.recipe import Recipe
        from napari_blindsound.training.trainer import TrainConfig

        steps = int(self.amount) if self.unit == "steps" else None
        if self.unit == "seconds" and pace is not None:
            steps = pace.steps_for(self.amount, judged=self.ending != "last")
        train = TrainConfig(
            steps=steps,
            seed=self.seed,
            device=self.device,
            threads=pace.threads if pace is not None else None,
        )
        recipe = Recipe(
            method=self.method,
            preset=self.preset,
            settings=dict(self.settings),
            channels=data.channels,
            train=train,
        )
        implied = recipe.settled().train
        if (implied.seconds, implied.ending) != (None, self.ending):
            train = train.model_copy(update={"ending": self.ending})
            recipe = recipe.model_copy(update={"train": train})
        recipe.config()
        return recipe
