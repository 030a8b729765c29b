from __future__ import annotations

import gc
import weakref
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
from imagecodecs import png_encode
from napari.components import ViewerModel
from napari.layers import Image

from napari_blindsound.gui.data_panel import DataPanel
from napari_blindsound.gui.ranges import RangeRow
from napari_blindsound.gui.region import NAME, SMALLEST
from napari_blindsound.gui.session import Session, State
from napari_blindsound.images.layers import KEY

LONG = 20_000  # ms
SETTLED = 400  # ms, after which nothing more is expected


class Incurious(Session):
    """Chooses data, and looks at nothing: that is another panel's matter."""

    def check(self):
        self.checks = getattr(self, "checks", 0) + 1


@pytest.fixture
def session():
    made = Incurious()
    yield made
    made.close(5)


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def panel(session, viewer, qtbot):
    return shown(session, viewer, qtbot)


def shown(session, viewer, qtbot):
    made = DataPanel(session, viewer)
    qtbot.addWidget(made, before_close_func=lambda panel: panel.shut_down(5))
    session.events.changed.connect(made.refresh)
    session.events.failed.connect(made.complain)
    made.show()
    return made


def counts(shape, seed=0):
    return np.random.default_rng(seed).poisson(20, shape).astype(np.uint16)


def write(path, shape, axes=None):
    pixels = counts(shape)
    metadata = None if axes is None else {"axes": axes}
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata=metadata)
    return path


def chosen(qtbot, panel, name=None):
    """Wait for data, of a name, and give them."""
    session = panel.session

    def is_there():
        return session.data is not None and name in (None, session.data.name)

    qtbot.waitUntil(is_there, timeout=LONG)
    return session.data


def complaint(qtbot, panel):
    qtbot.waitUntil(lambda: panel.session.failure is not None, timeout=LONG)
    assert panel.session.failure.step == "data"
    assert panel._complaint.isVisible()
    assert panel.session.data is None
    return panel.session.failure.message


def set_axis(panel, at, letter):
    combo = panel.axes_row.combos[at]
    combo.setCurrentText(letter)
    combo.activated.emit(combo.currentIndex())


def set_channel(panel, words):
    panel.channels.setCurrentText(words)
    panel.channels.activated.emit(panel.channels.currentIndex())


def listed(panel):
    return [panel.layers.itemText(at) for at in range(panel.layers.count())]


def test_the_selected_layer_is_chosen_from_the_start(session, viewer, qtbot):
    viewer.add_image(counts((64, 64)), name="first")
    viewer.add_image(counts((64, 64)), name="second")
    viewer.layers.selection.active = viewer.layers["first"]
    panel = shown(session, viewer, qtbot)
    data = chosen(qtbot, panel)
    assert (data.name, data.shown, data.paths) == ("first", "YX", ())
    assert panel.layer is viewer.layers["first"]
    assert panel.axes == "YX"
    assert panel.summary() == "first  YX 64×64"


def test_what_is_selected_later_changes_nothing(panel, viewer, qtbot):
    viewer.add_image(counts((64, 64)), name="first")
    chosen(qtbot, panel, "first")
    viewer.add_image(counts((64, 64)), name="second")
    assert panel.layer is viewer.layers["first"]


def test_layers_come_go_and_get_names(panel, viewer, qtbot):
    viewer.add_image(counts((64, 64)), name="one")
    viewer.add_labels(np.zeros((64, 64), int), name="cells")
    role = {KEY: {"role": "preview"}}
    viewer.add_image(counts((64, 64)), name="preview", metadata=role)
    viewer.add_image(counts((64, 64)), name="two")
    assert listed(panel) == ["two", "one"]
    chosen(qtbot, panel, "one")
    viewer.layers["one"].name = "renamed"
    viewer.layers.move(0, 4)
    assert listed(panel) == ["renamed", "two"]
    assert panel.layer is viewer.layers["renamed"]
    viewer.layers.remove("two")
    assert listed(panel) == ["renamed"]
    qtbot.wait(SETTLED)
    assert panel.session.checks == 1


def test_several_controls_at_once_count_once(panel, viewer, qtbot):
    viewer.add_image(counts((3, 2, 64, 64)), name="stack")
    panel.session.choose(None)
    given = []
    panel.chosen.connect(given.append)
    set_axis(panel, 0, "T")
    set_axis(panel, 1, "C")
    panel.times.first.setValue(1)
    data = chosen(qtbot, panel)
    qtbot.wait(SETTLED)
    assert given == [data]
    assert data.image.axes.names == "TCYX"


def test_axes_that_nobody_says_are_asked_for(panel, viewer, qtbot):
    viewer.add_image(counts((5, 64, 64)), name="stack", scale=(3, 1, 1))
    assert "does not say what all of its 3 dimensions are" in complaint(qtbot, panel)
    letters = [combo.currentText() for combo in panel.axes_row.combos[:3]]
    assert letters == ["", "Y", "X"]
    assert panel._complaint.button.text() == "choose axes"
    panel._complaint.button.click()
    assert panel.focusWidget() is panel.axes_row.combos[0]
    set_axis(panel, 0, "Z")
    data = chosen(qtbot, panel)
    assert (panel.axes, data.image.axes.names, data.axes) == ("ZYX", "ZYX", None)
    assert not panel._complaint.isVisible()


def test_letters_stay_unique(panel, viewer, qtbot):
    labels = ("t", "z", "y", "x")
    viewer.add_image(counts((3, 4, 64, 64)), name="stack", axis_labels=labels)
    assert chosen(qtbot, panel).image.axes.names == "TZYX"
    set_axis(panel, 0, "Z")
    assert panel.axes == "ZTYX"
    qtbot.waitUntil(lambda: panel.session.data.image.axes.names == "ZTYX", timeout=LONG)
    set_axis(panel, 0, "C")
    assert panel.axes == "CTYX"
    set_axis(panel, 2, "C")
    assert panel.axes == "YTCX"


def test_sizes_are_shown_below_the_letters(panel, viewer, qtbot):
    labels = ("t", "z", "y", "x")
    viewer.add_image(counts((3, 4, 64, 80)), name="stack", axis_labels=labels)
    chosen(qtbot, panel)
    sizes = [label.text() for label in panel.axes_row._sizes[:4]]
    assert sizes == ["3", "4", "64", "80"]


def test_channels_of_a_layer_are_chosen_among(panel, viewer, qtbot):
    labels = ("c", "y", "x")
    viewer.add_image(counts((2, 64, 64)), name="two", axis_labels=labels)
    data = chosen(qtbot, panel)
    assert (data.channel, data.joint, data.channels) == (None, False, "each")
    assert panel.channels.currentText() == "all, one network each"
    set_channel(panel, "all, jointly")
    qtbot.waitUntil(lambda: panel.session.data.joint, timeout=LONG)
    set_channel(panel, "channel 1")
    qtbot.waitUntil(lambda: panel.session.data.channel == 1, timeout=LONG)
    assert panel.session.data.volume.axes.names == "YX"


def test_a_file_with_channels_is_one_layer_each(panel, viewer, qtbot, tmp_path):
    path = write(tmp_path / "two.ome.tif", (3, 2, 64, 64), "TCYX")
    panel.open_paths([path])
    data = chosen(qtbot, panel, path.name)
    assert [layer.name for layer in viewer.layers] == [
        "two.ome.tif channel 0",
        "two.ome.tif channel 1",
    ]
    assert (data.shown, data.shown_channel, data.channel) == ("TYX", 0, 0)
    assert (data.image.axes.names, data.paths) == ("TCYX", (str(path),))
    panel.use_layer(viewer.layers[1])
    qtbot.waitUntil(
        lambda: panel.session.data is not None and panel.session.data.channel == 1,
        timeout=LONG,
    )
    assert panel.session.data.shown_channel == 1


def test_many_files_are_one_lazy_layer(panel, viewer, qtbot, tmp_path):
    (tmp_path / "frames").mkdir()
    paths = [write(tmp_path / "frames" / f"{n}.tif", (16, 16)) for n in range(30)]
    panel.open_paths(paths)
    data = chosen(qtbot, panel, "frames")
    assert len(viewer.layers) == 1
    assert isinstance(viewer.layers[0].data, da.Array)
    assert (data.image.shape, data.image.axes.names) == ((30, 16, 16), "TYX")
    assert data.paths == (str(tmp_path / "frames"),)
    set_axis(panel, 0, "Z")
    qtbot.waitUntil(
        lambda: panel.session.data is not None and panel.session.data.axes == "ZYX",
        timeout=LONG,
    )
    assert panel.session.data.image.axes.names == "ZYX"


def test_a_plain_file_asks_for_its_axes(panel, viewer, qtbot, tmp_path):
    path = write(tmp_path / "plain.tif", (5, 64, 64))
    panel.open_paths([path])
    assert "does not say what" in complaint(qtbot, panel)
    set_axis(panel, 0, "T")
    data = chosen(qtbot, panel)
    assert (data.axes, data.paths) == ("TYX", (str(path),))
    assert data.image.source == str(path)


def test_a_file_that_napari_opened_is_read_from_the_file(
    panel, viewer, qtbot, tmp_path
):
    path = write(tmp_path / "movie.ome.tif", (3, 64, 64), "TYX")
    layer = Image(
        tifffile.imread(path),
        name="movie",
        axis_labels=("t", "y", "x"),
        metadata={KEY: {"source": str(path)}},
    )
    viewer.add_layer(layer)
    data = chosen(qtbot, panel)
    assert (data.paths, data.image.source) == ((str(path),), str(path))
    layer.data = layer.data + 1
    qtbot.waitUntil(
        lambda: panel.session.data is not None and panel.session.data.paths == (),
        timeout=LONG,
    )
    assert np.array_equal(
        panel.session.data.image.read((slice(0, 1), slice(0, 4), slice(0, 4))),
        layer.data[:1, :4, :4],
    )


def test_kinds_of_a_data_set_are_chosen_among(panel, viewer, qtbot, tmp_path):
    for kind in ("Confocal_FISH", "TwoPhoton_MICE"):
        folder = tmp_path / kind / "raw" / "1"
        folder.mkdir(parents=True)
        for number in range(2):
            pixels = png_encode(counts((16, 16)).astype(np.uint8))
            (folder / f"{number}.png").write_bytes(pixels)
    panel.open_paths([tmp_path])
    qtbot.waitUntil(panel.zone.several.isVisible, timeout=LONG)
    assert len(viewer.layers) == 0
    panel.zone.several.setCurrentIndex(1)
    panel.zone.several.activated.emit(1)
    data = chosen(qtbot, panel)
    assert (data.name, data.image.shape) == ("TwoPhoton_MICE 1", (2, 16, 16))
    assert not panel.zone.several.isVisible()


def test_images_of_a_file_are_chosen_among(panel, viewer, qtbot, tmp_path):
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for frames in (2, 3):
            file.write(counts((frames, 64, 64)), metadata={"axes": "TYX"})
    panel.open_paths([path])
    qtbot.waitUntil(panel.zone.several.isVisible, timeout=LONG)
    panel.zone.several.setCurrentIndex(1)
    panel.zone.several.activated.emit(1)
    data = chosen(qtbot, panel)
    assert (data.image.shape, data.number) == ((3, 64, 64), 1)
    assert data.paths == (str(path),)
    set_axis(panel, 0, "Z")
    qtbot.waitUntil(
        lambda: panel.session.data is not None and panel.session.data.axes == "ZYX",
        timeout=LONG,
    )
    data = panel.session.data
    assert (data.image.shape, data.number) == ((3, 64, 64), 1)


def test_a_model_is_passed_on(panel, qtbot):
    dropped = []
    panel.model_dropped.connect(dropped.append)
    panel.open_paths([Path("/a/cells.blindsound")])
    assert dropped == [Path("/a/cells.blindsound")]


def test_times_and_depths_restrict_the_training(panel, viewer, qtbot):
    labels = ("t", "z", "y", "x")
    viewer.add_image(counts((6, 4, 64, 64)), name="stack", axis_labels=labels)
    assert chosen(qtbot, panel).ranges == {}
    assert panel.times.isVisible()
    panel.times.first.setValue(2)
    panel.depths.slider.setValue((0, 1))
    qtbot.waitUntil(lambda: bool(panel.session.data.ranges), timeout=LONG)
    assert panel.session.data.ranges == {"T": slice(2, 6), "Z": slice(0, 2)}
    assert panel.session.data.training.shape == (4, 2, 64, 64)
    panel.times.first.setValue(0)
    panel.depths.last.setValue(3)
    qtbot.waitUntil(lambda: not panel.session.data.ranges, timeout=LONG)


def test_only_axes_that_are_there_have_ranges(panel, viewer, qtbot):
    viewer.add_image(counts((64, 64)), name="plane")
    chosen(qtbot, panel)
    assert not panel.times.isVisible()
    assert not panel.depths.isVisible()
    assert not panel.channels.isVisible()
    assert panel.region.isVisible()


def test_numbers_and_slider_agree(qtbot):
    row = RangeRow("T")
    qtbot.addWidget(row)
    row.show_all(10)
    assert row.part is None
    row.last.setValue(4)
    assert row.slider.value() == (0, 4)
    assert row.first.maximum() == 4
    row.slider.setValue((4, 4))
    assert row.part == slice(4, 5)
    row.show_all(1)
    assert row.part is None


@pytest.mark.parametrize("scale", [1, 0.25])
def test_a_rectangle_restricts_the_training_as_long_as_it_is_there(
    panel, viewer, qtbot, scale
):
    viewer.add_image(
        counts((3, 200, 300)),
        name="stack",
        axis_labels=("t", "y", "x"),
        scale=(1, scale, scale),
        translate=(0, 7, 9),
        units=("second", "micrometer", "micrometer"),
    )
    chosen(qtbot, panel)
    panel.region.draw.click()
    panel.region.draw.click()
    assert [layer.name for layer in viewer.layers] == ["stack", NAME]
    shapes = viewer.layers[NAME]
    assert (shapes.mode, shapes.ndim) == ("add_rectangle", 2)
    assert viewer.layers.selection.active is shapes
    shapes.add_rectangles(np.array([[20.2, 30.2], [119.7, 250.4]]))
    qtbot.waitUntil(lambda: bool(panel.session.data.ranges), timeout=LONG)
    found = {"Y": slice(21, 120), "X": slice(31, 251)}
    assert panel.session.data.ranges == found
    assert panel.region.label.text() == "220 × 99 px"
    shapes.add_rectangles(np.array([[-50, 290], [20, 900]]))
    qtbot.waitUntil(lambda: panel.session.data.ranges != found, timeout=LONG)
    assert panel.session.data.ranges == {
        "Y": slice(0, SMALLEST),
        "X": slice(300 - SMALLEST, 300),
    }
    panel.region.whole.click()
    assert NAME not in viewer.layers
    qtbot.waitUntil(lambda: not panel.session.data.ranges, timeout=LONG)
    assert panel.region.label.text() == "the whole image"


def test_a_rectangle_lies_in_the_planes_of_any_order_of_axes(panel, viewer, qtbot):
    labels = ("y", "x", "t")
    viewer.add_image(counts((200, 300, 5)), name="stack", axis_labels=labels)
    chosen(qtbot, panel)
    panel.region.draw.click()
    shapes = viewer.layers[NAME]
    assert shapes.ndim == 3
    corners = [[10, 20, 1], [10, 120, 1], [150, 120, 1], [150, 20, 1]]
    shapes.add_rectangles(np.array(corners))
    qtbot.waitUntil(lambda: bool(panel.session.data.ranges), timeout=LONG)
    assert panel.session.data.ranges == {"Y": slice(10, 151), "X": slice(20, 121)}


def test_what_changes_during_a_training_counts_after_it(panel, viewer, qtbot):
    labels = ("t", "y", "x")
    viewer.add_image(counts((6, 64, 64)), name="movie", axis_labels=labels)
    data = chosen(qtbot, panel)
    session = panel.session
    session.state = State.TRAINING
    session.events.changed.emit()
    assert not panel._controls.isEnabled()
    panel.times.first.setValue(2)
    panel.use_layer(viewer.layers[0])
    assert "Stop what runs first" in panel._note.text()
    panel.open_paths([Path("/nowhere.tif")])
    qtbot.wait(SETTLED)
    assert session.data is data
    session.state = State.READY
    session.events.changed.emit()
    assert panel._controls.isEnabled()
    qtbot.waitUntil(lambda: session.data.ranges == {"T": slice(2, 6)}, timeout=LONG)


def test_a_deleted_layer_is_told_and_let_go(panel, viewer, qtbot):
    viewer.add_image(counts((64, 64)), name="gone")
    viewer.add_image(counts((64, 64)), name="other")
    panel.use_layer(viewer.layers["gone"])
    chosen(qtbot, panel, "gone")
    held = weakref.ref(viewer.layers["gone"])
    viewer.layers.remove("gone")
    qtbot.waitUntil(lambda: panel.session.data is None, timeout=LONG)
    assert panel.layer is None
    assert panel._note.text() == (
        "gone was deleted: choose another layer, or open a file."
    )
    gc.collect()
    assert held() is None
    panel.use_layer(viewer.layers["other"])
    chosen(qtbot, panel, "other")
    assert not panel._note.isVisible()


def test_a_layer_deleted_during_a_training_costs_nothing(panel, viewer, qtbot):
    viewer.add_image(counts((64, 64)), name="gone")
    data = chosen(qtbot, panel)
    session = panel.session
    session.state = State.TRAINING
    viewer.layers.remove("gone")
    session.state = State.READY
    session.events.changed.emit()
    qtbot.wait(SETTLED)
    assert session.data is data
    assert "its image stays" in panel._note.text()


@pytest.mark.parametrize(
    ("pixels", "options", "words"),
    [
        (np.zeros((64, 64, 3), np.uint8), {"rgb": True}, "RGB picture"),
        (np.eye(64, dtype=bool), {}, "mask"),
        (np.ones((1, 1, 1, 1, 64, 64)), {}, "6 dimensions"),
    ],
)
def test_layers_that_are_no_image_are_refused_in_words(
    panel, viewer, qtbot, pixels, options, words
):
    viewer.add_image(pixels, name="bad", contrast_limits=(0, 1), **options)
    message = complaint(qtbot, panel)
    assert words in message
    assert message.startswith(("The layer bad", "The pixels of bad"))
    viewer.add_image(counts((64, 64)), name="good")
    panel.use_layer(viewer.layers["good"])
    chosen(qtbot, panel, "good")
    assert not panel._complaint.isVisible()


def test_labels_are_refused_in_words(panel, viewer, qtbot):
    labels = viewer.add_labels(np.zeros((64, 64), int), name="cells")
    panel.use_layer(labels)
    assert "the layer cells holds no image" in complaint(qtbot, panel).lower()


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros(64), "at least two dimensions"),
        (np.zeros((0, 64)), "no pixels"),
        (np.zeros((64, 64), complex), "complex"),
    ],
)
def test_files_that_are_no_image_are_refused_in_words(
    panel, viewer, qtbot, tmp_path, pixels, words
):
    np.save(tmp_path / "bad.npy", pixels)
    panel.open_paths([tmp_path / "bad.npy"])
    assert words in complaint(qtbot, panel)
    assert len(viewer.layers) == 0
    panel.open_paths([write(tmp_path / "good.tif", (64, 64))])
    chosen(qtbot, panel, "good.tif")
    assert not panel._complaint.isVisible()


def test_a_file_that_goes_is_told(panel, viewer, qtbot, tmp_path):
    panel.open_paths([tmp_path / "gone.tif"])
    assert "is not there" in complaint(qtbot, panel)
    assert not panel._note.isVisible()


def test_many_stacks_are_sent_to_the_batch_dock(panel, viewer, qtbot, tmp_path):
    panel.open_paths([write(tmp_path / f"{n}.tif", (4, 16, 16)) for n in range(2)])
    assert "dock Batch denoise" in complaint(qtbot, panel)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.full((64, 64), 7.0), "constant|same"),
        (np.where(np.eye(64) > 0, np.nan, 1.0), "nan"),
    ],
)
def test_pixels_without_noise_are_told_by_the_check(viewer, qtbot, pixels, words):
    session = Session()
    panel = shown(session, viewer, qtbot)
    viewer.add_image(pixels, name="bad", contrast_limits=(0, 1))
    qtbot.waitUntil(lambda: session.failure is not None, timeout=LONG)
    assert session.failure.step == "check"
    assert any(word in session.failure.message for word in words.split("|"))
    assert session.data is not None
    viewer.add_image(counts((64, 64)), name="good")
    panel.use_layer(viewer.layers["good"])
    chosen(qtbot, panel, "good")
    assert session.failure is None
    session.close(5)


def test_pyramids_and_lazy_arrays_are_chosen(panel, viewer, qtbot):
    levels = [counts((128, 128)), counts((64, 64))]
    viewer.add_image(levels, multiscale=True, name="pyramid")
    assert chosen(qtbot, panel).image.shape == (128, 128)
    pixels = counts((3, 64, 64))
    lazy = da.from_array(pixels, chunks=(1, 64, 64))
    viewer.add_image(lazy, name="lazy", axis_labels=("t", "y", "x"))
    panel.use_layer(viewer.layers["lazy"])
    data = chosen(qtbot, panel, "lazy")
    assert np.array_equal(data.image.read((slice(0, 3),) * 3), pixels[:, :3, :3])


def test_new_labels_of_the_layer_fill_in_the_axes(panel, viewer, qtbot):
    layer = viewer.add_image(counts((5, 64, 64)), name="stack")
    complaint(qtbot, panel)
    layer.axis_labels = ("z", "y", "x")
    assert chosen(qtbot, panel).image.axes.names == "ZYX"


def test_nothing_is_followed_after_the_end(session, viewer, qtbot):
    panel = DataPanel(session, viewer)
    qtbot.addWidget(panel)
    panel.shut_down(5)
    viewer.add_image(counts((64, 64)), name="late")
    assert panel.layers.count() == 0


def test_it_is_no_wider_than_a_dock(panel, viewer, qtbot):
    labels = ("t", "c", "z", "y", "x")
    viewer.add_image(counts((3, 2, 2, 64, 64)), name="n" * 90, axis_labels=labels)
    chosen(qtbot, panel)
    panel.region.draw.click()
    panel._say("word " * 60)
    assert panel.minimumSizeHint().width() <= 340
    assert panel.heightForWidth(340) <= 420


def test_a_real_viewer_hands_out_wrapped_layers(
    make_napari_viewer_proxy, qtbot, session
):
    viewer = make_napari_viewer_proxy()
    layer = viewer.add_image(counts((200, 200)), name="first")
    panel = shown(session, viewer, qtbot)
    chosen(qtbot, panel, "first")
    assert panel.layer == layer
    viewer.add_image(counts((64, 64)), name="second")
    panel.use_layer(viewer.layers["second"])
    chosen(qtbot, panel, "second")
    panel.use_layer(layer)
    chosen(qtbot, panel, "first")
    panel.region.draw.click()
    shapes = viewer.layers[NAME]
    shapes.add_rectangles(np.array([[20, 30], [119, 150]]))
    qtbot.waitUntil(lambda: bool(session.data.ranges), timeout=LONG)
    assert session.data.ranges == {"Y": slice(20, 120), "X": slice(30, 151)}
    shapes.data = []
    qtbot.waitUntil(lambda: not session.data.ranges, timeout=LONG)
    viewer.layers.remove("first")
    qtbot.waitUntil(lambda: session.data is None, timeout=LONG)
