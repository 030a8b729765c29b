"""Options of ``run`` and ``train`` that derive from what a method says about itself.

Nothing here knows a method: every field of its configuration becomes an option, which
replaces the preset's value where it is given.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, make_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from cyclopts import Group, Parameter

from napari_blindsound import methods
from napari_blindsound.cli.options import MODEL_GROUP, TrainingOptions
from napari_blindsound.inference.estimate import estimates
from napari_blindsound.recipe import Recipe
from napari_blindsound.training.trainer import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FunctionType

    from pydantic.fields import FieldInfo

    from napari_blindsound.methods.base import Method, MethodConfig

_STEPS = (
    "Steps of training. Without this, --seconds and --ending, a preset says how long: "
    "{lengths}. With --ending alone, its number of steps counts"
)
_BOUNDS: dict[type, str] = {Ge: "at least", Gt: "above", Le: "at most", Lt: "below"}


@dataclass(frozen=True, kw_only=True)
class TailoredOptions(TrainingOptions):
    """Options of training, with one for each setting of a method in a subclass."""

    def recipe(self) -> Recipe:
        """Turn what was typed into a recipe.

        Raises
        ------
        pydantic.ValidationError
            If a value is out of bounds.
        """
        config = methods.find(self.method).Config
        # Only what was typed: vars, since the base class has no settings.
        given = {name: vars(self).get(name) for name, _, _ in _settings(config)}
        recipe = Recipe(
            method=self.method,
            preset=self.preset or next(iter(config.presets)),
            settings={n: value for n, value in given.items() if value is not None},
            channels=self.channels,
            train=TrainConfig(
                steps=self.steps,
                seconds=self.seconds,
                ending=self.ending,
                seed=self.seed,
                device=self.device,
                threads=self.threads,
            ),
            stop_after=self.stop_after,
            one_thread_after=self.one_thread_after,
        )
        recipe.config()
        return recipe


def tailored(command: FunctionType, method: str | None) -> FunctionType:
    """Give a command the options of a method.

    Parameters
    ----------
    command : function
        With a keyword ``training`` of type :class:`TailoredOptions`.
    method : str or None
        The method typed; if there is no such one, the default's options are taken and
        the choice is refused when the words are read.
    """
    found = methods.available()
    options = options_of(found.get(method or "", found[methods.DEFAULT]))
    # cyclopts takes types and defaults from the function itself.
    command.__annotations__["training"] = options
    command.__kwdefaults__ = {**(command.__kwdefaults__ or {}), "training": options()}
    return command


def options_of(method: type[Method]) -> type[TailoredOptions]:
    """Class of the options for one method."""
    config = method.Config
    group = Group(
        f"Settings of {method.title}",
        help=f"Each replaces one value of the preset ({', '.join(config.presets)}).",
        sort_key=50,
    )
    choices = {
        "method": tuple(methods.available()),
        "preset": tuple(config.presets),
    }
    choosing = [(name, Literal[words], words[0]) for name, words in choices.items()]
    estimate = [
        (name, Annotated[Literal[words] | None, Parameter(group=MODEL_GROUP)], None)
        for name, words in {"estimate": estimates(method)}.items()
    ]
    lengths = "; ".join(f"{p} {config.length_in_words(p)}" for p in config.presets)
    told = f"{_STEPS.format(lengths=lengths)}: {_by_preset(config, 'steps')}."
    steps = Parameter(help=told)
    setting = [
        (name, Annotated[kind | None, Parameter(help=text, group=group)], None)
        for name, kind, text in _settings(config)
    ]
    made = make_dataclass(
        f"OptionsOf{method.__name__}",
        [
            *choosing,
            *estimate,
            ("steps", Annotated[int | None, steps], None),
            *setting,
        ],
        bases=(TailoredOptions,),
        # Where the annotations of the base classes can be looked up.
        namespace={"__module__": TrainingOptions.__module__},
        frozen=True,
        kw_only=True,
    )
    return Parameter(name="*")(made)


def _settings(config: type[MethodConfig]) -> Iterator[tuple[str, Any, str]]:
    """Name, type and help of every setting that training itself has no option for."""
    taken = {option.name for option in fields(TrainingOptions)}
    for name, info in config.model_fields.items():
        if name not in taken:
            text, presets = _sentence(info), _by_preset(config, name)
            yield name, info.annotation, f"{text} Presets: {presets}."


def _sentence(info: FieldInfo) -> str:
    """Say what a setting is, and its bounds."""
    text = info.description or ""
    limits = {
        kind: f"{getattr(limit, kind.__name__.lower()):g}"
        for limit in info.metadata
        for kind in _BOUNDS
        if isinstance(limit, kind)
    }
    if {Ge, Le} <= limits.keys():
        within = f" ({limits[Ge]} to {limits[Le]})"
    else:
        bounds = ", ".join(f"{_BOUNDS[kind]} {limit}" for kind, limit in limits.items())
        within = f" ({bounds})" if bounds else ""
    return f"{text[:1].upper()}{text[1:]}{within}."


def _by_preset(config: type[MethodConfig], name: str) -> str:
    """Value in each preset: ``4`` where all agree, otherwise ``fast 4, paper 16``."""
    presets = {preset: config.preset(preset) for preset in config.presets}
    words = {preset: _word(getattr(made, name)) for preset, made in presets.items()}
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return ", ".join(f"{preset} {word}" for preset, word in words.items())


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "left to the images"
    if value == "":
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
