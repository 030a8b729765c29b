"""How the noise of neighboring pixels hangs together, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from napari_blindsound.noise.spectrum import REACH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Verdict = Literal["white", "rows", "columns", "both", "filtered", "unknown"]

# A correlation that a blind region has to hide, and one that it hides for symmetry
# where the first is reached along the other axis.
_HIDDEN, _ALSO_HIDDEN = 0.1, 0.07
_MEANING = {
    "rows": (
        "Pixels of a row share noise ({numbers}), as line scanning or a camera's row"
        " noise leaves it"
    ),
    "columns": (
        "Pixels of a column share noise ({numbers}), as a camera's column noise or a"
        " scan along y leaves it"
    ),
    "both": (
        "Pixels of a row and of a column share noise ({numbers}), but not across"
        " corners, as a camera's row and column noise leaves it"
    ),
    "filtered": (
        "The noise is smoothed ({numbers}, by {corner} across corners), as"
        " interpolation, demosaicing or a camera's own filter leaves it"
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class Correlation:
    """How much of the noise of one pixel its neighbors share.

    Parameters
    ----------
    map
        (7, 7) autocorrelation of the noise at lags of -3 to 3 pixels in y and x; 1 in
        the center. Only the center is not 0 where nothing is known.
    error
        (7, 7) standard errors; 1 beside the center where nothing is known.
    verdict
        "white": independent. "rows": pixels of a row share noise, as line scanning or a
        camera's row noise leaves it. "columns": those of a column. "both": along both
        axes, but not across corners. "filtered": in all directions, as interpolation,
        smoothing or demosaicing leaves it. "unknown": not from these data.
    reason
        Why it is not known, the end of a sentence; otherwise empty.
    """

    map: Floats
    error: Floats
    verdict: Verdict
    reason: str = ""

    @property
    def words(self) -> str:
        """One sentence for people."""
        if self.verdict == "unknown":
            return (
                "Whether the noise is independent from pixel to pixel cannot be known"
                f" from these data: {self.reason}."
            )
        x, y, corner = neighbors(self.map)
        numbers = f"neighbors correlate by {x:.2f} along x and by {y:.2f} along y"
        if self.verdict == "white":
            return f"The noise is independent from pixel to pixel ({numbers})."
        meaning = _MEANING[self.verdict].format(corner=f"{corner:.2f}", numbers=numbers)
        rows, columns = self.region
        size = f"{2 * rows + 1} x {2 * columns + 1}"
        return f"{meaning}; a blind region has to hide {size} pixels (y, x)."

    @property
    def region(self) -> tuple[int, int]:
        """Rows and columns on each side of a pixel that share its noise.

        What a blind spot has to hide: (2, 2) is a region of 5 x 5 pixels, (0, 0) the
        pixel alone. At most 3, also where whole rows shift.
        """
        size = np.abs(self.map)
        strong = (size > _HIDDEN) | ((size > _ALSO_HIDDEN) & (size.T > _HIDDEN))
        strong[REACH, REACH] = False
        along_y, along_x = _reach(strong[:, REACH]), _reach(strong[REACH])
        corners = np.abs(np.argwhere(strong) - REACH)
        match self.verdict:
            case "rows":
                return 0, max(1, along_x)
            case "columns":
                return max(1, along_y), 0
            case "both":
                return max(1, along_y), max(1, along_x)
            case "filtered":
                rows, columns = corners.max(axis=0, initial=1)
                return int(rows), int(columns)
            case _:
                return 0, 0

    def gain_of(self, kernel: NDArray[Any]) -> float:
        """By how much a filter multiplies the variance of the noise.

        Parameters
        ----------
        kernel
            (h, w) weights.

        Returns
        -------
        float
            ``sum_ij k_i k_j rho(i - j)``, at least 0, without lags beyond 3 pixels; the
            sum of the squares of the weights if the noise is white.
        """
        weights = np.asarray(kernel, dtype=np.float64)
        height, width = weights.shape
        padded = np.pad(weights, REACH)
        total = sum(
            self.map[dy, dx]
            * np.sum(weights * padded[dy : dy + height, dx:][:, :width])
            for dy, dx in np.ndindex(self.map.shape)
        )
        return max(0.0, float(total))

    def to_json(self) -> dict[str, Any]:
        """Return lists and words for a model's header."""
        return {
            "map": np.round(self.map, 4).tolist(),
            "error": np.round(self.error, 4).tolist(),
            "verdict": self.verdict,
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Correlation:
        """Rebuild from `to_json`.

        Raises
        ------
        KeyError
            If an entry is missing.
        ValueError
            If the maps are not 7 x 7, or the verdict is none of those above.
        """
        size = 2 * REACH + 1
        maps = [np.array(data[name], dtype=np.float64) for name in ("map", "error")]
        if any(part.shape != (size, size) for part in maps):
            message = f"a map of correlations has {size} x {size} numbers"
            raise ValueError(message)
        if data["verdict"] not in get_args(Verdict):
            message = f"{data['verdict']!r} is no verdict on correlation"
            raise ValueError(message)
        return cls(maps[0], maps[1], data["verdict"], str(data["reason"]))


class Neighbors(NamedTuple):
    """Correlation with the next pixel along x, along y and across corners."""

    x: float
    y: float
    corner: float


def neighbors(square: Floats) -> Neighbors:
    """Read them from a (7, 7) map, the corners as a mean."""
    c = REACH
    corner = (square[c + 1, c + 1] + square[c + 1, c - 1]) / 2
    return Neighbors(float(square[c, c + 1]), float(square[c + 1, c]), float(corner))


def _reach(line: NDArray[np.bool_]) -> int:
    """Largest lag that is set in a line through the center."""
    return int(np.abs(np.flatnonzero(line) - REACH).max(initial=0))
