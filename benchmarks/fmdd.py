"""Quality on real FMDD captures, trained on nothing but what it is tested on.

For each type: trains on the noisy captures of one field of view (all of them, or the
first few), denoises every capture of that view, and reports PSNR and SSIM as the papers
do: both images as uint8, data range 255, mean over the captures. The ground truth is
read after training. Seconds are wall time, reading included.

Estimated PSNR is what the package says without any truth, by frames of the same scene
where it was given several. It is about the scene as it was then: fluorophores fade and
lasers drift (the first TwoPhoton_MICE capture of FOV 19 is 15 % brighter than the mean
of 50). So true PSNR is against the mean of 50 in the brightness of the capture, with
the slope and intercept of a line through the noisy capture, less the noise that the
truth itself has: with f the result, x the scene and a = x + w, E(f - a)^2 =
E(f - x)^2 + E w^2 - 2 E(f - x) w. The capture that f was made of is among the 50, so
that E(f - x) w is 1/50 of the noise that f has kept of it, the variance times the
derivative of f; and E w^2 is 1/50 of the variance.

``--trajectory`` denoises with the weights of each step at which the training judged
itself, and compares the best of them with those that were kept.

``--methods`` holds several methods, or all, and the classical references against one
another in one table: each learns from the same captures for the same time, with its
first preset, each capture without the others. Nothing is chosen by these scores.

Run: ``python benchmarks/fmdd.py $BLINDSOUND_DATA/fmdd --types Confocal_FISH
Confocal_MICE --budget 120``, or with ``--methods all --budget 300``
"""

from __future__ import annotations

import argparse
import csv
import math
import platform
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_blindsound.comparison import CompareConfig
from napari_blindsound.comparison.run import Comparison
from napari_blindsound.comparison.tables import line_of
from napari_blindsound.images.fmdd import FmddView, find_fmdd
from napari_blindsound.inference.tiling import denoise_region
from napari_blindsound.methods import DEFAULT
from napari_blindsound.quality.estimate import stein_terms
from napari_blindsound.quality.metrics import fmdd_scores
from napari_blindsound.quality.unseen import estimate_quality
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.events import Finished, Judged
from napari_blindsound.training.trainer import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_blindsound.inference.denoiser import Denoiser

AVERAGED = 50
"""Captures in the ground truth."""

_ALONE = {"context": "none"}
"""Each capture is denoised without the others, as in the papers, unless one asks."""


@dataclass(frozen=True)
class Row:
    """One training and its scores."""

    type: str
    fov: str
    trained_on: int
    tested_on: int
    method: str
    preset: str
    settings: str
    output: str
    budget: float
    seconds: float
    steps: int
    noisy_psnr: float
    noisy_ssim: float
    psnr: float
    ssim: float
    true_psnr: float
    estimated_psnr: float
    estimated_low: float
    estimated_high: float
    estimated_from: str
    ended: str
    kept_step: int | None
    best_step: int | None
    best_psnr: float | None


@dataclass(frozen=True)
class Scored:
    """One method on one type, beside the others."""

    type: str
    fov: str
    trained_on: int
    tested_on: int
    method: str
    title: str
    preset: str
    noisy: float
    psnr: float | None
    ssim: float | None
    estimated_gain: float | None
    train_seconds: float | None
    steps: str
    seconds_a_megapixel: float | None
    message: str


def main() -> None:
    """Train and score each type; print a table, and write it as CSV on request."""
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} "
        f"threads, torch {torch.__version__}, device {options.device}, "
        f"seed {options.seed}"
    )
    views = [
        view
        for view in find_fmdd(options.root)
        if view.fov == options.fov and view.type in (options.types or [view.type])
    ]
    if not views:
        sys.exit(f"no view {options.fov} of {options.types} below {options.root}")
    if options.methods:
        _compare(views, options)
        return
    rows = []
    for view in views:
        for row in _run(view, options):
            print(_line(row), flush=True)
            rows.append(row)
    if options.csv:
        _write_csv(options.csv, rows)


def _run(view: FmddView, options: argparse.Namespace) -> Iterable[Row]:
    started = time.perf_counter()
    noisy = view.noisy()
    seen = noisy.select(T=slice(0, options.captures or noisy.shape[0]))
    recipe = Recipe(
        method=options.method,
        preset=options.preset,
        settings=_ALONE | dict(pair.split("=") for pair in options.set),
        train=TrainConfig(
            steps=options.steps,
            seconds=None if options.steps else options.budget,
            seed=options.seed,
            device=options.device,
            ending=_ending(options),
        ),
    )
    training = Training([seen], recipe)
    finished, judged = _trained(training, keep=options.trajectory)
    training.close()
    seconds = time.perf_counter() - started
    truth = view.ground_truth()
    captures = noisy.read(tuple(slice(0, size) for size in noisy.shape))
    before = np.mean([fmdd_scores(capture, truth) for capture in captures], axis=0)
    for output in options.outputs:
        best_step, best_psnr = _best(judged, output, captures, truth)
        denoiser = training.denoiser(output).with_output(turns=options.turns)
        denoised = denoiser(captures)
        after = np.mean([fmdd_scores(image, truth) for image in denoised], axis=0)
        estimate = estimate_quality(denoiser, seen, data_range=255)
        yield Row(
            type=view.type,
            fov=view.fov,
            trained_on=seen.shape[0],
            tested_on=len(captures),
            method=options.method,
            preset=options.preset,
            settings=" ".join(options.set),
            output=f"{output}, 8 turns" if options.turns else output,
            budget=options.steps or options.budget,
            seconds=round(seconds, 1),
            steps=finished.step,
            noisy_psnr=round(before[0], 2),
            noisy_ssim=round(before[1], 4),
            psnr=round(after[0], 2),
            ssim=round(after[1], 4),
            true_psnr=round(_true_psnr(denoiser, captures, denoised, truth), 2),
            estimated_psnr=round(estimate.psnr, 2),
            estimated_low=round(estimate.low, 2),
            estimated_high=round(estimate.high, 2),
            estimated_from=estimate.source,
            ended=finished.reason,
            kept_step=finished.best_step,
            best_step=best_step,
            best_psnr=best_psnr,
        )


def _compare(views: list[FmddView], options: argparse.Namespace) -> None:
    """All methods in one table, type by type."""
    scored = [score for view in views for score in _compared(view, options)]
    types = [view.type for view in views]
    print("\n".join(_table(scored, types, options)))
    below = [
        f"{one.title} on {one.type}"
        for one in scored
        if one.psnr is not None and one.psnr < one.noisy
    ]
    print(f"\nbelow the noisy input: {'; '.join(below) or 'none'}")
    if options.csv:
        _write_csv(options.csv, scored)


def _compared(view: FmddView, options: argparse.Namespace) -> Iterable[Scored]:
    """Each method on one view; the truth is read after the training."""
    noisy = view.noisy()
    seen = noisy.select(T=slice(0, options.captures or noisy.shape[0]))
    whole = tuple(slice(0, size) for size in noisy.shape)
    names = None if options.methods == ["all"] else tuple(options.methods)
    config = CompareConfig(
        methods=names,
        alone=True,
        steps=options.steps,
        seconds=options.budget,
        seed=options.seed,
        device=options.device,
    )
    captures, truth = noisy.read(whole), view.ground_truth()
    before = float(np.mean([fmdd_scores(one, truth).psnr for one in captures]))
    for told in Comparison(seen, config).run():
        row = told.row
        if not row.is_final:
            continue
        after: tuple[float | None, float | None] = None, None
        if told.result is not None:
            made = denoise_region(told.result.operator, noisy, whole)
            scores = np.mean([fmdd_scores(one, truth) for one in made], axis=0)
            after = round(float(scores[0]), 2), round(float(scores[1]), 4)
        scored = Scored(
            type=view.type,
            fov=view.fov,
            trained_on=seen.shape[0],
            tested_on=noisy.shape[0],
            method=row.name,
            title=row.title,
            preset=row.preset,
            noisy=round(before, 2),
            psnr=after[0],
            ssim=after[1],
            estimated_gain=row.gain,
            train_seconds=row.train_seconds,
            steps=" + ".join(map(str, row.steps)),
            seconds_a_megapixel=row.pace,
            message=row.message,
        )
        print(f"{scored.type:18s} {line_of(row)}; {after[0]} dB", flush=True)
        yield scored


def _table(
    scored: list[Scored], types: list[str], options: argparse.Namespace
) -> list[str]:
    """PSNR and SSIM of every method on every type, with the conditions above."""
    found = {(one.title, one.type): one for one in scored}
    first = scored[0]
    length = f"{options.steps} steps" if options.steps else f"{options.budget:g} s"
    lines = [
        "",
        f"FMDD, view {first.fov}: PSNR in dB / SSIM, both images rounded to 8 bits, "
        f"data range 255, mean of {first.tested_on} single captures against the mean "
        f"of {AVERAGED}; each method trained for {length} on "
        f"{first.trained_on} of them alone, each capture by itself, seed "
        f"{options.seed}",
        "",
        "| method | preset | " + " | ".join(types) + " |",
        "| :--- | :--- | " + " | ".join("---:" for _ in types) + " |",
    ]
    for title in dict.fromkeys(one.title for one in scored):
        own = [found[title, kind] for kind in types if (title, kind) in found]
        cells = [
            f"{one.psnr:.2f} / {one.ssim:.4f}" if one.psnr is not None else one.message
            for one in own
        ]
        lines.append(f"| {title} | {own[0].preset} | {' | '.join(cells)} |")
    return lines


def _ending(options: argparse.Namespace) -> str:
    if options.auto_stop:
        return "auto"
    return "best" if options.trajectory or options.keep_best else "last"


def _trained(
    training: Training, *, keep: bool
) -> tuple[Finished, list[tuple[Judged, Denoiser]]]:
    """Train to the end; on request with the model of each judged step."""
    judged: list[tuple[Judged, Denoiser]] = []
    for event in training.run():
        if isinstance(event, Judged) and keep:
            judged.append((event, training.denoiser(latest=True)))
    return event, judged


def _best(
    judged: list[tuple[Judged, Denoiser]],
    output: str,
    captures: np.ndarray,
    truth: np.ndarray,
) -> tuple[int | None, float | None]:
    """Step with the highest PSNR, and that; prints all of them."""
    scores = []
    for event, denoiser in judged:
        denoised = denoiser.with_output(output)(captures)
        psnr = np.mean([fmdd_scores(image, truth)[0] for image in denoised])
        scores.append((float(psnr), event.step))
        print(
            f"  step {event.step:6d} {event.seconds:6.1f} s  {psnr:.2f} dB, estimated "
            f"gain {event.gain:.2f} dB, identity {event.identity:.2f}"
        )
    psnr, step = max(scores, default=(math.nan, None))
    return step, None if step is None else round(psnr, 2)


def _true_psnr(
    denoiser: Denoiser, captures: np.ndarray, denoised: np.ndarray, truth: np.ndarray
) -> float:
    """PSNR against the scene of each capture, not against a noisy mean over time."""
    errors = []
    for capture, image in zip(captures, denoised, strict=True):
        slope, level = np.polyfit(truth.ravel(), capture.ravel(), 1)
        _, noise, kept = stein_terms(denoiser, capture)
        of_truth = (slope**2 * noise - 2 * slope * kept) / AVERAGED
        away = np.clip(image, 0, 255) - (slope * truth.astype(float) + level)
        errors.append(np.mean(away**2) - of_truth)
    error = float(np.mean(errors))
    return 10 * math.log10(255**2 / error) if error > 0 else math.inf


def _line(row: Row) -> str:
    return (
        f"{row.type:15s} FOV {row.fov}  trained on {row.trained_on:2d}, tested on "
        f"{row.tested_on:2d}  {row.method} {row.preset} {row.settings} "
        f"{row.output:8s} "
        f"{row.seconds:6.1f} s {row.steps:6d} steps   "
        f"noisy {row.noisy_psnr:.2f} / {row.noisy_ssim:.4f}   "
        f"denoised {row.psnr:.2f} / {row.ssim:.4f}   "
        f"true {row.true_psnr:.2f}, estimated {row.estimated_psnr:.2f} "
        f"({row.estimated_low:.2f} to {row.estimated_high:.2f}, {row.estimated_from})"
        f"   {row.ended}"
        + (f", kept step {row.kept_step}" if row.kept_step is not None else "")
        + (f", best {row.best_psnr:.2f} at {row.best_step}" if row.best_step else "")
    )


def _write_csv(path: Path, rows: list[Row] | list[Scored]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(rows[0])])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("root", type=Path, help="FMDD tree: TYPE/raw/FOV/*.png")
    parser.add_argument("--types", nargs="*", help="all by default")
    parser.add_argument("--fov", default="19", help="view trained and tested on")
    parser.add_argument("--captures", type=int, help="train on the first N only")
    parser.add_argument("--budget", type=float, default=120, help="seconds")
    parser.add_argument("--steps", type=int, help="in place of the seconds")
    parser.add_argument("--method", default=DEFAULT)
    parser.add_argument("--methods", nargs="*", help="in one table; or: all")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--outputs", nargs="*", default=["visible"])
    parser.add_argument("--turns", action="store_true", help="mean of 8 orientations")
    parser.add_argument("--auto-stop", action="store_true", help="end when settled")
    parser.add_argument("--keep-best", action="store_true", help="the best weights")
    parser.add_argument("--trajectory", action="store_true", help="PSNR by step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="write the table here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
