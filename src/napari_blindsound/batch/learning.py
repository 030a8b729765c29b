"""Models of a batch: trained once, kept in a file, found again after an interruption.

What was learned when a training is cut off lies beside the model's place, in a file
whose name tells the training: the next run goes on from there.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_blindsound.batch.stamps import KEY, digest
from napari_blindsound.errors import (
    BlindsoundError,
    ModelError,
    OutputError,
    OutputExistsError,
)
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.recipe import Training
from napari_blindsound.training.events import Progress

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from napari_blindsound.batch.rows import RowEvent
    from napari_blindsound.images.volume import Volume
    from napari_blindsound.recipe import Recipe

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class Place:
    """Where a model is kept, and what makes it the wanted one.

    Parameters
    ----------
    path : Path
        The model file.
    training_key : str
        How it is trained.
    sources : tuple of str
        Fingerprints of the images that it is, or may have been, trained on.
    overwrite : bool
        Whether another model that lies there may be replaced.
    """

    path: Path
    training_key: str
    sources: tuple[str, ...]
    overwrite: bool = False

    def find(self, device: str) -> Denoiser | None:
        """Load the model, if it is there and the wanted one.

        Raises
        ------
        OutputExistsError
            If something else lies there, and may not be replaced.
        """
        if not self.path.exists():
            return None
        try:
            model = Denoiser.load(self.path, device)
        except ModelError:
            model = None
        origin = {} if model is None else model.provenance.get(KEY) or {}
        if (
            origin.get("training") == self.training_key
            and origin.get("sources")
            and set(origin["sources"]) <= set(self.sources)
        ):
            return model
        if self.overwrite:
            return None
        msg = (
            f"{self.path} is another model, trained with other settings or on other "
            f"files: choose another folder, or ask to overwrite it"
        )
        raise OutputExistsError(msg)

    def learn(
        self,
        images: Sequence[Volume],
        recipe: Recipe,
        told: Callable[[Progress], RowEvent],
        stop: threading.Event,
    ) -> Generator[RowEvent, None, Denoiser | None]:
        """Train the model, on images of the `sources`, and save it.

        Parameters
        ----------
        images : sequence of Volume
            With the same channels.
        recipe : Recipe
            How to train.
        told : callable
            Makes of each progress what is yielded.
        stop : threading.Event
            Ends the training within a second.

        Returns
        -------
        Denoiser or None
            None if stopped; what was learned so far is then kept for the next time.

        Raises
        ------
        BlindsoundError
            If the images cannot be trained on, or the model not be saved.
        """
        training = Training(images, recipe)
        try:
            checkpoint = self._resumed(training)
            due = time.monotonic() + CHECKPOINT_SECONDS
            for event in training.run(stop):
                if time.monotonic() > due:
                    _keep(training, checkpoint)
                    due = time.monotonic() + CHECKPOINT_SECONDS
                if isinstance(event, Progress):
                    yield told(event)
            if stop.is_set() and training.reason == "stopped":
                _keep(training, checkpoint)
                return None
            model = training.result()
        finally:
            training.close()
        model.provenance[KEY] = self._origin
        model.save(self.path)
        checkpoint.unlink(missing_ok=True)
        return model

    @property
    def _origin(self) -> dict[str, object]:
        return {"training": self.training_key, "sources": list(self.sources)}

    def _resumed(self, training: Training) -> Path:
        """Go on from the checkpoint, if there is one; where the next one goes."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        name = f"{self.path.name}.{digest(self._origin)[:8]}.checkpoint"
        checkpoint = self.path.with_name(name)
        if checkpoint.exists():
            try:
                training.restore(checkpoint)
            except BlindsoundError as error:
                log.warning("%s cannot be used: training begins anew", checkpoint)
                log.debug("%s", error)
        return checkpoint


def _keep(training: Training, checkpoint: Path) -> None:
    """Save what was learned so far; a full disk may be emptied before training ends."""
    try:
        training.save(checkpoint)
    except OutputError as error:
        log.warning("no checkpoint could be written: %s", error)
