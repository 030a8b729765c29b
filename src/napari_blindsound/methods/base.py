"""What every denoising method is: a configuration, a loss, an inference rule.

One file in this folder is one method. It is found by its place, not by a list; the
command line's options and help, the docks' forms and the tests of the common contract
derive from what the class says about itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from napari_blindsound.images.context import NO_CONTEXT, Context
from napari_blindsound.networks.symmetry import ALL_TURNS

if TYPE_CHECKING:
    from napari_blindsound.images.intensity import Intensity
    from napari_blindsound.networks.family import Member
    from napari_blindsound.noise.calibration import NoiseModel

DEVIATION = "deviation"
"""Name of the output that is a standard deviation, where a method has one."""

ESTIMATED = "estimated"
"""Word for a setting that is left to the images, where None cannot be written."""


@dataclass(frozen=True)
class Stage:
    """A named part of a training, with a learning rate schedule of its own.

    Parameters
    ----------
    name : str
        What is learned in it, for the user; empty where it is the only one.
    end : float
        Fraction of the training at which it is over, above 0 and at most 1.
    """

    name: str
    end: float


@dataclass(frozen=True)
class Length:
    """How long a preset trains where nobody says, and with which weights it ends.

    Parameters
    ----------
    seconds : float or None
        For all networks together; without them, the preset's number of steps counts.
    ending : {"last", "best", "auto"}
        As of a training; with ``auto`` the steps or seconds are only the most.
    least_gain : float or None
        As of a training, too: how little ends it by itself.
    """

    seconds: float | None = None
    ending: Literal["last", "best", "auto"] = "last"
    least_gain: float | None = None

    def words(self, steps: int) -> str:
        """Say it to a user, with the preset's number of steps."""
        if not (steps or self.seconds):
            return "no training"
        length = f"{self.seconds:g} s" if self.seconds else f"{steps} steps"
        if self.ending == "auto":
            return f"until it stops improving, at most {length}"
        return f"{length}, best weights" if self.ending == "best" else length


class MethodConfig(BaseModel):
    """Settings every method has; a method adds its own in a subclass.

    Everything that depends on how far training has come is a fraction of it, so that
    the same settings serve ten seconds and ten hours.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    """Named changes to the defaults; the first name is the default preset."""
    lengths: ClassVar[Mapping[str, Length]] = {
        "fast": Length(60.0, "auto"),
        "best": Length(ending="auto", least_gain=0.01),
    }
    """How long presets train; one that is not here does its number of steps."""
    adjustable: ClassVar[tuple[str, ...]] = ()
    """Settings that a trained model may change: the weights depend on none of them."""

    patch: int = Field(64, ge=16, description="side of a training crop, in pixels")
    batch: int = Field(4, ge=1, description="training crops in one step")
    learning_rate: float = Field(
        3e-3, gt=0, description="highest learning rate of the schedule"
    )
    schedule: Literal["one-cycle", "halving"] = Field(
        "one-cycle",
        description="learning rate over training: rise and fall, or halved at "
        "20, 40, 60 and 80 %",
    )
    clip: float = Field(
        1.0, ge=0, description="largest norm of the gradient; 0 leaves it alone"
    )
    tighten: int = Field(
        0,
        ge=0,
        description="after every so many steps, clip falls to the gradient's mean norm "
        "over them, if that is smaller; 0 leaves it alone",
    )
    averaging: float = Field(
        0.998,
        ge=0,
        lt=1,
        description="decay of the running average of the weights; 0 takes the last",
    )
    weight_decay: float = Field(0.0, ge=0, description="Adam's L2 penalty")
    augment: bool = Field(
        True,
        description="flip and turn the crops; switch off where noise has a direction",
    )
    steps: int = Field(
        4000,
        ge=0,
        description="steps of training where no number or time is given; none leaves "
        "a warm start as it is",
    )

    @classmethod
    def preset(cls, name: str, changes: Mapping[str, object] | None = None) -> Self:
        """Settings of a named preset, with `changes` on top.

        Raises
        ------
        ValueError
            If there is no such preset or setting, or a value is out of bounds.
        """
        if name not in cls.presets:
            msg = f"no preset {name!r}; there are {', '.join(cls.presets)}"
            raise ValueError(msg)
        return cls.model_validate({**cls.presets[name], **(changes or {})})

    @classmethod
    def length(cls, preset: str) -> Length:
        """How long a preset trains where nobody says."""
        return cls.lengths.get(preset, Length())

    @classmethod
    def length_in_words(cls, preset: str) -> str:
        """The same for a user."""
        return cls.length(preset).words(cls.preset(preset).steps)

    def adjusted(self, changes: Mapping[str, object]) -> Self:
        """Settings of a trained model, with other values in some that may change.

        Parameters
        ----------
        changes : mapping of str to object
            By the names in :attr:`adjustable`. None, or the word ``estimated``, leaves
            a setting to the images where it may be left to them.

        Raises
        ------
        ValueError
            If one of them decides on the weights, or a value is out of bounds.
        """
        for name in changes:
            if name not in self.adjustable:
                offered = ", ".join(self.adjustable) or "none of its settings"
                what = (
                    "decides on what is learned"
                    if name in self.facts()
                    else "is no setting"
                )
                msg = (
                    f"{name} {what}, and cannot be set in a trained model; what can be "
                    f"is {offered}"
                )
                raise ValueError(msg)
        values = {n: None if v == ESTIMATED else v for n, v in changes.items()}
        return self.model_validate({**self.model_dump(), **values})

    def suited(self, region: tuple[int, int]) -> Self:
        """Settings for noise that neighbors share; these, where a method has none.

        Parameters
        ----------
        region : tuple of int
            Rows and columns on each side of a pixel that share its noise; (0, 0) where
            the noise is independent from pixel to pixel.
        """
        del region
        return self

    def beside(self, context: Context) -> Self:
        """Settings for planes that are seen with their neighbors; or just these.

        Parameters
        ----------
        context : Context
            The neighbors that pay, in place of ``auto``.
        """
        del context
        return self

    @property
    def neighbors(self) -> Context:
        """Neighboring planes that the network sees beside the one it denoises."""
        return NO_CONTEXT

    def facts(self) -> dict[str, Any]:
        """Plain data that decides what a model is, as :meth:`model_validate` takes."""
        return self.model_dump(mode="json")

    @property
    def orientations(self) -> tuple[int, ...]:
        """Flips and turns after which an image still has the same kind of noise.

        Numbers of :func:`napari_blindsound.networks.symmetry.turned`.
        """
        return ALL_TURNS


class WarmConfig(MethodConfig):
    """Settings of methods whose training can begin with weights of the family."""

    start: Literal["auto", "warm", "cold"] = Field(
        "auto",
        description="first weights: cold, drawn at random; warm, those that synthetic "
        "images taught a network of this width and depth; auto, these where they "
        "predict pixels of the image clearly better than the mean of their neighbors",
    )

    def facts(self) -> dict[str, Any]:
        """Without the start: what a trained model is does not depend on the wish."""
        found = super().facts()
        found.pop("start")
        return found


class Method(nn.Module, ABC):
    """A trainable denoiser of normalized images.

    Parameters
    ----------
    config : MethodConfig
        The method's settings, of class :attr:`Config`.
    channels : int
        Channels denoised jointly.

    Attributes
    ----------
    random : torch.Generator
        Source of every random choice in the loss; lives on the CPU.
    started_from : str
        Name of the family's member that gave the first weights; empty if none did.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str]
    assumes: ClassVar[str]
    """What the noise must be like, for the user, without a full stop."""
    cost: ClassVar[str]
    """What training and denoising take, beside the other methods."""
    limits: ClassVar[str]
    """What it cannot do, or where it loses."""
    Config: ClassVar[type[MethodConfig]]
    outputs: ClassVar[tuple[str, ...]] = ("denoised",)
    """Names of the estimates :meth:`denoise` can return, the default first."""
    ends: ClassVar[tuple[str, str] | None] = None
    """Two of the outputs between which a user may blend; None where none belong so."""

    def __init__(self, config: MethodConfig, channels: int = 1) -> None:
        super().__init__()
        self.config = config
        self.channels = channels
        self.random = torch.Generator()
        self.started_from = ""

    def adjusted(self, changes: Mapping[str, object]) -> Self:
        """The same weights with other settings, see :meth:`MethodConfig.adjusted`.

        Raises
        ------
        ValueError
            If a setting decides on the weights, or a value is out of bounds.
        """
        twin = copy(self)
        twin.config = self.config.adjusted(changes)
        return twin

    @property
    def context(self) -> Context:
        """Neighboring planes that :meth:`denoise` wants beside the plane."""
        return self.config.neighbors

    @property
    def inputs(self) -> int:
        """Channels of what it is given: those of the plane, then of its neighbors."""
        return self.channels * self.context.depth

    @property
    def starter(self) -> nn.Module | None:
        """Network of noisy image to denoised one, for weights of the family.

        None, unless a method says which of its networks that is.
        """
        return None

    @property
    def is_delicate(self) -> bool:
        """Whether what it learns with is good from the start, and could be lost."""
        return bool(self.started_from)

    def start_from(self, member: Member) -> None:
        """Begin with weights that synthetic images taught.

        Parameters
        ----------
        member : Member
            Of the family, one that fits :attr:`starter`.

        Raises
        ------
        ModelError
            If it does not fit.
        """
        assert self.starter is not None
        member.give(self.starter)
        self.started_from = member.name

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Parts of the training in their order; the last of them ends at 1."""
        return (Stage("", 1.0),)

    def stage_at(self, progress: float) -> tuple[int, float]:
        """Number of the stage, from 0, and the part of it that is done.

        Parameters
        ----------
        progress : float
            Fraction of the training done, from 0 to 1.
        """
        ends = [stage.end for stage in self.stages]
        number = min(bisect_right(ends, progress), len(ends) - 1)
        start = ends[number - 1] if number else 0.0
        return number, (progress - start) / (ends[number] - start)

    def parts(self) -> Sequence[tuple[nn.Module, float]]:
        """Networks clipped apart, with their learning rate in parts of the config's."""
        return [(self, 1.0)]

    @property
    @abstractmethod
    def halo(self) -> int:
        """Pixels of context a side that an output pixel may depend on."""

    @property
    @abstractmethod
    def stride(self) -> int:
        """Pixels to which origin and size of tiles and crops are aligned."""

    @property
    @abstractmethod
    def bytes_per_pixel(self) -> int:
        """Working memory of :meth:`denoise`, in bytes per pixel of its input."""

    @property
    def trained_blend(self) -> float | None:
        """Weight of the second of :attr:`ends` in training; None without ends."""
        return None

    def calibrate(self, noise: Sequence[NoiseModel], intensity: Intensity) -> None:
        """Take note of the noise; methods that assume nothing of it have no use for it.

        Parameters
        ----------
        noise : sequence of NoiseModel
            Of normalized images, one a channel.
        intensity : Intensity
            Between counts and normalized images, for what is told in counts.
        """

    def found(self) -> Mapping[str, float]:
        """Numbers that the training has found of the noise, in counts, by their names.

        Names are for the user, such as ``noise, at most``; where there are several
        channels, a name says which.
        """
        return {}

    @abstractmethod
    def losses(
        self, noisy: Tensor, progress: float, weight: Tensor | None = None
    ) -> Iterator[dict[str, Tensor]]:
        """Parts of the loss, whose sum is minimized.

        Each part has a graph of its own, so that its gradient can be taken and its
        memory freed before the next part is computed.

        Parameters
        ----------
        noisy : Tensor
            Normalized crops, (B, inputs, H, W).
        progress : float
            Fraction of the training done, from 0 to 1.
        weight : Tensor, optional
            (B, C, H, W), 0 at pixels that must not teach, such as saturated ones.

        Yields
        ------
        dict of str to Tensor
            Scalar terms by name.
        """

    @abstractmethod
    def denoise(
        self, noisy: Tensor, *, halo: int = 0, output: str | None = None
    ) -> Tensor:
        """Denoise the core of a tile.

        Parameters
        ----------
        noisy : Tensor
            Normalized, (B, inputs, H + 2 halo, W + 2 halo); H, W and `halo` multiples
            of :attr:`stride`.
        halo : int
            Context around the core: 0 (the tile ends in nothing), or at least
            :attr:`halo` (the result is that of the whole image).
        output : str, optional
            One of :attr:`outputs`; the first by default.

        Returns
        -------
        Tensor
            (B, C, H, W).
        """

    def curve(self, terms: Mapping[str, float], progress: float) -> float:
        """The loss as it is drawn: one number that means the same at any `progress`.

        Parameters
        ----------
        terms : mapping of str to float
            Of :meth:`losses`, on average over some steps.
        progress : float
            Fraction of the training done.
        """
        return sum(terms.values())

    def loss(
        self, noisy: Tensor, progress: float, weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Terms of the loss as a whole: the parts of :meth:`losses`, added up."""
        total: dict[str, Tensor] = defaultdict(lambda: noisy.new_zeros(()))
        for part in self.losses(noisy, progress, weight):
            for name, term in part.items():
                total[name] = total[name] + term
        return dict(total)
