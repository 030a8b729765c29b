"""Ground truth that lies beside images: found, left alone, compared with, reported."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_blindsound.batch import BatchConfig, apart, find_images, run_batch
from napari_blindsound.batch.truth import Truth, nearness, truth_of
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.phantom import phantom
from napari_blindsound.quality.metrics import fmdd_scores, psnr
from napari_blindsound.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = Recipe(settings={"width": 4, "depth": 2}, train={"steps": 12})


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def clean():
    """Three frames of counts, (T, Y, X)."""
    return phantom("timelapse", size=64, frames=3, seed=1).clean.astype(np.float32)


def save(path, pixels, axes="TYX"):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        Image.fromarray(pixels).save(path)
    else:
        words = {"metadata": {"axes": axes}, "photometric": "minisblack"}
        tifffile.imwrite(path, pixels, **words)
    return path


def fmdd(folder, rng, views=("1", "2")):
    """Two views of three captures each, with their means."""
    for view in views:
        mean = rng.integers(40, 200, (64, 64)).astype(np.uint8)
        save(folder / "gt" / view / "avg50.png", mean)
        for number in range(3):
            capture = rng.poisson(mean).clip(0, 255).astype(np.uint8)
            save(folder / "raw" / view / f"c{number}.png", capture)
    return folder


def last(told):
    return {event.row: event for event in told if event.row is not None}


@pytest.mark.parametrize(
    "name", ["gt/a.tif", "../gt/a.tif", "a_gt.tif", "a_clean.tif", "clean/a.png"]
)
def test_it_is_found_and_not_denoised(tmp_path, clean, name):
    noisy = save(tmp_path / "in" / "s" / "a.tif", clean)
    truth = Path(os.path.normpath(noisy.parent / name))
    pixels = clean[0].astype(np.uint8) if truth.suffix == ".png" else clean
    save(truth, pixels)
    [found] = find_images([tmp_path / "in"])
    assert found.path == noisy
    assert truth_of(found) == Truth((truth,))
    # Who names it, wants it.
    assert len(find_images([tmp_path / "in", truth])) == 2


def test_a_folder_of_frames_has_one_of_truths(tmp_path, rng):
    for kind in ("noisy", "gt"):
        for number in range(3):
            pixels = rng.integers(0, 99, (40, 40)).astype(np.uint8)
            save(tmp_path / kind / f"t{number}.png", pixels)
    [found] = find_images([tmp_path])
    assert found.path == tmp_path / "noisy"
    assert truth_of(found).files == tuple(
        tmp_path / "gt" / f"t{number}.png" for number in range(3)
    )
    (tmp_path / "gt" / "t1.png").unlink()
    assert truth_of(found) is None
    assert len(find_images([tmp_path])) == 2


def test_without_one_there_is_none(tmp_path, clean):
    save(tmp_path / "a.tif", clean)
    save(tmp_path / "other_gt.tif", clean)
    found = find_images([tmp_path])
    assert [truth_of(image) for image in found] == [None, None]


def test_fmdd_by_its_own_protocol(tmp_path, rng):
    [kind] = find_images([fmdd(tmp_path / "Confocal", rng)])
    truth = truth_of(kind)
    assert truth.is_fmdd
    assert [file.parent.name for file in truth.files] == ["1"] * 3 + ["2"] * 3
    stack = kind.open()
    found = nearness(stack, stack, truth)
    planes = [stack.read(region)[0] for region in stack.planes()]
    means = [open_volume(file).read((slice(0, 64),) * 2) for file in truth.files]
    scores = [fmdd_scores(*pair) for pair in zip(planes, means, strict=True)]
    assert found.psnr_noisy == pytest.approx(np.mean([s.psnr for s in scores]))
    assert found.ssim == pytest.approx(np.mean([s.ssim for s in scores]))
    assert found.planes == 6
    views = apart(kind)
    assert [truth_of(view).files for view in views] == [
        (tmp_path / "Confocal" / "gt" / str(view) / "avg50.png",) * 3 for view in (1, 2)
    ]


def test_another_scale_makes_no_difference(tmp_path, rng, clean):
    noisy = rng.poisson(clean).astype(np.uint16)
    volume = open_volume(save(tmp_path / "a.tif", noisy))
    result = open_volume(save(tmp_path / "r.tif", clean))
    same = Truth((save(tmp_path / "same.tif", clean),))
    stretched = Truth((save(tmp_path / "stretched.tif", 0.2 * clean - 3),))
    first, second = (nearness(volume, result, truth) for truth in (same, stretched))
    assert first.psnr_noisy == pytest.approx(second.psnr_noisy, abs=1e-3)
    expected = [psnr(n, c, float(np.ptp(c))) for n, c in zip(noisy, clean, strict=True)]
    assert first.psnr_noisy == pytest.approx(np.mean(expected), abs=0.05)
    assert first.psnr > first.psnr_noisy + 10


def test_one_plane_for_all_frames_and_other_orders(tmp_path, clean):
    frames = np.stack([clean[0]] * 3)
    volume = open_volume(save(tmp_path / "a.tif", np.moveaxis(frames, 0, 2), "YXT"))
    result = open_volume(save(tmp_path / "r.tif", frames + 1))
    found = nearness(volume, result, Truth((save(tmp_path / "t.tif", clean[0], "YX"),)))
    assert found.planes == 3
    assert found.psnr_noisy == float("inf")
    assert np.isfinite(found.psnr)


def test_one_that_does_not_fit_is_said_and_harms_nothing(tmp_path, rng, clean, caplog):
    noisy = rng.poisson(clean).astype(np.uint16)
    save(tmp_path / "in" / "a.tif", noisy)
    save(tmp_path / "in" / "a_gt.tif", clean[:, :50])
    save(tmp_path / "in" / "b.tif", noisy)
    (tmp_path / "in" / "b_gt.tif").write_text("no image")
    save(tmp_path / "in" / "c.tif", noisy)
    save(tmp_path / "in" / "c_gt.tif", clean[:2])
    save(tmp_path / "in" / "d.tif", noisy)
    save(tmp_path / "in" / "d_gt.tif", clean.max() - clean)
    config = BatchConfig(output=tmp_path / "out", recipe=QUICK)
    ended = last(run_batch(find_images([tmp_path / "in"]), config))
    assert [event.state for event in ended.values()] == ["done"] * 4
    assert [event.truth for event in ended.values()] == [None] * 4
    for said in ("same size", "not a readable TIFF", "2 planes along T", "bright"):
        assert said in caplog.text


def test_the_table_and_the_summary_tell_it(tmp_path, rng, clean):
    folder = tmp_path / "in"
    save(folder / "a.tif", rng.poisson(clean).astype(np.uint16))
    save(folder / "gt" / "a.tif", clean)
    save(folder / "b.tif", rng.poisson(clean).astype(np.uint16))
    (folder / "c.tif").write_text("no image")
    found = find_images([folder])
    assert len(found) == 3
    config = BatchConfig(output=tmp_path / "out", recipe=QUICK)
    ended = last(run_batch(found, config, command="blindsound batch"))
    truth = ended[0].truth
    assert truth.planes == 3
    with (tmp_path / "out" / "batch.csv").open() as file:
        lines = {Path(line["file"]).name: line for line in csv.DictReader(file)}
    assert float(lines["a.tif"]["psnr_db"]) == pytest.approx(truth.psnr, abs=0.01)
    assert lines["b.tif"]["psnr_db"] == ""

    def summary():
        return json.loads((tmp_path / "out" / "batch.json").read_text())

    first = summary()
    assert first["command"] == "blindsound batch"
    assert first["config"]["recipe"]["train"]["steps"] == 12
    assert first["counts"] == {"done": 2, "failed": 1}
    images = first["images"]
    assert images[0]["truth"]["ssim"] == pytest.approx(truth.ssim)
    assert images[0]["noise"][0]["gain"] > 0
    assert images[0]["result"].endswith("a_denoised.ome.zarr")
    assert images[1]["truth"] is None
    assert "not a readable TIFF" in images[2]["message"]

    # The next run makes nothing, and still knows.
    again = last(run_batch(found, config))
    assert [again[row].state for row in range(3)] == ["skipped", "skipped", "failed"]
    assert again[0].truth == truth
    assert again[0].noise == ended[0].noise != ""
    assert again[0].quality == ended[0].quality
    second = summary()
    assert second["counts"] == {"skipped": 2, "failed": 1}
    assert second["images"][0]["truth"] == images[0]["truth"]


def test_another_summary_of_the_name_is_left_alone(tmp_path, rng, clean):
    save(tmp_path / "a.tif", rng.poisson(clean).astype(np.uint16))
    out = tmp_path / "out"
    out.mkdir()
    (out / "batch.json").write_text('{"mine": 1}')
    list(run_batch(find_images([tmp_path]), BatchConfig(output=out, recipe=QUICK)))
    assert (out / "batch.json").read_text() == '{"mine": 1}'
    assert json.loads((out / "batch-2.json").read_text())["counts"] == {"done": 1}


def test_a_real_tree(tmp_path):
    if "BLINDSOUND_DATA" not in os.environ:
        pytest.skip("BLINDSOUND_DATA does not name the folder of real images")
    data = Path(os.environ["BLINDSOUND_DATA"]) / "fmdd"
    for kind in ("Confocal_FISH", "Confocal_MICE"):
        for part in ("raw", "gt"):
            (tmp_path / "fmdd" / kind / part).mkdir(parents=True)
            view = data / kind / part / "00"
            shutil.copytree(view, tmp_path / "fmdd" / kind / part / view.name)
    found = find_images([tmp_path / "fmdd"])
    assert [image.kind for image in found] == ["FMDD", "FMDD"]
    config = BatchConfig(output=tmp_path / "out", model="folder", recipe=QUICK)
    ended = last(run_batch(found, config))
    assert [event.state for event in ended.values()] == ["done", "done"]
    for event in ended.values():
        assert 18 < event.truth.psnr_noisy < 40
        assert 0 < event.truth.ssim < 1
    models = sorted((tmp_path / "out").rglob("*.blindsound"))
    assert len(models) == 2
