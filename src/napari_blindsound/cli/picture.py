"""A before-and-after picture: images side by side, a detail of each, one contrast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_PANEL, _GAP, _HEAD, _FOOT = 512, 16, 64, 52  # px
_DETAIL = 4  # part of the side, and how much larger it is shown
_CONTRAST = (0.1, 99.8)  # percentiles of the reference
_INK, _PALE, _FRAME, _PAPER = "#f2f2f2", "#9aa3ad", "#f5b83d", "#14171a"
_NICE = (1, 2, 5, 10, 20, 50, 100, 200, 500)


@dataclass(frozen=True)
class Panel:
    """One image of a picture: a plane (Y, X) of counts, and what stands above it."""

    title: str
    note: str
    plane: NDArray[Any]


def draw(
    panels: Sequence[Panel], reference: NDArray[Any], micrometers: float, caption: str
) -> Image.Image:
    """Draw panels side by side, all with the contrast limits of the reference.

    Parameters
    ----------
    panels : sequence of Panel
        Square planes of one shape.
    reference : ndarray
        Plane of the same shape that contrast and detail are chosen from.
    micrometers : float
        Size of a pixel.
    caption : str
        Line at the foot.
    """
    limits = np.percentile(reference, _CONTRAST)
    top, left = _liveliest(reference)
    columns, step = len(panels), _PANEL + _GAP
    height = _HEAD + 2 * step + _FOOT
    picture = Image.new("RGB", (columns * step + _GAP, height), _PAPER)
    pen = ImageDraw.Draw(picture)
    for column, panel in enumerate(panels):
        x = _GAP + column * step
        pen.text((x, 16), panel.title, _INK, _font(28))
        pen.text((x + _PANEL, 24), panel.note, _PALE, _font(20), anchor="ra")
        gray = _gray(panel.plane, limits)
        picture.paste(_scaled(gray), (x, _HEAD))
        side = len(gray) // _DETAIL
        detail = gray[top : top + side, left : left + side]
        picture.paste(_scaled(detail), (x, _HEAD + step))
        zoom = _PANEL / len(gray)
        corner = (x + left * zoom, _HEAD + top * zoom)
        _frame(pen, corner, side * zoom)
        _frame(pen, (x, _HEAD + step), _PANEL)
    _scale_bar(pen, (2 * _GAP, _HEAD + _PANEL), len(reference) * micrometers)
    pen.text((_GAP, height - 36), caption, _PALE, _font(18))
    return picture


def _gray(plane: NDArray[Any], limits: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = limits
    unit = (plane.astype(np.float64) - low) / max(high - low, 1e-9)
    return np.asarray(np.rint(255 * np.clip(unit, 0, 1)), dtype=np.uint8)


def _scaled(gray: NDArray[np.uint8]) -> Image.Image:
    # Pixels stay pixels where they are enlarged: noise must look as it is.
    enlarged = len(gray) <= _PANEL
    filter_ = Image.Resampling.NEAREST if enlarged else Image.Resampling.BOX
    return Image.fromarray(gray).resize((_PANEL, _PANEL), filter_).convert("RGB")


def _liveliest(reference: NDArray[Any]) -> tuple[int, int]:
    """Corner of the detail: where there is most to see, bright or dim."""
    side = len(reference) // _DETAIL
    level = np.log(reference - reference.min() + np.ptp(reference) / 50 + 1e-9)
    corners = [
        (top, left)
        for top in range(0, len(reference) - side + 1, max(1, side // 4))
        for left in range(0, reference.shape[1] - side + 1, max(1, side // 4))
    ]
    return max(
        corners, key=lambda at: level[at[0] : at[0] + side, at[1] : at[1] + side].std()
    )


def _frame(pen: ImageDraw.ImageDraw, corner: tuple[float, float], side: float) -> None:
    x, y = corner
    pen.rectangle((x, y, x + side - 1, y + side - 1), outline=_FRAME, width=2)


def _scale_bar(
    pen: ImageDraw.ImageDraw, corner: tuple[int, int], micrometers: float
) -> None:
    """Bar of a round length, about a fifth of the panel."""
    length = max((n for n in _NICE if n <= micrometers / 4), default=_NICE[0])
    x, y = corner[0], corner[1] - _GAP
    pen.rectangle((x, y - 5, x + _PANEL * length / micrometers, y), fill=_INK)
    pen.text((x, y - 10), f"{length} microns", _INK, _font(18), anchor="ls")


def _font(size: int) -> Any:  # noqa: ANN401 - Pillow gives one of two kinds
    return ImageFont.load_default(size)
