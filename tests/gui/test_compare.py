from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtGui import QColor, QImage, QPalette
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_blindsound.gui.compare import Compare
from napari_blindsound.gui.live import Preview
from napari_blindsound.gui.view import Look

NOISE = np.random.default_rng(3)


def preview_of(clean, noise, *, offset=(4, 20, 30), ends=1):
    look = Look(
        tuple(
            slice(start, start + size)
            for start, size in zip(offset, (1, *clean.shape), strict=True)
        )
    )
    clean, noisy = (array.astype(np.float32)[None] for array in (clean, clean + noise))
    return Preview(look, tuple(clean + 4 * end for end in range(ends)), noisy, 0.1)


@pytest.fixture
def clean():
    rows, columns = np.mgrid[:200, :260] / 12
    return 300 + 200 * np.sin(rows) * np.cos(columns)


@pytest.fixture
def noise():
    return NOISE.normal(0, 12, (200, 260))


@pytest.fixture
def compare(qtbot):
    widget = Compare()
    qtbot.addWidget(widget)
    widget.setFixedWidth(360)
    return widget


def drawn(widget):
    """What is on screen: pixels, (height, width, 3)."""
    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
    bits = image.constBits()
    if hasattr(bits, "setsize"):
        bits.setsize(image.sizeInBytes())
    rows = np.array(bits, np.uint8).reshape(image.height(), -1, 4)
    return rows[:, : image.width(), 2::-1].astype(int)


def tile_halves(widget):
    """How bright the left and the right of what was taken away are."""
    pixels = drawn(widget)[25:90, -112:-4]
    gray = pixels.max(axis=-1) - pixels.min(axis=-1) < 8
    halves = (slice(0, 50), slice(58, None))
    return [pixels[:, half][gray[:, half]].mean() for half in halves]


def test_it_says_what_was_taken_away(compare, clean, noise):
    compare.show()
    assert "once there is a preview" in compare.words.text()
    compare.show_preview(preview_of(clean, noise))
    words = compare.words.text()
    assert f"mean {noise.mean():.1f}, s.d. 12 counts" in words.replace("-0.0", "0.0")
    assert "no structure" in words
    assert words.startswith("Row 120.")


def test_small_numbers_can_be_read(compare, clean, noise):
    compare.show()
    compare.show_preview(preview_of(clean * 0, noise / 4000 + 0.02))
    assert "mean 0.02000, s.d. 0.0030 counts" in compare.words.text()


def test_nothing_taken_away(compare, clean, noise):
    compare.show()
    compare.show_preview(preview_of(clean, noise * 0))
    assert "mean 0.00, s.d. 0.0 counts" in compare.words.text()


def test_it_fits_its_dock(compare, clean, noise):
    compare.show()
    empty = compare.sizeHint().height()
    compare.show_preview(preview_of(clean, noise))
    assert empty <= compare.sizeHint().height() <= 170
    assert compare.minimumSizeHint().width() <= 340


def test_the_row_is_chosen(compare, qtbot, clean, noise):
    compare.show()
    compare.show_preview(preview_of(clean, noise))
    for row, said in ((25, "Row 25."), (5, "Row 120."), (None, "Row 120.")):
        compare.set_row(row)
        qtbot.waitUntil(
            lambda said=said: compare.words.text().startswith(said), timeout=20000
        )


def test_the_blend_that_is_shown_is_compared(compare, qtbot, clean, noise):
    compare.show()
    both = preview_of(clean, noise * 0, ends=2)
    compare.show_preview(both, 0.25)
    assert "mean -1.00" in compare.words.text()
    compare.show_preview(both, 1.0)
    qtbot.waitUntil(lambda: "mean -4.00" in compare.words.text(), timeout=20000)


def test_structure_is_seen_and_noise_is_not(compare, qtbot, clean, noise):
    compare.show()
    compare.show_preview(preview_of(clean, noise))
    assert tile_halves(compare) == pytest.approx([127, 127], abs=8)
    noise[:, :130] += 8
    noise[:, 130:] -= 8
    compare.show_preview(preview_of(clean, noise))
    qtbot.waitUntil(lambda: "s.d. 14" in compare.words.text(), timeout=20000)
    left, right = tile_halves(compare)
    assert left > 150
    assert right < 105


def test_both_lines_and_the_tile_follow_the_palette(compare, qtbot, clean, noise):
    compare.show()
    compare.show_preview(preview_of(clean, noise))
    for ground, text in (("#202020", "#f0f0f0"), ("#f4f4f4", "#101010")):
        palette = QPalette()
        palette.setColor(QPalette.ColorRole.Window, QColor(ground))
        palette.setColor(QPalette.ColorRole.WindowText, QColor(text))
        compare.setPalette(palette)
        pixels = drawn(compare)[:110, 60:200]
        assert (
            np.median(pixels.reshape(-1, 3), axis=0) == QColor(ground).getRgb()[:3]
        ).all()
        blue = pixels[..., 2] - pixels[..., 0]
        assert (blue > 80).sum() > 200


def test_nothing_is_drawn_while_it_is_hidden(qtbot, clean, noise):
    outer, compare = QWidget(), Compare()
    qtbot.addWidget(outer)
    QVBoxLayout(outer).addWidget(compare)
    compare.hide()
    outer.show()
    before = compare.words.text()
    compare.show_preview(preview_of(clean, noise))
    assert not compare.isVisible()
    assert compare.words.text() == before
    compare.setVisible(True)
    assert "s.d. 12" in compare.words.text()


def test_no_more_than_four_times_a_second(qtbot, compare, clean, noise):
    compare.show()
    compare.show_preview(preview_of(clean, noise))
    told = []
    for row in range(20, 60):
        compare.set_row(row)
        told.append(compare.words.text())
    assert len(set(told)) == 1
    qtbot.waitUntil(lambda: compare.words.text().startswith("Row 59."), timeout=20000)


def test_a_preview_can_be_forgotten(compare, clean, noise):
    compare.show()
    compare.show_preview(preview_of(clean, noise))
    compare.clear()
    assert "once there is a preview" in compare.words.text()


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (3, 1100), (5, 4)])
def test_any_shape(compare, shape):
    compare.show()
    compare.show_preview(preview_of(np.zeros(shape), NOISE.normal(0, 3, shape)))
    assert "What was taken away" in compare.words.text()


def test_pixels_that_are_no_numbers(compare, qtbot, clean, noise):
    compare.show()
    noise[:50] = np.nan
    compare.show_preview(preview_of(clean, noise))
    assert "s.d. 12" in compare.words.text()
    noise[:] = np.nan
    compare.show_preview(preview_of(clean, noise))
    qtbot.waitUntil(lambda: "no numbers" in compare.words.text(), timeout=20000)
    drawn(compare)
