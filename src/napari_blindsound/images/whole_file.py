"""Files that are there only once they are complete."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from napari_blindsound.errors import OutputError, OutputExistsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def check_place(
    path: Path, what: str, suffixes: Sequence[str], *, overwrite: bool
) -> None:
    """Refuse a place for a file before any work is done for it.

    Parameters
    ----------
    path : Path
        Where to.
    what : str
        What the file will be, such as ``"report"``.
    suffixes : sequence of str
        One of which the name must end in.
    overwrite : bool
        Whether something may lie there.

    Raises
    ------
    OutputError
        If the name ends in none of them.
    OutputExistsError
        If something lies there and may not be replaced.
    """
    if path.suffix.lower() not in suffixes:
        msg = f"{path} is no name for a {what}; let it end in {', '.join(suffixes)}"
        raise OutputError(msg)
    if path.is_dir() or (path.exists() and not overwrite):
        msg = f"{path} exists; choose another name, or ask to overwrite it"
        raise OutputExistsError(msg)


@contextmanager
def whole_file(
    path: Path, size: int, failures: tuple[type[Exception], ...] = (OSError,)
) -> Iterator[Path]:
    """Give a draft to write to; it replaces `path` when the ``with`` ends well.

    Parameters
    ----------
    path : Path
        Where the file shall be.
    size : int
        Bytes it is expected to take, for whoever must make room.
    failures : tuple of type
        What writing may fail with.

    Raises
    ------
    OutputError
        If it cannot be written; an earlier file is then as it was.
    """
    try:
        # mkstemp in the same folder: os.replace is atomic within a file system only.
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        draft = Path(name)
        try:
            yield draft
            draft.chmod(0o644)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except failures as error:
        msg = (
            f"cannot write {path}: {error}; choose a folder that exists, with "
            f"permission to write and space for {size / 1e6:.1f} MB"
        )
        raise OutputError(msg) from error
