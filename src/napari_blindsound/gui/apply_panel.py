"""Step 4: the model on this image or others, at once or to disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QWidget,
)

from napari_blindsound.gui.combo import Combo
from napari_blindsound.gui.fold import Fold
from napari_blindsound.gui.panel import Panel
from napari_blindsound.wording import file_name

if TYPE_CHECKING:
    from napari_blindsound.gui.session import Session

_WRITE, _FILES = "Write", "files"
_MODELS = "Blindsound model (*.blindsound)"


class ApplyPanel(Panel):
    """Lazy layer, writing, models.

    Attributes
    ----------
    lazy_wanted : Signal
        A lazy layer of the target shall be added.
    write_wanted : Signal
        The target shall be denoised to the place chosen.
    batch_wanted : Signal
        Many files shall be denoised the same way.
    """

    step = "apply"
    title = "Apply"
    lazy_wanted = Signal()
    write_wanted = Signal()
    batch_wanted = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.files: tuple[Path, ...] = ()
        self._build_target()
        self._build_lazy()
        self._build_writing()
        self._build_cluster()
        self._build_model()
        self.refresh()

    @property
    def destination(self) -> Path:
        """Where to write: a file, or a folder for several files."""
        return Path(self.place.text()).expanduser()

    @property
    def scheduler_address(self) -> str | None:
        """Address of the dask scheduler whose workers write; None without one."""
        return self.scheduler.text().strip() or None

    @property
    def target_layer(self) -> str | None:
        """Name of the other layer to apply to; None for the image or files."""
        data = self.target.currentData()
        return str(data) if data not in (None, _FILES) else None

    @property
    def is_for_files(self) -> bool:
        """Whether the model is applied to files instead of a layer."""
        return bool(self.target.currentData() == _FILES)

    def summary(self) -> str:
        """Which model there is."""
        model = self.session.denoiser
        if model is None:
            return "no model yet"
        path = self.session.model_path
        return f"{model.method.title}" + (f" · {path.name}" if path else " · not saved")

    def refresh(self) -> None:
        """Enable what the model and the state allow."""
        session = self.session
        is_idle = session.denoiser is not None and not session.is_busy
        has_image = session.data is not None or self.target.currentIndex() > 0
        self.lazy.setEnabled(is_idle and has_image and not self.is_for_files)
        self.write.setEnabled(is_idle and (has_image or self.is_for_files))
        self.save.setEnabled(is_idle)
        self.load.setEnabled(not session.is_busy)
        self.target.setEnabled(not session.is_busy)
        self.uncertainty.setEnabled(is_idle and self._is_known())
        self.uncertainty.setToolTip(self._about_uncertainty())
        self.model_label.setText(self._about_model())
        if not self.place.text() and session.data is not None:
            self.suggest()

    def show_layers(self, names: list[str]) -> None:
        """Offer other layers to apply the model to."""
        kept = self.target.currentData()
        with QSignalBlocker(self.target):
            self.target.clear()
            self.target.addItem("this image", None)
            for name in names:
                self.target.addItem(f"layer: {name}", name)
            self.target.addItem("files…", _FILES)
            at = self.target.findData(kept) if kept else 0
            self.target.setCurrentIndex(max(0, at))

    def suggest(self) -> None:
        """Propose a place beside the image."""
        data = self.session.data
        if data is None:
            return
        folder = Path(data.paths[0]).parent if data.paths else Path.home()
        if not folder.is_dir():
            folder = Path.home()
        name = file_name(self.target_layer or data.name)
        if self.is_for_files:
            self.place.setText(str(self.files[0].parent / "denoised"))
        else:
            self.place.setText(str(folder / f"{name}_denoised.ome.zarr"))

    @property
    def wants_uncertainty(self) -> bool:
        """Whether deviations are made, too: they are wanted, and the model has some."""
        return self.uncertainty.isChecked() and self._is_known()

    @property
    def is_unfinished(self) -> bool:
        """Whether a result that was stopped is continued."""
        return self.write.text() != _WRITE

    def show_unfinished(self, percent: float) -> None:
        """Offer to continue a result that was stopped."""
        self.write.setText(f"Continue at {percent:.0f} %")

    def forget_unfinished(self) -> None:
        """Nothing lies half-written at the place."""
        self.write.setText(_WRITE)

    def _build_target(self) -> None:
        self.target = Combo()
        self.target.setToolTip("What the model is applied to")
        self.target.activated.connect(self._on_target)
        self.show_layers([])
        row = QHBoxLayout()
        row.addWidget(QLabel("apply to"))
        row.addWidget(self.target, 1)
        self.batch = QPushButton("Batch…")
        self.batch.setToolTip("Open the dock for many files, to train in the same way")
        self.batch.clicked.connect(self.batch_wanted)
        row.addWidget(self.batch)
        self.body.addLayout(row)

    def _build_lazy(self) -> None:
        self.lazy = QPushButton("Show as lazy layer")
        self.lazy.setToolTip(
            "At once: every plane is denoised when you look at it, and never before"
        )
        self.lazy.clicked.connect(self.lazy_wanted)
        self.uncertainty = QCheckBox("Uncertainty")
        row = QHBoxLayout()
        row.addWidget(self.lazy, 1)
        row.addWidget(self.uncertainty)
        self.body.addLayout(row)

    def _build_writing(self) -> None:
        self.place = QLineEdit()
        self.place.setToolTip(
            "Where the result goes: a name that ends in .ome.zarr or .ome.tif; a "
            "folder for several files"
        )
        self.place.setPlaceholderText("result.ome.zarr")
        browse = QPushButton("…")
        browse.setToolTip("Choose the place")
        browse.setMaximumWidth(32)
        browse.clicked.connect(self._browse)
        self.dtype = Combo()
        self.dtype.addItem("float32", "float32")
        self.dtype.setMinimumContentsLength(len("float32"))
        self.dtype.addItem("the image's own type", "source")
        self.dtype.setToolTip(
            "Type of the pixels: the image's own is rounded and clipped"
        )
        self.replace = QCheckBox("replace")
        self.replace.setToolTip(
            "Replace an earlier result once the new one is complete"
        )
        self.write = QPushButton(_WRITE)
        self.write.setToolTip("Denoise all of it to disk, piece by piece")
        self.write.clicked.connect(self.write_wanted)
        first, second = QHBoxLayout(), QHBoxLayout()
        first.addWidget(self.place, 1)
        first.addWidget(browse)
        second.addWidget(self.dtype)
        second.addWidget(self.replace)
        second.addWidget(self.write, 1)
        self.body.addLayout(first)
        self.body.addLayout(second)

    def _build_cluster(self) -> None:
        self.scheduler = QLineEdit()
        self.scheduler.setPlaceholderText("tcp://head:8786")
        self.scheduler.setClearButtonEnabled(True)
        self.scheduler.setToolTip(
            "Address of a running dask scheduler, whose workers then write the result "
            "in place of napari; they must see image and result at the same paths"
        )
        content = QWidget()
        row = QHBoxLayout(content)
        row.setContentsMargins(0, 0, 0, 0)
        label = QLabel("&scheduler")
        label.setBuddy(self.scheduler)
        row.addWidget(label)
        row.addWidget(self.scheduler, 1)
        fold = Fold("Cluster", content)
        self.scheduler.textChanged.connect(fold.set_summary)
        self.body.addWidget(fold)

    def _build_model(self) -> None:
        self.model_label = QLabel()
        self.model_label.setWordWrap(True)
        self.save = QPushButton("Save model…")
        self.save.setToolTip("Keep what was learned in a file")
        self.load = QPushButton("Load model…")
        self.load.setToolTip("Take a model that was saved before")
        self.save.clicked.connect(self._save)
        self.load.clicked.connect(self._load)
        row = QHBoxLayout()
        row.addWidget(self.save)
        row.addWidget(self.load)
        self.body.addLayout(row)
        self.body.addWidget(self.model_label)

    def _is_known(self) -> bool:
        session = self.session
        if session.is_training:
            method = session.methods.get(session.plan.method)
            is_known = method is not None and "deviation" in method.outputs
            return is_known and session.blend is None
        model = session.model()
        return model is not None and model.deviation() is not None

    def _about_uncertainty(self) -> str:
        model = self.session.model()
        if model is not None and model.deviation() is not None:
            found = model.uncertainty
            told = "It was not calibrated." if found is None else f"{found.words}."
            return f"Add the standard deviation of each pixel, in its counts. {told}"
        if model is None:
            return "The standard deviation of each pixel; a model must be there first"
        return (
            f"{model.method.title}, as it is applied, does not say how uncertain its "
            f"results are"
        )

    def _about_model(self) -> str:
        model = self.session.denoiser
        if model is None:
            return "Train a model, or load one."
        trained = model.provenance.get("trained_on") or [{}]
        name = trained[0].get("name", "an image")
        steps = sum(model.provenance.get("steps") or [0])
        return f"{model.method.title}, trained for {steps} steps on {name}"

    def _on_target(self) -> None:
        if self.is_for_files:
            paths, _ = QFileDialog.getOpenFileNames(self, "Denoise files")
            self.files = tuple(Path(path) for path in paths)
            if not self.files:
                self.target.setCurrentIndex(0)
        self.suggest()
        self.refresh()

    def _browse(self) -> None:
        start = self.place.text()
        if self.is_for_files:
            path = QFileDialog.getExistingDirectory(self, "Folder for results", start)
        else:
            path, _ = QFileDialog.getSaveFileName(
                self,
                "Write the result",
                start,
                "OME-Zarr (*.ome.zarr);;OME-TIFF (*.ome.tif)",
            )
        if path:
            self.place.setText(path)

    def _save(self) -> None:
        folder = self.session.preferences.model_folder
        data = self.session.data
        name = file_name(data.name) if data is not None else "model"
        path, _ = QFileDialog.getSaveFileName(
            self, "Save the model", str(folder / f"{name}.blindsound"), _MODELS
        )
        if path:
            self.session.save_model(Path(path).with_suffix(".blindsound"))

    def _load(self) -> None:
        folder = str(self.session.preferences.model_folder)
        path, _ = QFileDialog.getOpenFileName(self, "Load a model", folder, _MODELS)
        if path:
            self.session.load_model(Path(path))
