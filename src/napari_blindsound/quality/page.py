"""How the page of a report is laid out: as a web page, or as one picture."""

from __future__ import annotations

import base64
import html
import io
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_blindsound.quality.figures import (
    INK,
    PALE,
    RULE,
    View,
    draw_pictures,
    draw_plots,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure, SubFigure

    from napari_blindsound.quality.trust import ChannelTrust, Trust
    from napari_blindsound.quality.verdict import Finding, Verdict

_A4 = (8.27, 11.69)  # inches
_WIDTH = 7.4
_DPI = 200
_COLORS: dict[Verdict, str] = {
    "pass": "#1a7f4b",
    "unknown": "#697586",
    "warn": "#b7680c",
    "fail": "#c0392b",
}
# Signs beside colors: some readers see no red, and paper may be gray.
_SIGNS: dict[Verdict, str] = {"pass": "✓", "unknown": "?", "warn": "!", "fail": "✗"}
_STYLE = """
@page { size: A4; margin: 11mm }
* { box-sizing: border-box }
body { margin: 0; background: #eef1f5; color: %(ink)s;
  font: 8.3pt/1.32 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif }
main { width: 210mm; height: 297mm; margin: 6mm auto; padding: 11mm; background: white;
  display: flex; flex-direction: column; gap: 2.2mm; overflow: hidden }
header { display: flex; justify-content: space-between; align-items: baseline;
  gap: 6mm; border-bottom: .3mm solid %(rule)s; padding-bottom: 1.5mm }
h1 { font-size: 13pt; margin: 0; overflow-wrap: anywhere }
.badge { font-weight: 700; color: white; padding: .6mm 2.4mm; border-radius: 1.2mm;
  white-space: nowrap; print-color-adjust: exact; -webkit-print-color-adjust: exact }
p { margin: 0 } .summary { font-size: 9.5pt }
dl { display: grid; grid-template-columns: 16mm 1fr; margin: 0; font-size: 7.4pt }
dt { color: %(pale)s } dd { margin: 0; overflow-wrap: anywhere }
img { display: block; width: 100%%; flex: none }
table { border-collapse: collapse; width: 100%%; font-size: 7.4pt }
td, th { text-align: left; vertical-align: top; padding: .7mm 1.5mm .7mm 0;
  border-top: .2mm solid %(rule)s }
th { color: %(pale)s; font-weight: 400 } td:first-child { white-space: nowrap }
.verdict { font-weight: 700; white-space: nowrap } .expected { color: %(pale)s }
@media print { body { background: white }
  main { margin: 0; padding: 0; width: auto; height: 274mm } }
"""
_LONG = """
main { height: auto; overflow: visible } .caption { font-size: 7.4pt; color: #697586 }
td.number, th.number { text-align: right; white-space: nowrap }
"""


@dataclass(frozen=True, eq=False)
class Page:
    """What stands on the page.

    Parameters
    ----------
    title : str
        Of the page.
    trust : Trust
        All channels.
    channel : ChannelTrust
        The one that is shown.
    facts : mapping of str to str
        About image, noise, model.
    view : View or None
        The pictures; None where the model returns none.
    """

    title: str
    trust: Trust
    channel: ChannelTrust
    facts: Mapping[str, str]
    view: View | None

    @property
    def others(self) -> str:
        """Verdicts of all channels, where there are several."""
        channels = self.trust.channels
        if len(channels) == 1:
            return ""
        return "; ".join(
            f"{channel.title.removeprefix(' of ')}: {channel.verdict}"
            for channel in channels
        )


def as_html(page: Page) -> str:
    """A page that needs no other file."""
    from matplotlib.figure import Figure

    images = []
    if page.view is not None:
        figure = Figure((_WIDTH, 2.62))
        draw_pictures(figure, page.view)
        images.append(_image(figure, "png", "noisy, denoised and removed"))
    figure = Figure((_WIDTH, 3.3))
    draw_plots(figure, page.channel)
    images.append(_image(figure, "svg", "plots of the tests"))
    verdict = page.trust.verdict
    facts = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>"
        for name, text in page.facts.items()
    )
    rows = "".join(_row(finding) for finding in page.channel.findings)
    others = f" ({html.escape(page.others)})" if page.others else ""
    badge = (
        f'<span class="badge" style="background:{_COLORS[verdict]}">'
        f"{_SIGNS[verdict]} {verdict.upper()}</span>"
    )
    return document(
        page.title,
        f'<p class="summary">{html.escape(page.trust.summary)}{others}</p>\n'
        f"<dl>{facts}</dl>\n{''.join(images)}\n"
        f"<table><tr><th>test</th><th></th><th>found</th><th>expected</th></tr>\n"
        f"{rows}</table>\n",
        badge=badge,
    )


def document(title: str, body: str, *, badge: str = "", is_page: bool = True) -> str:
    """A web page that needs no other file.

    Parameters
    ----------
    title : str
        Plain text.
    body, badge : str
        HTML: what stands below the title, and beside it.
    is_page : bool
        Whether it is one A4 page, cut off below, or as long as it is.
    """
    style = _STYLE % {"ink": INK, "pale": PALE, "rule": RULE}
    style += "" if is_page else _LONG
    shown = html.escape(title)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{shown}</title><style>{style}</style></head>\n<body><main>\n"
        f"<header><h1>{shown}</h1>{badge}</header>\n{body}</main></body></html>\n"
    )


def embedded(data: bytes, mime: str, what: str) -> str:
    """An image as part of a page."""
    text = base64.b64encode(data).decode()
    return f'<img alt="{html.escape(what)}" src="data:{mime};base64,{text}">\n'


def as_picture(page: Page, kind: str) -> bytes:
    """The page as one figure, ``png`` or ``pdf``."""
    from matplotlib.figure import Figure

    figure = Figure(_A4, facecolor="white")
    heights = (1.7, 2.9, 3.6, 3.49)
    strips = figure.subfigures(4, 1, squeeze=False, height_ratios=heights)
    head, pictures, plots, table = strips[:, 0]
    _draw_head(head, page)
    if page.view is not None:
        draw_pictures(_inner(pictures), page.view)
    draw_plots(_inner(plots), page.channel)
    _draw_table(table, page.channel)
    return _bytes(figure, kind)


def _row(finding: Finding) -> str:
    advice = f" <b>{html.escape(finding.advice)}</b>" if finding.advice else ""
    return (
        f"<tr><td>{html.escape(finding.test)}</td>"
        f'<td class="verdict" style="color:{_COLORS[finding.verdict]}">'
        f"{_SIGNS[finding.verdict]} {finding.verdict}</td>"
        f"<td>{html.escape(finding.found)}{advice}</td>"
        f'<td class="expected">{html.escape(finding.expected)}</td></tr>\n'
    )


def _image(figure: Figure, kind: str, what: str) -> str:
    mime = "image/svg+xml" if kind == "svg" else "image/png"
    return embedded(_bytes(figure, kind), mime, what)


def _bytes(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    # Without the time of the day the same tests give the same file.
    undated = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    figure.savefig(buffer, format=kind, dpi=_DPI, metadata=undated)
    return buffer.getvalue()


def _inner(canvas: SubFigure) -> SubFigure:
    """The part of a strip between the page's margins."""
    margin = (_A4[0] - _WIDTH) / 2
    widths = (margin, _WIDTH, margin)
    inner: SubFigure = canvas.subfigures(1, 3, squeeze=False, width_ratios=widths)[0, 1]
    return inner


def _draw_head(canvas: SubFigure, page: Page) -> None:
    left, right = 0.053, 0.947
    verdict = page.trust.verdict
    title = textwrap.shorten(page.title, 70, placeholder=" …")
    canvas.text(left, 0.80, title, fontsize=13, weight="bold", color=INK, va="center")
    badge = {"facecolor": _COLORS[verdict], "edgecolor": "none", "pad": 3}
    canvas.text(
        right - 0.004, 0.80, f"{_SIGNS[verdict]} {verdict.upper()}", fontsize=10,
        color="white", weight="bold", ha="right", va="center", bbox=badge,
    )  # fmt: skip
    others = f" ({page.others})" if page.others else ""
    canvas.text(
        left, 0.62, page.trust.summary + others, fontsize=8.5, color=INK, va="center"
    )
    y = 0.49
    for name, text in page.facts.items():
        lines = textwrap.wrap(text, 132)[:2]
        canvas.text(left, y, name, fontsize=6.5, color=PALE, va="top")
        canvas.text(
            left + 0.065, y, "\n".join(lines), fontsize=6.5, color=INK, va="top",
            linespacing=1.25,
        )  # fmt: skip
        y -= 0.075 * len(lines) + 0.02


def _draw_table(canvas: SubFigure, channel: ChannelTrust) -> None:
    from matplotlib.lines import Line2D

    left, right = 0.053, 0.947
    rows = [
        (
            finding,
            textwrap.wrap(f"{finding.found} {finding.advice}".strip(), 100),
            textwrap.wrap(finding.expected, 32),
        )
        for finding in channel.findings
    ]
    counts = [max(len(lines), len(want)) for _, lines, want in rows]
    # Long advice makes the lines lower, so that the page stays one page.
    line = min(0.044, 0.86 / (sum(counts) + 0.7 * len(counts)))
    y = 0.97
    for (finding, lines, want), count in zip(rows, counts, strict=True):
        canvas.add_artist(Line2D([left, right], [y, y], color=RULE, lw=0.6))
        top = y - 0.35 * line
        size = min(6.2, 6.2 * line / 0.040)
        for x, text, color, weight in (
            (left, finding.test, INK, "normal"),
            (
                left + 0.100,
                f"{_SIGNS[finding.verdict]} {finding.verdict}",
                _COLORS[finding.verdict],
                "bold",
            ),
            (left + 0.165, "\n".join(lines), INK, "normal"),
            (left + 0.725, "\n".join(want), PALE, "normal"),
        ):
            canvas.text(
                x, top, text, fontsize=size, color=color, weight=weight, va="top",
                linespacing=1.2,
            )  # fmt: skip
        y -= line * (count + 0.7)
