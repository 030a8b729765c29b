"""Step 3: how to train, and what can be seen while it does."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Literal, cast

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_blindsound.gui.combo import Combo
from napari_blindsound.gui.fold import Fold
from napari_blindsound.gui.form import ConfigForm
from napari_blindsound.gui.noise_box import NoiseBox
from napari_blindsound.gui.outcome import Outcome
from napari_blindsound.gui.panel import Panel
from napari_blindsound.gui.plan import DEFAULT_SECONDS
from napari_blindsound.gui.view_controls import ViewControls

if TYPE_CHECKING:
    from napari_blindsound.gui.session import Session
    from napari_blindsound.methods.base import Method

_UNITS = {
    "seconds": "seconds",
    "steps": "steps",
    "preset": "preset's steps",
}
# Of every method; those of one method are folded away with the rest.
_SHOWN = ("width", "depth", "patch", "batch")


class TrainPanel(Panel):
    """Method, length, the curve, and how the preview is shown.

    Attributes
    ----------
    outcome : Outcome
        Curve, gain and end of the training.
    seen : ViewControls
        How the preview is shown.
    noise : NoiseBox
        What can be changed in the model without training again.
    """

    step = "train"
    title = "Train"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._build_choice()
        self._build_settings()
        self.outcome = Outcome(session)
        self.curve, self.quality = self.outcome.curve, self.outcome.quality
        self.body.addWidget(self.outcome)
        self.seen = ViewControls(session)
        self.body.addWidget(self.seen)
        self.noise = NoiseBox(session)
        self.body.addWidget(self.noise)
        self._fill_methods()
        self.refresh()

    def summary(self) -> str:
        """Method and preset, and how good it has become."""
        plan, method = (
            self.session.plan,
            self.session.methods.get(self.session.plan.method),
        )
        title = method.title if method else plan.method
        words = (title, plan.preset, self.outcome.summary())
        return " · ".join(word for word in words if word)

    def refresh(self) -> None:
        """Show the methods once they are known, and what fits the state."""
        if self._offered != list(self.session.methods):
            self._fill_methods()
        is_idle = not self.session.is_busy
        choices = (self.method, self.preset, self.amount, self.unit, self.until)
        for control in choices:
            control.setEnabled(is_idle and bool(self.session.methods))
        self.settings.setEnabled(is_idle)
        self._show_plan()
        self.outcome.refresh()
        model = self.session.denoiser
        self.seen.show_ends(model.method if model is not None else self._method)
        self.noise.refresh()

    def begin(self) -> None:
        """Forget the curve: another training begins."""
        self.outcome.begin()

    def _build_choice(self) -> None:
        self.method, self.preset = Combo(), Combo()
        self.method.setToolTip("Denoising method")
        self.preset.setToolTip(
            "Named settings of the method, with a length of training"
        )
        self.amount, self.unit = QDoubleSpinBox(), Combo()
        self.amount.setRange(1, 1e7)
        self.amount.setDecimals(0)
        self.amount.setValue(DEFAULT_SECONDS)
        self.amount.setToolTip(
            "How long to train. Seconds are turned into steps by the speed measured "
            "on this computer, so that the training can be repeated exactly"
        )
        self.unit.setToolTip("What the length of the training is counted in")
        for word, text in _UNITS.items():
            self.unit.addItem(text, word)
        self.until = QCheckBox("or until it stops improving")
        self.until.setToolTip(
            "End as soon as more steps bring nothing, and keep the best weights. Some "
            "pixels are left out of the training to judge it by; the length above is "
            "then the most that it may take"
        )
        for combo in (self.method, self.preset, self.unit):
            combo.setMinimumContentsLength(6)
        first, second = QHBoxLayout(), QHBoxLayout()
        first.addWidget(self.method, 3)
        first.addWidget(self.preset, 2)
        second.addWidget(QLabel("for"))
        second.addWidget(self.amount, 1)
        second.addWidget(self.unit, 2)
        self.body.addLayout(first)
        self.body.addLayout(second)
        self.body.addWidget(self.until)
        self.method.currentIndexChanged.connect(self._on_method)
        self.preset.currentIndexChanged.connect(self._on_preset)
        self.amount.valueChanged.connect(self._on_length)
        self.unit.currentIndexChanged.connect(self._on_length)
        self.until.toggled.connect(self._on_length)

    def _build_settings(self) -> None:
        self.seed, self.device = QSpinBox(), Combo()
        self.device.addItem("auto")
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setToolTip("Seed of every random choice")
        self.device.setToolTip(
            "Where to compute; auto takes a graphics card if there is one"
        )
        self.seed.valueChanged.connect(self._on_other)
        self.device.currentTextChanged.connect(self._on_other)
        rows = QFormLayout()
        rows.addRow("seed", self.seed)
        rows.addRow("device", self.device)
        self._form_place = QVBoxLayout()
        self._form: ConfigForm | None = None
        content = QWidget()
        whole = QVBoxLayout(content)
        whole.setContentsMargins(12, 0, 0, 0)
        whole.addLayout(self._form_place)
        whole.addLayout(rows)
        self.settings = content
        self.body.addWidget(Fold("More settings", content))

    def _fill_methods(self) -> None:
        self._offered = list(self.session.methods)
        with QSignalBlocker(self.method):
            self.method.clear()
            for name, method in self.session.methods.items():
                self.method.addItem(method.title, name)
                at = self.method.count() - 1
                self.method.setItemData(at, _about(method), Qt.ItemDataRole.ToolTipRole)
            if not self.session.methods:
                self.method.addItem("loading…", self.session.plan.method)
        self._fill_presets()

    def _fill_presets(self) -> None:
        method = self._method
        with QSignalBlocker(self.preset):
            self.preset.clear()
            for at, (name, length) in enumerate(_lengths(method).items()):
                self.preset.addItem(name, name)
                self.preset.setItemData(at, length, Qt.ItemDataRole.ToolTipRole)
        self._fill_form()

    def _fill_form(self) -> None:
        """Options of the method, derived from its configuration."""
        if self._form is not None:
            self._form_place.removeWidget(self._form)
            self._form.deleteLater()
            self._form = None
        method = self._method
        if method is None:
            return
        config = method.Config.preset(self._preset_name)
        at = self.unit.findData("preset")
        self.unit.setItemText(at, f"{_UNITS['preset']} ({config.steps})")
        self._form = ConfigForm(method.Config, shown=_SHOWN)
        self._form.set_values(config.model_dump())
        self._form.changed.connect(self._on_settings)
        self._form_place.addWidget(self._form)

    @property
    def _method(self) -> type[Method] | None:
        return self.session.methods.get(str(self.method.currentData()))

    @property
    def _preset_name(self) -> str:
        method = self._method
        first = next(iter(method.Config.presets)) if method else "fast"
        return str(self.preset.currentData() or first)

    def _on_method(self) -> None:
        self._fill_presets()
        self._follow_preset()

    def _on_preset(self) -> None:
        self._fill_form()
        self._follow_preset()

    def _follow_preset(self) -> None:
        """A preset says how long, too; the length can then be changed."""
        method, plan = self._method, self.session.plan
        if method is not None:
            self.session.set_plan(plan.as_preset(method, self._preset_name))

    def _on_settings(self) -> None:
        method = self._method
        if method is None or self._form is None:
            return
        base = method.Config.preset(self._preset_name).model_dump()
        changes = self._form.values(base)
        try:
            method.Config.preset(self._preset_name, changes)
        except ValueError as error:
            self.session.fail(error, "train")
            return
        self.session.forgive("train")
        self.session.set_plan(replace(self.session.plan, settings=changes))

    def _on_length(self) -> None:
        unit = str(self.unit.currentData())
        self.amount.setVisible(unit != "preset")
        self.session.set_plan(
            replace(
                self.session.plan,
                amount=self.amount.value(),
                unit=cast("Literal['seconds', 'steps', 'preset']", unit),
                ending="auto" if self.until.isChecked() else "last",
            )
        )

    def _on_other(self) -> None:
        self.session.set_plan(
            replace(
                self.session.plan,
                seed=self.seed.value(),
                device=self.device.currentText(),
            )
        )

    def _show_plan(self) -> None:
        """Follow a plan that was set from elsewhere, such as by a preset."""
        plan = self.session.plan
        controls = self.device, self.seed, self.until, self.unit, self.amount
        with ExitStack() as blocked:
            for control in controls:
                blocked.enter_context(QSignalBlocker(control))
            self.until.setChecked(plan.ending == "auto")
            self.unit.setCurrentIndex(self.unit.findData(plan.unit))
            self.amount.setValue(plan.amount)
            self.amount.setVisible(plan.unit != "preset")
            if self.session.devices and self.device.count() == 1:
                self.device.addItems(self.session.devices)
            if self.device.findText(plan.device) < 0:
                self.device.addItem(plan.device)
            self.device.setCurrentText(plan.device)
            self.seed.setValue(plan.seed)


def _lengths(method: type[Method] | None) -> dict[str, str]:
    """How long each preset trains, by its name."""
    if method is None:
        return {}
    config = method.Config
    return {name: config.length_in_words(name) for name in config.presets}


def _about(method: type[Method]) -> str:
    """What a method says of itself, as a tool tip."""
    rows = {
        "Assumes": method.assumes,
        "Cost": method.cost,
        "Limits": method.limits,
        "Reference": method.reference,
    }
    lines = (f"<b>{name}:</b> {escape(text)}." for name, text in rows.items())
    return f"<qt>{'<br>'.join(lines)}</qt>"
