"""Values of options that hold several numbers: ``0:10``, ``:,64:128``, ``120,118``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cyclopts import Token

_Span = tuple[int, int]


def span(text: str) -> _Span:
    """Turn ``0:10`` into its two numbers.

    Raises
    ------
    ValueError
        If they are none, negative, or not rising.
    """
    start, _, stop = text.partition(":")
    if start.isdecimal() and stop.isdecimal() and int(start) < int(stop):
        return int(start), int(stop)
    msg = f"{text!r} is no range; give START:STOP, such as 0:10"
    raise ValueError(msg)


def region(text: str) -> tuple[_Span | None, _Span | None]:
    """Turn ``0:64,10:80`` into rows and columns; ``:`` is all of them.

    Raises
    ------
    ValueError
        If these are no two ranges.
    """
    parts = text.split(",")
    if len(parts) != 2:
        msg = f"{text!r} is no region; give ROWS,COLUMNS, such as 0:64,100:200"
        raise ValueError(msg)
    rows, columns = (None if part == ":" else span(part) for part in parts)
    return rows, columns


def counts(text: str) -> tuple[int, ...]:
    """Turn ``120,118`` into its numbers.

    Raises
    ------
    ValueError
        If one is none, or negative.
    """
    parts = text.split(",")
    if all(part.isdecimal() for part in parts):
        return tuple(map(int, parts))
    msg = f"{text!r} is no list of steps; give one for each network, such as 120,118"
    raise ValueError(msg)


def _span(kind: object, tokens: Sequence[Token]) -> _Span:
    del kind
    return span(tokens[0].value)


def _region(kind: object, tokens: Sequence[Token]) -> tuple[_Span | None, _Span | None]:
    del kind
    return region(tokens[0].value)


def _counts(kind: object, tokens: Sequence[Token]) -> tuple[int, ...]:
    del kind
    return counts(tokens[0].value)


def _option(converter: Callable[..., object], metavar: str) -> Parameter:
    return Parameter(converter=converter, n_tokens=1, negative="", metavar=metavar)


SpanOption = Annotated[_Span | None, _option(_span, "START:STOP")]
RegionOption = Annotated[
    tuple[_Span | None, _Span | None] | None, _option(_region, "ROWS,COLUMNS")
]
CountsOption = Annotated[tuple[int, ...] | None, _option(_counts, "STEP,...")]
