"""The run of a batch: one image after the other, each told from beginning to end.

At most one image is open, but while a model is trained on several. Whatever goes wrong
with one is told in its row, and the next one begins. Stopped or cut off, the next run
goes on: what is done is left alone, models are kept, and so are half-written results.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_blindsound.batch.learning import Place
from napari_blindsound.batch.rows import GOES_ON, Report, RowEvent, noise_text, sentence
from napari_blindsound.batch.shared import shared_model
from napari_blindsound.batch.stamps import KEY, digest, fingerprint, result_stamp
from napari_blindsound.errors import BlindsoundError, OutputError, OutputExistsError
from napari_blindsound.inference.destination import deviation_place, output_errors
from napari_blindsound.inference.reading import check_channels
from napari_blindsound.inference.store import write
from napari_blindsound.quality.estimate import estimated_gain
from napari_blindsound.quality.preflight import glances
from napari_blindsound.training.threads import each_fixed

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_blindsound.batch.config import BatchConfig
    from napari_blindsound.batch.finding import Found
    from napari_blindsound.batch.rows import State
    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.inference.store import WriteEvent
    from napari_blindsound.inference.tiling import TileOperator
    from napari_blindsound.quality.preflight import Glance
    from napari_blindsound.training.events import Progress

log = logging.getLogger(__name__)

_JUDGED_SIDE = 256  # px of the middle plane that quality is estimated on


def run_batch(
    images: Sequence[Found],
    config: BatchConfig,
    *,
    stop: threading.Event | None = None,
    command: str | None = None,
) -> Iterator[RowEvent]:
    """Denoise many images, one after the other.

    A result that is there, and was made by the same model or recipe from the same files
    as now, is skipped.

    Parameters
    ----------
    images : sequence of Found
        What :func:`~napari_blindsound.batch.find_images` found.
    config : BatchConfig
        What to do with each.
    stop : threading.Event, optional
        Set it from anywhere to end within a second.
    command : str, optional
        The command line that does the same, stored with each result.

    Yields
    ------
    RowEvent
        At most ten a second while one thing is done. The last one of each row that was
        begun has a state in ``FINAL``; rows after a stop are not begun.

    Raises
    ------
    ModelError, ModelNotFoundError
        If the model file cannot be used.
    OutputError
        If the output folder cannot be made.
    OutputExistsError
        If another model for all lies there, and may not be replaced.
    BlindsoundError
        If no model for all can be trained.
    """
    run = _Run(tuple(images), config, stop or threading.Event(), command)
    yield from run.events()


@dataclass
class _Row:
    """What is known of the row that is being worked on."""

    number: int
    result: Path
    started: float
    noise: Sequence[Glance] = ()
    quality: float | None = None

    def event(
        self,
        state: State,
        fraction: float = 0.0,
        left: float | None = None,
        *,
        message: str = "",
        path: Path | None = None,
    ) -> RowEvent:
        return RowEvent(
            self.number,
            state,
            fraction,
            time.monotonic() - self.started,
            left,
            message,
            noise_text(self.noise),
            self.quality,
            path,
        )

    def training(self, progress: Progress) -> RowEvent:
        return self.event("training", progress.fraction, progress.seconds_left)


@dataclass
class _Run:
    images: tuple[Found, ...]
    config: BatchConfig
    stop: threading.Event
    command: str | None

    def events(self) -> Iterator[RowEvent]:
        folder = self.config.output
        self.config.recipe.config()
        self.config.check_uncertainty()
        with output_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        report = Report(folder)
        results = self.config.results(self.images)
        failed: set[int] = set()
        shared = None
        if self.config.model != "each":
            told = shared_model(self.images, self.config, self.stop)
            shared = yield from self._noted(told, report, failed)
            if shared is None:
                return
        for number, image in enumerate(self.images):
            if self.stop.is_set():
                return
            if number in failed:
                continue
            row = _Row(number, results[number], time.monotonic())
            for event in self._guarded(row, image, shared):
                if event.is_final and event.state != "skipped":
                    report.add(str(image.path), event, row.noise)
                yield event

    def _noted(
        self,
        events: Generator[RowEvent, None, Denoiser | None],
        report: Report,
        failed: set[int],
    ) -> Generator[RowEvent, None, Denoiser | None]:
        """Note the rows that fail before their turn, while the model is made."""
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                model: Denoiser | None = end.value
                return None if model is None else self.config.applied(model)
            if event.row is not None:
                failed.add(event.row)
                report.add(str(self.images[event.row].path), event)
            yield event

    def _guarded(
        self, row: _Row, image: Found, shared: Denoiser | None
    ) -> Iterator[RowEvent]:
        """Events of one row, of which nothing that goes wrong gets out."""
        try:
            yield from self._row(row, image, shared)
        except Exception as error:
            log.debug("%s failed", image.path, exc_info=True)
            # Their variables hold the image.
            traceback.clear_frames(error.__traceback__)
            yield row.event("failed", message=sentence(error, image.name))
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _row(
        self, row: _Row, image: Found, shared: Denoiser | None
    ) -> Iterator[RowEvent]:
        source = fingerprint(image)
        model = self.config.training_key if shared is None else shared.revision
        stamp = digest([source, model, self.config.result_key])
        # All, so that each is refused that may not be replaced.
        made = [self._is_made(place, stamp) for place in self._places(row.result)]
        if all(made):
            path = row.result
            yield row.event("skipped", 1.0, message="already done", path=path)
            return
        yield row.event("reading")
        volume = self.config.open(image)
        with suppress(BlindsoundError):  # whatever it is will stop those who need it
            row.noise = glances(volume)
        denoiser = shared
        if denoiser is None:
            denoiser = yield from self._own_model(row, volume, source)
        if denoiser is not None:
            check_channels(denoiser, volume)
            self.config.check_uncertainty(denoiser)
            row.quality = _quality(denoiser, volume)
            yield from self._denoised(row, volume, denoiser, stamp)

    def _is_made(self, result: Path, stamp: str) -> bool:
        """Whether a result needs no making.

        Raises
        ------
        OutputExistsError
            If something else lies there and may not be replaced.
        """
        if not result.exists():
            return False
        if result_stamp(result) == stamp:
            return True
        if self.config.overwrite:
            return False
        msg = (
            f"{result} exists, and was made by another model or from another version "
            f"of the image: choose another folder, or ask to overwrite it"
        )
        raise OutputExistsError(msg)

    def _places(self, result: Path) -> list[Path]:
        """Of a result, and of its deviation where that is wanted."""
        if not self.config.uncertainty:
            return [result]
        return [result, deviation_place(result)]

    def _own_model(
        self, row: _Row, volume: Volume, source: str
    ) -> Generator[RowEvent, None, Denoiser | None]:
        """Find or train the model of one image; None if stopped."""
        config = self.config
        beside = config.model_beside(row.result)
        place = Place(beside, config.training_key, (source,), config.overwrite)
        model = place.find(config.recipe.train.device)
        if model is None:
            yield row.event("training")
            model = yield from place.learn(
                [volume], config.recipe, row.training, self.stop
            )
        if model is None:
            yield row.event("stopped", message=GOES_ON)
            return None
        return config.applied(model)

    def _denoised(
        self, row: _Row, volume: Volume, denoiser: Denoiser, stamp: str
    ) -> Iterator[RowEvent]:
        provenance = {KEY: stamp}
        if self.command is not None:
            provenance["command"] = self.command
        yield row.event("denoising")
        said, places = "", self._places(row.result)
        for number, place in enumerate(places):
            if self._is_made(place, stamp):
                continue
            operator = denoiser.deviation() if number else denoiser
            assert operator is not None
            for told in self._written(volume, operator, place, provenance):
                if told.stopped:
                    yield row.event("stopped", message=GOES_ON)
                    return
                if told.clipped:
                    said = f"{told.clipped} pixels were clipped"
                fraction = (number + told.done / told.total) / len(places)
                yield row.event("denoising", fraction, told.seconds_left)
        yield row.event("done", 1.0, message=said, path=row.result)

    def _written(
        self,
        volume: Volume,
        denoiser: TileOperator,
        result: Path,
        provenance: Mapping[str, str],
    ) -> Iterator[WriteEvent]:
        """Go on with what an earlier run left, or begin where that is not possible."""
        begun = False
        for resume in (True, False):
            config = self.config.writing(resume=resume)
            try:
                events = write(
                    denoiser,
                    volume,
                    result,
                    config,
                    stop=self.stop,
                    provenance=provenance,
                )
                for told in each_fixed(events, self.config.recipe.train.threads):
                    begun = True
                    yield told
            except OutputError:
                if begun or not resume:
                    raise
            else:
                return


def _quality(denoiser: Denoiser, volume: Volume) -> float | None:
    """Decibels that denoising gains in the middle of the image, if they can be told."""
    region = list(volume.plane(volume.n_planes // 2))
    for name in "YX":
        axis = volume.axes.index(name)
        size = volume.shape[axis]
        side = min(size, _JUDGED_SIDE)
        start = (size - side) // 2
        region[axis] = slice(start, start + side)
    try:
        pixels = volume.axes.as_planes(volume.read(tuple(region)))[0]
        gain = estimated_gain(denoiser, pixels)
    except BlindsoundError:  # told when it is denoised
        return None
    return gain if math.isfinite(gain) else None
