"""Whether a session's model was tested on its image, and what that found."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from napari_blindsound.gui import trust_work

if TYPE_CHECKING:
    from napari_blindsound.gui.session import Session
    from napari_blindsound.gui.trust_work import Tested
    from napari_blindsound.gui.worker import Work
    from napari_blindsound.images.volume import Volume
    from napari_blindsound.inference.denoiser import Denoiser

SUFFIXES = (".html", ".png", ".pdf")
"""Of reports, the default first."""


class _Subject(NamedTuple):
    """What a verdict is about."""

    model: Denoiser | None
    blend: float | None
    image: Volume | None
    channel: int | None

    def is_same(self, other: _Subject) -> bool:
        """Whether they are the same objects: images are not compared by pixels."""
        return (
            self.model is other.model
            and self.image is other.image
            and (self.blend, self.channel) == (other.blend, other.channel)
        )


class TrustCheck:
    """Tests the model of a session when asked to, in the background.

    A verdict is forgotten when the model, its blend or the image is another one, and
    tests end when a training begins. The session tells of all of it as ``changed``.

    Parameters
    ----------
    session : Session

    Attributes
    ----------
    tested : Tested or None
        What the last tests found, while it is about the present model and image.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.tested: Tested | None = None
        self._subject = self._present()
        self._is_saving = False
        session.events.changed.connect(self._on_changed)

    @property
    def work(self) -> Literal["test", "report"] | None:
        """What goes on."""
        if not self.session.is_at_work("trust"):
            return None
        return "report" if self._is_saving else "test"

    @property
    def can_begin(self) -> bool:
        """Whether there is something to be tested, and nothing in the way."""
        session = self.session
        has_both = session.denoiser is not None and session.data is not None
        return has_both and not session.is_busy and self.work is None

    def begin(self) -> None:
        """Test the model as it is applied, on the image."""
        model, data = self.session.model(), self.session.data
        if model is None or data is None or not self.can_begin:
            return
        self.session.forgive("apply")
        self.forget()
        self._do(partial(trust_work.testing, model, data.volume), is_saving=False)

    def stop(self) -> None:
        """End the tests; nothing is told of them."""
        self.session.drop("trust")
        self.session.events.changed.emit()

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the report of the last tests."""
        if self.tested is None or self.work is not None:
            return
        self.session.forgive("apply")
        task = partial(trust_work.reporting, self.tested, path, overwrite)
        self._do(task, is_saving=True)

    def forget(self) -> None:
        """Let go of what is no longer there, as when the dock is closed."""
        self.tested, self._subject = None, self._present()

    def _do(self, task: Work, *, is_saving: bool) -> None:
        self._is_saving = is_saving
        self.session.run("trust", task, self._on_event, "apply")
        self.session.events.changed.emit()

    def _on_event(self, event: Tested | Path) -> None:
        if isinstance(event, Path):
            self.session.events.said.emit(f"report saved as {event.name}")
        else:
            self.tested = event

    def _on_changed(self) -> None:
        is_same = self._subject.is_same(self._present())
        if not is_same or self.session.is_training:
            self.session.drop("trust")
        if not is_same:
            self.forget()

    def _present(self) -> _Subject:
        session, data = self.session, self.session.data
        image, channel = (None, None) if data is None else (data.image, data.channel)
        return _Subject(session.denoiser, session.blend, image, channel)
