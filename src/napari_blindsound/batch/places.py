"""Where the result of each image of a batch goes: no two meet, folders are repeated."""

from __future__ import annotations

from collections import Counter
from itertools import chain, count
from pathlib import PurePath
from typing import TYPE_CHECKING

from napari_blindsound.wording import file_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_blindsound.batch.finding import Found


def stems(images: Sequence[Found]) -> list[PurePath]:
    """Where the result of each image goes, relative and without its ending.

    Images named themselves go by their names, those found in a folder by their paths
    from it on. Where two would meet, as many folders are put before as tell them apart.

    Parameters
    ----------
    images : sequence of Found
        Distinct.
    """
    full = _distinct([(_place(image), _ending(image)) for image in images])
    depths = [_depth(image) for image in images]
    while True:
        ends = [parts[-depth:] for parts, depth in zip(full, depths, strict=True)]
        keys = [_key(end) for end in ends]
        counts = Counter(keys)
        meeting = [
            i
            for i, key in enumerate(keys)
            if counts[key] > 1 and depths[i] < len(full[i])
        ]
        if not meeting:
            return [PurePath(*end) for end in ends]
        for i in meeting:
            depths[i] += 1


def _distinct(
    places: Sequence[tuple[tuple[str, ...], str]],
) -> list[tuple[str, ...]]:
    """Add the ending, or a number, to places that are one; the first keeps its name."""
    made: list[tuple[str, ...]] = []
    used: set[tuple[str, ...]] = set()
    for (*folders, name), end in places:
        tries = chain((name, f"{name}_{end}"), (f"{name}-{n}" for n in count(2)))
        place = next(p for t in tries if _key(p := (*folders, t)) not in used)
        used.add(_key(place))
        made.append(place)
    return made


def _key(parts: Iterable[str]) -> tuple[str, ...]:
    """What is compared: on some disks, case makes no difference."""
    return tuple(part.casefold() for part in parts)


def _place(image: Found) -> tuple[str, ...]:
    """Folders and name without the ending of its format."""
    return (*image.path.parts[1:-1], file_name(image.path.name))


def _ending(image: Found) -> str:
    file = image.files[0] if image.files else image.path
    return file.suffix[1:].lower() or image.kind


def _depth(image: Found) -> int:
    """How many of the last parts of the path name the result at least."""
    if image.root is None or image.root == image.path:
        return 1
    return 1 + len(image.path.relative_to(image.root).parts)
