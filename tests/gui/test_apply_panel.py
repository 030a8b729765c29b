"""A dask scheduler's workers write what the dock shows."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from qtpy.QtTest import QTest

from napari_blindsound.gui.dock import DenoiseDock
from napari_blindsound.gui.fold import Fold
from napari_blindsound.gui.session import State
from napari_blindsound.images.open import open_volume
from napari_blindsound.inference import cluster
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig

pytest.importorskip("distributed")

LONG = 60_000  # ms


@pytest.fixture
def movie(tmp_path):
    path = tmp_path / "movie.tif"
    noisy = np.random.default_rng(0).poisson(90, (3, 96, 96)).astype(np.uint16)
    tifffile.imwrite(path, noisy, imagej=True, metadata={"axes": "TYX"})
    return path


@pytest.fixture
def model(movie, tmp_path):
    settings = {"width": 4, "depth": 1, "patch": 32, "batch": 1}
    recipe = Recipe(settings=settings, train=TrainConfig(steps=2))
    training = Training([open_volume(movie)], recipe)
    for _ in training.run():
        pass
    training.close()
    return training.denoiser().save(tmp_path / "m.blindsound")


@pytest.fixture
def dock(make_napari_viewer_proxy, qtbot, movie, model):
    viewer = make_napari_viewer_proxy(show=True)
    made = DenoiseDock(viewer)
    viewer.window.add_dock_widget(made, name="Denoise")
    qtbot.waitUntil(lambda: bool(made.session.methods), timeout=LONG)
    made.data.open_paths([movie])
    qtbot.waitUntil(lambda: made.session.pace is not None, timeout=LONG)
    made.session.load_model(model)
    qtbot.waitUntil(lambda: made.session.state is State.TRAINED, timeout=LONG)
    made.open(made.apply)
    yield made
    made.session.close(5)


def test_a_scheduler_writes_the_result(dock, qtbot, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 2)
    place = tmp_path / "dock.ome.zarr"
    dock.apply.place.setText(str(place))
    (fold,) = (
        f for f in dock.apply.findChildren(Fold) if f.isAncestorOf(address(dock))
    )
    assert not fold.is_open
    fold.set_open(is_open=True)
    lines = []
    dock.applying.command_changed.connect(lines.append)
    address(dock).setFocus()
    QTest.keyClicks(address(dock), "tcp://127.0.0.1:9")
    assert lines[-1].endswith("--scheduler tcp://127.0.0.1:9")
    dock.apply.write.click()
    qtbot.waitUntil(lambda: dock.session.failure is not None, timeout=LONG)
    assert dock.session.failure.step == "apply"
    assert "No dask scheduler answers at tcp://127.0.0.1:9" in (
        dock.session.failure.message
    )
    assert not place.exists()
    # A busy machine may well let a scheduler that is there wait for 2 s.
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 30)
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=":0", memory_limit=0
    ) as made:
        address(dock).setText(made.scheduler_address)
        dock.apply.write.click()
        qtbot.waitUntil(place.exists, timeout=LONG)
        qtbot.waitUntil(lambda: dock.session.state is State.DONE, timeout=LONG)
    assert open_volume(place).shape == (3, 96, 96)


def address(dock):
    return dock.apply.scheduler
