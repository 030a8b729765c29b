"""The bench in the library: what it trains, how it judges, what it says of failures."""

from __future__ import annotations

import csv
import io
import json
import threading
from dataclasses import replace

import numpy as np
import pytest

import napari_blindsound as nb
from napari_blindsound import methods
from napari_blindsound.comparison import FINAL, CompareConfig, Row
from napari_blindsound.comparison.report import check_folder, write_report
from napari_blindsound.comparison.run import Comparison
from napari_blindsound.comparison.sample import PLANES, SIDE, open_truth, sample_of
from napari_blindsound.comparison.sheet import shown
from napari_blindsound.comparison.tables import (
    GAIN,
    as_csv,
    as_latex,
    as_markdown,
    as_text,
    caption,
    columns,
    line_of,
)
from napari_blindsound.errors import (
    DataError,
    OutputError,
    OutputExistsError,
    RecipeError,
)
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.phantom import phantom
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.quality.metrics import psnr, ssim

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = {"threads": 1, "steps": 12}


@pytest.fixture(scope="module")
def cells():
    return phantom("2d", size=96, seed=5)


@pytest.fixture(scope="module")
def clean(cells):
    return replace(cells.volume(), levels=(cells.clean,), name="clean")


@pytest.fixture(scope="module")
def done(cells, clean):
    """A comparison of two methods and two references, run to its end."""
    config = CompareConfig(
        methods=("blind2unblind", "blind2sound"),
        references=("noisy", "median"),
        **QUICK,
    )
    comparison = Comparison(cells.volume(), config, clean)
    comparison.told = list(comparison.run())
    return comparison


def row_of(comparison, name):
    return next(row for row in comparison.rows if row.name == name)


def test_every_method_and_reference_takes_part_unless_some_are_named():
    rows = CompareConfig().rows()
    names = [row.name for row in rows]
    assert set(methods.available()) < set(names)
    assert names[0] == "noisy"
    named = CompareConfig(methods=("blind2sound",), references=()).rows()
    assert [row.name for row in named] == ["blind2sound"]
    assert named[0].preset == "fast"
    paper = CompareConfig(preset="paper", references=()).rows()
    presets = {name: m.Config.presets for name, m in methods.available().items()}
    assert all(
        row.preset == ("paper" if "paper" in presets[row.name] else row.preset)
        and row.preset in presets[row.name]
        for row in paper
    )


def test_rows_fill_up_and_results_are_kept(done, cells, clean):
    told = done.told
    assert [t.number for t in told] == sorted(t.number for t in told)
    last = {t.number: t for t in told}
    assert {t.row.state for t in last.values()} == {"done"}
    assert [done.rows[n] for n in sorted(last)] == [t.row for t in last.values()]
    states = [t.row.state for t in told if t.number == 2]
    assert list(dict.fromkeys(states)) == ["training", "denoising", "judging", "done"]
    row = row_of(done, "blind2unblind")
    assert row.steps == (12,)
    assert row.train_seconds > 0
    assert row.pace > 0
    assert row.gain_low < row.gain < row.gain_high
    assert done.results[2].denoiser is not None
    assert done.results[1].denoiser is None
    # What is told of a result is measured on that result.
    truth = done.sample.truth[0][0]
    for number, result in done.results.items():
        plane = result.planes[0][0]
        whole = done.results[number].operator
        assert plane.shape == (96, 96)
        assert done.rows[number].psnr == pytest.approx(
            psnr(plane, truth, done.sample.data_range)
        )
        assert done.rows[number].ssim == pytest.approx(
            ssim(plane, truth, done.sample.data_range)
        )
        assert whole.n_channels == 1


def test_all_are_judged_in_the_same_way(done):
    assert {row.source for row in done.rows} == {"stein"}
    noisy, median = row_of(done, "noisy"), row_of(done, "median")
    assert noisy.gain == pytest.approx(0, abs=0.01)
    gained = median.psnr - noisy.psnr
    assert median.gain_low - 0.3 < gained < median.gain_high + 0.3


def test_uncertainty_is_held_against_the_truth(done):
    sure = row_of(done, "blind2sound")
    assert sure.has_deviation
    planes = done.results[3].planes
    deviation = done.results[3].denoiser.deviation()
    width = deviation(np.asarray(done.sample.noisy[0]))
    inside = np.abs(planes[0] - done.sample.truth[0]) <= width
    assert sure.coverage == pytest.approx(inside.mean(), abs=1e-6)
    assert row_of(done, "blind2unblind").coverage is None


def test_steps_repeat_the_comparison(done, cells, clean):
    config = done.config.model_copy(update={"methods": ("blind2sound",)})
    again = Comparison(cells.volume(), config, clean)
    list(again.run())
    one, other = row_of(done, "blind2sound"), row_of(again, "blind2sound")
    assert (one.gain, one.psnr) == (other.gain, other.psnr)


def test_a_failure_is_told_in_its_row_and_the_rest_goes_on(cells, monkeypatch):
    class Broken(methods.find("blind2sound")):
        name = "broken"

        def losses(self, noisy, progress, weight=None):
            msg = "no such thing"
            raise KeyError(msg)

    kinds = dict(methods.available()) | {"broken": Broken}
    monkeypatch.setattr(methods, "available", lambda: kinds)
    config = CompareConfig(methods=("broken", "blind2unblind"), references=(), **QUICK)
    comparison = Comparison(cells.volume(), config)
    list(comparison.run())
    assert [row.state for row in comparison.rows] == ["failed", "done"]
    assert "no such thing" in comparison.rows[0].message
    assert list(comparison.results) == [1]


def test_an_image_too_small_for_one_method_is_compared_with_the_rest():
    noisy = np.random.default_rng(0).normal(100, 5, (24, 24)).astype(np.float32)
    volume = Volume((noisy,), Axes.parse("YX"), "tiny")
    comparison = nb.compare(noisy, axes="YX", methods=["blind2unblind"], steps=5)
    assert comparison.volume.shape == volume.shape
    states = {row.name: row.state for row in comparison.rows}
    assert states["median"] == "done"
    assert set(states.values()) <= set(FINAL)
    for row in comparison.rows:
        assert bool(row.message) == (row.state in ("failed", "skipped"))


def test_stop_keeps_the_rows_so_far(cells):
    config = CompareConfig(references=("noisy",), steps=100_000, threads=1)
    comparison = Comparison(cells.volume(), config)
    stop = threading.Event()
    for told in comparison.run(stop):
        if told.row.fraction > 0:
            stop.set()
    states = [row.state for row in comparison.rows]
    assert states[0] == "done"
    assert set(states[1:]) == {"stopped"}
    assert comparison.rows[1].message == "was stopped"
    assert comparison.rows[2].message == "was not begun"
    assert list(comparison.results) == [0]


def test_a_slow_reference_ends_between_planes(cells):
    stop = threading.Event()
    comparison = Comparison(
        cells.volume(), CompareConfig(methods=(), references=("nlm",), threads=1)
    )
    states = []
    for told in comparison.run(stop):
        states.append(told.row.state)
        stop.set()
    assert states[-1] == "stopped"


def test_what_does_not_fit_is_refused(cells, clean):
    volume = cells.volume()
    with pytest.raises(RecipeError, match=r"no method 'n2v'; there are blind2unblind"):
        CompareConfig(methods=("n2v",)).rows()
    with pytest.raises(RecipeError, match="nothing is chosen"):
        Comparison(volume, CompareConfig(methods=(), references=()))
    small = clean.select(Y=slice(0, 50))
    with pytest.raises(DataError, match="the same size"):
        Comparison(volume, CompareConfig(), small)
    inverted = replace(clean, levels=(400.0 - cells.clean,))
    with pytest.raises(DataError, match="does not look like the image"):
        Comparison(volume, CompareConfig(), inverted)
    holed = cells.noisy.astype(np.float32)
    holed[3, 4] = np.nan
    with pytest.raises(DataError, match="Y=3, X=4"):
        Comparison(replace(volume, levels=(holed,)), CompareConfig())


def test_a_bounded_sample_stands_for_a_large_image():
    whole = np.zeros((50, 1500, 1300), np.uint16)
    whole += np.arange(50, dtype=np.uint16)[:, None, None]
    sample = sample_of(Volume((whole,), Axes.parse("ZYX"), "large"))
    assert len(sample.noisy) == PLANES
    assert {plane.shape for plane in sample.noisy} == {(1, SIDE, SIDE)}
    assert [int(plane[0, 0, 0]) for plane in sample.noisy] == [6, 18, 31, 43]
    assert sample.scores(sample.noisy) is None


def test_one_truth_serves_all_frames_on_the_scale_of_each(cells):
    rng = np.random.default_rng(0)
    frames = np.stack([cells.clean, 2 * cells.clean]) + rng.normal(0, 0.1, (2, 96, 96))
    volume = Volume((frames,), Axes.parse("TYX"), "frames")
    truth = open_truth(cells.clean, volume)
    assert truth.axes.names == "YX"
    sample = sample_of(volume, truth)
    for scaled, factor in zip(sample.truth, (1, 2), strict=True):
        np.testing.assert_allclose(scaled[0], factor * cells.clean, rtol=2e-3)
    assert sample.scores(sample.noisy).psnr > 50


def test_tables_say_the_same_in_every_form(done):
    rows, words = done.rows, caption(done.facts(), done.rows)
    assert "12 steps" in words
    assert f"data range of {done.sample.data_range:.4g} counts" in words
    assert "seed 0" in words
    assert "cpu, 1 thread" in words
    assert "Stein" in words
    assert all(len(line) < 160 for line in as_text(rows))
    found = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert [row["name"] for row in found] == [row.name for row in rows]
    assert float(found[1]["psnr"]) == rows[1].psnr
    assert found[0]["train_seconds"] == ""
    markdown = as_markdown(rows, words)
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert f"{rows[1].psnr:.2f}" in markdown
    latex = as_latex(rows, words)
    assert latex.count(r"\\") == len(rows) + 1
    assert r"3 $\times$ 3" in latex
    assert "68" not in latex


def test_tables_of_what_failed_or_is_not_known():
    rows = [
        Row("a", "A_1", state="failed", message="50 % | bad_name & more"),
        Row("b", "B", state="done", gain=-1e-9, source="stein", psnr=float("inf")),
    ]
    assert [c.title for c in columns(rows)] == [
        "method",
        "gain, dB",
        "PSNR, dB",
        "remark",
    ]
    assert "-0.0" not in as_markdown(rows)
    assert r"\|" in as_markdown(rows)
    assert r"failed: 50 \% | bad\_name \& more" in as_latex(rows, "")
    assert rows[1].as_data()["psnr"] is None
    assert line_of(rows[0]) == "A_1: failed (50 % | bad_name & more)"


def test_a_gain_that_is_more_than_can_be_told_says_so():
    gains = (-1.2, 12.9, 12.96, 13.0)
    rows = [Row("a", "A", state="done", gain=gain) for gain in gains]
    assert [GAIN.text(row) for row in rows] == ["-1.2", "+12.9", ">+13", ">+13"]


def test_a_report_holds_all_and_overwrites_nothing_else(done, tmp_path):
    folder = tmp_path / "out"
    check_folder(folder, overwrite=False)
    page = write_report(done, folder)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    assert names == {
        "table.csv",
        "table.json",
        "table.md",
        "table.tex",
        "comparison.png",
        "comparison.html",
        "models/blind2sound.blindsound",
        "models/blind2unblind.blindsound",
    }
    data = json.loads((folder / "table.json").read_text())
    assert data["rows"][1]["psnr"] == done.rows[1].psnr
    text = page.read_text()
    assert "data:image/png;base64," in text
    assert "Blind2Sound" in text
    model = Denoiser.load(folder / "models" / "blind2sound.blindsound")
    noisy = np.asarray(done.sample.noisy[0])
    np.testing.assert_allclose(model(noisy), done.results[3].planes[0], atol=1e-3)
    with pytest.raises(OutputExistsError, match="ask to overwrite it"):
        check_folder(folder, overwrite=False)
    check_folder(folder, overwrite=True)
    (folder / "letter.txt").write_text("dear")
    with pytest.raises(OutputExistsError, match=r"other files \(letter.txt\)"):
        check_folder(folder, overwrite=True)
    with pytest.raises(OutputError, match="is a file"):
        check_folder(folder / "letter.txt", overwrite=True)
    with pytest.raises(OutputError, match="make it first"):
        check_folder(tmp_path / "none" / "out", overwrite=False)


def test_the_sheet_shows_the_same_part_of_all(done):
    images = shown(done)
    assert [image.title for image in images] == [
        "Noisy image",
        "Median 3 × 3",
        "Blind2Unblind",
        "Blind2Sound",
        "Truth",
    ]
    np.testing.assert_array_equal(images[0].plane, done.sample.noisy[0][0])
    assert (
        images[1].note
        == f"{done.rows[1].psnr:.2f} dB · est. +{done.rows[1].gain:.1f} dB"
    )


def test_planes_are_seen_alone_on_request():
    movie = phantom("timelapse", size=64, frames=6, seed=1)
    found = {}
    for alone in (False, True):
        config = CompareConfig(
            methods=("blind2unblind",), references=(), alone=alone, **QUICK
        )
        comparison = Comparison(movie.volume(), config)
        list(comparison.run())
        recipe = comparison.results[0].denoiser.provenance["recipe"]
        found[alone] = recipe["settings"], comparison.results[0].denoiser.context.planes
    assert found[False][0] == {}
    assert found[True] == ({"context": "none"}, 0)
    assert "each plane without its neighbors" in caption(
        comparison.facts(), comparison.rows
    )
