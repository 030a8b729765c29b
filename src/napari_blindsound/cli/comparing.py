"""``blindsound compare``: every method on one image, in one table."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from napari_blindsound.cli.interruption import stoppable
from napari_blindsound.cli.options import (
    CONSOLE,
    FILES,
    FLAG,
    IMAGE,
    OUTPUT,
    Console,
    ImageOptions,
)
from napari_blindsound.cli.progress import Meter
from napari_blindsound.comparison import CompareConfig
from napari_blindsound.comparison.report import (
    as_data,
    check_folder,
    write_report,
    write_results,
)
from napari_blindsound.comparison.run import Comparison
from napari_blindsound.comparison.sample import open_truth
from napari_blindsound.comparison.tables import (
    as_text,
    caption,
    line_of,
    progress_of,
)
from napari_blindsound.errors import OutputError
from napari_blindsound.job import Job

if TYPE_CHECKING:
    import threading

INTERRUPTED = 130
_TRUTH = Parameter(group=FILES)
_SAVE = Parameter(group=FILES)


def compare(
    path: str,
    /,
    *,
    methods: str = "all",
    references: str = "all",
    preset: str | None = None,
    budget: float = 60.0,
    steps: int | None = None,
    alone: Annotated[bool, FLAG] = False,
    truth: Annotated[Path | None, _TRUTH] = None,
    output: Annotated[Path | None, OUTPUT] = None,
    save_results: Annotated[Literal["ome.zarr", "ome.tif"] | None, _SAVE] = None,
    overwrite: Annotated[bool, FLAG] = False,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    image: ImageOptions = IMAGE,
    console: Console = CONSOLE,
) -> int:
    """Train every method on one image, and compare what they make of it.

    Each method has the same time, one after the other, and is judged in the same way:
    by an estimate that needs no clean image, and against the truth if there is one.
    Classical denoisers are held against them. A method that fails is told so in its
    row, and the rest goes on; Ctrl-C ends the comparison with the rows done so far.

    Parameters
    ----------
    path
        Image file or folder. All of it is trained on, and a few planes are measured.
    methods
        Names with commas between them, all, or none; see: blindsound methods.
    references
        Classical denoisers: noisy, median, nlm, bm3d, with commas; all, or none. What
        is not installed is left out, with a word on what to install.
    preset
        Settings of the methods that have a preset of this name; by default their first.
    budget
        Seconds to train each method.
    steps
        Steps to train each method, in place of the seconds.
    alone
        Denoise each plane without its neighbors, also with methods that can use them.
    truth
        The clean image, for true PSNR and SSIM. Nothing is learned from it.
    output
        Folder for the tables (CSV, JSON, Markdown, LaTeX), a contact sheet, a page
        about it all, and the models.
    save_results
        Denoise the whole image with each of them, too, into that folder: as ome.zarr or
        ome.tif.
    overwrite
        Replace an earlier comparison in that folder.
    seed
        Seed of every random choice.
    device
        Where to compute: auto, cpu, cuda (or cuda:1), mps.
    threads
        Processor threads for work on the CPU; by default torch's own number.
    image, console
        Options.
    """
    config = CompareConfig(
        methods=_names(methods),
        references=_names(references),
        preset=preset,
        seconds=budget,
        steps=steps,
        alone=alone,
        seed=seed,
        device=device,
        threads=threads,
    )
    if save_results and output is None:
        msg = "the results need a folder: give one with -o"
        raise OutputError(msg)
    if output is not None:
        check_folder(output, overwrite=overwrite)
    job = Job(inputs=(path,), axes=image.axes, image=image.image, channel=image.channel)
    [volume] = job.volumes()
    clean = None if truth is None else open_truth(truth, volume)
    comparison = Comparison(volume, config, clean)
    console.say(
        f"comparing {len(comparison.rows)} on {volume.name}, {config.budget} each"
    )
    with stoppable("comparison") as stop:
        _shown(comparison, stop, console)
        page = None if output is None else write_report(comparison, output)
        if output is not None and save_results:
            _results(
                comparison, output, save_results, stop, console, overwrite=overwrite
            )
    data: dict[str, Any] = {"command": "compare", **as_data(comparison)}
    data |= {"ended": "stopped" if stop.is_set() else "done"}
    data |= {"report": str(page.absolute()) if page else None}
    console.report(_lines(comparison, page), data)
    return _code(comparison, stop)


def _names(text: str) -> tuple[str, ...] | None:
    """Names in a list with commas; None for all."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if names in ((), ("none",)):
        return ()
    return None if names == ("all",) else names


def _shown(comparison: Comparison, stop: threading.Event, console: Console) -> None:
    """Run it with a bar, and say what came of each row when it has."""
    count = len(comparison.rows)
    with Meter("comparing", quiet=console.quiet) as meter:
        for told in comparison.run(stop):
            done = sum(row.is_final for row in comparison.rows)
            part = 0.0 if told.row.is_final else told.row.fraction
            meter.show((done + part) / count, progress_of(told.row))
            if told.row.is_final:
                console.say(line_of(told.row))


def _results(
    comparison: Comparison,
    folder: Path,
    kind: str,
    stop: threading.Event,
    console: Console,
    *,
    overwrite: bool,
) -> None:
    with Meter("writing results", quiet=console.quiet) as meter:
        for event in write_results(
            comparison, folder, f".{kind}", overwrite=overwrite, stop=stop
        ):
            meter.show(event.done / max(1, event.total), event.message)


def _lines(comparison: Comparison, page: Path | None) -> list[str]:
    rows = comparison.rows
    lines = [*as_text(rows), "", caption(comparison.facts(), rows)]
    return lines if page is None else [*lines, "", f"report {page}"]


def _code(comparison: Comparison, stop: threading.Event) -> int:
    """Interrupted, failed where nothing came of anything, or done."""
    if stop.is_set():
        return INTERRUPTED
    return int(not any(row.state == "done" for row in comparison.rows))
