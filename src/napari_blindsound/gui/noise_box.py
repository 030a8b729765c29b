"""Settings of a model that can be changed without training it again, such as the noise.

Whatever is changed is seen in the preview at once, and goes into all that is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_blindsound.gui.fold import Fold
from napari_blindsound.gui.form import ConfigForm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_blindsound.gui.session import Session
    from napari_blindsound.inference.denoiser import Denoiser
    from napari_blindsound.methods.base import MethodConfig

_REST_MS = 250  # the user has stopped typing for so long


class NoiseBox(QWidget):
    """A fold with the settings that a trained model may change, if it has any.

    A number that is left empty is the one that was estimated, which then stands there
    in gray.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._config: MethodConfig | None = None
        self._learned: Denoiser | None = None
        self._seen: Denoiser | None = None
        self.form: ConfigForm | None = None
        self.reset = QPushButton("as trained")
        self.reset.setToolTip(
            "Back to the noise that the model was trained with, and to the numbers "
            "that were estimated"
        )
        self.reset.clicked.connect(self._reset)
        content = QWidget()
        self._place = QVBoxLayout(content)
        self._place.setContentsMargins(12, 0, 0, 0)
        self._place.addWidget(self.reset)
        self.fold = Fold("Noise model", content, is_open=True)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(self.fold)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REST_MS)
        self._timer.timeout.connect(self._adjust)
        self.refresh()

    def refresh(self) -> None:
        """Follow the model."""
        model = None if self._session.is_training else self._session.denoiser
        if model is None or not model.method.Config.adjustable:
            self._timer.stop()
            self.setVisible(False)
            return
        learned = self._session.learned
        if learned is not None and learned is not self._learned:
            self._learned = learned
            self._build(learned)
            self._seen = None
        if model is not self._seen:
            self._seen = model
            self._show_numbers(model)
        self.setEnabled(not self._session.is_busy)
        self.setVisible(True)

    def _build(self, model: Denoiser) -> None:
        """Fields of the model as it was learned."""
        self._timer.stop()
        self._config = model.methods[0].config
        if self.form is not None:
            self._place.removeWidget(self.form)
            self.form.deleteLater()
        fields = type(self._config).model_fields
        names = self._config.adjustable
        self.form = ConfigForm({name: fields[name] for name in names})
        self.form.set_values(_values(self._config))
        self.form.changed.connect(self._timer.start)
        self._place.insertWidget(0, self.form)

    def _show_numbers(self, model: Denoiser) -> None:
        """Numbers that the noise has, and what was estimated of them."""
        if self.form is None:
            return
        config = model.methods[0].config
        fields = type(config).model_fields
        used = _found(model)
        numbers = [name for name in config.adjustable if fields[name].default is None]
        shown = [n for n in config.adjustable if n not in numbers or n in used]
        self.form.show_only(shown)
        left = _found(model.adjusted(dict.fromkeys(numbers)))
        for name in numbers:
            control = self.form.control(name)
            if isinstance(control, QLineEdit) and name in left:
                control.setPlaceholderText(f"{left[name]:.4g}, estimated")
        kind = [str(getattr(config, n)) for n in shown if n not in numbers]
        told = [f"{name} {used[name]:.4g}" for name in shown if name in used]
        self.fold.set_summary(" · ".join(kind + told))
        self.reset.setEnabled(bool(self._session.adjustment))

    def _adjust(self) -> None:
        """Change the model, unless a number is still being typed."""
        if self.form is None or self._config is None or self.form.errors:
            return
        self._session.adjust(self.form.values(_values(self._config)))

    def _reset(self) -> None:
        if self.form is not None and self._config is not None:
            self.form.set_values(_values(self._config))
            self._adjust()


def _values(config: MethodConfig) -> Mapping[str, Any]:
    return {name: getattr(config, name) for name in config.adjustable}


def _found(model: Denoiser) -> dict[str, float]:
    """Numbers in use, those of the first channel where each has its own."""
    found: dict[str, float] = {}
    for name, value in model.methods[0].found().items():
        found.setdefault(name.partition(" of channel ")[0], value)
    return found
