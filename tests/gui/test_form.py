from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, model_validator
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QValidator, QWheelEvent
from qtpy.QtWidgets import QApplication, QLabel

from napari_blindsound import methods
from napari_blindsound.gui.fold import Fold
from napari_blindsound.gui.form import ConfigForm
from napari_blindsound.gui.number import Number

CONFIGS = {name: method.Config for name, method in methods.available().items()}


class Config(BaseModel):
    rate: float = Field(3e-3, gt=0, description="how fast")
    decay: float = Field(0.998, ge=0, lt=1)
    steps: int = Field(20, ge=1, le=50)
    below: int = Field(3, gt=0, lt=5)
    augment: bool = Field(True, description="flip")
    cell: Literal[2, 4] = 4
    shape: Literal["round", "square"] = "round"
    title: str = "none"
    seed: int | None = None
    sizes: Annotated[tuple[int, ...], Field(title="the sizes")] = (1, 2)

    @model_validator(mode="after")
    def _fits(self):
        if self.steps > 10 * self.cell:
            msg = f"steps is {self.steps}; choose at most {10 * self.cell}"
            raise ValueError(msg)
        return self


@pytest.fixture
def form(qtbot):
    made = ConfigForm(Config)
    qtbot.addWidget(made)
    return made


@pytest.mark.parametrize("name", CONFIGS)
def test_every_method_has_a_form(name, qtbot):
    config = CONFIGS[name]
    form = ConfigForm(config, shown=("batch", "patch", "no such field"))
    qtbot.addWidget(form)
    assert form.values() == {}
    assert form.errors == {}
    assert form.minimumSizeHint().width() <= 360
    for preset in config.presets:
        settings = config.preset(preset).model_dump()
        form.set_values(settings)
        assert form.errors == {}
        assert form.values(settings) == {}
        assert config.model_validate(form.values()) == config.preset(preset)
    for field, info in config.model_fields.items():
        assert form.control(field).toolTip() == info.description


def test_what_was_changed_is_told_with_its_type(form, qtbot):
    new = {
        "rate": 1e-4,
        "decay": 0.0,
        "steps": 7,
        "augment": False,
        "cell": 2,
        "shape": "square",
        "title": "mine",
        "seed": 3,
        "sizes": [5],
    }
    with qtbot.waitSignal(form.changed):
        form.set_values(new)
    assert form.values() == new
    assert form.values(new) == {}
    assert form.values({"rate": 2.0, **new}) == {}
    assert [type(form.values()[n]) for n in ("rate", "steps", "cell", "augment")] == [
        float,
        int,
        int,
        bool,
    ]


def test_no_signal_where_nothing_changes(form, qtbot):
    with qtbot.assertNotEmitted(form.changed):
        form.set_values({"rate": 3e-3, "cell": 4})
    heard = []
    form.changed.connect(lambda: heard.append(form.values()))
    form.set_values({"steps": 7, "rate": 1e-4})
    assert heard == [{"steps": 7, "rate": 1e-4}]
    with pytest.raises(KeyError, match="speed"):
        form.set_values({"speed": 1})


def test_bounds_are_those_of_the_fields(form):
    steps, below = form.control("steps"), form.control("below")
    assert (steps.minimum(), steps.maximum()) == (1, 50)
    assert (below.minimum(), below.maximum()) == (1, 4)
    assert form.control("decay").maximum() == 1
    assert form.control("rate").minimum() == 0


def test_what_is_wrong_is_said(form):
    form.set_values({"rate": 0.0})
    assert form.errors == {"rate": "rate: input should be greater than 0"}
    form.set_values({"rate": 1.0, "seed": "many"})
    assert list(form.errors) == ["seed"]
    form.set_values({"seed": None, "steps": 30, "cell": 2})
    assert form.errors == {"": "steps is 30; choose at most 20"}
    form.set_values({"cell": 4})
    assert form.errors == {}


def test_labels_are_words_and_the_rest_is_folded_away(qtbot):
    form = ConfigForm(Config, shown=["cell", "rate"])
    qtbot.addWidget(form)
    form.show()
    labels = [label.text() for label in form.findChildren(QLabel) if label.text()]
    assert labels[:3] == ["cell", "rate", "decay"]
    assert "the sizes" in labels
    [fold] = form.findChildren(Fold)
    assert form.control("rate").isVisible()
    assert not form.control("decay").isVisible()
    fold.set_open(True)
    assert form.control("decay").isVisible()
    assert form.values() == {}


def test_fields_alone_are_enough(qtbot):
    form = ConfigForm({"rate": Config.model_fields["rate"]})
    qtbot.addWidget(form)
    form.control("rate").setValue(0)
    assert form.values() == {"rate": 0.0}
    assert list(form.errors) == ["rate"]


def test_every_control_is_reached_by_tab(form, qtbot):
    form.show()
    qtbot.waitExposed(form)
    order, at = [], form.control("rate")
    for _ in range(60):
        order.append(at)
        at = at.nextInFocusChain()
    places = [order.index(form.control(name)) for name in Config.model_fields]
    assert places == sorted(places)


@pytest.mark.parametrize("name", ["steps", "rate", "shape"])
def test_the_wheel_scrolls_and_changes_nothing(form, name, qtbot):
    control = form.control(name)
    form.show()
    control.clearFocus()
    event = QWheelEvent(
        QPointF(5, 5),
        QPointF(control.mapToGlobal(QPoint(5, 5))),
        QPoint(0, -120),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(control, event)
    assert form.values() == {}


@pytest.fixture
def number(qtbot):
    made = Number(0, 1000)
    qtbot.addWidget(made)
    return made


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("1E-8", 1e-8), ("0,5", 0.5), ("20", 20.0), (".25", 0.25)],
)
def test_numbers_are_typed_as_in_python(number, text, value, qtbot):
    number.selectAll()
    qtbot.keyClicks(number, text)
    qtbot.keyClick(number, Qt.Key.Key_Return)
    assert number.value() == value


@pytest.mark.parametrize(("text", "value"), [("1e4", 1000), ("-1", 0), ("7e", 7)])
def test_numbers_out_of_bounds_become_the_nearest(number, text, value, qtbot):
    number.setValue(5)
    number.selectAll()
    qtbot.keyClicks(number, text)
    qtbot.keyClick(number, Qt.Key.Key_Return)
    assert number.value() == value
    states = [number.validate(text, 0)[0] for text in ("1e-", "1e4", "one", "-1", "")]
    intermediate, invalid = QValidator.State.Intermediate, QValidator.State.Invalid
    assert states == [intermediate, intermediate, invalid, intermediate, intermediate]


@pytest.mark.parametrize(
    ("value", "up", "down"),
    [
        (3e-3, 4e-3, 2e-3),
        (1e-2, 2e-2, 9e-3),
        (20, 30, 10),
        (0.998, 0.999, 0.997),
        (1e-8, 2e-8, 9e-9),
        (0, 1e-3, 0),
        (1000, 1000, 900),
    ],
)
def test_arrows_change_the_last_digit(number, value, up, down):
    number.setValue(value)
    number.stepUp()
    assert number.value() == pytest.approx(up)
    number.setValue(value)
    number.stepDown()
    assert number.value() == pytest.approx(down)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-4, "0.0001"), (1e-8, "1e-8"), (0.998, "0.998"), (23.5, "23.5"), (0, "0")],
)
def test_numbers_are_written_short(number, value, text):
    number.setValue(value)
    assert number.text() == text
