"""May the result be trusted? A button, a verdict, what the tests found, a report."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_blindsound.gui.fold import Fold
from napari_blindsound.gui.themed import Colors, Themed
from napari_blindsound.gui.trust_check import SUFFIXES, TrustCheck
from napari_blindsound.wording import file_name

if TYPE_CHECKING:
    from napari_blindsound.gui.trust_work import Tested
    from napari_blindsound.quality.trust import ChannelTrust
    from napari_blindsound.quality.verdict import Finding, Verdict

# Signs beside colors, as in the report: some see no red.
_SIGNS: dict[Verdict, str] = {"pass": "✓", "unknown": "?", "warn": "!", "fail": "✗"}
_WRONG = ("warn", "fail")
_KINDS = "Web page (*.html);;Picture (*.png);;PDF (*.pdf)"
_GOES_ON = {
    "test": "testing with noise and planted spots…",
    "report": "writing the report…",
}
_TEST = (
    "Send pure noise and planted spots through the model and look at what it takes "
    "away from this image: does it invent, swallow or copy anything? Takes seconds"
)


class TrustBox(Themed):
    """Tests the model on the image, and says what that found.

    Parameters
    ----------
    check : TrustCheck

    Attributes
    ----------
    test, save : QPushButton
    verdict : QLabel
    fold : Fold
        With one line a test.
    """

    def __init__(self, check: TrustCheck) -> None:
        super().__init__()
        self.check = check
        self._shown: Tested | None = None
        self.test, self.save = QPushButton(), QPushButton("Save report…")
        self.save.setToolTip(
            "One page with the verdicts, pictures and plots, for a supplement: .html, "
            ".png or .pdf"
        )
        self.verdict = _wrapped()
        self._findings = QWidget()
        self._lines = QVBoxLayout(self._findings)
        self._lines.setContentsMargins(12, 0, 0, 0)
        self._lines.setSpacing(2)
        self.fold = Fold("What the tests found", self._findings)
        row = QHBoxLayout()
        row.addWidget(self.test, 1)
        row.addWidget(self.save, 1)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addLayout(row)
        whole.addWidget(self.verdict)
        whole.addWidget(self.fold)
        self.test.clicked.connect(self._on_test)
        self.save.clicked.connect(self._on_save)
        check.session.events.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Follow the session: what can be tested, goes on, was found."""
        check, tested = self.check, self.check.tested
        is_testing = check.work == "test"
        self.test.setText("Stop testing" if is_testing else "Test the result")
        self.test.setToolTip("End the tests" if is_testing else _TEST)
        self.test.setEnabled(is_testing or check.can_begin)
        self.save.setVisible(tested is not None)
        self.save.setEnabled(tested is not None and check.work is None)
        self.verdict.setText(self._verdict())
        self.verdict.setVisible(bool(self.verdict.text()))
        if tested is not self._shown:
            self._shown = tested
            self._show_findings()
            is_wrong = tested is not None and tested.trust.verdict in _WRONG
            self.fold.set_open(is_wrong)

    def recolor(self, colors: Colors) -> None:
        """Draw the signs in other colors."""
        del colors
        self.verdict.setText(self._verdict())
        self._show_findings()

    def _verdict(self) -> str:
        """The line below the button."""
        work, tested = self.check.work, self.check.tested
        if work is not None:
            return _GOES_ON[work]
        if tested is None:
            return ""
        return f"{self._sign(tested.trust.verdict)} {escape(tested.trust.summary)}"

    def _show_findings(self) -> None:
        """One line a test, in place of those that were there."""
        while (item := self._lines.takeAt(0)) is not None:
            if (label := item.widget()) is not None:
                label.deleteLater()
        for channel in self._shown.trust.channels if self._shown else ():
            self._add(channel)
        self.fold.setVisible(self._shown is not None)

    def _add(self, channel: ChannelTrust) -> None:
        if channel.title:
            title = channel.title.removeprefix(" of ")
            self._lines.addWidget(_wrapped(f"<b>{escape(title)}</b>"))
        for finding in channel.findings:
            text = f"{self._sign(finding.verdict)} {_line(finding)}"
            label = _wrapped(text)
            label.setToolTip(_tooltip(finding))
            self._lines.addWidget(label)

    def _sign(self, verdict: Verdict) -> str:
        colors = self.colors or Colors.of(self.palette())
        color = {
            "pass": colors.line,
            "unknown": colors.text,
            "warn": colors.second,
            "fail": colors.alarm,
        }[verdict]
        # napari's style sheet outdoes the palette, but not what the text itself says.
        return f'<b style="color:{color}">{_SIGNS[verdict]}</b>'

    def _on_test(self) -> None:
        if self.check.work == "test":
            self.check.stop()
        else:
            self.check.begin()

    def _on_save(self) -> None:
        data = self.check.session.data
        name = file_name(data.name) if data is not None else "result"
        folder = Path(data.paths[0]).parent if data and data.paths else Path.home()
        path, kind = QFileDialog.getSaveFileName(
            self, "Save the report", str(folder / f"{name}_report.html"), _KINDS
        )
        if not path:
            return
        chosen = Path(path)
        if chosen.suffix.lower() in SUFFIXES:
            # The chooser has asked about a file that is there.
            self.check.save(chosen, overwrite=True)
        else:
            end = next((end for end in SUFFIXES if end in kind), SUFFIXES[0])
            self.check.save(chosen.with_name(f"{chosen.name}{end}"))


def _wrapped(text: str = "") -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextInteractionFlags(
        Qt.TextInteractionFlag.TextSelectableByMouse
        | Qt.TextInteractionFlag.TextSelectableByKeyboard
    )
    return label


def _line(finding: Finding) -> str:
    """A test in a line, and in more where something is wrong."""
    if finding.verdict == "pass":
        return f"<b>{escape(finding.test)}</b>: {escape(finding.expected)}"
    words = f"{finding.found} {finding.advice}".rstrip()
    return f"<b>{escape(finding.test)}</b>: {escape(words)}"


def _tooltip(finding: Finding) -> str:
    words = f"{finding.found} Expected: {finding.expected}. {finding.advice}"
    # Rich text is wrapped, plain text is not.
    return f"<qt>{escape(words.rstrip())}</qt>"
