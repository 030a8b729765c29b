"""The rows of a comparison as tables: for a terminal, a page, a paper, a program.

What is not known is an empty cell, never a zero. Every table that may be published
comes with a caption that says under which conditions it was made.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_blindsound.training.events import MOST_DECIBELS
from napari_blindsound.wording import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_blindsound.comparison.rows import Row

_FROM = {
    "repeats": "from frames of the same scene, whatever their noise",
    "stein": "by Stein's formula with the calibrated noise, which is right as far as "
    "that describes the noise",
}
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#",
    "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "×": r"$\times$", "−": "$-$", "±": r"$\pm$",
    "σ": r"$\sigma$", "α": r"$\alpha$",
}  # fmt: skip


class Column(NamedTuple):
    """A column: its heading, what it means, and what stands in it."""

    title: str
    words: str
    text: Callable[[Row], str]
    is_number: bool = True


def _number(value: float | None, digits: int, sign: str = "") -> str:
    # + 0.0 takes the sign off what is rounded to 0.
    return "" if value is None else f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def _gain(row: Row) -> str:
    if row.gain is not None and round(row.gain, 1) >= MOST_DECIBELS:
        # No more than that can be told.
        return f">+{MOST_DECIBELS:g}"
    return _number(row.gain, 1, "+")


def _bounds(row: Row) -> str:
    if row.gain_low is None or row.gain_high is None:
        return ""
    return f"{row.gain_low:+.1f} to {row.gain_high:+.1f}"


def _steps(row: Row) -> str:
    return " + ".join(map(str, row.steps))


def _sure(row: Row) -> str:
    if row.coverage is not None:
        return f"{100 * row.coverage:.0f} %"
    return "yes" if row.has_deviation else ""


def _remark(row: Row) -> str:
    found = "; ".join(f"{name} {value:.3g}" for name, value in row.found.items())
    state = "" if row.state == "done" else row.state
    return ": ".join(text for text in (state, row.message or found) if text)


METHOD = Column("method", "What was applied", lambda row: row.title, is_number=False)
GAIN = Column(
    "gain, dB",
    "By how much the error is lower than the noise, estimated without a clean image, "
    "as far as that can tell",
    _gain,
)
PSNR = Column(
    "PSNR, dB",
    "Peak signal-to-noise ratio against the truth",
    lambda row: _number(row.psnr, 2),
)
SSIM = Column(
    "SSIM", "Structural similarity to the truth", lambda row: _number(row.ssim, 4)
)
TRAINING = Column(
    "training, s",
    "Preparation and training, wall time",
    lambda row: _number(row.train_seconds, 0),
)
PACE = Column(
    "s / Mpx",
    "Seconds to denoise a million pixels on this device",
    lambda row: "" if row.pace is None else f"{row.pace:.2g}",
)
UNCERTAINTY = Column(
    "uncertainty",
    "Whether the model knows the standard deviation of its result; with a truth, the "
    "share of the true pixels within one of it (68 % are meant)",
    _sure,
)
REMARK = Column(
    "remark",
    "What the training found of the noise, in counts; or why there is no result",
    _remark,
    is_number=False,
)
_PRESET = Column("preset", "Settings", lambda row: row.preset, is_number=False)
_BOUNDS = Column("95 %", "Bounds of the estimated gain", _bounds)
_SOURCE = Column(
    "from", "What the estimated gain rests on", lambda row: row.source, is_number=False
)
_STEPS = Column("steps", "Of the training", _steps)
COLUMNS = (
    METHOD, _PRESET, GAIN, _SOURCE, _BOUNDS, PSNR, SSIM, TRAINING, _STEPS, PACE,
    UNCERTAINTY, REMARK,
)  # fmt: skip
"""All of them, in their order."""


def columns(rows: Sequence[Row], *, brief: bool = False) -> tuple[Column, ...]:
    """Those in which there is anything; the first always.

    Parameters
    ----------
    rows : sequence of Row
        Of the table.
    brief : bool
        Leave out what a narrow table can do without.
    """
    left_out = {_PRESET, _BOUNDS, _STEPS} if brief else set()
    if len({row.source for row in rows} - {""}) < 2:
        left_out.add(_SOURCE)
    wanted = [c for c in COLUMNS if c not in left_out]
    return tuple(c for c in wanted if c is METHOD or any(c.text(row) for row in rows))


def caption(facts: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Conditions of a comparison in sentences: of `Comparison.facts`."""
    size = " x ".join(map(str, facts["shape"]))
    sentences = [
        f"Each method was trained for {facts['budget']} on {facts['image']} "
        f"({facts['axes']} {size}, {facts['dtype']}) alone, seed {facts['seed']}, on "
        f"{facts['device']}"
        + (", each plane without its neighbors" if facts["alone"] else "")
    ]
    planes = facts["planes"]
    height, width = facts["plane_shape"]
    where = f"{planes} plane{'s' * (planes != 1)} of {height} x {width} pixels"
    if facts["has_truth"]:
        sentences.append(
            f"PSNR and SSIM (11 x 11 Gaussian window) are means over {where} against "
            f"the truth, brought to the scale of each noisy plane by least squares, "
            f"with a data range of {facts['data_range']:.4g} counts"
        )
    sources = sorted({row.source for row in rows if row.source in _FROM})
    if sources:
        told = "; or ".join(_FROM[source] for source in sources)
        sentences.append(
            f"The gain, the decibels by which the error is lower than the noise, is "
            f"estimated without a truth: {told}"
        )
    if any(row.pace is not None for row in rows):
        sentences.append(f"Seconds a megapixel were measured on {where}")
    versions = ", ".join(f"{name} {v}" for name, v in facts["versions"].items())
    return ". ".join([*sentences, versions]) + "."


def as_text(rows: Sequence[Row]) -> list[str]:
    """Lines of a table for a terminal."""
    shown = columns(rows, brief=True)
    cells = [[c.title for c in shown], *([c.text(row) for c in shown] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(shown))]
    return [
        "  ".join(
            text.rjust(width) if column.is_number else text.ljust(width)
            for text, width, column in zip(line, widths, shown, strict=True)
        ).rstrip()
        for line in cells
    ]


def as_markdown(rows: Sequence[Row], words: str = "") -> str:
    """A table of Markdown, with a caption below it."""
    shown = columns(rows)
    lines = [
        [c.title for c in shown],
        ["---:" if c.is_number else ":---" for c in shown],
        *([c.text(row).replace("|", r"\|") for c in shown] for row in rows),
    ]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{table}\n\n{words}\n" if words else f"{table}\n"


def as_csv(rows: Sequence[Row]) -> str:
    """Full numbers, one line a row, for spreadsheets and scripts."""
    stream = io.StringIO()
    data = [_flat(row) for row in rows]
    names = list(dict.fromkeys(name for each in data for name in each))
    writer = csv.DictWriter(stream, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(data)
    return stream.getvalue()


def as_latex(rows: Sequence[Row], words: str) -> str:
    """A table for a paper; needs the package booktabs."""
    shown = columns(rows)
    shape = "".join("r" if c.is_number else "l" for c in shown)
    head = " & ".join(_escaped(c.title) for c in shown)
    body = "\n".join(
        "    " + " & ".join(_escaped(c.text(row)) for c in shown) + r" \\"
        for row in rows
    )
    return (
        "% \\usepackage{booktabs}\n"
        "\\begin{table}\n  \\centering\n"
        f"  \\caption{{{_escaped(words)}}}\n"
        f"  \\begin{{tabular}}{{{shape}}}\n    \\toprule\n"
        f"    {head} \\\\\n    \\midrule\n{body}\n    \\bottomrule\n"
        "  \\end{tabular}\n\\end{table}\n"
    )


def progress_of(row: Row) -> str:
    """What is being done for a row, in a line for people."""
    if row.is_final:
        return line_of(row)
    left = f"{duration(row.seconds_left)} left" if row.seconds_left else ""
    words = (row.state, row.stage, left)
    return f"{row.title}: {', '.join(word for word in words if word)}"


def line_of(row: Row) -> str:
    """What came of a row, in a line for people."""
    if row.state != "done":
        return f"{row.title}: {row.state}" + f" ({row.message})" * bool(row.message)
    words = [
        f"estimated {row.gain:+.1f} dB" if row.gain is not None else "",
        f"PSNR {row.psnr:.2f} dB" if row.psnr is not None else "",
        f"SSIM {row.ssim:.4f}" if row.ssim is not None else "",
        f"trained in {duration(row.train_seconds)}" if row.train_seconds else "",
    ]
    return f"{row.title}: {', '.join(word for word in words if word) or 'done'}"


def _flat(row: Row) -> dict[str, object]:
    data = row.as_data()
    found = data.pop("found")
    data["steps"] = _steps(row)
    plain = {name: "" if value is None else value for name, value in data.items()}
    return plain | {f"found: {name}": value for name, value in found.items()}


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
