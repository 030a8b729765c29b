"""What is said to the user, and where: results to stdout, the rest to stderr."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic import ValidationError

NO_MEMORY = (
    "not enough memory; close other programs, or give a part of the image (--channel)"
)


# The library's remedies are arguments of functions; here they are options.
_AS_OPTIONS = (
    (r"\baxes='?(\w+)'?", r"--axes \1"),
    (r"\bimage=(\w+)", r"--image \1"),
    (r"\bvolume\.select\(C=(\d+)\)", r"--channel \1"),
    (r"\bask to overwrite it\b", "give --overwrite"),
    (r"\bask to start it anew\b", "give --restart"),
    (r"\bleave overwriting out\b", "leave --overwrite out"),
    (r"\bleave the workers out\b", "leave --workers or --scheduler out"),
    (r"\bleave the channel out\b", "leave --channel out"),
    (r"\bsay which of the axes is C\b", "say with --axes which axis is C"),
    (r"\bon one channel of each\b", "on one channel of each (--channel 0)"),
)


def say(text: str) -> None:
    """Write a line to stderr, above a progress bar if there is one."""
    tqdm = sys.modules.get("tqdm")
    if tqdm is None:
        print(text, file=sys.stderr)  # noqa: T201 - this is what prints
    else:
        tqdm.tqdm.write(text, file=sys.stderr)


def report(lines: Sequence[str], data: Mapping[str, Any], *, as_json: bool) -> None:
    """Write a result to stdout: text for people, or one line of JSON for programs."""
    text = json.dumps(data) if as_json else "\n".join(lines)
    try:
        print(text, flush=True)  # noqa: T201 - this is what prints
    except BrokenPipeError:
        # Whoever read along (head, less) has left; Python must not try again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def table(rows: Mapping[str, str], *, indent: str = "  ") -> list[str]:
    """Lines of two aligned columns; rows without a value are left out."""
    width = max((len(key) for key in rows), default=0)
    return [f"{indent}{key:<{width}}  {text}" for key, text in rows.items() if text]


def sentence(error: ValidationError) -> str:
    """One sentence of what pydantic says about an option, the first if several."""
    first = error.errors()[0]
    reason = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return reason
    option = "--" + str(first["loc"][-1]).replace("_", "-")
    return f"{option} {first['input']}: {reason[:1].lower()}{reason[1:]}"


def in_options(text: str) -> str:
    """Say what the library asks for in the words of the command line."""
    for pattern, option in _AS_OPTIONS:
        text = re.sub(pattern, option, text)
    return text


def no_space(error: OSError) -> str:
    """One sentence about a full disk."""
    where = f" for {error.filename}" if error.filename else ""
    return (
        f"no space left on the disk{where} ({error.strerror}); free some, or choose "
        f"another folder, and run again"
    )


@contextmanager
def shown() -> Iterator[None]:
    """Show the library's warnings on stderr, in the form of this program's own."""
    handler, logger = _Shown(), logging.getLogger("napari_blindsound")
    handler.setFormatter(logging.Formatter("blindsound: %(message)s"))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Shown(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))
