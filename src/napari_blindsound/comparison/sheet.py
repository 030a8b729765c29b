"""A contact sheet: what each method made of the same part, all in the same gray values.

Each image is shown whole, and below it a detail, the liveliest quarter of its side.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_blindsound.comparison.tables import GAIN
from napari_blindsound.quality.figures import INK, PALE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from napari_blindsound.comparison.run import Comparison

    Plane = NDArray[Any]

_ACROSS = 5  # images in a line
_SIDE = 2.3  # inches of an image
_HEAD, _GAP, _FOOT = 0.34, 0.06, 0.24  # inches
_DPI = 150
_DETAIL = 4  # part of the side
_CONTRAST = (0.1, 99.8)  # percentiles of what the noisy image is like, see _limits
_LARGEST = 512  # px a side of the middle that is shown


class Shown(NamedTuple):
    """One image of the sheet: a plane (h, w) of counts, and what stands above it."""

    title: str
    note: str
    plane: Plane


def shown(comparison: Comparison) -> list[Shown]:
    """The noisy image, each result that there is, and the truth, of one plane."""
    sample = comparison.sample
    at = len(sample.regions) // 2
    found = list(_results(comparison, at))
    if not any(row.name == "noisy" for row in comparison.rows if row.is_reference):
        found.insert(0, Shown("Noisy image", "", _middle(sample.noisy[at][0])))
    if sample.truth is not None:
        found.append(Shown("Truth", "", _middle(sample.truth[at][0])))
    return found


def sheet(images: Sequence[Shown], words: str = "") -> bytes:
    """Draw them, as a PNG.

    Parameters
    ----------
    images : sequence of Shown
        Planes of one shape; contrast and detail are chosen from the first ones.
    words : str
        A line at the foot.
    """
    from matplotlib.figure import Figure

    across = min(_ACROSS, len(images))
    lines = math.ceil(len(images) / across)
    height, width = images[0].plane.shape
    tall = _SIDE * height / width
    line = _HEAD + 2 * (tall + _GAP)
    size = (across * (_SIDE + _GAP) + _GAP, lines * line + _FOOT)
    figure = Figure(size, facecolor="white")
    limits, (rows, columns) = _limits(images), _liveliest(images)
    for number, image in enumerate(images):
        down, right = divmod(number, across)
        left = _GAP + right * (_SIDE + _GAP)
        top = size[1] - down * line - _HEAD
        for step, part in enumerate((image.plane, image.plane[rows, columns])):
            bottom = top - (step + 1) * tall - step * _GAP
            box = (left / size[0], bottom / size[1], _SIDE / size[0], tall / size[1])
            axes = figure.add_axes(box)
            _draw(axes, part, limits)
            if step == 0:
                _head(axes, image)
                _frame(axes, rows, columns)
    figure.text(_GAP / size[0], 0.07 / size[1], words, fontsize=6, color=PALE)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI, metadata={})
    return stream.getvalue()


def gray_range(images: Sequence[Shown]) -> str:
    """The gray values of a sheet, in words."""
    low, high = _limits(images)
    return f"gray: {low:.4g} to {high:.4g} counts in all"


def _results(comparison: Comparison, at: int) -> Iterator[Shown]:
    for number, row in enumerate(comparison.rows):
        result = comparison.results.get(number)
        if result is None:
            continue
        known = [
            f"{row.psnr:.2f} dB" if row.psnr is not None else "",
            f"est. {GAIN.text(row)} dB" if row.gain is not None else "",
        ]
        note = " · ".join(text for text in known if text)
        yield Shown(row.title, note, _middle(result.planes[at][0]))


def _middle(plane: Plane) -> Plane:
    sides = (min(size, _LARGEST) for size in plane.shape)
    rows, columns = (
        slice((size - side) // 2, (size - side) // 2 + side)
        for size, side in zip(plane.shape, sides, strict=True)
    )
    return plane[rows, columns]


def _limits(images: Sequence[Shown]) -> tuple[float, float]:
    """Gray values for all: of the truth, or else of the results' median."""
    planes = [np.asarray(image.plane, np.float64) for image in images]
    if images[-1].title == "Truth":
        reference = planes[-1]
    else:
        reference = np.median(planes[1:] or planes, axis=0)
    low, high = np.percentile(reference, _CONTRAST)
    return float(low), float(max(high, low + 1e-9))


def _liveliest(images: Sequence[Shown]) -> tuple[slice, slice]:
    """Part with the most to see, bright or dim, in what is least noisy."""
    plane = np.asarray(images[-1].plane, np.float64)
    height, width = (max(1, size // _DETAIL) for size in plane.shape)
    level = np.log(plane - plane.min() + np.ptp(plane) / 50 + 1e-9)
    corners = [
        (top, left)
        for top in range(0, plane.shape[0] - height + 1, max(1, height // 4))
        for left in range(0, plane.shape[1] - width + 1, max(1, width // 4))
    ]
    top, left = max(
        corners,
        key=lambda at: float(
            level[at[0] : at[0] + height, at[1] : at[1] + width].std()
        ),
    )
    return slice(top, top + height), slice(left, left + width)


def _draw(axes: Axes, plane: Plane, limits: tuple[float, float]) -> None:
    axes.imshow(
        plane,
        cmap="gray",
        vmin=limits[0],
        vmax=limits[1],
        interpolation="nearest",
        aspect="auto",
    )
    axes.set_axis_off()


def _head(axes: Axes, image: Shown) -> None:
    axes.text(
        0, 1.075, image.title, transform=axes.transAxes, fontsize=8, color=INK,
        va="bottom",
    )  # fmt: skip
    axes.text(
        0, 1.015, image.note, transform=axes.transAxes, fontsize=6.5, color=PALE,
        va="bottom",
    )  # fmt: skip


def _frame(axes: Axes, rows: slice, columns: slice) -> None:
    x = np.array([columns.start, columns.stop, columns.stop, columns.start]) - 0.5
    y = np.array([rows.start, rows.start, rows.stop, rows.stop]) - 0.5
    axes.fill(x, y, fill=False, edgecolor="#f5b83d", lw=0.9)
