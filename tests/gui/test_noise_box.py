from __future__ import annotations

import shlex

import numpy as np
import pytest
import tifffile

from napari_blindsound.cli import main
from napari_blindsound.gui.dock import DenoiseDock
from napari_blindsound.gui.session import State
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import phantom
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.trainer import TrainConfig

SMALL = {"width": 4, "depth": 1, "patch": 32, "batch": 2}
LONG = 60_000  # ms


@pytest.fixture(scope="module")
def noisy():
    return phantom("2d", size=96).noisy


@pytest.fixture(scope="module")
def model(noisy, tmp_path_factory):
    """A little of the score method, in a file."""
    recipe = Recipe(method="score", settings=SMALL, train=TrainConfig(steps=40))
    training = Training([open_volume(noisy, axes="YX", name="cells")], recipe)
    for _ in training.run():
        pass
    training.close()
    path = tmp_path_factory.mktemp("model") / "score.blindsound"
    return training.denoiser().save(path)


@pytest.fixture
def dock(make_napari_viewer_proxy, qtbot, noisy, model, tmp_path):
    viewer = make_napari_viewer_proxy(show=True)
    made = DenoiseDock(viewer)
    viewer.window.add_dock_widget(made, name="Denoise")
    qtbot.waitUntil(lambda: bool(made.session.methods), timeout=LONG)
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, noisy, metadata={"axes": "YX"})
    made.data.open_paths([path])
    qtbot.waitUntil(lambda: made.session.pace is not None, timeout=LONG)
    assert made.train.noise.isHidden()
    made.use_model(model)
    qtbot.waitUntil(lambda: made.session.state is State.TRAINED, timeout=LONG)
    made.open(made.train)
    qtbot.waitUntil(lambda: made.looking.preview is not None, timeout=LONG)
    yield made
    made.session.close(5)


def shown(dock):
    return dock.looking._last.estimates[0]


def test_another_noise_is_seen_at_once_and_written(dock, qtbot, tmp_path):
    box, before = dock.train.noise, shown(dock)
    assert not box.isHidden()
    assert box.fold.is_open
    assert box.form.control("gain").placeholderText().endswith("estimated")
    assert box.form.control("alpha").isHidden()
    assert not box.reset.isEnabled()
    box.form.set_values({"noise": "gamma", "alpha": 12.0, "offset": 50.0})
    qtbot.waitUntil(lambda: not np.array_equal(shown(dock), before), timeout=LONG)
    assert dock.session.denoiser.methods[0].config.noise == "gamma"
    assert not box.form.control("alpha").isHidden()
    assert box.form.control("gain").isHidden()
    assert "gamma · alpha 12" in box.fold._summary.toolTip()

    place = tmp_path / "dock.ome.tif"
    dock.apply.place.setText(str(place))
    line = dock.applying.job().command_line()
    assert "--set noise=gamma --set alpha=12 --set offset=50" in line
    dock.apply.write.click()
    qtbot.waitUntil(lambda: dock.session.state is State.DONE, timeout=LONG)
    again = tmp_path / "again.ome.tif"
    words = shlex.split(line.replace(str(place), str(again)))
    assert main([*words[1:], "--quiet"]) == 0
    np.testing.assert_array_equal(tifffile.imread(place), tifffile.imread(again))
    part = tifffile.imread(place)[dock.looking._last.look.region]
    np.testing.assert_allclose(part, shown(dock), rtol=1e-4)


def test_a_number_moves_the_preview_and_reset_brings_it_back(dock, qtbot):
    box, before = dock.train.noise, shown(dock)
    box.form.control("sigma").setText("30")
    qtbot.waitUntil(lambda: not np.array_equal(shown(dock), before), timeout=LONG)
    assert dock.session.adjustment == {"sigma": 30.0}
    assert box.reset.isEnabled()
    box.reset.click()
    qtbot.waitUntil(lambda: np.array_equal(shown(dock), before), timeout=LONG)
    assert dock.session.adjustment == {}
    assert not box.reset.isEnabled()
    assert box.form.control("sigma").text() == ""


def test_what_cannot_be_is_marked_and_changes_nothing(dock, qtbot):
    box, model = dock.train.noise, dock.session.denoiser
    box.form.control("sigma").setText("-3")
    qtbot.wait(400)
    assert "sigma" in box.form.errors
    assert dock.session.denoiser is model
    # Together, edge and corner make a filter without an inverse.
    box.form.set_values({"sigma": None, "noise": "gaussian-correlated", "edge": 0.24})
    qtbot.waitUntil(lambda: dock.session.failure is not None, timeout=LONG)
    assert "no inverse" in str(dock.session.failure)
    assert dock.session.denoiser is model
    box.form.set_values({"edge": 0.05})
    qtbot.waitUntil(lambda: dock.session.failure is None, timeout=LONG)


@pytest.mark.once
def test_a_model_that_was_trained_here_is_repeated_with_its_noise(dock, qtbot):
    dock.session.set_plan(
        dock.session.plan.__class__(
            method="score", settings=SMALL, unit="steps", amount=20
        )
    )
    dock.session.start()
    assert dock.train.noise.isHidden()
    qtbot.waitUntil(lambda: dock.session.state is State.TRAINED, timeout=LONG)
    assert not dock.train.noise.isHidden()
    dock.train.noise.form.set_values({"noise": "rayleigh"})
    qtbot.waitUntil(lambda: bool(dock.session.adjustment), timeout=LONG)
    words = shlex.split(dock.applying.job().command_line())
    assert words[words.index("--noise") + 1] == "rayleigh"
    assert "--set" not in words
