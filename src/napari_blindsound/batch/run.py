"""The run of a batch: one image after the other, each told from beginning to end.

At most one image is open, but while a model is trained on several. Whatever goes wrong
with one is told in its row, and the next one begins. Stopped or cut off, the next run
goes on: what is done is left alone, models are kept, and so are half-written results.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from napari_blindsound.batch.judging import estimated
from napari_blindsound.batch.learning import Place
from napari_blindsound.batch.notes import Notes
from napari_blindsound.batch.rows import GOES_ON, RowEvent, noise_text, sentence
from napari_blindsound.batch.shared import groups, shared_model
from napari_blindsound.batch.stamps import KEY, digest, fingerprint, result_stamp
from napari_blindsound.batch.truth import nearness, truth_of
from napari_blindsound.errors import BlindsoundError, OutputError, OutputExistsError
from napari_blindsound.images.open import open_volume
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.inference.destination import deviation_place, output_errors
from napari_blindsound.inference.reading import check_channels
from napari_blindsound.inference.store import write
from napari_blindsound.quality.preflight import glances
from napari_blindsound.training.threads import each_fixed

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_blindsound.batch.config import BatchConfig
    from napari_blindsound.batch.finding import Found
    from napari_blindsound.batch.rows import State
    from napari_blindsound.batch.shared import Group
    from napari_blindsound.batch.truth import Nearness
    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.store import WriteEvent
    from napari_blindsound.inference.tiling import TileOperator
    from napari_blindsound.quality.preflight import Glance
    from napari_blindsound.training.events import Progress

log = logging.getLogger(__name__)


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
    truth: Nearness | None = None

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
            self.truth,
        )

    def training(self, progress: Progress) -> RowEvent:
        told = self.event("training", progress.fraction, progress.seconds_left)
        return replace(told, may_end=progress.may_end)


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
        results = self.config.results(self.images)
        notes = Notes(folder, self.images, self._facts)
        try:
            for group in groups(self.images, self.config, results):
                yield from self._group(group, results, notes)
        finally:
            notes.close()

    @property
    def _facts(self) -> dict[str, Any]:
        config = self.config.model_dump(mode="json", exclude_none=True)
        return {"command": self.command, "config": config}

    def _group(
        self, group: Group, results: Sequence[Path], notes: Notes
    ) -> Iterator[RowEvent]:
        """Rows that share a model, the making of which comes first."""
        failed: set[int] = set()
        shared = None
        if group.path is not None and not self.stop.is_set():
            for event in self._learned(group, failed):
                if isinstance(event, Denoiser):
                    shared = self.config.applied(event)
                else:
                    yield notes.of(event)
            if shared is None:
                return
        for number in group.rows:
            if self.stop.is_set():
                return
            if number in failed:
                continue
            row = _Row(number, results[number], time.monotonic())
            for event in self._guarded(row, self.images[number], shared):
                yield notes.of(event, row.noise)

    def _learned(self, group: Group, failed: set[int]) -> Iterator[RowEvent | Denoiser]:
        """Make the model of a group; last comes the model, unless there is none.

        Rows that fail before their turn are noted. If the group is one folder of
        several, all of them fail with their model, and the other folders do not.
        """
        images = [self.images[row] for row in group.rows]
        told = shared_model(images, self.config, self.stop, group)
        try:
            while True:
                event = next(told)
                if event.row is not None:
                    row = group.rows[event.row]
                    event = replace(event, row=row)
                    failed.add(row)
                yield event
        except StopIteration as end:
            if end.value is not None:
                yield end.value
        except Exception as error:
            if self.config.model != "folder":
                raise
            log.debug("no model for %s", group.title, exc_info=True)
            said = sentence(error, f"the model for {group.title}")
            yield RowEvent(None, "failed", message=said)
            for row in group.rows:
                if row not in failed:
                    yield RowEvent(row, "failed", message=said)

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
            row.quality = estimated(denoiser, volume)
            for event in self._denoised(row, volume, denoiser, stamp):
                if event.state == "done":
                    self._compare(row, image, volume)
                    event = replace(event, truth=row.truth)
                yield event

    def _compare(self, row: _Row, image: Found, volume: Volume) -> None:
        """Compare the result with the ground truth, where that lies beside."""
        truth = truth_of(image)
        if truth is not None:
            result = open_volume(row.result)
            row.truth = nearness(volume, result, truth, self.stop)

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
