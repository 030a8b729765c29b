"""Models for several images of a batch: trained on a few, spread over the list."""

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
from napari_blindsound.batch.stamps import digest, fingerprint
from napari_blindsound.errors import BlindsoundError, NotEnoughMemoryError
from napari_blindsound.inference.denoiser import SUFFIX, Denoiser
from napari_blindsound.recipe import Training
from napari_blindsound.wording import file_name

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

FOLDER_MODEL = f"folder{SUFFIX}"
"""Name of the model for a folder, among the results of that folder."""

LEARN_FROM = 16
"""Images that it is trained on at most."""


@dataclass(frozen=True)
class Group:
    """Images that are denoised by one model.

    Parameters
    ----------
    rows : tuple of int
        Their numbers in the batch.
    path : Path or None
        Where their model is kept; None if each has its own.
    title : str
        What the model is for, in words.
    """

    rows: tuple[int, ...]
    path: Path | None = None
    title: str = "all"


def groups(
    images: Sequence[Found], config: BatchConfig, results: Sequence[Path]
) -> list[Group]:
    """Say which images share a model, in the order of the first of each.

    Parameters
    ----------
    images : sequence of Found
        All images of the batch.
    config : BatchConfig
        Whose `model` decides.
    results : sequence of Path
        Where the result of each goes.
    """
    everything = tuple(range(len(images)))
    if config.model == "each":
        return [Group(everything)] if images else []
    if config.model != "folder":
        return [Group(everything, config.output / MODEL)]
    below: dict[Path, list[int]] = {}
    for row, image in enumerate(images):
        below.setdefault(_folder(image), []).append(row)
    made: dict[Path, Path] = {}
    for folder, rows in below.items():
        place = results[rows[0]].with_name(FOLDER_MODEL)
        if place in made.values():
            # Folders of images that were named one by one may have one place.
            end = digest(str(folder))[:8]
            place = place.with_name(f"folder_{file_name(folder.name)}_{end}{SUFFIX}")
        made[folder] = place
    return [
        Group(tuple(rows), made[folder], folder.name or str(folder))
        for folder, rows in below.items()
    ]


def _folder(image: Found) -> Path:
    """Folder that an image shares with those of its kind."""
    is_own = image.kind == "FMDD" or not image.is_whole
    return image.path if is_own else image.path.parent


def shared_model(
    images: Sequence[Found],
    config: BatchConfig,
    stop: threading.Event,
    group: Group,
) -> Told:
    """Load the model for a group, find the one of an earlier run, or train it.

    Parameters
    ----------
    images : sequence of Found
        All images of the group.
    config : BatchConfig
        With a `model` that is not "each".
    stop : threading.Event
        Ends it within a second.
    group : Group
        Where the model is kept, and what it is for.

    Yields
    ------
    RowEvent
        Of row None, and "failed" of the rows, counted within the group, that turn out
        not to be readable.

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
    path, key = group.path, config.training_key
    assert path is not None
    if path.exists():
        sources = tuple(_fingerprints(images))
        model = Place(path, key, sources, overwrite=config.overwrite).find(device)
        if model is not None:
            return model
    return (yield from _Lesson(images, config, stop, group).events())


def spread(count: int, chosen: int) -> list[int]:
    """All of the numbers below `count`, beginning with `chosen` evenly spread ones."""
    chosen = min(chosen, count)
    first = [(2 * i + 1) * count // (2 * chosen) for i in range(chosen)]
    taken = set(first)
    return [*first, *(i for i in range(count) if i not in taken)]


@dataclass
class _Lesson:
    """One training of the model for a group."""

    images: Sequence[Found]
    config: BatchConfig
    stop: threading.Event
    group: Group

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self._message = f"the model for {self.group.title}"

    def events(self) -> Told:
        yield RowEvent(None, "reading", message=self._message)
        volumes = yield from self._opened()
        model = None
        while volumes and model is None and not self.stop.is_set():
            count = f"on {len(volumes)} of {len(self.images)} images"
            self._message = f"the model for {self.group.title}, {count}"
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
            said, path = self._message, self.group.path
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
            may_end=progress.may_end,
        )

    def _place(self, rows: Mapping[int, object]) -> Place:
        sources = tuple(fingerprint(self.images[row]) for row in rows)
        path, key = self.group.path, self.config.training_key
        assert path is not None
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
