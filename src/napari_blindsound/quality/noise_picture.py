"""The noise of an image as a picture: calibration curve and map of correlations."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from napari_blindsound.images.whole_file import check_place, whole_file
from napari_blindsound.noise.spectrum import REACH
from napari_blindsound.quality import facts
from napari_blindsound.quality.figures import INK, PALE, RULE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from napari_blindsound.noise.verdict import Correlation
    from napari_blindsound.quality.preflight import Glance

SUFFIXES = (".png", ".pdf", ".svg")

_POINTS, _LINE = "#0b6bcb", "#d9480f"
_WIDTH, _ROW = 7.4, 2.9  # inches
_DPI = 200
_SMALL, _TEXT = 6.2, 7.2  # points
_STRONG = 0.5  # end of the color scale of correlations


def check_picture(path: Path, *, overwrite: bool) -> None:
    """Refuse a place for a picture: see :func:`check_place`."""
    check_place(path, "picture", SUFFIXES, overwrite=overwrite)


def write_picture(found: Sequence[Glance], path: Path, title: str) -> None:
    """Draw one row a channel, and write the file once it is complete.

    Parameters
    ----------
    found : sequence of Glance
        One a channel.
    path : Path
        See :func:`check_picture`.
    title : str
        Of the image.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    data = _drawn(found, path.suffix.lower().removeprefix("."), title)
    with whole_file(path, len(data)) as draft:
        draft.write_bytes(data)


def _drawn(found: Sequence[Glance], kind: str, title: str) -> bytes:
    from matplotlib.figure import Figure

    count = len(found)
    figure = Figure(
        (_WIDTH, _ROW * count + 0.2), facecolor="white", layout="constrained"
    )
    slots = figure.subplots(
        count, 2, squeeze=False, gridspec_kw={"width_ratios": (1.5, 1)}
    )
    for glance, (left, right) in zip(found, slots, strict=True):
        _draw_curve(left, glance, f"Noise{glance.title}: {title}")
        _draw_map(right, glance.correlation)
    buffer = io.BytesIO()
    # Without the time of the day the same image gives the same file.
    undated = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    figure.savefig(buffer, format=kind, dpi=_DPI, metadata=undated)
    return buffer.getvalue()


def _draw_curve(axes: Axes, glance: Glance, title: str) -> None:
    """Variance against mean with standard errors, and the line that is used."""
    _plain(axes, title)
    mean, variance, error = np.array(glance.calibration.points, dtype=float).T
    error = np.where(np.isfinite(error), error, 0.0)
    axes.errorbar(
        mean, variance, error, fmt="o", color=_POINTS, ms=3, lw=0.8,
        label=facts.SOURCES[glance.calibration.source],
    )  # fmt: skip
    at = np.linspace(mean[0], mean[-1], 100)
    axes.plot(
        at, glance.noise.variance(at), color=_LINE, lw=1.2, label=_numbers(glance)
    )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("mean, counts", fontsize=_SMALL, color=PALE)
    axes.set_ylabel("variance, counts²", fontsize=_SMALL, color=PALE)
    axes.legend(fontsize=_SMALL, frameon=False, labelcolor=INK, loc="upper left")


def _numbers(glance: Glance) -> str:
    calibration = glance.calibration
    named = {
        "gain": calibration.gain,
        "offset": calibration.offset,
        "read noise": calibration.read_noise,
    }
    return "\n".join(
        f"{name} {facts.interval(number) if number.known else 'not known'}"
        for name, number in named.items()
    )


def _draw_map(axes: Axes, correlation: Correlation) -> None:
    verdict = correlation.verdict
    _plain(axes, f"Correlation of neighbors: {verdict}")
    axes.imshow(
        correlation.map, cmap="RdBu_r", vmin=-_STRONG, vmax=_STRONG, aspect="equal"
    )
    for (row, column), value in np.ndenumerate(correlation.map):
        axes.text(
            column, row, f"{value:.2f}".replace("0.", ".").replace("-", "−"),
            fontsize=5, ha="center", va="center",
            color="white" if abs(value) > 0.7 * _STRONG else INK,
        )  # fmt: skip
    places = [f"{n:+d}" if n else "0" for n in range(-REACH, REACH + 1)]
    axes.set_xticks(range(2 * REACH + 1), places)
    axes.set_yticks(range(2 * REACH + 1), places)
    axes.set_xlabel("columns apart", fontsize=_SMALL, color=PALE)
    axes.set_ylabel("rows apart", fontsize=_SMALL, color=PALE)


def _plain(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=_TEXT, color=INK)
    axes.tick_params(labelsize=_SMALL, colors=PALE, width=0.6, length=2)
    axes.yaxis.get_offset_text().set(fontsize=_SMALL, color=PALE)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(RULE)
