"""The training that a recipe describes, from noisy images to a denoiser."""

from __future__ import annotations

import threading
import time
from copy import deepcopy
from typing import TYPE_CHECKING, Literal

from napari_blindsound import methods as registry
from napari_blindsound.errors import ModelError, RecipeError
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.networks.device import pick_device
from napari_blindsound.networks.weights import seeded
from napari_blindsound.noise.neighbors import Choice, choose_context
from napari_blindsound.quality.uncertainty import calibrated, calibration_pixels
from napari_blindsound.recipe.provenance import provenance
from napari_blindsound.training.checkpoint import (
    load_tensors,
    prefixed,
    save_tensors,
    under,
)
from napari_blindsound.training.events import Finished, Reason, TrainEvent
from napari_blindsound.training.judge import Judge
from napari_blindsound.training.preprocessing import Preprocessing
from napari_blindsound.training.sampling import CACHE_BYTES, PatchSampler
from napari_blindsound.training.several import in_turns, steps
from napari_blindsound.training.start import Start, begin
from napari_blindsound.training.threads import fixed
from napari_blindsound.training.trainer import Trainer, step_pixels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    from napari_blindsound.images.volume import Volume
    from napari_blindsound.methods.base import MethodConfig, Stage
    from napari_blindsound.recipe.recipe import Recipe


class Training:
    """A training that can be watched, stopped, saved and continued.

    Parameters
    ----------
    images : sequence of Volume
        With the same channels.
    recipe : Recipe
    may_fall_back : bool
        Go on with one processor thread where other programs make several slow. The step
        is kept in the model's provenance, and repeats the training from a recipe.

    Raises
    ------
    DataError
        If the pixels cannot be trained on: constant, not finite, too few.
    RecipeError
        If the recipe stops another number of networks than are trained, or has no steps
        and no weights to begin with.
    """

    def __init__(
        self, images: Sequence[Volume], recipe: Recipe, *, may_fall_back: bool = False
    ) -> None:
        started = time.perf_counter()
        self.images, self.recipe = tuple(images), recipe.settled()
        self.preprocessing = Preprocessing.fit(self.images, seed=recipe.train.seed)
        # One configuration for all networks, as a model has one.
        self.choice: Choice | None = None
        self.config = self._settled()
        # Of each network.
        self.starts: list[Start] = []
        self.reason: Literal["not started"] | Reason = "not started"
        self._may_fall_back = may_fall_back
        networks = self._networks()
        count = len(networks)
        self._trainers = [
            self._trainer(*network, stop_after=stop, one_thread_after=alone)
            for network, stop, alone in zip(
                networks,
                _one_each("stop_after", recipe.stop_after, count),
                _one_each("one_thread_after", recipe.one_thread_after, count),
                strict=True,
            )
        ]
        self._refuse_nothing()
        self._count_preparation(time.perf_counter() - started)
        last = self._trainers[-1]
        pixels = calibration_pixels(last.method, self.images)
        last.forecast.afterwards = pixels / step_pixels(last.method)

    def run(self, stop: threading.Event | None = None) -> Iterator[TrainEvent]:
        """Train; several networks in turns, so that all are equally far when stopped.

        Parameters
        ----------
        stop : threading.Event, optional
            Set it from anywhere to end within a second, with a good model. Run again,
            training goes on as if it had not been stopped.

        Yields
        ------
        TrainEvent
            `Progress` of the whole, at most ten times a second, `Judged` where the best
            weights are asked for, and `Finished` last.
        """
        stop = stop or threading.Event()
        for event in in_turns(self._trainers, stop):
            if isinstance(event, Finished):
                self.reason = event.reason
            yield event

    def denoiser(self, output: str | None = None, *, latest: bool = False) -> Denoiser:
        """What has been learned so far, frozen; good at any moment.

        Parameters
        ----------
        output : str, optional
            Which of the method's estimates it returns.
        latest : bool
            The weights as they are now, even where earlier ones are known to be better.
        """
        networks = [t.averaged if latest else t.result for t in self._trainers]
        found = [dict(network.found()) for network in networks]
        return Denoiser(
            deepcopy(networks),
            self.preprocessing,
            output=output,
            device=self.recipe.train.device,
            provenance={
                **provenance(
                    self.recipe,
                    self.images,
                    self._trainers,
                    ended=self.reason,
                    starts=self.starts,
                    choice=self.choice,
                ),
                **({"found": found} if any(found) else {}),
            },
        )

    def result(self) -> Denoiser:
        """As :meth:`denoiser`, with deviations that were compared with the images.

        Where the method knows deviations, that takes a second or two.
        """
        with fixed(self.recipe.train.threads):
            return calibrated(self.denoiser(), self.images, seed=self.recipe.train.seed)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Parts of the training, the same for all networks."""
        return self._trainers[0].method.stages

    @property
    def steps(self) -> int:
        """Steps that all networks have done."""
        return steps(self._trainers)

    def skip_to(self, progress: float) -> None:
        """Go to a part of a training by steps that was not trained for: to time it."""
        for trainer in self._trainers:
            trainer.skip_to(progress)

    def save(self, path: Path | str) -> Path:
        """Write a checkpoint to :meth:`restore` from.

        Raises
        ------
        OutputError
            If it cannot be written; an earlier one then stays whole.
        """
        tensors: dict[str, Tensor] = {}
        numbers = []
        for index, trainer in enumerate(self._trainers):
            part, header = trainer.state()
            tensors |= prefixed(str(index), part)
            numbers.append(header)
        return save_tensors(path, tensors, {"checkpoint": numbers})

    def restore(self, path: Path | str) -> None:
        """Continue from a checkpoint; the rest is as if there had been no pause.

        Raises
        ------
        ModelError
            If the checkpoint is of another training.
        """
        tensors, header = load_tensors(path)
        numbers = header.get("checkpoint", [])
        if len(numbers) != len(self._trainers):
            msg = (
                f"{path} is not a checkpoint of this training; give the file written "
                f"by --checkpoint, with the same image and settings"
            )
            raise ModelError(msg)
        for index, trainer in enumerate(self._trainers):
            trainer.restore(under(str(index), tensors), numbers[index])

    def close(self) -> None:
        """Free the cached pixels and end the reading threads."""
        for trainer in self._trainers:
            trainer.patches.close()

    def _refuse_nothing(self) -> None:
        """Refuse no steps at all from weights that know nothing.

        Raises
        ------
        RecipeError
            With what to do.
        """
        for trainer, start in zip(self._trainers, self.starts, strict=True):
            if trainer.budget_steps == 0 and not trainer.is_warm:
                why = start.words or "its method begins with random weights"
                msg = (
                    f"a training of no steps, as of the preset instant, needs weights "
                    f"to begin with that suit the image, but {why}; choose the preset "
                    f"fast, or a number of steps or seconds"
                )
                raise RecipeError(msg)

    def _count_preparation(self, seconds: float) -> None:
        """Who gives it a minute gets the model after a minute, preparation included.

        At least half of the time is left for training.
        """
        budget = self.recipe.train.seconds or float("inf")
        share = min(seconds, budget / 2) / len(self._trainers)
        for trainer in self._trainers:
            trainer.seconds = share

    def _networks(self) -> list[tuple[str, list[Volume], Preprocessing, int]]:
        """Name, images, preprocessing and channels of each network to train."""
        first, count = self.images[0], self.images[0].n_channels
        if count == 1 or self.recipe.channels == "joint":
            return [("", list(self.images), self.preprocessing, count)]
        names = first.channel_names or [f"channel {i}" for i in range(count)]
        return [
            (
                name,
                [image.select(C=index) for image in self.images],
                self.preprocessing.of_channel(index),
                1,
            )
            for index, name in enumerate(names)
        ]

    def _trainer(
        self,
        network: str,
        images: Sequence[Volume],
        preprocessing: Preprocessing,
        channels: int,
        *,
        stop_after: int | None,
        one_thread_after: int | None,
    ) -> Trainer:
        config, train = self.config, self.recipe.train
        networks = 1 if self.recipe.channels == "joint" else self.images[0].n_channels
        if train.seconds is not None:
            train = train.model_copy(update={"seconds": train.seconds / networks})
        with seeded(train.seed):
            method = registry.find(self.recipe.method)(config, channels)
        method.calibrate(preprocessing.normalized_noise(), preprocessing.intensity)
        patches = PatchSampler(
            images,
            preprocessing,
            patch=config.patch,
            batch=config.batch,
            stride=method.stride,
            orientations=config.orientations if config.augment else (0,),
            device=pick_device(train.device),
            cache_bytes=CACHE_BYTES // networks,
            seed=train.seed,
            hold_out=train.ending != "last",
            context=config.neighbors,
        )
        length = train.seconds or config.steps if train.steps is None else train.steps
        start = begin(method, images, preprocessing, seed=train.seed, length=length)
        self.starts.append(start)
        judge = None
        if train.ending != "last":
            judge = Judge(
                images,
                preprocessing,
                method,
                device=pick_device(train.device),
                seed=train.seed,
            )
        return Trainer(
            method,
            patches,
            train,
            network=network,
            stop_after=stop_after,
            one_thread_after=one_thread_after,
            may_fall_back=self._may_fall_back,
            judge=judge,
        )

    def _settled(self) -> MethodConfig:
        """Settings of which none is left to the images any more.

        Raises
        ------
        RecipeError
            If an image has not the neighboring planes that the recipe wants.
        """
        region = self.preprocessing.region()
        config = self.recipe.config().suited(region)
        if getattr(config, "context", None) == "auto":
            self.choice = choose_context(
                self.images,
                self.preprocessing.noise,
                self.preprocessing.hot_pixels,
                region=region,
                seed=self.recipe.train.seed,
            )
            config = config.beside(self.choice.context)
        for image in self.images:
            if not config.neighbors.fits(image):
                msg = (
                    f"the setting context={config.neighbors.name} wants "
                    f"{config.neighbors.words}, but {image.name} has axes "
                    f"{image.axes.names} of {image.shape}: give stacks of at least "
                    f"{config.neighbors.planes + 1} planes along "
                    f"{config.neighbors.axis}, or another context"
                )
                raise RecipeError(msg)
        return config


def _one_each(
    name: str, steps: tuple[int, ...] | None, networks: int
) -> Sequence[int | None]:
    """A step for each network, if the recipe has any."""
    if steps is None:
        return [None] * networks
    if len(steps) != networks:
        msg = (
            f"{name} has {len(steps)} steps, but {networks} network(s) are trained; "
            f"give one step for each"
        )
        raise RecipeError(msg)
    return steps
