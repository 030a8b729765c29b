"""The second step: what the data look like at a glance, and what to know about them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import psutil
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QStyle,
    QVBoxLayout,
    QWidget,
)

from napari_blindsound.gui.combo import Combo
from napari_blindsound.gui.gain_plot import GainPlot
from napari_blindsound.gui.panel import Panel
from napari_blindsound.wording import duration, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindsound.gui.data import Data
    from napari_blindsound.gui.failure import Step
    from napari_blindsound.gui.session import Session
    from napari_blindsound.pace import Pace
    from napari_blindsound.quality.preflight import Glance

_ICON = 16  # px
_TOLD_SATURATED = 1e-4  # fraction of the pixels that the summary mentions
_ROWS = {
    "image": "Size and type of what is denoised",
    "photons": "Photons that a pixel counts, at the median and in the bright parts: "
    "counts above the offset, divided by the gain",
    "noise": "Camera: counts a photon, counts in the dark, and the noise that does not "
    "depend on the light",
    "signal": "How far the bright parts stand out of their own noise",
    "pixels": "Pixels at the end of the camera's range, and single bright ones that do "
    "not belong to the image",
    "training": "Measured on this computer, for the method and preset chosen below",
    "applying": "What it takes to denoise all of the image afterwards",
}


class CheckPanel(Panel):
    """Shows what the session has found in its data.

    Parameters
    ----------
    session : Session
    """

    step: ClassVar[Step] = "check"
    title: ClassVar[str] = "Check"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._glances: tuple[Glance, ...] = ()
        self._is_cut = False
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.channels = Combo()
        self.channels.setToolTip("Which channel's noise is shown")
        self.channels.setAccessibleName("Channel")
        self.channels.currentIndexChanged.connect(self._show_channel)
        self.values = {name: _value(words) for name, words in _ROWS.items()}
        self.plot = GainPlot()
        self.told = Told()
        self.again = QPushButton("Check again")
        self.again.setToolTip("Look at the data and measure the speed once more")
        self.again.clicked.connect(self._check_again)
        self._found = QWidget()
        self._form = QFormLayout()
        self._lay_out()
        self.refresh()

    def summary(self) -> str:
        """Photons and saturation, of the first channel."""
        checked = self.session.checked
        if checked is None:
            return ""
        glance = checked.glances[0]
        photons = glance.photons(glance.median)
        words = ["no photon noise" if photons is None else f"~{photons:.2g} photons/px"]
        if glance.saturated >= _TOLD_SATURATED:
            words.append(f"{100 * glance.saturated:.2g} % saturated")
        return " · ".join(words)

    def refresh(self) -> None:
        """Show what is known now."""
        session = self.session
        self._go_on_checking()
        self.again.setEnabled(session.data is not None and not session.is_busy)
        self.status.setText(self._status())
        self.status.setVisible(bool(self.status.text()))
        self._found.setVisible(session.checked is not None)
        if session.checked is None or session.data is None:
            self._glances = ()
            return
        if session.checked.glances is not self._glances:
            self._show_glances(session.checked.glances)
        self._write("image", _image(session.data))
        self._write("training", _training(session.pace))
        self._write("applying", _applying(session.data, session.pace))
        self.told.show_words([*session.checked.advice, *_memory(session.pace)])

    def _lay_out(self) -> None:
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.setVerticalSpacing(3)
        self._form.addRow("channel", self.channels)
        for name, label in self.values.items():
            self._form.addRow(name, label)
        column = QVBoxLayout(self._found)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(self._form)
        column.addWidget(self.plot)
        column.addWidget(self.told)
        self.body.addWidget(self.status)
        self.body.addWidget(self._found)
        self.body.addWidget(self.again, 0, Qt.AlignmentFlag.AlignRight)

    def _status(self) -> str:
        session = self.session
        if session.data is None:
            return "Choose an image first."
        failure = session.failure
        if session.checked is not None:
            return "" if session.pace is not None else "measuring the speed…"
        if failure is not None and failure.step == self.step:
            return ""
        return "not checked yet" if session.is_busy else "checking…"

    def _go_on_checking(self) -> None:
        """Check after a training that was started before the check was over."""
        session = self.session
        if session.is_busy:
            self._is_cut = session.checked is None
        elif self._is_cut:
            self._is_cut = False
            session.check()

    def _check_again(self) -> None:
        self.session.forgive(self.step)
        self.session.check()
        self.refresh()

    def _show_glances(self, glances: tuple[Glance, ...]) -> None:
        self._glances = glances
        self.channels.blockSignals(True)  # noqa: FBT003 - Qt's
        self.channels.clear()
        self.channels.addItems(
            [glance.title.removeprefix(" of ") for glance in glances]
        )
        self.channels.blockSignals(False)  # noqa: FBT003 - Qt's
        self._form.setRowVisible(self.channels, len(glances) > 1)
        self._show_channel(0)

    def _show_channel(self, index: int) -> None:
        if not 0 <= index < len(self._glances):
            return
        glance = self._glances[index]
        for name, words in _words(glance).items():
            self._write(name, words)
        self.plot.show_glance(glance)

    def _write(self, name: str, words: str) -> None:
        self.values[name].setText(words)
        self._form.setRowVisible(self.values[name], bool(words))


class Told(QWidget):
    """Sentences, each with a sign that asks for attention."""

    def __init__(self) -> None:
        super().__init__()
        self._words: tuple[str, ...] = ()
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)

    @property
    def words(self) -> tuple[str, ...]:
        """What is shown."""
        return self._words

    def show_words(self, words: Sequence[str]) -> None:
        """Show these sentences in place of others."""
        if tuple(words) == self._words:
            return
        self._words = tuple(words)
        while self._column.count():
            item = self._column.takeAt(0)
            row = None if item is None else item.widget()
            if row is not None:
                row.hide()
                row.deleteLater()
        for sentence in words:
            self._column.addWidget(self._row(sentence))

    def _row(self, sentence: str) -> QWidget:
        style = self.style()
        icon = QLabel()
        if style is not None:
            sign = style.standardIcon(QStyle.StandardPixmap.SP_MessageBoxWarning)
            icon.setPixmap(sign.pixmap(_ICON, _ICON))
        icon.setAccessibleName("warning")
        label = QLabel(sentence)
        label.setWordWrap(True)
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        whole = QWidget()
        row = QHBoxLayout(whole)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(icon, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(label, 1)
        return whole


def _value(words: str) -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.setToolTip(words)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def _image(data: Data) -> str:
    volume = data.volume
    sizes = "×".join(str(count) for count in volume.shape)
    words = f"{volume.axes.names} {sizes} · {volume.dtype} · {size(volume.nbytes)}"
    if data.ranges:
        share = math.prod(data.training.shape) / math.prod(volume.shape)
        words += f" · {100 * share:.2g} % trained on"
    return words


def _words(glance: Glance) -> dict[str, str]:
    """What is said of one channel's noise, by row."""
    noise = glance.noise
    median, bright = glance.photons(glance.median), glance.photons(glance.bright)
    photons = "no photon noise found"
    if median is not None and bright is not None:
        photons = f"~{median:.2g} per pixel, {bright:.2g} where it is bright"
    hot = f"{1e6 * glance.hot:.2g} in a million hot"
    if not glance.hot_enabled:
        hot = "hot ones not told from signal"
    return {
        "photons": photons,
        "noise": f"gain {noise.gain:.3g} · offset {noise.offset:.4g} · read noise "
        f"{noise.read_variance**0.5:.3g}",
        "signal": f"{glance.signal_to_noise:.2g} times the noise where it is bright",
        "pixels": f"{100 * glance.saturated:.2g} % saturated · {hot}",
    }


def _training(pace: Pace | None) -> str:
    if pace is None:
        return ""
    return f"{pace.steps_per_second:.3g} steps/s · {size(pace.memory)} of memory"


def _applying(data: Data, pace: Pace | None) -> str:
    if pace is None or not pace.pixels_per_second:
        return ""
    seconds = math.prod(data.volume.shape) / pace.pixels_per_second
    return f"{duration(seconds)} for the whole image"


def _memory(pace: Pace | None) -> list[str]:
    """Say so if the training is not going to fit."""
    free = psutil.virtual_memory().available
    if pace is None or pace.memory <= free:
        return []
    return [
        f"Training is expected to take {size(pace.memory)} of memory, and {size(free)} "
        f"are free: choose a smaller patch, batch or width, or close other programs."
    ]
