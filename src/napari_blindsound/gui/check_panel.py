"""The second step: what the data look like at a glance, and what to know about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

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

from napari_blindsound.gui import check_words
from napari_blindsound.gui.combo import Combo
from napari_blindsound.gui.correlation_map import CorrelationMap
from napari_blindsound.gui.gain_plot import GainPlot
from napari_blindsound.gui.panel import Panel
from napari_blindsound.quality.advice import is_calibrated, suited_method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindsound.gui.failure import Step
    from napari_blindsound.gui.session import Session
    from napari_blindsound.quality.preflight import Glance

_ICON = 16  # px


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
        self.values = {name: _value(words) for name, words in check_words.ROWS.items()}
        self.plot, self.map = GainPlot(), CorrelationMap()
        self.told = Told()
        self.again = QPushButton("Check again")
        self.again.setToolTip("Look at the data and measure the speed once more")
        self.again.clicked.connect(self._check_again)
        self._found = QWidget()
        self._form = QFormLayout()
        self._lay_out()
        self.refresh()

    def summary(self) -> str:
        """Photons, neighbors and saturation, of the first channel."""
        checked = self.session.checked
        return "" if checked is None else check_words.summary(checked.glances[0])

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
        self._write("image", check_words.image(session.data))
        self._write("training", check_words.training(session.pace))
        self._write("applying", check_words.applying(session.data, session.pace))
        self.told.show_words(
            [*session.checked.advice, *check_words.memory(session.pace)]
        )

    def _lay_out(self) -> None:
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.setVerticalSpacing(3)
        self._form.addRow("channel", self.channels)
        for name, label in self.values.items():
            self._form.addRow(name, label)
        column = QVBoxLayout(self._found)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(self._form)
        pictures = QHBoxLayout()
        pictures.addWidget(self.plot, 1)
        pictures.addWidget(self.map)
        column.addLayout(pictures)
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
        for name, words in check_words.words(glance).items():
            self._write(name, words)
        for name, words in check_words.reasons(glance).items():
            self.values[name].setToolTip(f"{check_words.ROWS[name]}. {words}")
        has_bars = is_calibrated(self._glances)
        self._write(
            "method", "Blind2Sound, with error bars" if has_bars else "Blind2Unblind"
        )
        self.values["method"].setToolTip(suited_method(self._glances))
        self.plot.show_glance(glance)
        self.map.show_glance(glance)

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
