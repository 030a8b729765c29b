"""The dock "Denoise (Blindsound)": four steps, one in view, and an action bar.

It puts the panels together and does what needs the viewer; all else is the session's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QApplication, QFrame, QScrollArea, QVBoxLayout, QWidget

from napari_blindsound.gui.action_bar import ActionBar
from napari_blindsound.gui.apply_panel import ApplyPanel
from napari_blindsound.gui.applying import Applying
from napari_blindsound.gui.check_panel import CheckPanel
from napari_blindsound.gui.closing import ClosingDock
from napari_blindsound.gui.data_panel import DataPanel
from napari_blindsound.gui.dropping import paths_of
from napari_blindsound.gui.fold import Fold
from napari_blindsound.gui.looking import Looking
from napari_blindsound.gui.session import Session, State
from napari_blindsound.gui.train_panel import TrainPanel
from napari_blindsound.gui.trust_box import TrustBox
from napari_blindsound.gui.trust_check import TrustCheck

if TYPE_CHECKING:
    from pathlib import Path

    import napari
    from napari.layers import Image
    from qtpy.QtGui import QDropEvent

    from napari_blindsound.gui.failure import Failure
    from napari_blindsound.gui.panel import Panel
    from napari_blindsound.inference.denoiser import Denoiser

_MARKS = "①②③④"


class DenoiseDock(ClosingDock):
    """Pick a stack, train, watch it clear up, apply.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    """

    def __init__(self, napari_viewer: "napari.viewer.Viewer") -> None:  # noqa: UP037
        session = Session()
        super().__init__(session.close)
        self.viewer, self.session = napari_viewer, session
        self._is_ended = False
        self.data = DataPanel(self.session, napari_viewer)
        self.check = CheckPanel(self.session)
        self.train = TrainPanel(self.session)
        self.apply = ApplyPanel(self.session)
        self.trust = TrustBox(TrustCheck(self.session))
        self.apply.body.insertWidget(0, self.trust)
        self.bar = ActionBar(self.session)
        self.looking = Looking(napari_viewer, self.session, self.train.seen)
        self.applying = Applying(napari_viewer, self.session, self.data, self.apply)
        self._state = self.session.state
        self._build()
        self._connect()
        self.session.prepare()

    @property
    def panels(self) -> tuple[Panel, ...]:
        """The four steps."""
        return self.data, self.check, self.train, self.apply

    def use_layer(self, layer: Image) -> None:
        """Choose a layer, as its context menu does."""
        self.data.use_layer(layer)
        self.open(self.data)

    def use_model(self, path: Path | str) -> None:
        """Load a model and open the last step, as dropping a model file does."""
        from pathlib import Path

        self.session.load_model(Path(path))
        self.open(self.apply)

    def use_denoiser(self, model: Denoiser) -> None:
        """Take a model that was trained elsewhere, and open the last step."""
        self.session.take_model(model)
        self.open(self.apply)

    def open(self, panel: Panel) -> None:
        """Show one step, and fold the others."""
        for each, fold in self._folds.items():
            fold.set_open(each is panel)

    def _build(self) -> None:
        content = QWidget()
        steps = QVBoxLayout(content)
        steps.setContentsMargins(2, 2, 2, 2)
        steps.setSpacing(2)
        self._folds: dict[Panel, Fold] = {}
        for mark, panel in zip(_MARKS, self.panels, strict=True):
            fold = Fold(f"{mark} {panel.title}", panel, is_open=panel is self.data)
            fold.opened.connect(self.open)
            self._folds[panel] = fold
            steps.addWidget(fold)
        steps.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidget(content)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(scroll, 1)
        whole.addWidget(self.bar)
        self.setMinimumWidth(340)
        go = QShortcut(QKeySequence("Ctrl+Return"), self)
        go.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        go.activated.connect(self.bar.start.click)

    def _connect(self) -> None:
        events = self.session.events
        events.changed.connect(self._on_changed)
        events.failed.connect(self._on_failed)
        self.data.chosen.connect(self._on_chosen)
        self.data.model_dropped.connect(self.use_model)
        self.bar.start.clicked.connect(self.train.begin)
        self.apply.batch_wanted.connect(self._on_batch)
        self.bar.recipe_wanted.connect(self.applying.save_recipe)
        self.applying.command_changed.connect(self.bar.show_command)
        for panel in self.panels:
            panel.remedied.connect(self._on_remedy)
        self._on_chosen()
        self._on_changed()

    def _on_chosen(self) -> None:
        self.looking.watch(self.data.layer, self.data.axes)

    def _on_changed(self) -> None:
        for panel, fold in self._folds.items():
            panel.refresh()
            fold.set_summary(panel.summary())
        self.bar.refresh()
        self.applying.refresh()
        before, self._state = self._state, self.session.state
        if before is not self._state:
            self._advance(before)
        self.looking.ask()

    def _advance(self, before: State) -> None:
        """Open the next step when the one before is satisfied."""
        state = self._state
        is_settled = state is State.READY and not self._is_choosing()
        if state is State.TRAINING or is_settled:
            self.open(self.train)
        elif before is State.TRAINING and self.session.is_trained_out:
            self.open(self.apply)

    def _is_choosing(self) -> bool:
        """Whether the user has the hand on step 1."""
        focus = QApplication.focusWidget()
        return focus is not None and self.data.isAncestorOf(focus)

    def _on_failed(self, failure: Failure | None) -> None:
        for panel in self.panels:
            panel.complain(failure)
            if failure is not None and failure.step == panel.step:
                self.open(panel)
        if failure is not None:
            self.bar.say("see the message above")

    def _on_batch(self) -> None:
        """Many files, by the recipe of the training that there was."""
        from napari_blindsound.gui.commands import open_batch_dock

        batch = open_batch_dock(self.viewer)
        if self.session.recipe is not None:
            batch.use_recipe(self.session.recipe)

    def _on_remedy(self, remedy: str) -> None:
        if remedy == "use CPU":
            from dataclasses import replace

            self.session.forgive("train")
            self.session.forgive("apply")
            self.session.set_plan(replace(self.session.plan, device="cpu"))
        else:
            self.open(self.data)

    def take(self, event: QDropEvent) -> None:
        """Open what was dropped as one image."""
        data = event.mimeData()
        if data is not None:
            self.data.open_paths(paths_of(data))

    def end(self) -> None:
        """End all work, and let go of the viewer."""
        if not self._is_ended:
            self._is_ended = True
            self.looking.close()
            self.applying.close()
            self.data.shut_down()
        super().end()
        self.trust.check.forget()
