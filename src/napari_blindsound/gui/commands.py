"""What napari calls from its menus and for model files: all of it opens the dock.

Imports nothing at the top that is not at hand anyway: napari loads this file when any
part of the plugin is used first, also where there is no window and no Qt.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from napari_blindsound.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.viewer import Viewer
    from npe2 import PluginContext
    from qtpy.QtWidgets import QWidget

    from napari_blindsound.gui.batch_dock import BatchDock
    from napari_blindsound.gui.dock import DenoiseDock

    NoLayers = list[tuple[None]]

T = TypeVar("T", bound="QWidget")

DOCK, BATCH = "Denoise (Blindsound)", "Batch denoise (Blindsound)"
"""Names of the docks, those that napari gives them from the manifest."""

_MODEL = ".blindsound"
_COMMAND = "napari-blindsound.denoise_layer"
_LAYER_MENU = "napari/layers/context"


def on_activate(context: PluginContext) -> None:
    """Put "Denoise" into the menu that a right click on a layer opens.

    That menu is not among those that a manifest can name (napari 0.9), so it is there
    from the first use of the plugin in a session on, and gone when it is disabled.
    """
    try:
        from app_model import Application
        from app_model.types import CommandRule, MenuItem
    except ImportError:  # npe2 without napari
        return
    napari = Application.get_app("napari")
    if napari is None:
        return
    item = MenuItem(
        command=CommandRule(id=_COMMAND, title=DOCK),
        when="num_selected_layers == 1 and active_layer_type == 'image' "
        "and not active_layer_is_rgb",
        group="navigation",
    )
    context.register_disposable(napari.menus.append_menu_items([(_LAYER_MENU, item)]))


def denoise_layer() -> None:
    """Open the dock with the selected layer chosen."""
    from napari import current_viewer
    from napari.utils.notifications import show_info

    viewer = current_viewer()
    layer = None if viewer is None else viewer.layers.selection.active
    if layer is None:
        show_info("Select one image layer to denoise, then try again.")
    else:
        open_dock(viewer).use_layer(layer)


def get_model_reader(
    path: str | Sequence[str],
) -> Callable[[str | Sequence[str]], NoLayers] | None:
    """Say whether a path is that of a model.

    Parameters
    ----------
    path : str or sequence of str
        What was dropped on napari.

    Returns
    -------
    callable or None
        :func:`open_model`, or None for what is no model, or more than one.
    """
    one = _only(path)
    if one is None or one.suffix.lower() != _MODEL or not one.is_file():
        return None
    return open_model


def open_model(path: str | Sequence[str]) -> NoLayers:
    """Open the dock's last step with a model, in the current viewer.

    Parameters
    ----------
    path : str or sequence of str
        As for :func:`get_model_reader`.

    Returns
    -------
    list
        What tells napari that the file was read and no layer came of it.

    Raises
    ------
    ModelError
        If there is no viewer with a window.
    """
    from napari import current_viewer

    viewer, one = current_viewer(), _only(path)
    if viewer is None or one is None:
        msg = (
            f"{path} is a model, which opens in a window of napari; in a script, load "
            f"it with napari_blindsound.load"
        )
        raise ModelError(msg)
    open_dock(viewer).use_model(one)
    return [(None,)]


def open_dock(viewer: Viewer) -> DenoiseDock:
    """Show the dock in a viewer, the one that is there already if there is one.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        With a window.

    Returns
    -------
    DenoiseDock
    """
    from napari_blindsound.gui.dock import DenoiseDock

    return _opened(viewer, DenoiseDock, DOCK)


def open_batch_dock(viewer: Viewer) -> BatchDock:
    """Show the dock for many files, the one that is there already if there is one.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        With a window.

    Returns
    -------
    BatchDock
    """
    from napari_blindsound.gui.batch_dock import BatchDock

    return _opened(viewer, BatchDock, BATCH)


def _opened(viewer: Viewer, kind: type[T], name: str) -> T:
    # By its kind: a script may have added it under another name.
    docks: list[Any] = list(viewer.window.dock_widgets.values())
    for dock in docks:
        if isinstance(dock, kind):
            _bring_forward(dock)
            return dock
    made = kind(viewer)
    viewer.window.add_dock_widget(made, name=name, area="right")
    return made


def _bring_forward(dock: QWidget) -> None:
    from qtpy.QtWidgets import QDockWidget

    frame = dock.parentWidget()
    while frame is not None and not isinstance(frame, QDockWidget):
        frame = frame.parentWidget()
    if frame is not None:
        frame.show()
        frame.raise_()


def _only(path: str | Sequence[str]) -> Path | None:
    paths = [path] if isinstance(path, str) else list(path)
    return Path(paths[0]) if len(paths) == 1 else None
