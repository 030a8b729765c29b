"""How the preview is shown: mixed, behind a curtain, held against the noisy image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_blindsound.gui.compare import Compare
from napari_blindsound.gui.fold import Fold

if TYPE_CHECKING:
    from napari_blindsound.gui.session import Session
    from napari_blindsound.methods.base import Method

_SLIDER = 1000  # positions of a slider from 0 to 1


class ViewControls(QWidget):
    """Blend, preview, curtain, and the comparison with what came in.

    Parameters
    ----------
    session : Session

    Attributes
    ----------
    looked : Signal
        The preview is wanted, or wanted otherwise.
    blended : Signal
        Weight of the second of the method's ends.
    curtained : Signal
        Position of the curtain as a fraction of what is visible, None for no curtain.
    """

    looked = Signal()
    blended = Signal(object)
    curtained = Signal(object)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._ends: tuple[str, str] | None = None
        self._build()

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

    def show_curtain(self, fraction: float) -> None:
        """Follow the curtain that was dragged in the viewer."""
        with QSignalBlocker(self.curtain_slider):
            self.curtain_slider.setValue(round(fraction * _SLIDER))

    def show_ends(self, method: type[Method] | None) -> None:
        """Offer the blend between the ends of a method, if it has any."""
        ends = method.ends if method is not None else None
        if ends != self._ends:
            self._ends = ends
            for label, word in zip(self._ends_labels, ends or ("", ""), strict=True):
                label.setText(word)
        self._blend_row.setVisible(ends is not None)
        self.blend_reset.setEnabled(self.session.denoiser is not None)
        self.curtain_slider.setVisible(self.curtain.isChecked())

    def _build(self) -> None:
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
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(self._blend_row)
        whole.addLayout(second)
        whole.addWidget(self.compare_fold)
        self.blend.setValue(_SLIDER)
        self.curtain_slider.setValue(_SLIDER // 2)
        self.blend.valueChanged.connect(self._on_blend)
        self.blend_reset.clicked.connect(self._reset_blend)
        self.preview.toggled.connect(self._on_preview)
        self.curtain.toggled.connect(self._on_curtain)
        self.curtain_slider.valueChanged.connect(self._on_curtain)

    def _on_preview(self) -> None:
        self.looked.emit()

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


def _slider(tip: str) -> QSlider:
    slider = QSlider(Qt.Orientation.Horizontal)
    slider.setRange(0, _SLIDER)
    slider.setPageStep(_SLIDER // 10)
    slider.setSingleStep(_SLIDER // 100)
    slider.setToolTip(tip)
    return slider
