"""What is compared, and how much time each method is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from napari_blindsound.comparison.rows import Row
from napari_blindsound.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DEFAULT_SECONDS = 60.0


class CompareConfig(BaseModel):
    """Who takes part, and under which conditions: the same for all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    methods: tuple[str, ...] | None = Field(
        None, description="names of the methods to train; all there are by default"
    )
    references: tuple[str, ...] | None = Field(
        None, description="names of classical references; all there are by default"
    )
    preset: str | None = Field(
        None,
        description="settings of the methods that have a preset of this name; others, "
        "and all by default, take their first",
    )
    seconds: float = Field(
        DEFAULT_SECONDS, gt=0, description="time to train each method, one by one"
    )
    steps: int | None = Field(
        None, ge=1, description="steps to train each method, in place of the seconds"
    )
    alone: bool = Field(
        False,
        description="denoise each plane without its neighbors, also with methods that "
        "can make use of them",
    )
    seed: int = Field(0, ge=0, description="seed of every random choice")
    device: str = Field("auto", description="auto, cpu, cuda (or cuda:1), mps")
    threads: int | None = Field(
        None, ge=1, description="processor threads; by default torch's own number"
    )

    @property
    def budget(self) -> str:
        """What each method is given, in words."""
        if self.steps is not None:
            return f"{self.steps} steps"
        return f"{self.seconds:g} s"

    def rows(self) -> list[Row]:
        """Who takes part, references first, none of them begun.

        Raises
        ------
        RecipeError
            If there is no such method or reference, or nobody takes part.
        """
        from napari_blindsound.methods import available
        from napari_blindsound.quality.references import references

        kinds, methods = references(), available()
        rows = [
            Row(name, kinds[name].title, is_reference=True)
            for name in _chosen(self.references, kinds, "reference")
        ]
        for name in _chosen(self.methods, methods, "method"):
            presets = methods[name].Config.presets
            preset = self.preset if self.preset in presets else next(iter(presets))
            rows.append(Row(name, methods[name].title, preset=str(preset)))
        if not rows:
            msg = "nothing is chosen to compare: name a method or a reference"
            raise RecipeError(msg)
        return rows


def _chosen(
    wanted: Sequence[str] | None, there: Iterable[str], what: str
) -> Iterable[str]:
    names = list(there)
    unknown = [name for name in wanted or () if name not in names]
    if unknown:
        msg = f"no {what} {unknown[0]!r}; there are {', '.join(names)}"
        raise RecipeError(msg)
    return names if wanted is None else dict.fromkeys(wanted)
