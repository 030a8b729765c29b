"""Files that lie in a store: http, s3 and whatever else fsspec reaches.

A `RemoteFile` has as much of a `pathlib.Path` as the readers of this room need. Its
store is found by the URL each time, and fsspec keeps one a process: nothing that is
open has to be pickled. Credentials are those that fsspec finds, in its configuration or
in variables such as ``FSSPEC_S3_ANON=true``.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from napari_blindsound.errors import (
    BlindsoundError,
    ImageFormatError,
    ImageNotFoundError,
    MissingExtraError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsspec import AbstractFileSystem  # type: ignore[import-untyped] # no types

_PACKAGES = {
    "http": "aiohttp",
    "https": "aiohttp",
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "az": "adlfs",
}
# What stores say of a file that changes when it is written again.
_VERSIONS = ("etag", "md5", "digest", "modified", "mtime", "updated", "created", "size")

_GONE = (404, 410)


@dataclass(frozen=True)
class RemoteFile:
    """One file in a store.

    Parameters
    ----------
    url : str
        Such as ``https://host/cells.ome.tif`` or ``s3://bucket/cells.ome.tif``.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name

    @property
    def suffix(self) -> str:
        """End of the name, from its last dot on."""
        return PurePosixPath(self.name).suffix

    def open(self) -> BinaryIO:
        """Open the file for reading at any place; a cached part is read at once."""
        store, path = filesystem(self.url)
        return cast("BinaryIO", store.open(path, "rb"))

    def size(self) -> int:
        """Bytes of the file."""
        store, path = filesystem(self.url)
        return int(store.size(path) or 0)


File = Path | RemoteFile


def is_url(text: str) -> bool:
    """Whether this is the address of something in a store, not a path."""
    return "://" in text and not text.startswith("file:")


def filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """The store of a URL, and the path in it.

    Raises
    ------
    MissingExtraError
        If the package that reads such stores is not installed.
    ImageFormatError
        If there is no such kind of store.
    """
    kind = urlsplit(url).scheme
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped] # no types

        store, path = url_to_fs(url)
    except ImportError as error:
        package = _PACKAGES.get(kind, "")
        remedy = f"pip install {package}" if package else str(error).rstrip(".")
        msg = f"reading {url} needs a package for {kind}: {remedy}"
        raise MissingExtraError(msg) from error
    except ValueError as error:
        msg = (
            f"{url} cannot be opened ({error}): give a path, or the URL of a store "
            "that fsspec knows, such as https://..., s3://... or gs://..."
        )
        raise ImageFormatError(msg) from error
    return store, path


@contextmanager
def store_errors(url: str) -> Iterator[None]:
    """Turn whatever a store raises into a sentence; each kind has its own errors.

    Raises
    ------
    ImageNotFoundError
        If the store says that nothing is there.
    ImageFormatError
        In place of any other error of the store.
    """
    try:
        yield
    except BlindsoundError:
        raise
    except Exception as found:  # noqa: BLE001 - each store has its own
        error = _origin(found)
        if isinstance(error, FileNotFoundError) or _status(error) in _GONE:
            msg = f"{url} is not there: check the address"
            raise ImageNotFoundError(msg) from error
        said = " ".join(str(error).split()) or "no reason given"
        msg = (
            f"{url} cannot be read ({type(error).__name__}: {said}): check the "
            "address, the network and, where the store asks for them, your credentials"
        )
        raise ImageFormatError(msg) from error


def _origin(error: BaseException) -> BaseException:
    """What was first: fsspec says of a server out of reach that a file is missing."""
    while isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _status(error: BaseException) -> int | None:
    """What a web server answered."""
    return getattr(error, "status", None)


def written(file: File) -> object:
    """When a file was written, as far as that can be known; None if it is not there."""
    if isinstance(file, RemoteFile):
        store, path = filesystem(file.url)
        return version(store, path)
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def size_of(file: File) -> int:
    """Bytes of a file."""
    return file.size() if isinstance(file, RemoteFile) else file.stat().st_size


def open_file(file: File) -> BinaryIO:
    """Open a file for reading at any place."""
    return file.open() if isinstance(file, RemoteFile) else file.open("rb")


def version(store: AbstractFileSystem, path: str) -> tuple[tuple[str, str], ...]:
    """What a store says of a file that changes when it is written again.

    Empty where the file is not there, or the store says nothing.
    """
    store.invalidate_cache()
    try:
        info: dict[str, Any] = store.info(path)
    except Exception:  # noqa: BLE001 - each store has its own
        return ()
    told = ((str(name), str(value)) for name, value in info.items() if value)
    return tuple(
        sorted(
            (name, value)
            for name, value in told
            if any(word in name.lower().replace("-", "") for word in _VERSIONS)
        )
    )
