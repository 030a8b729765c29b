"""Batches of real files: found, denoised, skipped, continued; what fails is told."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
import tifffile
import torch
import zarr
from PIL import Image

from napari_blindsound.batch import BatchConfig, apart, find_images, run_batch
from napari_blindsound.batch.finding import Found
from napari_blindsound.batch.places import stems
from napari_blindsound.batch.run import run_batch as runner
from napari_blindsound.batch.shared import spread
from napari_blindsound.errors import (
    ImageNotFoundError,
    ModelNotFoundError,
    NotEnoughMemoryError,
    OutputError,
    OutputExistsError,
)
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import phantom
from napari_blindsound.inference import events
from napari_blindsound.inference.convert import convert
from napari_blindsound.recipe import Recipe, Training

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = Recipe(settings={"width": 4, "depth": 2}, train={"steps": 12})


@pytest.fixture(scope="module")
def noisy():
    return phantom("timelapse", size=64, frames=3, seed=1).noisy


def stack(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "TYX"})
    return path


def fmdd(folder, views=(1, 2), side=64):
    rng = np.random.default_rng(0)
    for view in views:
        raw = folder / "raw" / str(view)
        raw.mkdir(parents=True)
        for i in range(3):
            pixels = rng.poisson(40, (side, side)).astype(np.uint8)
            Image.fromarray(pixels).save(raw / f"c{i}.png")
    (folder / "gt" / "1").mkdir(parents=True)
    Image.new("L", (side, side), 7).save(folder / "gt" / "1" / "avg50.png")
    return folder


@pytest.fixture
def recordings(tmp_path, noisy):
    """Two stacks, a broken file between them, a stack of the same name below."""
    folder = tmp_path / "in"
    stack(folder / "a.tif", noisy)
    (folder / "b.tif").write_bytes(b"II*\0 and then nothing of use")
    stack(folder / "c.tif", noisy + 1)
    stack(folder / "more" / "a.tif", noisy + 2)
    return folder


def ends(told):
    """Last event of each row."""
    return {event.row: event for event in told}


def states(told):
    return [event.state for row, event in sorted(ends(told).items())]


def run(images, config, **options):
    """Events of the rows."""
    told = run_batch(images, config, **options)
    return [event for event in told if event.row is not None]


# What is found


def test_a_folder_is_looked_into(tmp_path, noisy):
    data = tmp_path / "data"
    stack(data / "stacks" / "s10.tif", noisy)
    stack(data / "stacks" / "s2.tif", noisy)
    for i in range(3):
        tifffile.imwrite(stack(data / "frames" / f"t{i}.tif", noisy), noisy[0])
    convert(phantom("2d", size=64).volume(), data / "image.ome.zarr")
    fmdd(data / "Confocal")
    stack(data / ".hidden" / "x.tif", noisy)
    (data / "notes.txt").write_text("no image")
    found = find_images([data])
    assert [(one.name, one.kind, len(one.files)) for one in found] == [
        ("data/Confocal", "FMDD", 6),
        ("data/frames", "frames", 3),
        ("data/image.ome.zarr", "zarr", 0),
        ("data/stacks/s2.tif", "file", 0),
        ("data/stacks/s10.tif", "file", 0),
    ]
    assert found[1].title == "data/frames (3 frames)"
    shapes = [one.open().shape for one in found]
    assert shapes == [(6, 64, 64), (3, 64, 64), (64, 64), (3, 64, 64), (3, 64, 64)]


def test_results_and_half_written_ones_are_no_images(tmp_path, noisy):
    stack(tmp_path / "a.tif", noisy)
    stack(tmp_path / "a_denoised.ome.tif", noisy)
    (tmp_path / "b_denoised.ome.zarr").mkdir()
    (tmp_path / "c.ome.zarr.partial").mkdir()
    assert [one.path.name for one in find_images([tmp_path])] == ["a.tif"]


def test_frames_beside_a_result_open_without_it(tmp_path, noisy):
    for i in range(3):
        tifffile.imwrite(tmp_path / f"t{i}.tif", noisy[i])
    tifffile.imwrite(tmp_path / "x_denoised.ome.tif", noisy[0])
    [found] = find_images([tmp_path])
    assert found.open().shape == (3, 64, 64)
    assert found.open().source == str(tmp_path)


def test_what_is_named_is_an_image_each_and_none_comes_twice(tmp_path, noisy):
    files = [tmp_path / f"t{i}.tif" for i in range(2)]
    for file in files:
        tifffile.imwrite(file, noisy[0])
    assert [one.path for one in find_images([*files, *files])] == files
    [pattern] = find_images([str(tmp_path / "t*.tif")])
    assert pattern.open().shape == (2, 64, 64)
    with pytest.raises(ImageNotFoundError, match="check the path"):
        find_images([tmp_path / "none.tif"])
    with pytest.raises(ImageNotFoundError, match="one by one"):
        find_images(["s3://bucket/a.ome.zarr"])


def test_a_link_back_up_ends(tmp_path, noisy):
    stack(tmp_path / "in" / "a.tif", noisy)
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    assert len(find_images([tmp_path / "in"])) == 1


def test_stacks_come_apart(tmp_path, noisy):
    for i in range(3):
        tifffile.imwrite(tmp_path / f"t{i}.tif", noisy[i])
    [frames] = find_images([tmp_path])
    assert [one.path.name for one in apart(frames)] == ["t0.tif", "t1.tif", "t2.tif"]
    [views] = find_images([fmdd(tmp_path / "Kind")])
    assert [one.open().shape for one in apart(views)] == [(3, 64, 64)] * 2
    assert apart(apart(frames)[0]) == [Found(tmp_path / "t0.tif", root=tmp_path)]


def test_a_thousand_files_take_no_time(tmp_path):
    (tmp_path / "many").mkdir()
    first = stack(tmp_path / "many" / "0.tif", np.zeros((2, 16, 16), np.uint16))
    for i in range(1, 1000):
        os.link(first, tmp_path / "many" / f"{i}.tif")
    started = time.perf_counter()
    found = find_images([tmp_path])
    assert len(set(stems(found))) == 1000
    assert time.perf_counter() - started < 2


def test_results_keep_folders_and_never_meet(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    below = [Found(a / "s" / "x.tif", root=a), Found(b / "x.tif", root=b)]
    assert [str(stem) for stem in stems(below)] == ["a/s/x", "b/x"]
    named = [Found(a / "x.tif"), Found(b / "X.tif"), Found(a / "x.png"), Found(a / "y")]
    assert [str(stem) for stem in stems(named)] == ["a/x", "b/X", "x_png", "y"]


# What is done


@pytest.mark.parametrize("model", ["one", "each"])
def test_a_batch_is_done_and_done_once(tmp_path, recordings, noisy, model):
    found = find_images([recordings])
    config = BatchConfig(output=tmp_path / "out", model=model, recipe=QUICK)
    told = list(run_batch(found, config))
    rows = [event for event in told if event.row is not None]
    assert states(rows) == ["done", "failed", "done", "done"]
    assert "b.tif" in ends(rows)[1].message
    assert "photons" in ends(rows)[0].noise
    assert ends(rows)[0].quality is not None
    result = open_volume(tmp_path / "out" / "in" / "more" / "a_denoised.ome.zarr")
    assert result.shape == noisy.shape
    models = sorted(path.name for path in (tmp_path / "out").rglob("*.blindsound"))
    each = ["a.blindsound", "a.blindsound", "c.blindsound"]
    assert models == (["batch.blindsound"] if model == "one" else each)

    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("zarr.json")}
    again = run(found, config)
    assert states(again) == ["skipped", "failed", "skipped", "skipped"]
    assert not any(event.state == "training" for event in again)
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("zarr.json")}
    assert before == after

    with (tmp_path / "out" / "batch.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["state"] for line in lines].count("done") == 3
    assert [line["state"] for line in lines].count("failed") == 2
    assert float(next(line["gain"] for line in lines if line["gain"])) > 0


def test_as_ome_tiff_with_a_model_file(tmp_path, recordings):
    found = find_images([recordings / "a.tif", recordings / "c.tif"])
    trained = BatchConfig(output=tmp_path / "out", recipe=QUICK)
    list(run_batch(found, trained))
    config = BatchConfig(
        output=tmp_path / "tiffs",
        model=tmp_path / "out" / "batch.blindsound",
        format=".ome.tif",
        dtype="source",
    )
    assert states(run(found, config)) == ["done", "done"]
    assert open_volume(tmp_path / "tiffs" / "a_denoised.ome.tif").dtype == np.uint16
    assert states(run(found, config)) == ["skipped", "skipped"]
    # A result says what it was made by: the same model, made to return another thing.
    turned = config.model_copy(update={"turns": True})
    assert states(run(found, turned)) == ["failed", "failed"]
    assert "ask to overwrite" in ends(run(found, turned))[0].message
    replaced = turned.model_copy(update={"overwrite": True})
    assert states(run(found, replaced)) == ["done", "done"]


def test_a_changed_source_is_not_skipped(tmp_path, recordings, noisy):
    found = find_images([recordings / "a.tif"])
    config = BatchConfig(output=tmp_path / "out", model="each", recipe=QUICK)
    assert states(run(found, config)) == ["done"]
    stack(recordings / "a.tif", noisy + 7)
    assert states(run(found, config)) == ["failed"]
    again = config.model_copy(update={"overwrite": True})
    assert states(run(found, again)) == ["done"]
    assert states(run(found, again)) == ["skipped"]


def test_a_file_more_is_denoised_by_the_same_model(tmp_path, recordings):
    config = BatchConfig(output=tmp_path / "out", recipe=QUICK)
    assert states(run(find_images([recordings / "a.tif"]), config)) == ["done"]
    more = find_images([recordings / "a.tif", recordings / "c.tif"])
    assert states(run(more, config)) == ["skipped", "done"]
    # Not for other files: that a model lies in the folder does not make it fit.
    with pytest.raises(OutputExistsError, match="other settings or on other files"):
        run(find_images([recordings / "c.tif"]), config)


def test_fmdd_and_zarr_are_denoised(tmp_path):
    folder = tmp_path / "in"
    fmdd(folder / "Confocal")
    convert(phantom("2d", size=64).volume(), folder / "image.ome.zarr")
    config = BatchConfig(output=tmp_path / "out", model="each", recipe=QUICK)
    assert states(run(find_images([folder]), config)) == ["done", "done"]
    assert open_volume(tmp_path / "out/in/Confocal_denoised.ome.zarr").shape[0] == 6


def test_pixels_that_cannot_be_trained_on_stop_no_others(tmp_path, noisy):
    stack(tmp_path / "a.tif", noisy)
    stack(tmp_path / "flat.tif", np.full_like(noisy, 5))
    tiny = np.random.default_rng(0).poisson(30, (3, 8, 8)).astype(np.uint16)
    stack(tmp_path / "tiny.tif", tiny)
    config = BatchConfig(output=tmp_path / "out", recipe=QUICK)
    ended = ends(run(find_images([tmp_path]), config))
    assert [ended[row].state for row in range(3)] == ["done", "failed", "failed"]
    assert "same" in ended[1].message or "constant" in ended[1].message


def test_another_number_of_channels_is_told(tmp_path, recordings, noisy):
    two = np.stack([noisy, noisy], axis=1)
    path = recordings / "z.tif"
    tifffile.imwrite(path, two, imagej=True, metadata={"axes": "TCYX"})
    (recordings / "b.tif").unlink()
    found = find_images([recordings])
    config = BatchConfig(output=tmp_path / "out", recipe=QUICK)
    ended = ends(run(found, config))
    assert ended[2].state == "failed"
    assert "channel" in ended[2].message
    one = config.model_copy(update={"channel": "0"})
    assert (
        states(run(found, one.model_copy(update={"output": tmp_path / "o"})))
        == ["done"] * 4
    )


def test_memory_running_out_ends_a_row(tmp_path, recordings, monkeypatch):
    wanted = iter([MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), None])
    learn = Training.run

    def run_out(self, stop=None):
        error = next(wanted)
        if error is not None:
            raise error
        return learn(self, stop)

    monkeypatch.setattr(Training, "run", run_out)
    (recordings / "b.tif").unlink()
    found = find_images([recordings])
    config = BatchConfig(output=tmp_path / "out", model="each", recipe=QUICK)
    ended = ends(run(found, config))
    assert [ended[row].state for row in range(3)] == ["failed", "failed", "done"]
    assert "not enough memory" in ended[0].message
    assert "not enough memory" in ended[1].message
    wanted = iter([MemoryError()])
    with pytest.raises(NotEnoughMemoryError, match="smaller patch"):
        run(found, BatchConfig(output=tmp_path / "one", recipe=QUICK))


def test_the_whole_run_is_refused_before_it_begins(tmp_path, recordings):
    found = find_images([recordings])
    gone = BatchConfig(output=tmp_path / "out", model=tmp_path / "no.blindsound")
    with pytest.raises(ModelNotFoundError):
        run(found, gone)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        run(found, BatchConfig(output=tmp_path / "file", recipe=QUICK))
    wrong = Recipe(settings={"width": -1})
    with pytest.raises(ValueError, match="width"):
        run(found, BatchConfig(output=tmp_path / "out", recipe=wrong))


def test_one_image_is_open_at_a_time(tmp_path, recordings, monkeypatch):
    opened = []
    real = BatchConfig.open

    def watched(self, image):
        alive = [ref for ref in opened if ref() is not None]
        assert not alive
        volume = real(self, image)
        opened.append(weakref.ref(volume))
        opened.append(weakref.ref(volume.levels[0]))
        return volume

    monkeypatch.setattr(BatchConfig, "open", watched)
    config = BatchConfig(output=tmp_path / "out", model="each", recipe=QUICK)
    assert "done" in states(run(find_images([recordings]), config))
    assert len(opened) == 6


# What is interrupted


LONG = Recipe(settings={"width": 4, "depth": 2}, train={"steps": 100_000})


@pytest.mark.parametrize("model", ["one", "each"])
def test_a_training_that_was_stopped_goes_on(tmp_path, recordings, model):
    found = find_images([recordings / "a.tif", recordings / "c.tif"])
    stop = threading.Event()
    steps = Recipe(settings=QUICK.settings, train={"steps": 150})
    config = BatchConfig(output=tmp_path / "out", model=model, recipe=steps)
    reached = []
    for event in run_batch(found, config, stop=stop):
        if event.state == "training" and event.fraction > 0:
            stop.set()
            reached.append(event.fraction)
    assert event.state == "stopped"
    [checkpoint] = (tmp_path / "out").glob("*.checkpoint")
    assert not list((tmp_path / "out").glob("*.blindsound"))
    again = list(run_batch(found, config))
    first = next(e for e in again if e.state == "training" and e.fraction > 0)
    assert first.fraction >= reached[0]
    assert not checkpoint.exists()
    assert states([e for e in again if e.row is not None]) == ["done", "done"]


def test_stop_ends_within_a_second(tmp_path, recordings):
    stop, took = threading.Event(), []
    config = BatchConfig(output=tmp_path / "out", model="each", recipe=LONG)
    found = find_images([recordings])
    told = run_batch(found, config, stop=stop)
    for event in told:
        if event.fraction > 0:
            stop.set()
            took.append(time.monotonic())
            break
    rest = list(told)
    assert time.monotonic() - took[0] < 1
    assert [event.state for event in rest if event.is_final] == ["stopped"]
    assert {event.row for event in rest} == {0}


def test_a_killed_run_goes_on(tmp_path, recordings):
    code = f"""
from napari_blindsound.batch import BatchConfig, find_images, run_batch
from napari_blindsound.recipe import Recipe
recipe = Recipe(settings={QUICK.settings}, train={{"steps": 12}})
config = BatchConfig(output={str(tmp_path / "out")!r}, recipe=recipe)
for event in run_batch(find_images([{str(recordings)!r}]), config):
    if event.row == 2 and event.state == "denoising":
        print("now", flush=True)
        input()
"""
    words = [sys.executable, "-c", code]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stdin=pipe, text=True) as process:
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGKILL)
    report = tmp_path / "out" / "batch.csv"
    report.write_text(report.read_text() + "cut off in its li")
    config = BatchConfig(output=tmp_path / "out", recipe=QUICK)
    again = run(find_images([recordings]), config)
    assert states(again) == ["skipped", "failed", "done", "done"]
    lines = report.read_text().splitlines()
    assert sum("done" in line for line in lines) == 3
    assert not list((tmp_path / "out").rglob("*.partial"))


@pytest.fixture
def half_written(tmp_path, noisy, monkeypatch):
    """Stop a run in the middle of the result of a long stack; what was found."""
    monkeypatch.setattr(events, "EVENTS_PER_SECOND", 1e9)
    usual = BatchConfig.writing

    def in_small_shards(self, *, resume):
        small = {"chunk": 64, "shard": 64}
        return usual(self, resume=resume).model_copy(update=small)

    monkeypatch.setattr(BatchConfig, "writing", in_small_shards)

    def stopped(config):
        long = np.concatenate([noisy] * 8)
        found = find_images([stack(tmp_path / "a.tif", long)])
        stop = threading.Event()
        for event in run_batch(found, config, stop=stop):
            if event.state == "denoising" and event.fraction > 0.3:
                stop.set()
        assert event.state == "stopped"
        return found

    return stopped


@pytest.mark.parametrize("end", [".ome.zarr", ".ome.tif"])
def test_a_half_written_result_is_continued(tmp_path, half_written, end):
    config = BatchConfig(
        output=tmp_path / "out", model="each", recipe=QUICK, format=end
    )
    found = half_written(config)
    assert (tmp_path / "out" / f"a_denoised{end}.partial").exists()
    again = run(found, config)
    assert states(again) == ["done"]
    assert "training" not in {event.state for event in again}
    continued = open_volume(tmp_path / "out" / f"a_denoised{end}")
    model = tmp_path / "out" / "a.blindsound"
    fresh = config.model_copy(update={"output": tmp_path / "fresh", "model": model})
    assert states(run(found, fresh)) == ["done"]
    whole = open_volume(tmp_path / "fresh" / f"a_denoised{end}")
    np.testing.assert_array_equal(continued.levels[0][:], whole.levels[0][:])


def test_what_another_run_left_half_written_is_replaced(tmp_path, half_written):
    config = BatchConfig(output=tmp_path / "out", model="each", recipe=QUICK)
    found = half_written(config)
    other = config.model_copy(update={"dtype": "source"})
    assert states(run(found, other)) == ["done"]
    result = open_volume(tmp_path / "out" / "a_denoised.ome.zarr")
    assert result.dtype == np.uint16
    assert states(run(found, other)) == ["skipped"]


def test_another_table_of_the_name_is_left_alone(tmp_path, recordings):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "batch.csv").write_text("mine,yours\n1,2\n")
    found = find_images([recordings / "a.tif"])
    run(found, BatchConfig(output=tmp_path / "out", model="each", recipe=QUICK))
    assert (tmp_path / "out" / "batch.csv").read_text() == "mine,yours\n1,2\n"
    assert "done" in (tmp_path / "out" / "batch-2.csv").read_text()


def test_finding_needs_no_torch():
    code = (
        "import sys, napari_blindsound.batch as batch; batch.find_images; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert run_batch is runner


def test_the_first_are_spread():
    assert spread(3, 16) == [0, 1, 2]
    assert sorted(spread(100, 16)) == list(range(100))
    assert spread(100, 4)[:4] == [12, 37, 62, 87]


def test_a_result_without_a_stamp_is_not_touched(tmp_path, recordings):
    place = tmp_path / "out" / "a_denoised.ome.zarr"
    zarr.create_array(place, shape=(4, 4), dtype="u1")
    config = BatchConfig(output=tmp_path / "out", model="each", recipe=QUICK)
    assert states(run(find_images([recordings / "a.tif"]), config)) == ["failed"]
