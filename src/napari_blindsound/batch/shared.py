"""The model for all images of a batch: trained on a few, spread over the list."""

from __future__ import annotations

import logging
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_blindsound.batch.learning import Place
from napari_blindsound.batch.rows import GOES_ON, RowEvent, is_out_of_memory, sentence
from napari_blindsound.batch.stamps import fingerprint
from napari_blindsound.errors import BlindsoundError, NotEnoughMemoryError
from napari_blindsound.inference.denoiser import SUFFIX, Denoiser
from napari_blindsound.recipe import Training

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from napari_blindsound.batch.config import BatchConfig
    from napari_blindsound.batch.finding import Found
    from napari_blindsound.images.volume import Volume
    from napari_blindsound.training.events import Progress

    Told = Generator[RowEvent, None, Denoiser | None]

log = logging.getLogger(__name__)

MODEL = f"batch{SUFFIX}"
"""Its name in the output folder."""

LEARN_FROM = 16
"""Images that it is trained on at most."""


def shared_model(
    images: Sequence[Found], config: BatchConfig, stop: threading.Event
) -> Told:
    """Load the model for all, find the one of an earlier run, or train it.

    Parameters
    ----------
    images : sequence of Found
        All images of the batch.
    config : BatchConfig
        With a `model` that is not "each".
    stop : threading.Event
        Ends it within a second.

    Yields
    ------
    RowEvent
        Of row None, and "failed" of the rows that turn out not to be readable.

    Returns
    -------
    Denoiser or None
        None if stopped, or if no image can be read.

    Raises
    ------
    ModelError, ModelNotFoundError
        If the file cannot be used.
    OutputExistsError
        If another model lies in the place of this one, and may not be replaced.
    BlindsoundError
        If the images cannot be trained on.
    """
    device = config.recipe.train.device
    if isinstance(config.model, Path):
        return Denoiser.load(config.model, device)
    path, key = config.output / MODEL, config.training_key
    if path.exists():
        sources = tuple(_fingerprints(images))
        model = Place(path, key, sources, overwrite=config.overwrite).find(device)
        if model is not None:
            return model
    return (yield from _Lesson(images, config, stop).events())


def spread(count: int, chosen: int) -> list[int]:
    """All of the numbers below `count`, beginning with `chosen` evenly spread ones."""
    chosen = min(chosen, count)
    first = [(2 * i + 1) * count // (2 * chosen) for i in range(chosen)]
    taken = set(first)
    return [*first, *(i for i in range(count) if i not in taken)]


@dataclass
class _Lesson:
    """One training of the model for all."""

    images: Sequence[Found]
    config: BatchConfig
    stop: threading.Event

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self._message = "the model for all"

    def events(self) -> Told:
        yield RowEvent(None, "reading", message=self._message)
        volumes = yield from self._opened()
        model = None
        while volumes and model is None and not self.stop.is_set():
            count = f"on {len(volumes)} of {len(self.images)} images"
            self._message = f"the model for all, {count}"
            try:
                model = yield from self._place(volumes).learn(
                    list(volumes.values()), self.config.recipe, self._told, self.stop
                )
                unfit: Mapping[int, str] = {}
            except Exception as error:
                if is_out_of_memory(error):
                    raise NotEnoughMemoryError(sentence(error, MODEL)) from error
                unfit = self._unfit(volumes, str(error))
                if not unfit:
                    raise
            for row, message in unfit.items():
                del volumes[row]
                yield RowEvent(row, "failed", message=message)
        yield from self._end(model)
        return model

    def _end(self, model: Denoiser | None) -> Iterator[RowEvent]:
        seconds = time.monotonic() - self._started
        if model is not None:
            path, said = self._place({}).path, self._message
            yield RowEvent(None, "done", 1.0, seconds, message=said, path=path)
        elif self.stop.is_set():
            yield RowEvent(None, "stopped", 0.0, seconds, message=GOES_ON)

    def _told(self, progress: Progress) -> RowEvent:
        return RowEvent(
            None,
            "training",
            progress.fraction,
            time.monotonic() - self._started,
            progress.seconds_left,
            self._message,
        )

    def _place(self, rows: Mapping[int, object]) -> Place:
        sources = tuple(fingerprint(self.images[row]) for row in rows)
        path, key = self.config.output / MODEL, self.config.training_key
        return Place(path, key, sources, overwrite=self.config.overwrite)

    def _opened(self) -> Generator[RowEvent, None, dict[int, Volume]]:
        """Open what is trained on, by row; others stand in for unreadable ones."""
        opened: dict[int, Volume] = {}
        for row in spread(len(self.images), LEARN_FROM):
            if len(opened) == LEARN_FROM or self.stop.is_set():
                break
            message = ""
            try:
                opened[row] = self.config.open(self.images[row])
            except Exception as error:
                log.debug("row %d cannot be opened", row, exc_info=True)
                message = sentence(error, self.images[row].name)
            if message:
                yield RowEvent(row, "failed", message=message)
        # Those with another number of channels are told when their turn comes.
        counts = Counter(volume.n_channels for volume in opened.values())
        channels = counts.most_common(1)[0][0] if counts else 0
        return {
            row: volume
            for row, volume in sorted(opened.items())
            if volume.n_channels == channels
        }

    def _unfit(self, volumes: Mapping[int, Volume], said: str) -> dict[int, str]:
        """Why images cannot be trained on, by row: those refused by themselves.

        Where none is, it is the one that the error names, if it names one.
        """
        found, named = {}, {}
        for row, volume in volumes.items():
            try:
                Training([volume], self.config.recipe).close()
            except BlindsoundError as error:
                found[row] = str(error)
            if volume.name in said:
                named[row] = said
        return found or (named if len(named) == 1 else {})


def _fingerprints(images: Sequence[Found]) -> Iterator[str]:
    for image in images:
        with suppress(OSError):  # told when its turn comes
            yield fingerprint(image)
