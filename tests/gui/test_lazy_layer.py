from __future__ import annotations

import gc
import shutil
import threading
import time
import weakref

import numpy as np
import pytest
import zarr
from napari.settings import get_settings
from napari.utils.notifications import notification_manager

import napari_blindsound as nb
from napari_blindsound.errors import ImageNotFoundError, ModelMismatchError
from napari_blindsound.gui.lazy_layer import LazyLayer, add_lazy_layer
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.layers import KEY, layers_to_volume
from napari_blindsound.images.phantom import phantom
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference import pyramid
from napari_blindsound.inference.coarser import halved
from napari_blindsound.inference.progressive import THREAD
from napari_blindsound.inference.reader import THREAD as READER
from napari_blindsound.inference.tiling import denoise_region


@pytest.fixture(scope="module")
def trained():
    volume = phantom("2d", size=64).volume()
    return nb.train(volume, steps=2, settings={"width": 4, "depth": 1})


class Recorded:
    """A real denoiser that knows which threads called it, and on what."""

    def __init__(self, denoiser):
        self._denoiser = denoiser
        self.threads = set()
        self.means = []
        self.pause = 0.0

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._denoiser, name)

    def core(self, padded, halo):
        self.threads.add(threading.current_thread().name)
        self.means.append(float(padded.mean()))
        if self.pause:
            threading.Event().wait(self.pause)
        return self._denoiser.core(padded, halo)


@pytest.fixture
def model(trained):
    return Recorded(trained)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def slicing(request):
    settings = get_settings().experimental
    before = settings.async_
    settings.async_ = request.param
    yield
    settings.async_ = before


@pytest.fixture
def add(make_napari_viewer_proxy, qtbot):
    """Show a volume in a new viewer; all layers made are closed in the end."""
    made = []

    def make(denoiser, volume, settings=None, viewer=None, **kwargs):
        viewer = viewer or make_napari_viewer_proxy()
        limits = {"contrast_limits": (0, 5000)}
        made.append(LazyLayer(viewer, denoiser, volume, settings or limits, **kwargs))
        return viewer, made[-1]

    yield make
    for lazy in made:
        lazy.close()
        assert lazy.progressive.join(20)


def stack(planes=10, side=128, seed=0):
    """Planes that are told apart by their mean."""
    rng = np.random.default_rng(seed)
    counts = (
        rng.poisson(200, (planes, side, side)) + 300 * np.arange(planes)[:, None, None]
    )
    return counts.astype(np.uint16)


def volume_of(*levels, axes="ZYX", source=None):
    return Volume(levels, Axes.parse(axes), "cells", source=source)


def everything(volume):
    return tuple(slice(0, n) for n in volume.shape)


def settled(qtbot, lazy):
    """Wait until what is on screen is denoised and drawn."""
    qtbot.waitUntil(
        lambda: lazy._asked is not None and not lazy._calm.isActive(), timeout=20000
    )
    qtbot.waitUntil(lambda: lazy.pending == 0, timeout=20000)


def displayed(layer, plane, places):
    """Values under the cursor at some places of a plane."""
    values = []
    for place in places:
        value = layer.get_value(layer.data_to_world((*plane, *place)), world=True)
        values.append(value[1] if isinstance(value, tuple) else value)
    return np.array([np.nan if value is None else value for value in values], float)


def shows(qtbot, layer, plane, expected, stride=1):
    """Wait until a layer displays a plane, by values at places all over it."""
    rng = np.random.default_rng(1)
    places = rng.integers(0, expected.shape, (40, 2))
    wanted = expected[tuple(places.T)]

    def same():
        found = displayed(layer, plane, places * stride)
        assert np.allclose(found, wanted, rtol=1e-5), (found, wanted)

    qtbot.waitUntil(same, timeout=20000)


@pytest.mark.usefixtures("slicing")
def test_noisy_at_once_denoised_soon_never_here(add, model, qtbot):
    counts = stack()
    volume = volume_of(counts)
    model.pause = 0.2
    viewer, lazy = add(model, volume)
    assert viewer.layers[0] == lazy.layer
    told = []
    lazy.pending_changed.connect(told.append)
    viewer.dims.set_current_step(0, 7)
    shows(qtbot, lazy.layer, (7,), counts[7])
    settled(qtbot, lazy)
    done = denoise_region(model._denoiser, volume, everything(volume))
    shows(qtbot, lazy.layer, (7,), done[7])
    assert model.threads == {THREAD}
    assert max(told) == 1
    assert told[-1] == 0
    assert lazy.layer.help == ""
    viewer.dims.set_current_step(0, 8)
    shows(qtbot, lazy.layer, (8,), counts[8])


@pytest.mark.usefixtures("slicing")
def test_planes_scrolled_past_are_not_denoised(add, model, qtbot):
    model.pause = 0.05
    viewer, lazy = add(model, volume_of(stack(side=96)))
    settled(qtbot, lazy)
    model.means.clear()
    for number in range(1, 9):
        viewer.dims.set_current_step(0, number)
        qtbot.wait(5)  # a hand on the slider: events are handled in between
    settled(qtbot, lazy)
    past = [mean for mean in model.means if not 2500 < mean < 2700]
    assert len(past) <= 3
    assert 1 <= len(model.means) - len(past) <= 2


@pytest.mark.usefixtures("slicing")
def test_pyramid(add, model, qtbot, tmp_path, make_napari_viewer_proxy):
    fine = stack(planes=4, side=1024)
    arrays = []
    for number, level in enumerate((fine, halved(fine), halved(halved(fine)))):
        path = tmp_path / f"{number}.zarr"
        zarr.create_array(path, data=level, chunks=(1, 256, 256))
        arrays.append(zarr.open_array(path, mode="r"))
    volume = volume_of(*arrays)
    # The level follows from drawing, which takes a window that is shown.
    viewer, lazy = add(model, volume, viewer=make_napari_viewer_proxy(show=True))
    layer = lazy.layer
    assert layer.multiscale
    viewer.scene.camera.zoom = 0.2
    viewer.dims.set_current_step(0, 2)
    level = 2
    qtbot.waitUntil(lambda: layer.data_level == level, timeout=20000)
    settled(qtbot, lazy)
    region = (slice(2, 3), slice(0, 1024), slice(0, 1024))
    done = denoise_region(model._denoiser, volume, region)
    coarse = done
    for _ in range(level):
        coarse = halved(coarse)
    shows(qtbot, layer, (2,), coarse[0], stride=2**level)
    # From near, only what is on screen is denoised; here it was already.
    viewer.scene.camera.zoom = 8
    viewer.scene.camera.center = (0, 800, 200)
    qtbot.waitUntil(lambda: layer.data_level == 0, timeout=20000)
    settled(qtbot, lazy)
    places = np.array([(799, 199), (805, 207), (790, 196)])
    wanted = done[0][tuple(places.T)]
    qtbot.waitUntil(
        lambda: np.allclose(displayed(layer, (2,), places), wanted, rtol=1e-5),
        timeout=20000,
    )
    count = len(model.means)
    viewer.dims.set_current_step(0, 3)
    settled(qtbot, lazy)
    qtbot.waitUntil(lambda: lazy._asked[0] == (3,), timeout=20000)
    settled(qtbot, lazy)
    assert len(model.means) - count < count
    assert model.threads == {THREAD}


@pytest.mark.parametrize("side", [64, 300])
def test_an_image_of_two_axes(side, add, model, qtbot, monkeypatch):
    monkeypatch.setattr(pyramid, "LARGEST_SIDE", 128)
    monkeypatch.setattr(pyramid, "SMALLEST_SIDE", 32)
    volume = volume_of(stack(1, side)[0], axes="YX")
    _, lazy = add(model, volume)
    assert lazy.layer.multiscale == (side == 300)
    settled(qtbot, lazy)
    done = denoise_region(model._denoiser, volume, everything(volume))
    shows(qtbot, lazy.layer, (), done)


def test_channels_are_a_slider(add, trained, qtbot):
    volume = phantom("2d", size=64).volume()
    counts = volume.read(everything(volume))
    both = volume_of(np.stack([counts, counts[::-1]]), axes="CYX")
    model = nb.train(both, steps=2, settings={"width": 4, "depth": 1})
    viewer, lazy = add(model, both)
    done = denoise_region(model, both, everything(both))
    for channel in (0, 1):
        viewer.dims.set_current_step(0, channel)
        settled(qtbot, lazy)
        shows(qtbot, lazy.layer, (channel,), done[channel])
    assert lazy.layer.axis_labels == ("c", "y", "x")
    with pytest.raises(ModelMismatchError):
        add(trained, both)


def test_turned_axes_and_3d_show_what_there_is(add, model, qtbot):
    counts = stack(planes=6, side=64)
    viewer, lazy = add(model, volume_of(counts))
    settled(qtbot, lazy)
    model.means.clear()
    viewer.dims.order = (1, 0, 2)
    qtbot.waitUntil(lambda: lazy._asked is None, timeout=20000)
    viewer.dims.set_current_step(1, 30)
    value = lazy.layer.get_value(
        (5, 30, 9), view_direction=None, dims_displayed=[0, 2], world=True
    )
    assert value == counts[5, 30, 9]
    viewer.dims.ndisplay = 3
    lazy._look()
    assert lazy.pending == 0
    viewer.dims.ndisplay = 2
    viewer.dims.order = (0, 2, 1)
    qtbot.waitUntil(lambda: lazy._asked is not None, timeout=20000)
    settled(qtbot, lazy)
    viewer.dims.order = (0, 1, 2)
    settled(qtbot, lazy)
    assert len(model.means) <= 1


def test_a_slow_disk_keeps_nobody_waiting(add, model, qtbot):
    class Slow:
        def __init__(self, array):
            self.array, self.shape, self.dtype = array, array.shape, array.dtype
            self.threads = set()

        def __getitem__(self, region):
            self.threads.add(threading.current_thread().name)
            threading.Event().wait(0.3)
            return self.array[region]

    counts = stack(planes=12)
    source = Slow(counts)
    model.pause = 0.5
    viewer, lazy = add(model, volume_of(source))
    viewer.dims.set_current_step(0, 9)
    start = time.monotonic()
    viewer.dims.set_current_step(0, 2)
    assert time.monotonic() - start < 0.25
    shows(qtbot, lazy.layer, (2,), counts[2])
    assert source.threads <= {READER, THREAD}


def test_hidden_and_shown_again(add, model, qtbot):
    viewer, lazy = add(model, volume_of(stack()))
    settled(qtbot, lazy)
    lazy.layer.visible = False
    qtbot.waitUntil(lambda: lazy._asked is None, timeout=20000)
    model.means.clear()
    viewer.dims.set_current_step(0, 3)
    qtbot.wait(100)
    assert not model.means
    lazy.layer.visible = True
    qtbot.waitUntil(lambda: lazy._asked is not None, timeout=20000)
    settled(qtbot, lazy)
    assert model.means


def test_memory_limit(add, model, qtbot):
    limit = 3 * 4 * 128**2
    viewer, lazy = add(model, volume_of(stack()), memory=limit)
    for number in range(6):
        viewer.dims.set_current_step(0, number)
        qtbot.waitUntil(
            lambda n=number: (lazy._asked or ((),))[0] == (n,), timeout=20000
        )
        settled(qtbot, lazy)
        assert 0 < lazy.progressive.nbytes <= limit


def test_it_lies_where_its_source_does(make_napari_viewer_proxy, model):
    viewer = make_napari_viewer_proxy()
    counts = stack()
    source = viewer.add_image(
        counts,
        scale=(2, 0.5, 0.5),
        translate=(1, 2, 3),
        units=("um", "um", "um"),
        axis_labels=("z", "y", "x"),
        colormap="magma",
        contrast_limits=(10, 4000),
        metadata={"note": "kept apart"},
    )
    volume = volume_of(counts)
    layer = add_lazy_layer(viewer, model, volume, source, "result")
    assert layer.name == "result"
    for name in ("scale", "translate"):
        np.testing.assert_array_equal(getattr(layer, name), getattr(source, name))
    for name in ("units", "axis_labels", "contrast_limits"):
        assert getattr(layer, name) == getattr(source, name)
    assert layer.colormap.name == "magma"
    facts = layer.metadata[KEY]
    assert facts["revision"] == model.revision
    assert facts["model"] == model.provenance
    assert facts["role"] == "denoised"
    other = add_lazy_layer(viewer, model, volume)
    assert other.name == "cells denoised"
    assert other.contrast_limits[0] < other.contrast_limits[1]
    for made in (layer, other):
        made.metadata[KEY]["lazy"].close()


def test_a_source_with_fewer_axes(add, trained):
    volume = volume_of(stack(2)[:, None], axes="ZCYX")
    settings = {"scale": (2, 1, 1), "rotate": 5, "contrast_limits": (0, 1), "name": "a"}
    _, lazy = add(trained, volume, settings)
    assert lazy.layer.ndim == 4
    assert lazy.layer.axis_labels == ("z", "c", "y", "x")
    assert lazy.layer.name == "a"


def test_what_scripts_and_files_get_is_denoised(add, model, qtbot, tmp_path):
    counts = stack(planes=5)
    volume = volume_of(counts)
    viewer, lazy = add(model, volume)
    settled(qtbot, lazy)
    done = denoise_region(model._denoiser, volume, everything(volume))
    np.testing.assert_allclose(np.asarray(lazy.layer.data), done, rtol=1e-5)
    (array,) = lazy.layer.metadata[KEY]["denoised"]
    np.testing.assert_allclose(array[2].compute(), done[2], rtol=1e-5)
    saved = layers_to_volume([lazy.layer.as_layer_data_tuple()])
    np.testing.assert_allclose(saved.read(everything(saved)), done, rtol=1e-5)
    viewer.layers.save(str(tmp_path / "a.tif"))
    import tifffile

    np.testing.assert_allclose(tifffile.imread(tmp_path / "a.tif"), done, rtol=1e-5)


def test_removing_the_layer_frees_the_model(make_napari_viewer_proxy, trained, qtbot):
    viewer = make_napari_viewer_proxy()
    model = Recorded(trained)
    model.pause = 0.1
    gone = weakref.ref(model)
    lazy = LazyLayer(viewer, model, volume_of(stack()), {"contrast_limits": (0, 9)})
    progressive = lazy.progressive
    started = model.means
    qtbot.waitUntil(lambda: bool(started), timeout=20000)
    with qtbot.waitSignal(lazy.closed, timeout=20000):
        viewer.layers.remove(lazy.layer)
    assert lazy.is_closed
    assert progressive.join(20)
    del model
    gc.collect()
    assert gone() is None
    viewer.dims.set_current_step(0, 1)
    lazy.close()
    other = weakref.ref(lazy)
    del lazy
    gc.collect()
    assert other() is None


def test_other_layers_may_go(add, model, qtbot):
    viewer, lazy = add(model, volume_of(stack()))
    viewer.add_image(np.zeros((4, 4)), name="other")
    viewer.layers.remove("other")
    assert not lazy.is_closed
    settled(qtbot, lazy)


def test_closing_the_viewer_frees_the_model(make_napari_viewer_proxy, trained, qtbot):
    viewer = make_napari_viewer_proxy()
    model = Recorded(trained)
    gone = weakref.ref(model)
    lazy = LazyLayer(viewer, model, volume_of(stack()), {"contrast_limits": (0, 9)})
    progressive = lazy.progressive
    settled(qtbot, lazy)
    del lazy, model
    viewer.close()
    assert progressive.join(20)
    gc.collect()
    assert gone() is None


def test_a_parent_takes_it_along(make_napari_viewer_proxy, trained, qtbot):
    from qtpy.QtCore import QObject

    viewer = make_napari_viewer_proxy()
    parent = QObject()
    volume = volume_of(stack())
    lazy = LazyLayer(
        viewer, trained, volume, {"contrast_limits": (0, 9)}, parent=parent
    )
    progressive = lazy.progressive
    settled(qtbot, lazy)
    parent.deleteLater()
    del parent
    qtbot.waitUntil(lambda: progressive._denoiser is None, timeout=20000)
    assert progressive.join(20)
    viewer.dims.set_current_step(0, 2)
    viewer.layers.clear()


def test_a_source_deleted_meanwhile_is_told(add, model, qtbot, tmp_path):
    path = tmp_path / "a.zarr"
    counts = stack()
    zarr.create_array(path, data=counts, chunks=(1, 64, 64))
    volume = volume_of(zarr.open_array(path, mode="r"), source=str(path))
    viewer, lazy = add(model, volume)
    settled(qtbot, lazy)
    shutil.move(path, tmp_path / "b.zarr")
    notification_manager.records.clear()
    with qtbot.waitSignal(lazy.failed, timeout=20000) as told:
        viewer.dims.set_current_step(0, 3)
    assert isinstance(told.args[0], ImageNotFoundError)
    settled(qtbot, lazy)
    said = [str(record.message) for record in notification_manager.records]
    assert len(said) == 1
    assert str(path) in said[0]
    shutil.move(tmp_path / "b.zarr", path)
    viewer.dims.set_current_step(0, 4)
    qtbot.waitUntil(lambda: lazy._asked[0] == (4,), timeout=20000)
    settled(qtbot, lazy)
    done = denoise_region(model._denoiser, volume, everything(volume))
    shows(qtbot, lazy.layer, (4,), done[4])


def test_a_duplicate_shows_the_same(add, model, qtbot):
    viewer, lazy = add(model, volume_of(stack()))
    settled(qtbot, lazy)
    viewer.layers.selection = {lazy.layer}
    from copy import deepcopy

    data, state, _ = lazy.layer.as_layer_data_tuple()
    state["name"] = "copy"
    twin = viewer.add_image(deepcopy(data), **{**state, "cache": False})
    viewer.layers.remove(twin)
    assert not lazy.is_closed


def test_no_torch_is_imported(run):
    assert run(
        "import json, sys\n"
        "import napari_blindsound.gui.lazy_layer\n"
        "print(json.dumps('torch' not in sys.modules))"
    )
