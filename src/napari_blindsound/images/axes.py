"""What the axes of an image mean: their names, pixel sizes and units.

The order is that of the array, whatever it is ("TZCYX" of ImageJ, "YXT" of a script).
Nothing here looks at the sizes of an array: what an axis means is read from the file or
said by the user, never guessed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from napari_blindsound.errors import AxesError, DataError
from napari_blindsound.images.units import unit_word

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

AxisName = Literal["T", "C", "Z", "Y", "X"]
AXIS_NAMES: tuple[str, ...] = get_args(AxisName)
_WORDS = {
    word: letter
    for letter, words in {
        "T": ("t", "time", "frame", "frames"),
        "C": ("c", "channel", "channels"),
        "Z": ("z", "depth", "slice", "plane"),
        "Y": ("y", "row", "height"),
        "X": ("x", "column", "col", "width"),
    }.items()
    for word in words
}


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of an image.

    Parameters
    ----------
    name : str
        One of T, C, Z, Y, X.
    scale : float
        Physical size of a pixel (or time between frames) in ``unit``, above zero.
    unit : str or None
        A word that pint knows, "micrometer" or "second"; None where unknown.
    translate : float
        Position of the first pixel in ``unit``.
    """

    name: str
    scale: float = 1.0
    unit: str | None = None
    translate: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in AXIS_NAMES:
            msg = f"axis {self.name!r} is unknown: use the letters T, C, Z, Y and X"
            raise AxesError(msg)
        if not (math.isfinite(self.scale) and self.scale > 0):
            msg = (
                f"the scale of axis {self.name} is {self.scale}: give the size of a "
                "pixel, a finite number above zero"
            )
            raise AxesError(msg)
        if not math.isfinite(self.translate):
            msg = f"the position of axis {self.name} is {self.translate}, not finite"
            raise AxesError(msg)


@dataclass(frozen=True)
class Axes:
    """The axes of an array, in its own order; Y and X are always among them.

    Parameters
    ----------
    items : tuple of Axis
        One per dimension of the array, each name once.

    Raises
    ------
    AxesError
        If a name occurs twice, or Y or X is missing.
    """

    items: tuple[Axis, ...]

    def __post_init__(self) -> None:
        names = self.names
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            msg = f"axes {names!r} name {', '.join(repeated)} twice: use a letter once"
            raise AxesError(msg)
        missing = [name for name in "YX" if name not in names]
        if missing:
            msg = (
                f"axes {names!r} lack {' and '.join(missing)}: every image has Y "
                "(rows) and X (columns), such as 'TYX'"
            )
            raise AxesError(msg)

    @classmethod
    def parse(
        cls,
        names: str,
        *,
        scale: Mapping[str, float] | None = None,
        unit: Mapping[str, str] | None = None,
    ) -> Self:
        """Axes from their letters, in the array's order.

        Parameters
        ----------
        names : str
            Such as "ZYX" or "tczyx".
        scale, unit : mapping, optional
            Pixel size and unit by letter, for the axes where they are known. Units are
            spelled freely ("um").

        Raises
        ------
        AxesError
            If a letter is unknown or repeated, Y or X is missing, a scale is not above
            zero, or ``scale`` or ``unit`` speak of an axis that is not there.
        """
        plain = cls(tuple(Axis(name) for name in names.upper()))
        return plain.calibrated(scale, unit)

    @property
    def names(self) -> str:
        """The letters in order, such as "TCZYX"."""
        return "".join(axis.name for axis in self.items)

    def __iter__(self) -> Iterator[Axis]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Axis:
        return self.items[index]

    def __contains__(self, name: object) -> bool:
        return any(axis.name == name for axis in self.items)

    def index(self, name: str) -> int:
        """Position of an axis in the array.

        Raises
        ------
        AxesError
            If there is no such axis.
        """
        if name not in self:
            msg = f"there is no axis {name!r}: the image has {self.names}"
            raise AxesError(msg)
        return self.names.index(name)

    def drop(self, name: str) -> Self:
        """Axes without one of them; Y and X cannot go."""
        index = self.index(name)
        return replace(self, items=self.items[:index] + self.items[index + 1 :])

    def calibrated(
        self,
        scale: Mapping[str, float] | None = None,
        unit: Mapping[str, str] | None = None,
    ) -> Self:
        """Axes with some pixel sizes and units put in place of their own.

        Raises
        ------
        AxesError
            If a scale is not above zero, a unit is no length or time, or an axis named
            is not there.
        """
        items = {axis.name: axis for axis in self.items}
        for name, value in (scale or {}).items():
            items[name] = replace(self[self.index(name)], scale=float(value))
        for name, text in (unit or {}).items():
            word = unit_word(text)
            if word is None:
                msg = (
                    f"unit {text!r} of axis {name} is unknown: give a length or a time "
                    "such as 'micrometer' or 'second'"
                )
                raise AxesError(msg)
            self.index(name)
            items[name] = replace(items[name], unit=word)
        return replace(self, items=tuple(items.values()))

    def check_fits(self, shape: tuple[int, ...], what: str) -> None:
        """Refuse an array of another number of dimensions.

        Parameters
        ----------
        shape : tuple of int
            The array's shape.
        what : str
            How to call the array in the message: a file name, "the array".

        Raises
        ------
        AxesError
            If there is not one axis per dimension.
        """
        if len(shape) != len(self):
            msg = (
                f"axes {self.names!r} name {len(self)} dimensions, but {what} has "
                f"{len(shape)} (shape {shape}): pass one letter per dimension, such as "
                f"axes={'TCZYX'[-len(shape) :]!r}"
            )
            raise AxesError(msg)

    def as_planes(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """See a block of these axes as a batch of planes, (N, C, h, w).

        N runs over all axes but C, Y and X in the array's order; C is 1 without a
        channel axis. A view where numpy can make one.
        """
        others = [i for i, axis in enumerate(self.items) if axis.name in "TZ"]
        planar = [self.index(name) for name in "CYX" if name in self]
        ordered = block.transpose(*others, *planar)
        channels = block.shape[self.index("C")] if "C" in self else 1
        return ordered.reshape(-1, channels, *ordered.shape[-2:])

    def to_json(self) -> list[dict[str, Any]]:
        """Return plain lists and dictionaries that `from_json` reads back exactly."""
        return [
            {"name": a.name, "scale": a.scale, "unit": a.unit, "translate": a.translate}
            for a in self.items
        ]

    @classmethod
    def from_json(cls, data: Sequence[Mapping[str, Any]]) -> Self:
        """Axes from what `to_json` returned."""
        return cls(
            tuple(
                Axis(
                    name=item["name"],
                    scale=item["scale"],
                    unit=item["unit"],
                    translate=item["translate"],
                )
                for item in data
            )
        )


def settle_axes(
    given: str | None, known: Axes | None, shape: tuple[int, ...], what: str
) -> Axes:
    """Decide the axes of an array from what the user says and what the file says.

    The user's word goes before the file's, whose pixel sizes stay with the letters that
    both name. Two dimensions are Y and X; anything else that neither says is asked for.

    Parameters
    ----------
    given : str or None
        The user's letters.
    known : Axes or None
        What the file says.
    shape : tuple of int
        The array's shape.
    what : str
        How to call the array in a message.

    Raises
    ------
    AxesError
        If the axes are not known, or do not fit the array.
    DataError
        If the array has less than two dimensions.
    """
    if len(shape) < 2:
        msg = f"{what} has shape {shape}: an image has at least two dimensions, Y and X"
        raise DataError(msg)
    if given is not None:
        calibration = {axis.name: axis for axis in known or ()}
        parsed = Axes.parse(given)
        axes = Axes(tuple(calibration.get(axis.name, axis) for axis in parsed))
    elif known is not None:
        axes = known
    elif len(shape) == 2:
        axes = Axes.parse("YX")
    else:
        examples = {3: "axes='TYX' or axes='ZYX'", 4: "axes='TZYX' or axes='TCYX'"}
        example = examples.get(len(shape), "axes such as 'TCZYX'")
        msg = (
            f"{what} has shape {shape} and does not say what its axes mean: pass "
            f"{example}, one letter per dimension"
        )
        raise AxesError(msg)
    axes.check_fits(shape, what)
    return axes


def axis_letter(word: str) -> str | None:
    """Letter of an axis that a file spells out, None where it is none of the five.

    Parameters
    ----------
    word : str
        "time", "Channel", "y": dimension names of zarr, xarray and OME-Zarr.
    """
    return _WORDS.get(word.strip().lower())
