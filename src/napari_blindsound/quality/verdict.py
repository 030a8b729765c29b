"""What a test found, said so that a microscopist can act on it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

Verdict = Literal["pass", "unknown", "warn", "fail"]

# From good to bad: what cannot be told is no pass, and no warning either.
_ORDER: tuple[Verdict, ...] = ("pass", "unknown", "warn", "fail")


@dataclass(frozen=True)
class Finding:
    """The outcome of one test.

    Parameters
    ----------
    test : str
        What was tested, for a table: "blank test".
    verdict : {"pass", "unknown", "warn", "fail"}
        Unknown where these data cannot tell.
    found : str
        One sentence with the numbers.
    expected : str
        What a good result shows, a phrase.
    advice : str
        What to do, a sentence; empty where nothing is to be done.
    """

    test: str
    verdict: Verdict
    found: str
    expected: str
    advice: str = ""

    def as_data(self) -> dict[str, str]:
        """For programs."""
        return asdict(self)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The least favorable of several verdicts; unknown if there is none."""
    return max(verdicts, key=_ORDER.index, default="unknown")


def graded(value: float, warn: float, fail: float) -> Verdict:
    """Verdict on a number that should be small, or large if `fail` is below `warn`."""
    if math.isnan(value):
        return "unknown"
    sign = 1 if fail > warn else -1
    if sign * value >= sign * fail:
        return "fail"
    return "warn" if sign * value >= sign * warn else "pass"
