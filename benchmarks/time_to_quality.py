"""Quality against seconds: ours beside others, same images, same process.

Each is trained once for each budget, since a schedule wants to know it; nothing is
learned from the ground truth, and what evaluation takes is not counted. Zero seconds
are the warm start as it comes, before any step. Ours pays for everything out of its
budget, reading and calibration included; the rivals (``rivals.py``) are given the
normalized images. Classical methods take the time that they take. Captures of one type
are trained on together, each denoised by itself.

PSNR and SSIM of FMDD as the papers have them: 8 bits, data range 255. Phantoms, where
no data are given: data range from the least to the most of the clean image.

Run: ``python benchmarks/time_to_quality.py $BLINDSOUND_DATA/fmdd --types Confocal_FISH
--budgets 0 15 60 --best --threads 1``, or without data on phantoms
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from cases import Case, captures, phantoms
from napari_blindsound.errors import RecipeError
from napari_blindsound.inference.tiling import denoise_region
from napari_blindsound.networks.device import pick_device
from napari_blindsound.quality.references import Reference, references
from napari_blindsound.recipe import Recipe, Training, versions
from napari_blindsound.training.preprocessing import Preprocessing
from napari_blindsound.training.trainer import TrainConfig
from rivals import RIVALS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    Images = NDArray[np.floating]

OURS = {
    f"{method}-{start}": (method, start)
    for method in ("blind2unblind", "blind2sound")
    for start in ("warm", "cold")
}
CLASSICAL = ("nlm", "bm3d")
CONTESTANTS = (*OURS, *RIVALS, *CLASSICAL)
TITLES = {
    "blind2unblind": "Blind2Unblind",
    "blind2sound": "Blind2Sound",
    **{name: rival.title for name, rival in RIVALS.items()},
}
BEST = "best"
NOTHING = "has learned nothing yet"
_TICKS = (1.0, 5.0, 15.0, 60.0, 300.0, 1200.0)  # s
_LATE = 1.1  # times the budget, from which the time is told


@dataclass(frozen=True)
class Row:
    """One training, or one classical denoising, and its scores."""

    case: str
    name: str
    title: str
    budget: str
    seconds: float
    steps: int
    psnr: float | None
    ssim: float | None
    noisy_psnr: float
    message: str = ""


def main() -> None:
    """Train each for each budget; print a table, write CSV and picture on request."""
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    kinds = options.types, options.fov, options.images
    cases = list(
        captures(options.root, *kinds)
        if options.root
        else phantoms(options.images, options.size)
    )
    if not cases:
        sys.exit(f"no view {options.fov} of {options.types} below {options.root}")
    _warm_up(cases[0], options)
    rows = []
    for case in cases:
        for row in _rows(case, options):
            print(_line(row), flush=True)
            rows.append(row)
    print("\n".join(_told(cases, rows, options)))
    if options.csv:
        _write(options.csv, rows)
    if options.plot:
        _plot(options.plot, rows)


def _rows(case: Case, options: argparse.Namespace) -> Iterator[Row]:
    """All that take part in one case."""
    for name in options.methods:
        if name in CLASSICAL:
            yield _classical(case, name)
            continue
        budgets = [f"{budget:g}" for budget in options.budgets]
        if name in OURS:
            budgets += [BEST] * options.best
        for budget in budgets:
            make = _ours if name in OURS else _rival
            yield make(case, name, budget, options)


def _ours(case: Case, name: str, budget: str, options: argparse.Namespace) -> Row:
    method, start = OURS[name]
    # What a user gets: warm where the image says so.
    settings = {"context": "none", "start": "auto" if start == "warm" else "cold"}
    preset, seconds = "fast", None
    title = f"{TITLES[method]}, {start}"
    if start == "cold" and budget == "0":
        return _row(case, name, title, budget, 0.0, 0, None, NOTHING)
    if budget == BEST:
        preset = BEST
    elif float(budget):
        seconds = float(budget)
    else:
        preset = "instant"
    train = TrainConfig(
        seconds=seconds,
        seed=options.seed,
        device=options.device,
        threads=options.threads or None,
    )
    recipe = Recipe(method=method, preset=preset, settings=settings, train=train)
    started = time.perf_counter()
    try:
        training = Training([case.volume], recipe)
    except RecipeError as error:
        return _row(case, name, title, budget, 0.0, 0, None, str(error))
    for _ in training.run():
        pass
    training.close()
    spent = time.perf_counter() - started
    denoiser = training.denoiser()
    images = denoiser(case.noisy)
    return _row(case, name, title, budget, spent, training.steps, images)


def _rival(case: Case, name: str, budget: str, options: argparse.Namespace) -> Row:
    seconds, title = float(budget), TITLES[name]
    if not seconds:
        return _row(case, name, title, budget, 0.0, 0, None, NOTHING)
    torch.manual_seed(options.seed)
    rival, device = RIVALS[name](), pick_device(options.device)
    fitted = Preprocessing.fit([case.volume], seed=options.seed)
    noisy = torch.from_numpy(fitted.normalize(case.noisy[:, None])).to(device)
    started = time.perf_counter()
    steps = rival.train(noisy, seconds, seed=options.seed)
    spent = time.perf_counter() - started
    images = fitted.restore(rival.denoise(noisy).cpu().numpy())[:, 0]
    return _row(case, name, title, budget, spent, steps, images)


def _classical(case: Case, name: str) -> Row:
    kind = references()[name]
    if not kind.is_installed:
        return _row(case, name, kind.title, "", 0.0, 0, None, kind.remedy)
    started = time.perf_counter()
    operator = Reference(kind, Preprocessing.fit([case.volume]))
    whole = tuple(slice(0, size) for size in case.volume.shape)
    images = denoise_region(operator, case.volume, whole)
    spent = time.perf_counter() - started
    images = images.reshape(case.noisy.shape)
    return _row(case, name, kind.title, "", spent, 0, images)


def _row(
    case: Case,
    name: str,
    title: str,
    budget: str,
    seconds: float,
    steps: int,
    images: Images | None,
    message: str = "",
) -> Row:
    found = (None, None) if images is None else case.scores(images)
    before, _ = case.scores(case.noisy)
    return Row(
        case.name,
        name,
        title,
        budget,
        round(seconds, 2),
        steps,
        *found,
        before,
        message,
    )


def _warm_up(case: Case, options: argparse.Namespace) -> None:
    """What a process does once is nobody's cost."""
    for name in options.methods:
        if name in OURS:
            settings = {"context": "none", "start": "cold"}
            train = TrainConfig(steps=3, device=options.device)
            recipe = Recipe(method=OURS[name][0], settings=settings, train=train)
            training = Training([case.volume], recipe)
            list(training.run())
            training.close()
        elif name in RIVALS:
            noisy = torch.rand(1, 1, 64, 64, device=pick_device(options.device))
            RIVALS[name]().train(noisy, 1.0, steps=1)


def _told(
    cases: list[Case], rows: list[Row], options: argparse.Namespace
) -> Iterator[str]:
    """A table for each case, with the conditions above."""
    device = pick_device(options.device)
    on = f"cpu, {torch.get_num_threads()} thread(s)"
    if device.type == "cuda":
        on = f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    found = ", ".join(f"{name} {version}" for name, version in versions().items())
    yield f"\nPSNR in dB / SSIM by seconds; {on}; seed {options.seed}; {found}"
    for name, rival in RIVALS.items():
        if name in options.methods:
            yield f"\n{rival.title}: {rival.words}."
    columns = [f"{budget:g}" for budget in options.budgets]
    columns += [BEST] * options.best
    for case in cases:
        own = [row for row in rows if row.case == case.name]
        bits = "both rounded to 8 bits, " * case.is_fmdd
        yield (
            f"\n**{case.name}**: {len(case.noisy)} image(s) of "
            f"{case.noisy.shape[-1]} x {case.noisy.shape[-2]}, {bits}data range "
            f"{case.data_range:g}; noisy {own[0].noisy_psnr:.2f} dB\n"
        )
        heads = [f"{c} s" if c != BEST else "to its own end" for c in columns]
        yield f"| | {' | '.join(heads)} |"
        yield f"| :--- |{' ---: |' * len(heads)}"
        for name in dict.fromkeys(row.name for row in own):
            cells = [row for row in own if row.name == name]
            yield f"| {cells[0].title} | {' | '.join(_cells(cells, columns))} |"


def _cells(rows: list[Row], columns: list[str]) -> Iterator[str]:
    """One contestant's scores; a classical one's from the time on that it takes."""
    by_budget = {row.budget: row for row in rows}
    for column in columns:
        row = by_budget.get(column)
        alone = by_budget.get("")
        if alone and (column == columns[-1] or alone.seconds <= float(column)):
            row = alone
        if row is None or row.psnr is None:
            yield "–"
            continue
        is_own = column == BEST or row is alone
        is_own = is_own or row.seconds > _LATE * float(column) > 0
        ended = f" ({row.seconds:.3g} s)" * is_own
        yield f"{row.psnr:.2f} / {row.ssim:.3f}{ended}"


def _line(row: Row) -> str:
    length = f"{row.budget} s" if row.budget not in ("", BEST) else row.budget
    scores = f"{row.psnr:.2f} dB / {row.ssim:.4f}" if row.psnr else row.message
    return (
        f"{row.case:18s} {row.title:22s} {length:6s} {row.seconds:7.1f} s "
        f"{row.steps:6d} steps  noisy {row.noisy_psnr:.2f}  {scores}"
    )


def _write(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _plot(path: Path, rows: list[Row]) -> None:
    """PSNR against seconds, one panel a case."""
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys(row.case for row in rows))
    names = list(dict.fromkeys(row.name for row in rows if row.psnr is not None))
    figure = Figure(figsize=(4.2 * len(cases), 3.6), layout="constrained")
    for axes, case in zip(
        figure.subplots(1, len(cases), squeeze=False)[0], cases, strict=True
    ):
        own = [row for row in rows if row.case == case and row.psnr is not None]
        for number, name in enumerate(names):
            points = [row for row in own if row.name == name]
            x, y = [row.seconds for row in points], [row.psnr for row in points]
            # Dashed, as curves of two may lie on one another.
            line = f"{'osv^Dx*+'[number % 8]}{'--' if number % 2 else '-'}"
            title = next(row.title for row in rows if row.name == name)
            axes.plot(x, y, line, label=title, color=f"C{number}", markersize=4)
        noisy = own[0].noisy_psnr
        axes.axhline(noisy, color="gray", linestyle=":", label="noisy")
        # What is worse than the noisy image need not be told apart.
        axes.set_ylim(bottom=noisy - 0.5)
        axes.set_xscale("symlog", linthresh=5)
        ticks = [0.0, *(tick for tick in _TICKS if tick <= max(r.seconds for r in own))]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xlabel("seconds")
        axes.set_ylabel("PSNR (dB)")
        axes.set_title(case)
    lines, titles = axes.get_legend_handles_labels()
    figure.legend(lines, titles, loc="outside lower center", ncols=5)
    figure.savefig(path, dpi=150)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "root", type=Path, nargs="?", help="FMDD tree: TYPE/raw/FOV/*.png; or phantoms"
    )
    parser.add_argument("--types", nargs="*", help="all by default")
    parser.add_argument("--fov", default="19", help="view trained and tested on")
    parser.add_argument("--images", type=int, default=4, help="captures, or phantoms")
    parser.add_argument("--size", type=int, default=256, help="side of a phantom")
    parser.add_argument(
        "--methods", nargs="*", choices=CONTESTANTS, default=list(CONTESTANTS)
    )
    budgets = [0.0, 5.0, 15.0, 60.0]
    parser.add_argument("--budgets", nargs="*", type=float, default=budgets)
    parser.add_argument("--best", action="store_true", help="ours to its own end, too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="write the table here too")
    parser.add_argument("--plot", type=Path, help="write a picture here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
