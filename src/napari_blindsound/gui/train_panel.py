"""Step 3: how to train, and what can be seen while it does."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, cast

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_blindsound.gui.compare import Compare
from napari_blindsound.gui.curve import LossCurve
from napari_blindsound.gui.fold import Fold
from napari_blindsound.gui.form import ConfigForm
from napari_blindsound.gui.live import Quality
from napari_blindsound.gui.panel import Panel
from napari_blindsound.gui.plan import DEFAULT_SECONDS
from napari_blindsound.training.events import Progress

if TYPE_CHECKING:
    from napari_blindsound.gui.session import Session
    from napari_blindsound.methods.base import Method

_UNITS = {
    "seconds": "seconds",
    "steps": "steps",
    "preset": "preset's steps",
}
_SLIDER = 1000  # positions of a slider from 0 to 1
# Of every method; those of one method are folded away with the rest.
_SHOWN = ("width", "depth", "patch", "batch")


class TrainPanel(Panel):
    """Method, length, the curve, and how the preview is shown.

    Attributes
    ----------
    looked : Signal
        The preview is wanted, or wanted otherwise.
    blended : Signal
        Weight of the second of the method's ends.
    curtained : Signal
        Position of the curtain as a fraction of what is visible, None for no curtain.
    """

    step = "train"
    title = "Train"
    looked = Signal()
    blended = Signal(object)
    curtained = Signal(object)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._build_choice()
        self._build_settings()
        self.curve = LossCurve()
        self.quality = QLabel()
        self.quality.setWordWrap(True)
        self.quality.setToolTip(
            "By how much the error is lower than the noise, estimated without a clean "
            "image (Stein's unbiased risk estimate). It assumes noise that is "
            "independent from pixel to pixel."
        )
        self.body.addWidget(self.curve)
        self.body.addWidget(self.quality)
        self._build_view()
        self._ends: tuple[str, str] | None = None
        session.events.progressed.connect(self._on_progress)
        self._fill_methods()
        self.refresh()

    @property
    def wants_preview(self) -> bool:
        """Whether what is looked at shall be denoised."""
        return self.preview.isChecked()

    @property
    def wants_ends(self) -> bool:
        """Whether both ends are needed: the slider is not at the second one."""
        return self._ends is not None and self.blend.value() < _SLIDER

    @property
    def blend_weight(self) -> float:
        """Weight of the second of the method's ends."""
        return self.blend.value() / _SLIDER

    @property
    def curtain_at(self) -> float | None:
        """Position of the curtain, None without one."""
        if not self.curtain.isChecked():
            return None
        return self.curtain_slider.value() / _SLIDER

    def summary(self) -> str:
        """Method and preset, and how good it has become."""
        plan, method = (
            self.session.plan,
            self.session.methods.get(self.session.plan.method),
        )
        title = method.title if method else plan.method
        return f"{title} · {plan.preset}"

    def refresh(self) -> None:
        """Show the methods once they are known, and what fits the state."""
        if self._offered != list(self.session.methods):
            self._fill_methods()
        is_idle = not self.session.is_busy
        for control in (self.method, self.preset, self.amount, self.unit):
            control.setEnabled(is_idle and bool(self.session.methods))
        self.settings.setEnabled(is_idle)
        self._show_plan()
        self._show_ends()

    def begin(self) -> None:
        """Forget the curve: another training begins."""
        self.curve.clear()
        self.quality.clear()

    def show_curtain(self, fraction: float) -> None:
        """Follow the curtain that was dragged in the viewer."""
        with QSignalBlocker(self.curtain_slider):
            self.curtain_slider.setValue(round(fraction * _SLIDER))

    def _build_choice(self) -> None:
        self.method, self.preset = QComboBox(), QComboBox()
        self.method.setToolTip("Denoising method")
        self.preset.setToolTip("Named settings of the method")
        self.amount, self.unit = QDoubleSpinBox(), QComboBox()
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
        for combo in (self.method, self.preset, self.unit):
            # As narrow as the dock, whatever the longest entry is.
            combo.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            combo.setMinimumContentsLength(6)
        first, second = QHBoxLayout(), QHBoxLayout()
        first.addWidget(self.method, 3)
        first.addWidget(self.preset, 2)
        second.addWidget(QLabel("for"))
        second.addWidget(self.amount, 1)
        second.addWidget(self.unit, 2)
        self.body.addLayout(first)
        self.body.addLayout(second)
        self.method.currentIndexChanged.connect(self._on_method)
        self.preset.currentIndexChanged.connect(self._on_preset)
        self.amount.valueChanged.connect(self._on_length)
        self.unit.currentIndexChanged.connect(self._on_length)

    def _build_settings(self) -> None:
        self.seed, self.device = QSpinBox(), QLineEdit(self.session.plan.device)
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setToolTip("Seed of every random choice")
        self.device.setToolTip("Where to compute: auto, cpu, cuda (or cuda:1), mps")
        self.seed.valueChanged.connect(self._on_other)
        self.device.editingFinished.connect(self._on_other)
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

    def _build_view(self) -> None:
        self.blend = _slider(
            "Mix the method's two estimates in the preview, and in all that is applied"
        )
        self._ends_labels = QLabel(), QLabel()
        self.blend_reset = QPushButton("as trained")
        self.blend_reset.setToolTip("Back to the mix that the training used")
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._ends_labels[0])
        row.addWidget(self.blend, 1)
        row.addWidget(self._ends_labels[1])
        row.addWidget(self.blend_reset)
        self._blend_row = QWidget()
        self._blend_row.setLayout(row)
        self.preview = QCheckBox("preview what I look at")
        self.preview.setToolTip("Denoise the visible part of the plane as it trains")
        self.preview.setChecked(True)
        self.curtain = QCheckBox("curtain")
        self.curtain.setToolTip(
            "Noisy on the left, denoised on the right of a line that can be dragged in "
            "the viewer, or moved by the slider"
        )
        self.curtain_slider = _slider("Where the curtain hangs")
        second = QHBoxLayout()
        second.addWidget(self.preview)
        second.addWidget(self.curtain)
        second.addWidget(self.curtain_slider, 1)
        self.compare = Compare()
        self.compare_fold = Fold("Line profile and what was taken away", self.compare)
        self.body.addWidget(self._blend_row)
        self.body.addLayout(second)
        self.body.addWidget(self.compare_fold)
        self.blend.setValue(_SLIDER)
        self.curtain_slider.setValue(_SLIDER // 2)
        self.blend.valueChanged.connect(self._on_blend)
        self.blend_reset.clicked.connect(self._reset_blend)
        self.preview.toggled.connect(lambda _: self.looked.emit())
        self.curtain.toggled.connect(self._on_curtain)
        self.curtain_slider.valueChanged.connect(self._on_curtain)

    def _fill_methods(self) -> None:
        self._offered = list(self.session.methods)
        with QSignalBlocker(self.method):
            self.method.clear()
            for name, method in self.session.methods.items():
                self.method.addItem(method.title, name)
                at = self.method.count() - 1
                self.method.setItemData(
                    at, method.reference, Qt.ItemDataRole.ToolTipRole
                )
            if not self.session.methods:
                self.method.addItem("loading…", self.session.plan.method)
        self._fill_presets()

    def _fill_presets(self) -> None:
        method = self._method
        with QSignalBlocker(self.preset):
            self.preset.clear()
            for name in method.Config.presets if method else ():
                self.preset.addItem(name, name)
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
        self._form = ConfigForm(method.Config, shown=_SHOWN)
        self._form.set_values(method.Config.preset(self._preset_name).model_dump())
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
        plan = replace(
            self.session.plan,
            method=str(self.method.currentData()),
            preset=self._preset_name,
            settings={},
        )
        self.session.set_plan(plan)

    def _on_preset(self) -> None:
        self._fill_form()
        self.session.set_plan(
            replace(self.session.plan, preset=self._preset_name, settings={})
        )

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
            )
        )

    def _on_other(self) -> None:
        self.session.set_plan(
            replace(
                self.session.plan,
                seed=self.seed.value(),
                device=self.device.text().strip() or "auto",
            )
        )

    def _on_progress(self, event: object) -> None:
        if isinstance(event, Progress) and event.terms:
            self.curve.add(event.step, event.loss)
        elif isinstance(event, Quality) and math.isfinite(event.gain):
            if event.gain <= 0:
                self.quality.setText("not better than the noisy image yet")
                return
            self.curve.add_quality(event.step, event.gain)
            self.quality.setText(
                f"estimated {event.gain:+.1f} dB by denoising"
            )

    def _on_blend(self) -> None:
        if self._ends is None:
            return
        weight = self.blend_weight
        self.session.set_blend(None if weight == 1 else weight)
        self.blended.emit(weight)
        self.looked.emit()

    def _reset_blend(self) -> None:
        model = self.session.denoiser
        weight = model.trained_blend if model is not None else None
        self.blend.setValue(_SLIDER if weight is None else round(weight * _SLIDER))

    def _on_curtain(self) -> None:
        self.curtain_slider.setVisible(self.curtain.isChecked())
        self.curtained.emit(self.curtain_at)

    def _show_plan(self) -> None:
        """Follow a plan that was set from elsewhere, such as a remedy's button."""
        plan = self.session.plan
        with QSignalBlocker(self.device), QSignalBlocker(self.seed):
            self.device.setText(plan.device)
            self.seed.setValue(plan.seed)

    def _show_ends(self) -> None:
        model = self.session.denoiser
        method = model.method if model is not None else self._method
        ends = method.ends if method is not None else None
        if ends != self._ends:
            self._ends = ends
            for label, word in zip(self._ends_labels, ends or ("", ""), strict=True):
                label.setText(word)
        self._blend_row.setVisible(ends is not None)
        self.blend_reset.setEnabled(model is not None)
        self.curtain_slider.setVisible(self.curtain.isChecked())


def _slider(tip: str) -> QSlider:
    slider = QSlider(Qt.Orientation.Horizontal)
    slider.setRange(0, _SLIDER)
    slider.setPageStep(_SLIDER // 10)
    slider.setSingleStep(_SLIDER // 100)
    slider.setToolTip(tip)
    return slider
