"""The bench: every method trained on the same image in the same time, and judged alike.

Whatever goes wrong with one is told in its row, and the next one begins. Stopped, the
rows that are done stay as they are.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from napari_blindsound import methods
from napari_blindsound.comparison.judging import Bench, Stoppable, StoppedError
from napari_blindsound.comparison.rows import Row, known
from napari_blindsound.comparison.sample import Sample, sample_of
from napari_blindsound.errors import BlindsoundError, MissingExtraError
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.networks.device import pick_device
from napari_blindsound.quality.references import Reference, find
from napari_blindsound.recipe import Recipe, Training, versions
from napari_blindsound.training.events import Progress
from napari_blindsound.training.preprocessing import Preprocessing
from napari_blindsound.training.threads import each_fixed
from napari_blindsound.training.trainer import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from napari_blindsound.comparison.config import CompareConfig
    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.tiling import TileOperator

log = logging.getLogger(__name__)

_NO_MEMORY = "not enough memory: give a smaller preset, or a part of the image"


@dataclass(frozen=True, eq=False)
class Result:
    """What a method made.

    Parameters
    ----------
    operator : Denoiser or Reference
        For images of any size.
    planes : tuple of ndarray
        The sample denoised, (C, h, w) float32 counts each.
    """

    operator: Denoiser | Reference
    planes: tuple[NDArray[np.float32], ...]

    @property
    def denoiser(self) -> Denoiser | None:
        """The trained model; None of a reference."""
        return self.operator if isinstance(self.operator, Denoiser) else None


@dataclass(frozen=True)
class Told:
    """A row has changed.

    Parameters
    ----------
    number : int
        Of the row.
    row : Row
        As it is now.
    result : Result or None
        When it is done.
    """

    number: int
    row: Row
    result: Result | None = None


class Comparison:
    """Methods on one image; watch it with :meth:`run`.

    Parameters
    ----------
    volume : Volume
        The noisy image: trained on as a whole, judged on a bounded sample.
    config : CompareConfig
        Who takes part.
    truth : Volume, optional
        The clean image, for true PSNR and SSIM; nothing is learned from it.

    Attributes
    ----------
    rows : list of Row
        As they are by now.
    results : dict of int to Result
        Of the rows that are done, by their number.
    sample : Sample
        What is looked at and measured.

    Raises
    ------
    RecipeError
        If a method or reference is not known.
    DeviceError
        If there is no such device.
    DataError
        If pixels are not finite, or the truth does not fit.
    """

    def __init__(
        self, volume: Volume, config: CompareConfig, truth: Volume | None = None
    ) -> None:
        self.volume, self.config = volume, config
        self.rows = config.rows()
        self.device = pick_device(config.device)
        self.sample: Sample = sample_of(volume, truth)
        self.results: dict[int, Result] = {}

    def run(self, stop: threading.Event | None = None) -> Iterator[Told]:
        """Train and judge, one after the other.

        Parameters
        ----------
        stop : threading.Event, optional
            Set it from anywhere to end; what is done stays.

        Yields
        ------
        Told
            At most ten a second of a training; the last of each row is final.

        Raises
        ------
        DataError
            If nothing can be learned from the image: it is constant, or not finite.
        """
        events = self._events(stop or threading.Event())
        return each_fixed(events, self.config.threads)

    def facts(self) -> dict[str, Any]:
        """Conditions of the comparison as plain data: what a caption has to say."""
        sample = self.sample
        return {
            "image": self.volume.name,
            "source": self.volume.source,
            "axes": self.volume.axes.names,
            "shape": list(self.volume.shape),
            "dtype": str(self.volume.dtype),
            "budget": self.config.budget,
            "device": self._device_words,
            "seed": self.config.seed,
            "alone": self.config.alone,
            "has_truth": sample.truth is not None,
            "data_range": sample.data_range,
            "planes": len(sample.regions),
            "plane_shape": list(sample.noisy[0].shape[-2:]),
            "versions": {**versions(), **self._reference_versions()},
        }

    @property
    def _device_words(self) -> str:
        if self.device.type == "cuda":
            return f"{self.device}, {torch.cuda.get_device_name(self.device)}"
        if self.device.type != "cpu":
            return str(self.device)
        count = self.config.threads or torch.get_num_threads()
        return f"cpu, {count} thread{'s' * (count != 1)}"

    def _reference_versions(self) -> dict[str, str]:
        kinds = [find(row.name) for row in self.rows if row.is_reference]
        return {name: v for kind in kinds for name, v in kind.versions.items()}

    def _events(self, stop: threading.Event) -> Iterator[Told]:
        has_references = any(row.is_reference for row in self.rows)
        known_noise = None
        if has_references:
            known_noise = Preprocessing.fit([self.volume], seed=self.config.seed)
        for number in range(len(self.rows)):
            if stop.is_set():
                yield self._told(number, state="stopped", message="was not begun")
                continue
            yield from self._guarded(number, known_noise, stop)

    def _guarded(
        self, number: int, noise: Preprocessing | None, stop: threading.Event
    ) -> Iterator[Told]:
        """One row to its end, whatever that is."""
        row = self.rows[number]
        try:
            if row.is_reference and noise is not None:
                operator = Stoppable(find(row.name), noise, stop)
                yield from self._judged(number, operator, stop)
            else:
                yield from self._learned(number, stop)
        except StoppedError:
            yield self._told(number, state="stopped", message="was stopped")
        except MissingExtraError as error:
            yield self._told(number, state="skipped", message=str(error))
        except (BlindsoundError, ValueError) as error:
            yield self._told(number, state="failed", message=_sentence(error))
        except (MemoryError, torch.OutOfMemoryError):
            yield self._told(number, state="failed", message=_NO_MEMORY)
        except Exception as error:
            # Whatever it is, also of somebody else's method: the rest goes on.
            log.debug("%s failed", row.name, exc_info=True)
            text = f"{type(error).__name__}: {error}"
            yield self._told(number, state="failed", message=text)

    def _learned(self, number: int, stop: threading.Event) -> Iterator[Told]:
        """Train a method, then judge it."""
        started = time.perf_counter()
        yield self._told(number, state="training")
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        training = Training([self.volume], self._recipe(self.rows[number]))
        try:
            for event in training.run(stop):
                if isinstance(event, Progress):
                    yield self._told(
                        number,
                        fraction=event.fraction,
                        seconds_left=known(event.seconds_left),
                        stage=event.stage,
                    )
            seconds = time.perf_counter() - started
            if stop.is_set():
                raise StoppedError
            denoiser = training.result()
        finally:
            training.close()
        self.rows[number] = replace(
            self.rows[number],
            fraction=1.0,
            seconds_left=None,
            stage="",
            train_seconds=seconds,
            steps=tuple(denoiser.provenance["steps"]),
            found=_found(denoiser),
        )
        yield from self._judged(number, denoiser, stop)

    def _recipe(self, row: Row) -> Recipe:
        config, kind = self.config, methods.find(row.name).Config
        # A preset that learns nothing is given no time for it.
        steps = config.steps if kind.preset(row.preset).steps else 0
        # Not every method can see neighbors, and one that cannot has no such setting.
        can_see = "context" in kind.model_fields
        return Recipe(
            method=row.name,
            preset=row.preset,
            settings={"context": "none"} if config.alone and can_see else {},
            train=TrainConfig(
                steps=steps,
                seconds=None if steps is not None else config.seconds,
                seed=config.seed,
                device=config.device,
                threads=config.threads,
            ),
        )

    def _judged(
        self, number: int, operator: Denoiser | Reference, stop: threading.Event
    ) -> Iterator[Told]:
        """Denoise the sample, estimate the gain, and hold it against the truth."""
        yield self._told(number, state="denoising", seconds_left=None)
        bench = Bench(self.sample, operator, stop)
        bench.warm_up()
        started = time.perf_counter()
        planes = bench.denoised()
        pace = (time.perf_counter() - started) / (self.sample.pixels / 1e6)
        yield self._told(number, state="judging", pace=pace)
        found = bench.found(planes, self.config.seed)
        kept = operator.unbound() if isinstance(operator, Stoppable) else operator
        result = Result(kept, planes)
        self.results[number] = result
        told = self._told(number, state="done", memory=self._memory(operator), **found)
        yield replace(told, result=result)

    def _memory(self, operator: TileOperator) -> int | None:
        if isinstance(operator, Reference) or self.device.type != "cuda":
            return None
        return int(torch.cuda.max_memory_allocated(self.device))

    def _told(self, number: int, **changes: Any) -> Told:  # noqa: ANN401 - of a Row
        self.rows[number] = replace(self.rows[number], **changes)
        return Told(number, self.rows[number])


def _found(denoiser: Denoiser) -> dict[str, float]:
    """What each network found of the noise, named by its channel if there are more."""
    if len(denoiser.methods) == 1:
        return {name: float(v) for name, v in denoiser.methods[0].found().items()}
    return {
        f"{name}, channel {channel}": float(value)
        for channel, method in enumerate(denoiser.methods)
        for name, value in method.found().items()
    }


def _sentence(error: Exception) -> str:
    """The words of an error; of pydantic's, those about its first field."""
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return " ".join(str(error).split())
    first = errors()[0]
    field = str(first["loc"][-1]) if first["loc"] else ""
    reason = str(first["msg"]).removeprefix("Value error, ")
    return f"{field}: {reason}" if field else reason
