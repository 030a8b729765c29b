"""The dock "Compare methods": tick them, start, look at all of them side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_blindsound.comparison.tables import REMARK
from napari_blindsound.errors import BlindsoundError
from napari_blindsound.gui.axes_row import AxesRow
from napari_blindsound.gui.closing import ClosingDock
from napari_blindsound.gui.combo import Combo
from napari_blindsound.gui.compare_bar import CompareBar
from napari_blindsound.gui.compare_layers import CompareLayers
from napari_blindsound.gui.compare_session import CompareSession
from napari_blindsound.gui.compare_table import CompareTable
from napari_blindsound.gui.finding import as_shown, dimensions
from napari_blindsound.gui.layer_choice import LayerChoice
from napari_blindsound.gui.layers import (
    axes_of,
    channel_of,
    files_of,
    number_of,
    volume_of,
)
from napari_blindsound.gui.panel import Complaint
from napari_blindsound.gui.preferences import preferences

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from napari_blindsound.images.volume import Volume

_NOISY = "noisy"


class CompareDock(ClosingDock):
    """Pick an image, tick methods, start, and use the best one.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        With the images; results are shown in it.
    """

    def __init__(self, napari_viewer: "napari.viewer.Viewer") -> None:  # noqa: UP037
        session = CompareSession()
        super().__init__(session.close)
        self.viewer, self.session = napari_viewer, session
        memory = int(preferences().tile_memory_gb * 2**30)
        self.layers = CompareLayers(napari_viewer, self, memory)
        self.table = CompareTable(session)
        self.bar = CompareBar(session)
        self.complaint, self.detail = Complaint(), QLabel()
        self._is_ended = False
        self._build_choice()
        self._build_actions()
        self._lay_out()
        self._connect()
        self.image.preselect()
        session.prepare()

    def use_layer(self, layer: Image) -> None:
        """Choose the image to compare on."""
        self.image.choose(layer)

    def end(self) -> None:
        """End all work, and let go of the viewer."""
        if not self._is_ended:
            self._is_ended = True
            self.layers.close()
            self.image.disconnect_viewer()
            self.clean.disconnect_viewer()
        super().end()

    def _build_choice(self) -> None:
        self.image, self.clean = LayerChoice(self.viewer), LayerChoice(self.viewer)
        self.image.setToolTip("The noisy image to compare on; all of it is trained on")
        self.clean.setToolTip("A clean image of the same size; nothing learns from it")
        self.clean.setAccessibleName("Truth layer")
        self.has_truth = QCheckBox("truth")
        self.has_truth.setToolTip(
            "Tick if there is a clean image to hold results against: PSNR and SSIM"
        )
        self.axes, self.amount, self.unit = AxesRow(), QDoubleSpinBox(), Combo()
        self.amount.setRange(1, 1e7)
        self.amount.setDecimals(0)
        self.amount.setValue(self.session.amount)
        self.amount.setAccessibleName("length of each training")
        self.amount.setToolTip("How long each method is trained, one after the other")
        self.unit.setToolTip("What the length of the trainings is counted in")
        self.unit.setAccessibleName("unit of that length")
        for name in ("seconds", "steps"):
            self.unit.addItem(f"{name} each", name)

    def _build_actions(self) -> None:
        self.grid = QCheckBox("side by side")
        self.grid.setToolTip(
            "Show the image and all results beside one another: they move and zoom "
            "together. Other layers are hidden meanwhile"
        )
        self.use = QPushButton("Use this one")
        self.use.setToolTip("Take the selected row's model to the dock Denoise")
        self.copy = QPushButton("Copy table")
        self.copy.setToolTip("Copy the table, for a text or a spreadsheet")
        menu = QMenu(self.copy)
        for kind in ("Markdown", "CSV"):
            action = menu.addAction(kind)
            assert action is not None
            action.triggered.connect(lambda _=False, name=kind: self.copy_table(name))
        self.copy.setMenu(menu)
        self.save = QPushButton("Save…")
        self.save.setToolTip(
            "Save tables, a contact sheet, a page and the models to a folder"
        )

    def _lay_out(self) -> None:
        choice = QFormLayout()
        choice.addRow("image", self.image)
        self._axes_label = QLabel("axes")
        choice.addRow(self._axes_label, self.axes)
        choice.addRow(self.has_truth, self.clean)
        budget = QHBoxLayout()
        budget.addWidget(self.amount, 1)
        budget.addWidget(self.unit, 1)
        choice.addRow("for", budget)
        self.choice = QWidget()
        self.choice.setLayout(choice)
        choice.setContentsMargins(0, 0, 0, 0)
        self.detail.setWordWrap(True)
        self.detail.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
        )
        actions = QHBoxLayout()
        actions.addWidget(self.grid, 1)
        for button in (self.use, self.copy, self.save):
            actions.addWidget(button)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(4, 4, 4, 4)
        whole.setSpacing(4)
        whole.addWidget(self.choice)
        whole.addWidget(self.table, 1)
        whole.addWidget(self.detail)
        whole.addLayout(actions)
        whole.addWidget(self.complaint)
        whole.addWidget(self.bar)
        self.setMinimumWidth(340)
        go = QShortcut(QKeySequence("Ctrl+Return"), self)
        go.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        go.activated.connect(self.bar.start.click)

    def _connect(self) -> None:
        events = self.session.events
        events.changed.connect(self._refresh)
        events.began.connect(self._on_began)
        events.made.connect(self._on_made)
        events.row_changed.connect(self._on_changed_row)
        events.failed.connect(self.complaint.show_failure)
        self.image.picked.connect(self._on_image)
        self.image.lost.connect(self._on_image)
        self.axes.edited.connect(self._read_image)
        self.clean.picked.connect(self._read_truth)
        self.clean.lost.connect(self._read_truth)
        self.has_truth.toggled.connect(self._read_truth)
        self.amount.valueChanged.connect(self._on_budget)
        self.unit.currentIndexChanged.connect(self._on_budget)
        self.grid.toggled.connect(lambda is_on: self.layers.set_grid(is_on=is_on))
        self.table.shown.connect(self._on_row)
        self.use.clicked.connect(self.use_selected)
        self.save.clicked.connect(self._choose_folder)
        self.layers.failed.connect(self.session.fail)
        self._show_axes(None)
        self._refresh()

    def use_selected(self) -> None:
        """Hand the selected model to the dock for one image, with the image."""
        from napari_blindsound.gui.commands import open_dock

        number = self.table.selected
        model = None if number is None else self.session.model(number)
        if model is None:
            return
        dock = open_dock(self.viewer)
        if dock.session.is_busy:
            self.bar.say("stop what runs in the dock Denoise first")
            return
        self.grid.setChecked(False)
        layer = self.image.layer
        if layer is not None:
            dock.use_layer(layer)
        dock.use_denoiser(model)

    def copy_table(self, kind: str) -> None:
        """Copy the table as Markdown or CSV."""
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            known = cast("Literal['Markdown', 'CSV']", kind)
            clipboard.setText(self.session.table(known))
            self.bar.say(f"copied the table as {kind}")

    def _refresh(self) -> None:
        session, number = self.session, self.table.selected
        is_running = session.is_running
        self.choice.setEnabled(not is_running)
        self.clean.setEnabled(self.has_truth.isChecked())
        has_rows = session.comparison is not None
        self.copy.setEnabled(has_rows)
        self.save.setEnabled(has_rows and not is_running)
        model = None if number is None else session.model(number)
        self.use.setEnabled(model is not None)
        self._show_detail(number)
        self.bar.refresh()

    def _show_detail(self, number: int | None) -> None:
        """What there is to know of the selected row, or of the first that failed."""
        rows = self.session.rows
        failed = [row for row in rows if row.state == "failed"]
        row = rows[number] if number is not None and number < len(rows) else None
        row = row or (failed[0] if failed else None)
        remark = "" if row is None or not row.is_final else REMARK.text(row)
        self.detail.setText(f"{row.title}: {remark}" if row and remark else "")
        self.detail.setVisible(bool(remark))

    def _on_image(self) -> None:
        self._show_axes(self.image.layer)
        self._read_image()

    def _show_axes(self, layer: Image | None) -> None:
        """Ask for the axes where the layer does not say them."""
        self.axes.show_axes(*dimensions(layer))
        is_asked = layer is not None and axes_of(layer) is None
        self.axes.setVisible(is_asked)
        self._axes_label.setVisible(is_asked)

    def _read_image(self) -> None:
        layer = self.image.layer
        if layer is None:
            self.session.choose(None)
            return
        try:
            shown = as_shown(layer, self.axes.letters)
        except BlindsoundError as error:
            self.session.choose(None)
            self.session.fail(error)
            return
        paths = files_of(layer)
        self.session.choose(shown, paths, channel_of(layer), number_of(layer))
        self._read_truth()

    def _read_truth(self) -> None:
        layer = self.clean.layer if self.has_truth.isChecked() else None
        truth: Volume | None = None
        try:
            if layer is not None:
                truth = volume_of(layer, axes_of(layer) or self.axes.letters or "")
        except BlindsoundError as error:
            self.session.fail(error)
        self.session.set_truth(truth)

    def _on_budget(self) -> None:
        unit = cast("Literal['seconds', 'steps']", self.unit.currentData())
        self.session.set_budget(self.amount.value(), unit)

    def _on_began(self) -> None:
        source = self.image.layer
        clean = self.clean.layer if self.has_truth.isChecked() else None
        if source is not None:
            self.layers.begin(source, clean)

    def _on_made(self, number: int) -> None:
        session = self.session
        result, volume = session.result(number), session.volume
        if result is None or volume is None:
            return
        if session.rows[number].name == _NOISY:
            self.layers.keep_source(number)
        else:
            title = session.rows[number].title
            self.layers.add(number, title, result.operator, volume)
        self._refresh()

    def _on_changed_row(self, number: int) -> None:
        if self.session.rows[number].is_final:
            self._show_detail(self.table.selected)

    def _on_row(self, number: int) -> None:
        self.layers.show(number)
        self._refresh()

    def _choose_folder(self) -> None:
        place = "Save the comparison (a new or empty folder)"
        name = QFileDialog.getExistingDirectory(self, place)
        if name:
            self.session.save(Path(name))
