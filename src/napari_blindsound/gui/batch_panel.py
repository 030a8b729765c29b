"""What a batch is to do: the model, how it is trained, and where the results go."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QWidget,
)

from napari_blindsound.gui.combo import Combo

if TYPE_CHECKING:
    from qtpy.QtWidgets import QLayout

    from napari_blindsound.gui.batch_session import BatchSession

_MODELS = {
    "one": "train one for all",
    "folder": "train one for each folder",
    "each": "train one for each image",
    "file": "from a file",
}
_FORMATS = {".ome.zarr": "OME-Zarr", ".ome.tif": "OME-TIFF"}
_TYPES = {"float32": "float32", "source": "as the source"}
_MOST_STEPS = 10_000_000


class BatchPanel(QWidget):
    """A view of the session's choice.

    Parameters
    ----------
    session : BatchSession
    """

    def __init__(self, session: BatchSession) -> None:
        super().__init__()
        self.session = session
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.setVerticalSpacing(3)
        self._build_model()
        self._build_training()
        self._build_output()
        self.refresh()

    def refresh(self) -> None:
        """Show the choice, and what of it can be changed now."""
        session, choice = self.session, self.session.choice
        self._fill_methods()
        _show(self.model, choice.model)
        _show(self.method, choice.method)
        _show(self.preset, choice.preset)
        _show(self.format, choice.format)
        _show(self.dtype, choice.dtype)
        _write(self.model_file, choice.model_file)
        _write(self.output, choice.output)
        with QSignalBlocker(self.steps), QSignalBlocker(self.overwrite):
            self.steps.setValue(choice.steps or 0)
            self.overwrite.setChecked(choice.overwrite)
        self._show_settings()
        is_file = choice.model == "file"
        self._form.setRowVisible(self._file_row, is_file)
        self._form.setRowVisible(self._training_row, not is_file)
        self._form.setRowVisible(self._length_row, not is_file)
        self.setEnabled(not session.is_running)

    def _build_model(self) -> None:
        self.model = _combo(_MODELS, "Where the model comes from that denoises a file")
        self.model_file = QLineEdit()
        self.model_file.setPlaceholderText("model file (.blindsound)")
        self.model_file.setAccessibleName("model file")
        self.model_file.setToolTip("A model that was saved, applied to all files")
        browse = _browse("Choose a model file", self._choose_model)
        self._form.addRow("model", self.model)
        self._file_row = _row(self.model_file, browse)
        self._form.addRow("", self._file_row)
        self.model.activated.connect(
            lambda _: self._choose("model", self.model.currentData())
        )
        self.model_file.textEdited.connect(
            lambda text: self._choose("model_file", text)
        )

    def _build_training(self) -> None:
        self.method = _combo({}, "Denoising method")
        self.preset = _combo({}, "Named settings of the method")
        self._training_row = _row(self.method, self.preset)
        self._form.addRow("method", self._training_row)
        self.steps = QSpinBox()
        self.steps.setRange(0, _MOST_STEPS)
        self.steps.setSingleStep(500)
        self.steps.setSpecialValueText("as the preset")
        self.steps.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.steps.setKeyboardTracking(False)
        self.steps.setAccessibleName("steps of training")
        self.steps.setToolTip(
            "Steps of a training; 0 trains as long as the preset does. A number of "
            "steps, and not a time, learns the same each time"
        )
        self.settings = QLabel()
        self.settings.setToolTip("Taken over from the dock for one image")
        self._length_row = _row(self.steps, self.settings)
        self._form.addRow("steps", self._length_row)
        self.method.activated.connect(self._on_method)
        self.preset.activated.connect(self._on_preset)
        self.steps.valueChanged.connect(self._on_steps)

    def _build_output(self) -> None:
        self.output = QLineEdit()
        self.output.setPlaceholderText("folder of the results")
        self.output.setAccessibleName("folder of the results")
        self.output.setToolTip(
            "Folder of the results, of the models, and of batch.csv and batch.json, "
            "which say how each file ended. What is in it already is not made again"
        )
        browse = _browse("Choose the folder of the results", self._choose_output)
        self._form.addRow("results", _row(self.output, browse))
        self.format = _combo(_FORMATS, "Format of the results")
        self.dtype = _combo(_TYPES, "Pixels of the results")
        self.overwrite = QCheckBox("Replace results that were made otherwise")
        self.overwrite.setToolTip(
            "Results, and the model for all, that were made by other settings or from "
            "other files. Without it they are left alone, and their rows fail"
        )
        self._form.addRow("as", _row(self.format, self.dtype))
        self._form.addRow("", self.overwrite)
        self.output.textEdited.connect(lambda text: self._choose("output", text))
        self.format.activated.connect(
            lambda _: self._choose("format", self.format.currentData())
        )
        self.dtype.activated.connect(
            lambda _: self._choose("dtype", self.dtype.currentData())
        )
        self.overwrite.toggled.connect(
            lambda is_on: self._choose("overwrite", value=is_on)
        )

    def _choose(self, name: str, value: Any) -> None:  # noqa: ANN401 - of any field
        changes: dict[str, Any] = {name: value}
        self.session.choose(replace(self.session.choice, **changes))

    def _on_method(self) -> None:
        name = str(self.method.currentData())
        method = self.session.methods.get(name)
        if method is not None and name != self.session.choice.method:
            first = next(iter(method.Config.presets))
            self.session.choose(self.session.choice.as_preset(name, first))

    def _on_preset(self) -> None:
        name = str(self.preset.currentData())
        if name != self.session.choice.preset:
            choice = self.session.choice
            self.session.choose(choice.as_preset(choice.method, name))

    def _on_steps(self) -> None:
        steps = self.steps.value() or None
        ending = self.session.choice.ending if steps else None
        self.session.choose(
            replace(self.session.choice, steps=steps, seconds=None, ending=ending)
        )

    def _choose_model(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Model", self.model_file.text(), "Models (*.blindsound)"
        )
        if path:
            self._choose("model_file", path)

    def _choose_output(self) -> None:
        path = QFileDialog.getExistingDirectory(
            self, "Folder of the results", self.output.text()
        )
        if path:
            self._choose("output", path)

    def _fill_methods(self) -> None:
        """Names that are known: until torch is imported, only those chosen."""
        choice, methods = self.session.choice, self.session.methods
        titles = {name: method.title for name, method in methods.items()}
        _fill(self.method, titles or {choice.method: "loading…"})
        method = methods.get(choice.method)
        presets = list(method.Config.presets) if method else [choice.preset]
        _fill(self.preset, {name: name for name in presets})
        for combo in (self.method, self.preset):
            combo.setEnabled(bool(methods))

    def _show_settings(self) -> None:
        choice = self.session.choice
        parts = [f"{name} {value}" for name, value in choice.settings.items()]
        if choice.seconds:
            parts.append(f"{choice.seconds:g} s")
        if choice.ending == "auto":
            parts.append("until it stops improving")
        method = self.session.methods.get(choice.method)
        if method is not None and not (choice.steps or choice.seconds or choice.ending):
            parts.append(method.Config.length_in_words(choice.preset))
        self.settings.setText(", ".join(parts))


def _combo(entries: dict[str, str], tip: str) -> Combo:
    combo = Combo()
    combo.setToolTip(tip)
    combo.setAccessibleName(tip)
    _fill(combo, entries)
    return combo


def _fill(combo: Combo, entries: dict[str, str]) -> None:
    now = {combo.itemData(i): combo.itemText(i) for i in range(combo.count())}
    if now == entries:
        return
    with QSignalBlocker(combo):
        combo.clear()
        for name, text in entries.items():
            combo.addItem(text, name)


def _show(combo: Combo, name: str) -> None:
    with QSignalBlocker(combo):
        combo.setCurrentIndex(combo.findData(name))


def _write(field: QLineEdit, text: str) -> None:
    if field.text() != text:
        field.setText(text)


def _browse(tip: str, act: Any) -> QPushButton:  # noqa: ANN401 - a slot
    button = QPushButton("…")
    button.setToolTip(tip)
    button.setAccessibleName(tip)
    button.setMaximumWidth(32)
    button.clicked.connect(act)
    return button


def _row(*widgets: QWidget) -> QLayout:
    """Widgets beside each other, the first one the widest."""
    row = QHBoxLayout()
    row.setContentsMargins(0, 0, 0, 0)
    for place, widget in enumerate(widgets):
        row.addWidget(widget, 3 if place == 0 else 2)
    return row
