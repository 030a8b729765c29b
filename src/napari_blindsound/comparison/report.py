"""A comparison on disk: tables for every use, pictures, a page, and the models.

Everything lies in one folder, which is either new, empty, or that of an earlier
comparison that may be replaced: nothing else is ever overwritten or taken away.
"""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING, Any

from napari_blindsound.comparison.sheet import gray_range, sheet, shown
from napari_blindsound.comparison.tables import (
    as_csv,
    as_latex,
    as_markdown,
    caption,
    columns,
)
from napari_blindsound.errors import OutputError, OutputExistsError
from napari_blindsound.images.whole_file import whole_file
from napari_blindsound.inference.denoiser import SUFFIX
from napari_blindsound.inference.store import WriteConfig, write
from napari_blindsound.quality.page import document, embedded

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from pathlib import Path

    from napari_blindsound.comparison.rows import Row
    from napari_blindsound.comparison.run import Comparison
    from napari_blindsound.inference.events import WriteEvent

TABLE, MODELS, RESULTS = "table", "models", "results"
_SHEET, _PAGE = "comparison.png", "comparison.html"
_OURS = {f"{TABLE}.{end}" for end in ("csv", "json", "md", "tex")} | {
    _SHEET, _PAGE, MODELS, RESULTS,
}  # fmt: skip


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder before any work is done for it.

    Parameters
    ----------
    folder : Path
        Where a comparison shall go.
    overwrite : bool
        Whether an earlier one may lie there.

    Raises
    ------
    OutputError
        If it is a file, or the folder it would be in is not there.
    OutputExistsError
        If something lies in it that may not be replaced.
    """
    if folder.exists() and not folder.is_dir():
        msg = f"{folder} is a file; give a folder for the comparison"
        raise OutputError(msg)
    if not folder.exists() and not folder.absolute().parent.is_dir():
        msg = f"there is no folder {folder.absolute().parent}; make it first"
        raise OutputError(msg)
    there = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if there - _OURS:
        msg = (
            f"{folder} holds other files ({min(there - _OURS)}); give a new folder for "
            f"the comparison"
        )
        raise OutputExistsError(msg)
    if there and not overwrite:
        msg = (
            f"{folder} holds a comparison; choose another name, or ask to overwrite it"
        )
        raise OutputExistsError(msg)


def as_data(comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain data."""
    rows, facts = comparison.rows, comparison.facts()
    return {
        **facts,
        "caption": caption(facts, rows),
        "rows": [row.as_data() for row in rows],
    }


def write_report(comparison: Comparison, folder: Path) -> Path:
    """Write tables, contact sheet, page and models, whatever is done by now.

    Parameters
    ----------
    comparison : Comparison
        Run to its end, or stopped.
    folder : Path
        See :func:`check_folder`; files of an earlier comparison are replaced.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    OutputError
        If something cannot be written.
    """
    rows, data = comparison.rows, as_data(comparison)
    words = data["caption"]
    _make(folder)
    texts = {
        "csv": as_csv(rows),
        "json": json.dumps(data, indent=2) + "\n",
        "md": as_markdown(rows, words),
        "tex": as_latex(rows, words),
    }
    for end, text in texts.items():
        _write(folder / f"{TABLE}.{end}", text.encode())
    images = shown(comparison)
    picture = sheet(images, gray_range(images))
    _write(folder / _SHEET, picture)
    _save_models(comparison, folder / MODELS)
    title = f"Comparison of denoising methods: {comparison.volume.name}"
    body = (
        f'{_html_table(rows)}\n<p class="caption">{html.escape(words)}</p>\n'
        f"{embedded(picture, 'image/png', 'what each method made of the same part')}"
    )
    _write(folder / _PAGE, document(title, body, is_page=False).encode())
    return folder / _PAGE


def write_results(
    comparison: Comparison,
    folder: Path,
    kind: str = ".ome.zarr",
    *,
    overwrite: bool = False,
    stop: threading.Event | None = None,
) -> Iterator[WriteEvent]:
    """Denoise the whole image with all that are done, but the noisy one itself.

    Parameters
    ----------
    comparison : Comparison
        Run to its end, or stopped.
    folder : Path
        Of the report; results go below it.
    kind : str
        ``.ome.zarr`` or ``.ome.tif``.
    overwrite : bool
        Replace earlier results, once the new ones are complete.
    stop : threading.Event, optional
        Set it to end early.

    Yields
    ------
    WriteEvent
        Of each in turn.

    Raises
    ------
    OutputError
        If one cannot be written.
    """
    place = folder / RESULTS
    _make(place)
    config = WriteConfig(overwrite=overwrite, resume=False)
    for number, result in comparison.results.items():
        if stop is not None and stop.is_set():
            return
        name = comparison.rows[number].name
        if name == "noisy":
            continue
        yield from write(
            result.operator,
            comparison.volume,
            place / f"{name}{kind}",
            config,
            stop=stop,
        )


def _save_models(comparison: Comparison, folder: Path) -> None:
    models = {
        comparison.rows[number].name: result.denoiser
        for number, result in comparison.results.items()
        if result.denoiser is not None
    }
    if models:
        _make(folder)
    for name, model in models.items():
        model.save(folder / f"{name}{SUFFIX}")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        msg = f"the folder {folder} cannot be made ({error.strerror}); choose another"
        raise OutputError(msg) from error


def _write(path: Path, data: bytes) -> None:
    with whole_file(path, len(data)) as draft:
        draft.write_bytes(data)


def _html_table(rows: list[Row]) -> str:
    parts = columns(rows)

    def cell(tag: str, text: str, words: str = "", *, is_number: bool) -> str:
        told = f' title="{html.escape(words)}"' if words else ""
        kind = ' class="number"' if is_number else ""
        return f"<{tag}{kind}{told}>{html.escape(text)}</{tag}>"

    head = "".join(cell("th", c.title, c.words, is_number=c.is_number) for c in parts)
    body = "".join(
        "<tr>"
        + "".join(cell("td", c.text(row), is_number=c.is_number) for c in parts)
        + "</tr>\n"
        for row in rows
    )
    return f"<table><tr>{head}</tr>\n{body}</table>"
