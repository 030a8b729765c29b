"""What a training makes of itself while it runs: its curve, its gain, why it ended."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_blindsound.gui.curve import LossCurve
from napari_blindsound.gui.live import Quality
from napari_blindsound.training.events import (
    MOST_DECIBELS,
    Finished,
    Judged,
    Progress,
)
from napari_blindsound.wording import decibels, found, started

if TYPE_CHECKING:
    from napari_blindsound.gui.session import Session
    from napari_blindsound.training.events import Source

_GAIN = "By how much the error is lower than the noise, estimated without a clean image"
_FROM: dict[Source, str] = {
    "repeats": f"{_GAIN}, from other frames that show the same scene.",
    "stein": f"{_GAIN} (Stein's unbiased risk estimate). It assumes noise that is "
    "independent from pixel to pixel.",
    "blind error": f"{_GAIN}, from how well pixels are predicted that the network did "
    "not see, less their noise.",
}


class Outcome(QWidget):
    """Follows a session's training: loss and gain by step, and the end in words.

    Parameters
    ----------
    session : Session

    Attributes
    ----------
    curve : LossCurve
    quality, ended, found, start : QLabel
        The gain by now, why the training ended where it had a choice, what it found of
        the noise, and what it started from.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.curve = LossCurve()
        self.quality, self.ended, self.found = QLabel(), QLabel(), QLabel()
        self.start = QLabel()
        self.start.setToolTip(
            "First weights of the network, and why these; start, among More settings, "
            "chooses others"
        )
        self.found.setToolTip(
            "Numbers of the noise that the training has found, in counts"
        )
        self.ended.setToolTip("Why the training ended, and which weights were kept")
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(self.curve)
        for label in (self.start, self.quality, self.ended, self.found):
            label.setWordWrap(True)
            whole.addWidget(label)
        self._gains: dict[str, float] = {}
        session.events.progressed.connect(self._on_event)
        self.begin()

    def begin(self) -> None:
        """Forget what there was: another training begins."""
        self.curve.clear()
        self.quality.clear()
        self.quality.setToolTip(_FROM["stein"])
        self._gains.clear()

    def refresh(self) -> None:
        """Say why the training ended, if it had a choice, and what it found."""
        finished = self.session.finished
        words = finished.words if finished is not None else ""
        if finished is not None and finished.reason == "converged":
            words = f"no longer improves: {words}"
        self.ended.setText(f"{words[:1].upper()}{words[1:]}." if words else "")
        self.ended.setVisible(bool(words))
        model = None if self.session.is_training else self.session.denoiser
        numbers = found(model.provenance) if model is not None else ""
        self.found.setText(f"Found: {numbers}." if numbers else "")
        self.found.setVisible(bool(numbers))
        training = self.session.training
        first = "" if training is None else started(s.words for s in training.starts)
        self.start.setText(f"{first[:1].upper()}{first[1:]}." if first else "")
        self.start.setVisible(bool(first))

    def summary(self) -> str:
        """The gain of what was kept, in a word; empty if it is not known."""
        finished = self.session.finished
        gain = finished.gain if finished is not None else None
        return "" if gain is None or math.isnan(gain) else _in_words(gain)

    def _on_event(self, event: object) -> None:
        if isinstance(event, Progress) and event.terms:
            self.curve.add(event.step, event.loss)
        elif isinstance(event, Quality):
            self._show(event.gain, event.step)
        elif isinstance(event, Judged):
            self._on_judged(event)
        elif isinstance(event, Finished) and event.gain is not None:
            # Not that of the last weights, where earlier ones were kept.
            self._show(event.gain)
            if event.best_step is not None:
                self.curve.mark_best(event.best_step, event.gain)

    def _on_judged(self, event: Judged) -> None:
        """Show the gain; of several networks the mean, once all have been judged."""
        self._gains[event.network] = event.gain
        self.quality.setToolTip(_FROM[event.source])
        pace = self.session.pace
        if len(self._gains) < (pace.networks if pace is not None else 1):
            return
        self._show(sum(self._gains.values()) / len(self._gains), event.step)
        if event.is_best and not event.network:
            self.curve.mark_best(event.step, event.gain)

    def _show(self, gain: float, step: int | None = None) -> None:
        """In words, and on the curve if it is that of a step."""
        if not math.isfinite(gain):
            self.quality.setText("gain not known, as nothing is known of the noise")
        elif gain <= 0:
            self.quality.setText("not better than the noisy image yet")
        else:
            self.quality.setText(f"estimated {_in_words(gain)} by denoising")
            if step is not None:
                self.curve.add_quality(step, gain)


def _in_words(gain: float) -> str:
    return decibels(gain, MOST_DECIBELS)
