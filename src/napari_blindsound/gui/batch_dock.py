"""The dock "Batch denoise": many files, one after the other, and how each has ended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
)

from napari_blindsound.gui.batch_bar import BatchBar
from napari_blindsound.gui.batch_panel import BatchPanel
from napari_blindsound.gui.batch_session import BatchSession
from napari_blindsound.gui.batch_table import BatchTable
from napari_blindsound.gui.closing import ClosingDock
from napari_blindsound.gui.panel import Complaint
from napari_blindsound.images.sorting import natural_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    import napari
    from qtpy.QtGui import QDropEvent

    from napari_blindsound.images.layers import LayerData
    from napari_blindsound.recipe import Recipe

_KINDS = (
    "Images (*.tif *.tiff *.tf2 *.tf8 *.btf *.png *.npy *.czi *.nd2 *.lif);;"
    "All files (*)"
)


class BatchDock(ClosingDock):
    """Drop files and folders, choose a model and a folder, start.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        Where results are opened.
    """

    def __init__(self, napari_viewer: "napari.viewer.Viewer") -> None:  # noqa: UP037
        session = BatchSession()
        super().__init__(session.close)
        self.viewer, self.session = napari_viewer, session
        self.table = BatchTable(self.session)
        self.panel = BatchPanel(self.session)
        self.bar = BatchBar(self.session)
        self.complaint = Complaint()
        self.detail = QLabel()
        self._folder = ""
        self._build()
        self._connect()
        self.session.prepare()

    def add_paths(self, paths: Sequence[Path]) -> None:
        """Add the images in files and folders, as dropping them does."""
        self.session.add(paths)

    def use_recipe(self, recipe: Recipe) -> None:
        """Train as a recipe says, such as that of the dock for one image."""
        self.session.use_recipe(recipe)

    def _build(self) -> None:
        self.detail.setWordWrap(True)
        self.detail.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
        )
        self.detail.hide()
        whole = QVBoxLayout(self)
        whole.setContentsMargins(4, 4, 4, 4)
        whole.setSpacing(4)
        whole.addWidget(self._drop_zone())
        whole.addWidget(self.table, 1)
        whole.addWidget(self.detail)
        whole.addLayout(self._row_buttons())
        whole.addWidget(self.panel)
        whole.addWidget(self.complaint)
        whole.addWidget(self.bar)
        self.setMinimumWidth(340)
        go = QShortcut(QKeySequence("Ctrl+Return"), self)
        go.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        go.activated.connect(self.bar.start.click)

    def _drop_zone(self) -> QFrame:
        frame = QFrame()
        frame.setFrameShape(QFrame.Shape.StyledPanel)
        words = QLabel("Drop files and folders here")
        words.setToolTip(
            "A file is an image. A folder is looked into: TIFF stacks are an image "
            "each, single planes the frames of one; a folder of the FMDD data set and "
            "a Zarr folder are one image. A model file is the model to apply"
        )
        self.add_files = QPushButton("Add files…")
        self.add_files.setToolTip("Choose image files; each is a row")
        self.add_files.clicked.connect(self._choose_files)
        self.add_folder = QPushButton("Add folder…")
        self.add_folder.setToolTip("Choose a folder to look into, or a Zarr folder")
        self.add_folder.clicked.connect(self._choose_folder)
        row = QHBoxLayout(frame)
        row.setContentsMargins(6, 4, 6, 4)
        row.addWidget(words, 1)
        row.addWidget(self.add_files)
        row.addWidget(self.add_folder)
        return frame

    def _row_buttons(self) -> QHBoxLayout:
        self.split = QPushButton("Split")
        self.split.setToolTip("Take each frame of the selected stacks for an image")
        self.split.clicked.connect(self._on_split)
        self.remove = QPushButton("Remove")
        self.remove.setToolTip("Take the selected rows out (Delete)")
        self.remove.clicked.connect(self._on_remove)
        self.clear = QPushButton("Clear")
        self.clear.setToolTip("Take all rows out; files and results stay")
        self.clear.clicked.connect(self.session.clear)
        self.count = QLabel()
        row = QHBoxLayout()
        row.addWidget(self.count, 1)
        for button in (self.split, self.remove, self.clear):
            row.addWidget(button)
        self.table.removed.connect(self._on_remove)
        return row

    def _connect(self) -> None:
        events = self.session.events
        events.changed.connect(self._refresh)
        events.row_changed.connect(self._on_row)
        events.failed.connect(self.complaint.show_failure)
        events.opened.connect(self._show_layers)
        self.table.opened.connect(self._on_open)
        chosen = self.table.selectionModel()
        assert chosen is not None
        chosen.selectionChanged.connect(self._refresh_rows)
        self._refresh()

    def _refresh(self) -> None:
        self._refresh_rows()
        self.panel.refresh()
        self.bar.refresh()

    def _refresh_rows(self) -> None:
        session, selected = self.session, self.table.selected()
        rows = [session.rows[number] for number in selected]
        is_idle = not session.is_running
        self.split.setEnabled(is_idle and any(row.image.can_split for row in rows))
        self.remove.setEnabled(is_idle and bool(rows))
        self.clear.setEnabled(is_idle and bool(session.rows))
        count = len(session.rows)
        self.count.setText(f"{count} image{'s' * (count != 1)}" if count else "")
        self._show_detail()

    def _show_detail(self) -> None:
        """The whole message of the selected row, or of the first that failed."""
        rows = self.session.rows
        chosen = [rows[number] for number in self.table.selected()]
        chosen = chosen or [row for row in rows if row.event.state == "failed"]
        text = chosen[0].event.message if chosen else ""
        self.detail.setText(text)
        self.detail.setVisible(bool(text))

    def _on_row(self, number: int) -> None:
        is_failed = self.session.rows[number].event.state == "failed"
        if is_failed or number in self.table.selected():
            self._show_detail()

    def _on_split(self) -> None:
        self.session.split(self.table.selected())

    def _on_remove(self) -> None:
        self.session.remove(self.table.selected())

    def _on_open(self, number: int) -> None:
        if 0 <= number < len(self.session.rows):
            self.session.open_result(number)

    def _show_layers(self, layers: Sequence[LayerData]) -> None:
        for pixels, meta, _ in layers:
            is_pyramid = isinstance(pixels, list)
            self.viewer.add_image(pixels, multiscale=is_pyramid, **meta)

    def _choose_files(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Add files", self._folder, _KINDS)
        self._add_chosen(names)

    def _choose_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Add a folder", self._folder)
        self._add_chosen([name] if name else [])

    def _add_chosen(self, names: Sequence[str]) -> None:
        if names:
            self._folder = str(Path(names[0]).parent)
            self.session.add([Path(name) for name in names])

    def take(self, event: QDropEvent) -> None:
        """Add what was dropped."""
        data = event.mimeData()
        if data is not None:
            local = [url.toLocalFile() for url in data.urls() if url.isLocalFile()]
            self.session.add(natural_order(map(Path, local)))
