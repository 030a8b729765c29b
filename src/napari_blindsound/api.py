"""What the command line, the docks and scripts call: train on images, apply the result.

>>> import napari_blindsound as nb
>>> model = nb.train("stack.tif", seconds=60)  # doctest: +SKIP
>>> nb.denoise("stack.tif", model, "denoised.ome.zarr")  # doctest: +SKIP
"""

from __future__ import annotations

import platform
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

import napari_blindsound
from napari_blindsound import methods as registry
from napari_blindsound.errors import ModelError
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.inference.store import WriteConfig, write
from napari_blindsound.inference.tiling import denoise_region
from napari_blindsound.networks.device import pick_device
from napari_blindsound.training.checkpoint import (
    load_tensors,
    prefixed,
    save_tensors,
    under,
)
from napari_blindsound.training.events import Finished, TrainEvent
from napari_blindsound.training.preprocessing import Preprocessing
from napari_blindsound.training.sampling import PatchSampler
from napari_blindsound.training.trainer import TrainConfig, Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from napari_blindsound.inference.store import WriteEvent
    from napari_blindsound.methods.base import Method, MethodConfig

Source = Any
"""Whatever `open_volume` takes: a path, a list of them, an array, a Volume."""


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
    train: TrainConfig = TrainConfig()

    def config(self) -> MethodConfig:
        """Settings of the method.

        Raises
        ------
        ValueError
            If there is no such method, preset or setting.
        """
        return registry.find(self.method).Config.preset(self.preset, self.settings)


class Training:
    """A training that can be watched, stopped, saved and continued.

    Parameters
    ----------
    images : sequence of Volume
        With the same channels.
    recipe : Recipe

    Raises
    ------
    DataError
        If the pixels cannot be trained on: constant, not finite, too few.
    """

    def __init__(self, images: Sequence[Volume], recipe: Recipe) -> None:
        started = time.perf_counter()
        self.images, self.recipe = tuple(images), recipe
        self.preprocessing = Preprocessing.fit(self.images, seed=recipe.train.seed)
        self.reason = "not started"
        self._trainers = [self._trainer(*stage) for stage in self._stages()]
        # Who gives it a minute gets the model after a minute, preparation included.
        self._trainers[0].seconds = time.perf_counter() - started

    def run(self, stop: threading.Event | None = None) -> Iterator[TrainEvent]:
        """Train; channel after channel where each has its own network.

        The first of the events that matter is `Progress`, the last `Finished`.
        """
        stop = stop or threading.Event()
        for trainer in self._trainers:
            for event in trainer.run(stop):
                if isinstance(event, Finished):
                    self.reason = event.reason
                yield event
            if stop.is_set():
                return
            trainer.patches.close()

    def denoiser(self, output: str | None = None) -> Denoiser:
        """What has been learned so far, frozen; good at any moment."""
        return Denoiser(
            [_frozen_copy(trainer) for trainer in self._trainers],
            self.preprocessing,
            output=output,
            device=self.recipe.train.device,
            provenance=self._provenance(),
        )

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

    def _stages(self) -> list[tuple[str, list[Volume], Preprocessing, int]]:
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
        stage: str,
        images: Sequence[Volume],
        preprocessing: Preprocessing,
        channels: int,
    ) -> Trainer:
        config, train = self.recipe.config(), self.recipe.train
        networks = 1 if self.recipe.channels == "joint" else self.images[0].n_channels
        if train.seconds is not None:
            train = train.model_copy(update={"seconds": train.seconds / networks})
        # The seed decides the first weights, and leaves torch's own generator alone.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(train.seed)
            method = registry.find(self.recipe.method)(config, channels)
        patches = PatchSampler(
            images,
            preprocessing,
            patch=config.patch,
            batch=config.batch,
            stride=method.stride,
            augment=config.augment,
            device=pick_device(train.device),
            seed=train.seed,
        )
        return Trainer(method, patches, train, stage=stage)

    def _provenance(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "trained_on": [
                {
                    "name": image.name,
                    "source": image.source,
                    "axes": image.axes.names,
                    "shape": list(image.shape),
                    "dtype": str(image.dtype),
                    "channels": list(image.channel_names),
                }
                for image in self.images
            ],
            "steps": [trainer.step for trainer in self._trainers],
            "seconds": round(sum(t.seconds for t in self._trainers), 3),
            "device": str(self._trainers[0].device),
            "ended": self.reason,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
        }


def train(
    images: Source | Sequence[Source],
    *,
    method: str = registry.DEFAULT,
    preset: str = "fast",
    settings: Mapping[str, object] | None = None,
    channels: Literal["each", "joint"] = "each",
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    device: str = "auto",
    axes: str | None = None,
    stop: threading.Event | None = None,
    on_event: Callable[[TrainEvent], None] | None = None,
) -> Denoiser:
    """Train a denoiser on noisy images, and on nothing else.

    Parameters
    ----------
    images
        What `open_volume` takes, or a list of Volumes.
    method, preset, settings
        See ``blindsound methods``; `settings` are changes to the preset.
    channels : {"each", "joint"}
        One network a channel, or one on all channels jointly.
    steps, seconds
        Length of the training; by default the method's number of steps.
    seed : int
        The same seed gives the same model on the same machine (with `steps`).
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    axes : str, optional
        Names of the axes where the image does not say, such as ``"ZYX"``.
    stop : threading.Event, optional
        Set it from another thread to end early, with a good model.
    on_event : callable, optional
        Called with each event of the training, at most ten times a second.

    Returns
    -------
    Denoiser
        Counts in, counts out.

    Raises
    ------
    BlindsoundError
        If the image cannot be read or trained on.
    """
    recipe = Recipe(
        method=method,
        preset=preset,
        settings=dict(settings or {}),
        channels=channels,
        train=TrainConfig(steps=steps, seconds=seconds, seed=seed, device=device),
    )
    training = Training(_volumes(images, axes), recipe)
    try:
        for event in training.run(stop):
            if on_event is not None:
                on_event(event)
        return training.denoiser()
    finally:
        training.close()


def load(path: Path | str, device: str = "auto") -> Denoiser:
    """Read a model file.

    Raises
    ------
    ModelNotFoundError, ModelError
        If there is none, or it cannot be used.
    """
    return Denoiser.load(path, device)


def denoise(
    image: Source,
    model: Denoiser | Path | str,
    output: Path | str | None = None,
    *,
    axes: str | None = None,
    config: WriteConfig | None = None,
    device: str = "auto",
    stop: threading.Event | None = None,
    on_event: Callable[[WriteEvent], None] | None = None,
) -> np.ndarray | Path:
    """Apply a model to an image of any size.

    Parameters
    ----------
    image
        What `open_volume` takes.
    model : Denoiser or path
        The trained model.
    output : path, optional
        Where to write, ``.ome.zarr`` or ``.ome.tif``, piece by piece. Without it the
        result is returned, and must fit into memory.
    axes : str, optional
        Names of the axes where the image does not say.
    config : WriteConfig, optional
        How to write.
    device : str
        For a model given as a path.
    stop : threading.Event, optional
        Set it to end early; nothing is then left at `output`.
    on_event : callable, optional
        Called with each event of the writing.

    Returns
    -------
    ndarray or Path
        Counts, float32, in the order of the image's axes; or `output`.

    Raises
    ------
    BlindsoundError
        If the image or model cannot be read, do not fit, or the output not be written.
    """
    denoiser = model if isinstance(model, Denoiser) else load(model, device)
    volume = open_volume(image, axes=axes)
    if output is None:
        whole = tuple(slice(0, size) for size in volume.shape)
        return denoise_region(denoiser, volume, whole)
    for event in write(
        denoiser, volume, Path(output), config or WriteConfig(), stop=stop
    ):
        if on_event is not None:
            on_event(event)
    return Path(output)


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    return {
        "napari-blindsound": napari_blindsound.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _volumes(images: Source | Sequence[Source], axes: str | None) -> list[Volume]:
    if isinstance(images, list | tuple) and all(isinstance(i, Volume) for i in images):
        return list(images)
    return [open_volume(images, axes=axes)]


def _frozen_copy(trainer: Trainer) -> Method:
    copy = type(trainer.method)(trainer.method.config, trainer.method.channels)
    copy.load_state_dict(trainer.averaged.state_dict())
    return copy
