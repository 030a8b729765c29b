"""The pictures and plots of a report, drawn into figures without a window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindsound.quality.injection import BRIGHTNESS
from napari_blindsound.quality.residual import LAGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from numpy.typing import NDArray

    from napari_blindsound.noise.calibration import NoiseModel
    from napari_blindsound.quality.trust import ChannelTrust

    Canvas = Figure | SubFigure

INK, PALE, RULE = "#1f2933", "#697586", "#d5dbe3"
_BEFORE, _AFTER, _LINE = "#9aa5b1", "#0b6bcb", "#d9480f"
_CONTRAST = (0.1, 99.8)  # percentiles of the noisy image
_SIGMAS = 4.0  # range of the residual
_SMALL, _TEXT = 5.8, 6.8  # points
_NICE = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, eq=False)
class View:
    """What a report shows of an image: one plane before and after.

    Parameters
    ----------
    noisy, denoised : ndarray
        (h, w) counts.
    sigma : ndarray
        Standard deviation of the noise, (h, w) counts.
    pixel : tuple of float
        Height and width of a pixel.
    unit : str
        Of the pixel, such as "µm"; "px" where it is not known.
    """

    noisy: NDArray[Any]
    denoised: NDArray[Any]
    sigma: NDArray[Any]
    pixel: tuple[float, float]
    unit: str


def draw_pictures(canvas: Canvas, view: View) -> None:
    """Noisy, denoised and residual side by side, with a bar of a round length."""
    low, high = np.percentile(view.noisy, _CONTRAST)
    residual = (view.noisy.astype(np.float64) - view.denoised) / view.sigma
    counts = f"gray: {low:.4g} to {high:.4g} counts"
    panels = (
        ("noisy", counts, view.noisy, "gray", (low, high)),
        ("denoised", "same gray values", view.denoised, "gray", (low, high)),
        (
            "removed: noisy − denoised",
            f"blue to red: −{_SIGMAS:.0f} to {_SIGMAS:.0f} noise levels",
            residual,
            "RdBu_r",
            (-_SIGMAS, _SIGMAS),
        ),
    )
    slots = canvas.subplots(
        1, 3, gridspec_kw={"wspace": 0.04, "left": 0, "right": 1, "bottom": 0.06,
                           "top": 0.92}
    )  # fmt: skip
    for axes, (title, note, plane, colors, limits) in zip(slots, panels, strict=True):
        axes.imshow(
            plane,
            cmap=colors,
            vmin=limits[0],
            vmax=max(limits[1], limits[0] + 1e-9),
            aspect=view.pixel[0] / view.pixel[1],
            interpolation="nearest",
        )
        axes.set_axis_off()
        axes.set_title(title, loc="left", fontsize=_TEXT + 1, color=INK, pad=3)
        axes.text(
            0, -0.015, note, transform=axes.transAxes, fontsize=_SMALL, color=PALE,
            va="top",
        )  # fmt: skip
    _scale_bar(slots[0], view)


def draw_plots(canvas: Canvas, channel: ChannelTrust) -> None:
    """Six plots: noise line, residual, intensities, blank, injection, agreement."""
    draws: tuple[tuple[str, Callable[[Axes, ChannelTrust], bool]], ...] = (
        ("What was removed, against the noise", _draw_noise_line),
        ("Correlation of what was removed", _draw_correlation),
        ("Shift of the mean", _draw_shift),
        ("Blank test: pure noise in", _draw_blank),
        ("Injection test: spots of known brightness", _draw_injection),
        ("Agreement of two simulated exposures", _draw_rings),
    )
    slots = canvas.subplots(
        2, 3, gridspec_kw={"wspace": 0.3, "hspace": 0.55, "left": 0.055, "right": 0.995,
                           "bottom": 0.1, "top": 0.93}
    )  # fmt: skip
    for axes, (title, draw) in zip(slots.ravel(), draws, strict=True):
        _plain(axes, title)
        if not draw(axes, channel):
            axes.text(
                0.5, 0.5, "not tested", transform=axes.transAxes, color=PALE,
                fontsize=_TEXT, ha="center", va="center",
            )  # fmt: skip
            axes.set_xticks([])
            axes.set_yticks([])


def _draw_noise_line(axes: Axes, channel: ChannelTrust) -> bool:
    residual = channel.residual
    if residual is None:
        return False
    x = np.linspace(residual.levels.min(), residual.levels.max(), 50)
    noise = channel.noise
    axes.plot(x, noise.variance(x), color=_LINE, lw=1.2, label=_line(noise))
    axes.plot(
        residual.levels, residual.variances, "o", color=_AFTER, ms=3, label="removed"
    )
    axes.set_ylim(bottom=0)
    _label(axes, "denoised, counts", "variance, counts²")
    return True


def _draw_correlation(axes: Axes, channel: ChannelTrust) -> bool:
    if channel.residual is None:
        return False
    half = channel.residual.correlation
    whole = np.concatenate([half[:0:-1, ::-1], half])
    axes.imshow(whole, cmap="RdBu_r", vmin=-0.5, vmax=0.5, aspect="equal")
    for row, line in enumerate(whole):
        for column, value in enumerate(line):
            color = "white" if abs(value) > 0.35 else INK
            axes.text(
                column, row, f"{value:.2f}".replace("0.", ".").replace("-", "−"),
                fontsize=4.2, ha="center", va="center", color=color,
            )  # fmt: skip
    ticks = np.arange(-LAGS, LAGS + 1)
    axes.set_xticks(ticks + LAGS, [f"{n:+d}" if n else "0" for n in ticks])
    axes.set_yticks(ticks + LAGS, [f"{n:+d}" if n else "0" for n in ticks])
    axes.set_xlabel("columns apart", fontsize=_SMALL + 0.4, color=PALE, labelpad=1.5)
    axes.set_ylabel("rows apart", fontsize=_SMALL + 0.4, color=PALE, labelpad=2)
    return True


def _draw_shift(axes: Axes, channel: ChannelTrust) -> bool:
    bias = channel.bias
    if bias is None:
        return False
    unit = np.sqrt(np.maximum(channel.noise.variance(bias.levels), 1e-12))
    axes.axhline(0, color=_LINE, lw=1.2)
    axes.errorbar(
        bias.levels, bias.shift / unit, bias.errors / unit, fmt="o", color=_AFTER, ms=3,
        lw=0.8, label="8 × 8 pixels, denoised − noisy",
    )  # fmt: skip
    reach = 1.3 * max(0.25, float(np.abs(bias.shift / unit).max()))
    axes.set_ylim(-reach, reach)
    _label(axes, "denoised, counts", "noise levels")
    return True


def _draw_blank(axes: Axes, channel: ChannelTrust) -> bool:
    blank = channel.blank
    if blank is None:
        return False
    axes.axhline(1, color=_BEFORE, lw=1.2, label="the noise put in")
    axes.semilogy(
        blank.frequencies, np.maximum(blank.spectrum, 1e-6), color=_AFTER, lw=1.4,
        label="what came out",
    )  # fmt: skip
    left = f"{100 * blank.left.max():.0f} % of the noise left"
    axes.plot([], [], " ", label=left)
    axes.set_xlim(0, 0.5)
    axes.set_ylim(1e-4, max(10.0, 2 * float(blank.spectrum.max())))
    axes.minorticks_off()
    _label(axes, "cycles a pixel (left: large structures)", "power")
    return True


def _draw_injection(axes: Axes, channel: ChannelTrust) -> bool:
    injection = channel.injection
    if injection is None:
        return False
    planted = np.array(BRIGHTNESS)
    reach = planted.max() * 1.05
    axes.plot([0, reach], [0, reach], color=_LINE, lw=1.2, label="as planted")
    for response, color, name in (
        (injection.noisy, _BEFORE, "noisy"),
        (injection.denoised, _AFTER, "denoised"),
    ):
        seen = f", seen from {response.limit:.2g}"
        seen = seen if np.isfinite(response.limit) else ""
        axes.errorbar(
            planted, response.mean, response.error, fmt="o", color=color, ms=3, lw=0.8,
            label=f"{name}: {100 * response.slope:.0f} %{seen}",
        )  # fmt: skip
    axes.set_xlim(0, reach)
    _label(axes, "planted peak, noise levels", "recovered")
    return True


def _draw_rings(axes: Axes, channel: ChannelTrust) -> bool:
    if channel.rings is None:
        return False
    axes.axhline(1 / 7, color=_LINE, lw=1.2, label="1/7")
    for ring, color, name in zip(
        channel.rings, (_BEFORE, _AFTER), ("noisy", "denoised"), strict=True
    ):
        axes.plot(
            ring.frequencies, ring.correlation, color=color, lw=1.2,
            label=f"{name}: to {ring.resolution():.3g} px",
        )  # fmt: skip
    axes.set_xlim(0, 0.5)
    axes.set_ylim(-0.1, 1.03)
    _label(axes, "cycles a pixel", "ring correlation")
    return True


def _plain(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=_TEXT, color=INK, pad=4)
    axes.tick_params(labelsize=_SMALL, colors=PALE, width=0.6, length=2, pad=2)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(RULE)


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=_SMALL + 0.4, color=PALE, labelpad=1.5)
    axes.set_ylabel(y, fontsize=_SMALL + 0.4, color=PALE, labelpad=2)
    axes.legend(
        fontsize=_SMALL, frameon=False, labelcolor=INK, handlelength=1.2, borderpad=0,
        labelspacing=0.25, loc="best",
    )  # fmt: skip


def _line(noise: NoiseModel) -> str:
    return f"noise: {noise.gain:.3g} × light + {noise.read_variance:.3g}"


def _scale_bar(axes: Axes, view: View) -> None:
    """White bar of a round length, about a fifth of the picture."""
    height, width = view.noisy.shape
    size = width * view.pixel[1]
    power = 10.0 ** np.floor(np.log10(size / 4))
    length = power * max(n for n in _NICE if n * power <= size / 4)
    x, y = 0.04 * width, 0.95 * height
    pixels = length / view.pixel[1]
    axes.plot([x, x + pixels], [y, y], color="white", lw=2.2, solid_capstyle="butt")
    axes.text(
        x + pixels / 2, y - 0.02 * height, f"{length:g} {view.unit}", color="white",
        fontsize=_TEXT, ha="center", va="bottom",
    )  # fmt: skip
