"""A form for the settings of any method, derived from its configuration class."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from html import escape
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from magicgui.widgets import create_widget
from pydantic import BaseModel, ValidationError, create_model
from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QLineEdit, QVBoxLayout, QWidget

from napari_blindsound.gui.fold import Fold
from napari_blindsound.gui.number import Number
from napari_blindsound.gui.themed import Colors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from magicgui.widgets.bases import ValueWidget
    from pydantic.fields import FieldInfo

_LARGEST_INT = 2**31 - 1
_MARGIN = 12  # px, of what is folded away
_CHOICE_LETTERS = 8  # of a list of choices that are shown at the least width


class ConfigForm(QWidget):
    """Label and control for every field of a configuration.

    A field is what its annotation says: a check box, a number with its bounds, a
    number or nothing, a choice, a text. What has no control of its own is written as
    JSON, such as ``[1, 2]`` or ``null``; text that is no JSON is taken as it stands.

    Parameters
    ----------
    model : type of BaseModel, or mapping of str to FieldInfo
        A configuration, such as :attr:`Method.Config`, or fields by name.
    shown : iterable of str, optional
        Fields that are always seen; the others are folded away below. All by default.
        Names of other models' fields are left aside.

    Attributes
    ----------
    changed : Signal
        The user, or :meth:`set_values`, changed something.
    """

    changed = Signal()

    def __init__(
        self,
        model: type[BaseModel] | Mapping[str, FieldInfo],
        *,
        shown: Iterable[str] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._rows: dict[str, _Row] = {}
        self._model = model if isinstance(model, type) else _model_of(model)
        self._is_filling = True
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        fields = self._model.model_fields
        seen = [name for name in (fields if shown is None else shown) if name in fields]
        folded = [name for name in fields if name not in seen]
        self._rows = self._add_rows(whole, seen)
        if folded:
            content = QWidget()
            below = QVBoxLayout(content)
            below.setContentsMargins(_MARGIN, 0, 0, 0)
            self._rows |= self._add_rows(below, folded)
            whole.addWidget(Fold("more settings", content))
        self._defaults = {name: row.get() for name, row in self._rows.items()}
        self._is_filling = False

    def control(self, name: str) -> QWidget:
        """What a field is edited in."""
        return self._rows[name].control

    def show_only(self, names: Collection[str]) -> None:
        """Show these fields, and hide the others, which keep their values."""
        for name, row in self._rows.items():
            row.label.setVisible(name in names)
            row.control.setVisible(name in names)

    def values(self, base: Mapping[str, object] | None = None) -> dict[str, Any]:
        """What differs from `base`, or from the defaults of the configuration.

        Parameters
        ----------
        base : mapping of str to object, optional
            Fields that it leaves out have their defaults.

        Returns
        -------
        dict of str to object
            By field; not checked against one another, see :attr:`errors`.
        """
        base = {**self._defaults, **(base or {})}
        now = {name: row.get() for name, row in self._rows.items()}
        return {name: value for name, value in now.items() if value != base[name]}

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Fill in fields; those that are not named keep what they have.

        Raises
        ------
        KeyError
            If there is no such field.
        """
        before = self.values()
        self._is_filling = True
        try:
            for name, value in values.items():
                self._rows[name].set(value)
        finally:
            self._is_filling = False
        if self.values() != before:
            self._on_change()

    @property
    def errors(self) -> dict[str, str]:
        """What is wrong with the values, in a sentence for each field.

        What is wrong with several fields together is under the empty name.
        """
        try:
            self._model.model_validate({n: row.get() for n, row in self._rows.items()})
        except ValidationError as error:
            return dict(_sentences(error))
        return {}

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow the palette, as when napari's theme is changed."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.StyleChange:
            self._mark(self.errors)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Let the wheel scroll the dock, and not change what lies below the mouse."""
        if (
            event is not None
            and event.type() == QEvent.Type.Wheel
            and isinstance(watched, QWidget)
            and not watched.hasFocus()
        ):
            event.ignore()
            return True
        return super().eventFilter(watched, event)

    def _add_rows(self, place: QVBoxLayout, names: list[str]) -> dict[str, _Row]:
        layout = QFormLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        growth = QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow
        layout.setFieldGrowthPolicy(growth)
        place.addLayout(layout)
        rows = {}
        for name in names:
            info = self._model.model_fields[name]
            row = _row(name, info, self._on_change)
            label = row.label
            label.setText(row.title)
            label.setBuddy(row.control)
            for part in (label, row.control):
                part.setToolTip(info.description or row.title)
            row.control.setAccessibleName(row.title)
            row.control.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            row.control.installEventFilter(self)
            layout.addRow(label, row.control)
            rows[name] = row
        return rows

    def _on_change(self, *_: object) -> None:
        if self._is_filling:
            return
        self._mark(self.errors)
        self.changed.emit()

    def _mark(self, errors: Mapping[str, str]) -> None:
        color = Colors.of(self.palette()).alarm
        for name, row in self._rows.items():
            # As rich text, because napari's style overrules the label's palette.
            red = f'<span style="color:{color}">{escape(row.title)}</span>'
            row.label.setText(red if name in errors else row.title)
            row.label.setToolTip(errors.get(name) or row.control.toolTip())


@dataclass(frozen=True)
class _Row:
    title: str
    label: QLabel
    control: QWidget
    get: Callable[[], Any]
    set: Callable[[Any], None]
    keep: object = None
    """What must live as long as the control."""


def _row(name: str, info: FieldInfo, on_change: Callable[..., None]) -> _Row:
    """Control that fits the annotation of a field, at its default."""
    title = info.title or name.replace("_", " ")
    kind = info.annotation
    if kind is float:
        row = _number(title, info, on_change)
    elif set(get_args(kind)) == {float, NoneType}:
        row = _optional(title, on_change)
    elif kind in (bool, int, str) or get_origin(kind) is Literal:
        widget = _widget(info)
        widget.changed.connect(on_change)
        row = _Row(
            title, QLabel(), widget.native, widget.get_value, widget.set_value, widget
        )
    else:
        row = _text(title, on_change)
    if not info.is_required():
        row.set(info.get_default(call_default_factory=True))
    return row


def _number(title: str, info: FieldInfo, on_change: Callable[..., None]) -> _Row:
    control = Number(*_bounds(info))
    control.valueChanged.connect(on_change)
    return _Row(title, QLabel(), control, control.value, control.setValue)


def _widget(info: FieldInfo) -> ValueWidget[Any]:
    """Widget for what is true or false, a whole number, a choice, a text."""
    options: dict[str, Any] = {}
    if info.annotation is int:
        low, high = _bounds(info)
        options = {
            "min": int(max(low, -_LARGEST_INT)),
            "max": int(min(high, _LARGEST_INT)),
        }
    elif choices := get_args(info.annotation):
        options = {"choices": choices}
    widget = create_widget(annotation=info.annotation, options=options)
    if info.annotation is bool:
        widget.native.setText("")
    elif options.get("choices"):
        box = widget.native
        box.setSizeAdjustPolicy(
            box.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        box.setMinimumContentsLength(_CHOICE_LETTERS)
    return widget  # type: ignore[return-value]  # what these annotations give


def _text(title: str, on_change: Callable[..., None]) -> _Row:
    control = QLineEdit()
    control.textChanged.connect(on_change)

    def get() -> object:
        try:
            return json.loads(control.text())
        except ValueError:
            return control.text()

    def put(value: object) -> None:
        control.setText(value if isinstance(value, str) else json.dumps(value))

    return _Row(title, QLabel(), control, get, put)


def _optional(title: str, on_change: Callable[..., None]) -> _Row:
    """A number, or nothing."""
    control = QLineEdit()
    control.setClearButtonEnabled(True)
    control.textChanged.connect(on_change)

    def get() -> object:
        text = control.text().strip()
        try:
            return float(text.replace(",", ".")) if text else None
        except ValueError:
            return text

    def put(value: object) -> None:
        control.setText("" if value is None else f"{value:.9g}")

    return _Row(title, QLabel(), control, get, put)


def _bounds(info: FieldInfo) -> tuple[float, float]:
    """Least and largest value; a bound that does not belong counts where it must."""
    low, high = -sys.float_info.max, sys.float_info.max
    unit = 1 if info.annotation is int else 0
    for bound in info.metadata:
        low = max(low, getattr(bound, "ge", low))
        low = max(low, getattr(bound, "gt", low - unit) + unit)
        high = min(high, getattr(bound, "le", high))
        high = min(high, getattr(bound, "lt", high + unit) - unit)
    return low, high


def _model_of(fields: Mapping[str, FieldInfo]) -> type[BaseModel]:
    parts: dict[str, Any] = {n: (info.annotation, info) for n, info in fields.items()}
    return create_model("Settings", **parts)


def _sentences(error: ValidationError) -> Iterable[tuple[str, str]]:
    for one in error.errors():
        name = str(one["loc"][0]) if one["loc"] else ""
        words = one["msg"].removeprefix("Value error, ")
        label = name.replace("_", " ")
        yield name, f"{label}: {words[:1].lower()}{words[1:]}" if name else words
