"""A method of another package, in the dock."""

from __future__ import annotations

from pathlib import Path

import pytest
from qtpy.QtCore import Qt

from napari_blindsound import methods
from napari_blindsound.gui.dock import DenoiseDock

EXAMPLE = Path(__file__).parents[2] / "examples" / "neighbor2neighbor.py"
LONG = 60_000  # ms


@pytest.fixture
def _installed(tmp_path, monkeypatch):
    """The example as a package with an entry point, for this test only."""
    info = tmp_path / "their_methods-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: their-methods\nVersion: 0.1"
    )
    (info / "entry_points.txt").write_text(
        "[napari_blindsound.methods]\nn2n = neighbor2neighbor:Neighbor2Neighbor"
    )
    (tmp_path / "neighbor2neighbor.py").write_text(EXAMPLE.read_text())
    monkeypatch.syspath_prepend(tmp_path)
    methods.available.cache_clear()
    yield
    methods.available.cache_clear()


@pytest.mark.usefixtures("_installed")
def test_the_dock_offers_it_with_its_settings(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    dock = DenoiseDock(viewer)
    viewer.window.add_dock_widget(dock, name="Denoise")
    try:
        qtbot.waitUntil(lambda: bool(dock.session.methods), timeout=LONG)
        combo = dock.train.method
        at = combo.findData("neighbor2neighbor")
        assert combo.itemText(at) == "Neighbor2Neighbor"
        about = combo.itemData(at, Qt.ItemDataRole.ToolTipRole)
        assert methods.find("neighbor2neighbor").assumes in about
        combo.setCurrentIndex(at)
        assert dock.session.plan.method == "neighbor2neighbor"
        assert dock.train._form.control("gamma") is not None
        presets = [dock.train.preset.itemText(i) for i in range(2)]
        assert presets == ["fast", "paper"]
    finally:
        dock.session.close(5)
