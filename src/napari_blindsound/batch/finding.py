"""Which images there are below some files and folders, by a look at their names.

A file that is named is one image, whatever it is; what cannot be read is told when its
turn comes. A folder is looked into: a zarr folder is one image, so is a folder of the
FMDD data set. TIFF files in a folder are an image each if they hold stacks, and the
frames of one if they hold a plane each, which a look into three of them tells. PNG
files are frames. Files that a pattern matches are taken as if there were no others in
their folders. Left out are hidden files, the results of earlier runs, and the ground
truth of other images.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_blindsound.batch.truth import without_truths
from napari_blindsound.errors import BlindsoundError, ImageNotFoundError
from napari_blindsound.images import formats, tiff
from napari_blindsound.images.fmdd import find_fmdd
from napari_blindsound.images.frames import PNG
from napari_blindsound.images.remote import is_url
from napari_blindsound.images.sorting import natural_key, natural_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tifffile import TiffFile

    from napari_blindsound.images.volume import Volume

log = logging.getLogger(__name__)

RESULT = "_denoised"
"""How the names of results end, before the ending of their format."""
DEVIATION = "_deviation"
"""What follows in those of their standard deviations."""
_WILD = frozenset("*?[")
_ZARR = ".zarr"
_ZARR_FILES = frozenset(
    {"zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata"},
)
_ALONE = (".npy", *formats.SUFFIXES)
_OURS = (
    *(".partial", ".replaced"),
    *(f"{RESULT}.ome.zarr", f"{RESULT}.ome.tif"),
    *(f"{RESULT}{DEVIATION}.ome.zarr", f"{RESULT}{DEVIATION}.ome.tif"),
)

Kind = Literal["file", "zarr", "frames", "FMDD"]
_Shape = tuple[tuple[int, ...], str]


@dataclass(frozen=True)
class Found:
    """One image, not opened yet.

    Attributes
    ----------
    path : Path
        The file or folder.
    kind : {"file", "zarr", "frames", "FMDD"}
        What it is taken for.
    files : tuple of Path
        Frames or captures of a stack; empty for what is one file or zarr folder.
    is_whole : bool
        Whether the frames are all that a folder holds, so that its path names them.
    root : Path or None
        The folder it was found in, whose structure the results repeat; None if it was
        named itself.
    """

    path: Path
    kind: Kind = "file"
    files: tuple[Path, ...] = ()
    is_whole: bool = True
    root: Path | None = None

    @property
    def name(self) -> str:
        """What to call it: its path below the folder that was given."""
        if self.root is None or self.root == self.path:
            return self.path.name
        return self.path.relative_to(self.root.parent).as_posix()

    @property
    def title(self) -> str:
        """Its name, and what it is taken for where that is not plain."""
        if self.kind == "frames":
            return f"{self.name} ({len(self.files)} frames)"
        if self.kind == "FMDD":
            return f"{self.name} (FMDD, {len(self.files)} captures)"
        return self.name

    @property
    def can_split(self) -> bool:
        """Whether :func:`apart` makes several images of it."""
        return len(self.files) > 1

    def open(self, axes: str | None = None, image: int | None = None) -> Volume:
        """Open it, lazily.

        Parameters
        ----------
        axes, image
            As for :func:`napari_blindsound.images.open.open_volume`.

        Raises
        ------
        BlindsoundError
            If it cannot be read.
        """
        from napari_blindsound.images.open import open_volume

        if self.is_whole:
            return open_volume(self.path, axes=axes, image=image)
        stack = open_volume(list(self.files), axes=axes, image=image)
        return replace(stack, source=str(self.path))


def find_images(paths: Iterable[str | Path]) -> list[Found]:
    """List the images in files and folders; almost no file is opened.

    Parameters
    ----------
    paths : iterable of path
        Files, folders, and patterns such as ``"day*/*.tif"`` or ``"**/t*.png"``.

    Returns
    -------
    list of Found
        In the order given, those of a folder in the natural order of their names; none
        twice.

    Raises
    ------
    ImageNotFoundError
        If a path is not there, or is the address of a store.
    """
    found: dict[tuple[Path, tuple[Path, ...]], Found] = {}
    named = [_local(path) for path in paths]
    for path in named:
        for image in _named(path):
            found.setdefault((image.path, image.files[:1]), image)
    return without_truths(found.values(), named)


def apart(image: Found) -> list[Found]:
    """Take the frames of a stack, or the views of an FMDD folder, for an image each."""
    if not image.can_split:
        return [image]
    root = image.root or image.path
    if image.kind == "frames":
        return [Found(file, root=root) for file in image.files]
    return [
        Found(view.captures[0].parent, "frames", view.captures, root=root)
        for view in find_fmdd(image.path)
    ]


def is_ours(name: str) -> bool:
    """Whether a file or folder is a result, whole or half-written, by its name."""
    return name.endswith(_OURS)


def _local(path: str | Path) -> Path:
    if is_url(str(path)):
        msg = (
            f"{path} is not on this computer: a batch is of files and folders; give "
            "images in a store one by one to run or denoise"
        )
        raise ImageNotFoundError(msg)
    return Path(path).expanduser().absolute()


def _named(path: Path) -> Iterator[Found]:
    """Images that a path given stands for."""
    if path.is_dir():
        yield from _walk(path, path, set())
    elif path.exists():
        yield Found(path)
    elif any(sign in str(path) for sign in _WILD):
        yield from _matching(path)
    else:
        msg = f"{path} is not there: check the path"
        raise ImageNotFoundError(msg)


def _matching(pattern: Path) -> Iterator[Found]:
    """Images that a pattern stands for: folders, and files by their folders."""
    fixed = takewhile(lambda part: not _WILD & set(part), pattern.parts)
    root = Path(*fixed)
    seen: set[str] = set()
    files: dict[Path, list[str]] = {}
    for path in _matches(pattern, root):
        if path.is_dir():
            yield from _walk(path, root, seen)
        else:
            files.setdefault(path.parent, []).append(path.name)
    for folder, names in files.items():
        if os.path.realpath(folder) not in seen:
            yield from _in_folder(folder, names, root, is_all=False)


def _matches(pattern: Path, root: Path) -> list[Path]:
    """Files and folders that a pattern matches, without what is hidden or ours."""
    found = [
        path
        for path in root.glob(str(pattern.relative_to(root)))
        if not any(
            part.startswith(".") or is_ours(part)
            for part in path.relative_to(root).parts
        )
    ]
    if not found:
        msg = f"nothing matches {pattern}: check the pattern and its folder"
        raise ImageNotFoundError(msg)
    return natural_order(found)


def _walk(folder: Path, root: Path, seen: set[str]) -> Iterator[Found]:
    """Images in a folder and below; no folder twice, however links run."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    names, folders = _listed(folder)
    if folder.suffix == _ZARR or not _ZARR_FILES.isdisjoint(names):
        yield Found(folder, "zarr", root=root)
        return
    images = list(_in_folder(folder, names, root))
    captures = () if images else _captures(folder, folders)
    if captures:
        yield Found(folder, "FMDD", captures, root=root)
        return
    yield from images
    for name in folders:
        yield from _walk(folder / name, root, seen)


def _listed(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the files and of the folders that may be, or hold, images."""
    names: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name in _ZARR_FILES and not entry.is_dir():
                    names.append(entry.name)
                elif not (entry.name.startswith(".") or is_ours(entry.name)):
                    (folders if entry.is_dir() else names).append(entry.name)
    except OSError as error:
        log.warning("%s was left out (%s)", folder, error.strerror or error)
    return sorted(names, key=natural_key), sorted(folders, key=natural_key)


def _in_folder(
    folder: Path, names: Sequence[str], root: Path, *, is_all: bool = True
) -> Iterator[Found]:
    """Images among files of one folder, or all: stacks of frames, and single files."""
    kinds: dict[str, list[Path]] = {"png": [], "tiff": [], "alone": []}
    for name in names:
        end = os.path.splitext(name)[1].lower()  # noqa: PTH122 - of thousands of names
        if end == PNG:
            kinds["png"].append(folder / name)
        elif end in tiff.SUFFIXES:
            kinds["tiff"].append(folder / name)
        elif end in _ALONE:
            kinds["alone"].append(folder / name)
    is_mixed = bool(kinds["png"] and kinds["tiff"])
    for kind in ("png", "tiff"):
        files = kinds[kind]
        if len(files) > 1 and (kind == "png" or _are_frames(files)):
            whole = is_all and not is_mixed and not _holds_results(folder)
            yield Found(folder, "frames", tuple(files), is_whole=whole, root=root)
        else:
            yield from (Found(file, root=root) for file in files)
    yield from (Found(file, root=root) for file in kinds["alone"])


def _captures(folder: Path, folders: Sequence[str]) -> tuple[Path, ...]:
    """Captures of one type of the FMDD data set, if this is its folder."""
    if "raw" not in folders and folder.name != "raw":
        return ()
    return tuple(path for view in find_fmdd(folder) for path in view.captures)


def _are_frames(files: Sequence[Path]) -> bool:
    """Whether TIFF files are the frames of one stack: planes, of one size and type."""
    looked = [_plane(files[i]) for i in (0, len(files) // 2, -1)]
    shapes = {shape for shape in looked if shape is not None}
    return len(shapes) == 1 and () not in {shape for shape, _ in shapes}


def _plane(path: Path) -> _Shape | None:
    """Shape and type of a TIFF file's only plane; () if it has more, None if broken."""
    try:
        with tiff.opened(path) as file:
            page = file.pages.first
            said = file.imagej_metadata or {}
            if page.ndim != 2 or int(said.get("images", 1)) > 1 or _has_second(file):
                return (), ""
            return page.shape, str(page.dtype)
    except (BlindsoundError, OSError):
        return None


def _has_second(file: TiffFile) -> bool:
    """Whether there is another page; to count them all would mean to visit them."""
    try:
        file.pages[1]
    except IndexError:
        return False
    return True


def _holds_results(folder: Path) -> bool:
    """Whether results lie among the frames, which would be taken for frames, too."""
    results = folder.glob(f"*{RESULT}*.ome.tif")
    return any(True for _ in results)
