"""What is said of a result also holds where a model sees neighboring planes."""

from __future__ import annotations

import numpy as np
import pytest

from napari_blindsound.api import train
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.context import read_around
from napari_blindsound.images.phantom import phantom
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.tiling import denoise_region
from napari_blindsound.quality.advice import advice
from napari_blindsound.quality.estimate import estimated_gain
from napari_blindsound.quality.preflight import glances
from napari_blindsound.quality.report import report
from napari_blindsound.quality.trust import trust
from napari_blindsound.quality.uncertainty import calibrated
from napari_blindsound.quality.unseen import estimate_quality

PEAK = 1000.0
TEACHES = {"patch": 48, "width": 8}


@pytest.fixture(scope="module")
def made():
    return phantom("zstack", size=160, planes=8, photons=20, seed=31)


@pytest.fixture(scope="module")
def model(made):
    # Better than can be told, were it to begin warm.
    settings = {**TEACHES, "context": "Z1", "start": "cold"}
    return train(made.volume(), method="blind2sound", steps=350, settings=settings)


def whole(volume):
    return tuple(slice(0, size) for size in volume.shape)


def true_psnr(model, volume, clean):
    denoised = denoise_region(model, volume, whole(volume))
    return 10 * np.log10(PEAK**2 / ((denoised - clean.astype("f8")) ** 2).mean())


def test_the_estimate_by_the_noise_is_that_of_the_truth(made, model):
    found = estimate_quality(model, made.volume(), data_range=PEAK)
    true = true_psnr(model, made.volume(), made.clean)
    assert found.source == "stein"
    assert found.psnr == pytest.approx(true, abs=1.0)
    assert found.low <= true <= found.high


def test_the_gain_of_a_plane_is_that_of_the_truth(made, model):
    volume = made.volume()
    region = volume.plane(4)
    gain = estimated_gain(model, read_around(volume, region, model.context))
    clean, noisy = (image[4:5].astype("f8") for image in (made.clean, made.noisy))
    error = ((denoise_region(model, volume, region) - clean) ** 2).mean()
    assert gain == pytest.approx(
        10 * np.log10(((noisy - clean) ** 2).mean() / error), abs=1
    )


def test_repeats_that_the_model_saw_do_not_flatter_it():
    frames, cells = 5, phantom("2d", size=160, seed=3)
    camera, random = cells.camera, np.random.default_rng(7)
    light = np.maximum(cells.clean.astype("f8") - camera.offset, 0) / camera.gain
    noisy = np.stack([camera.expose(light, random) for _ in range(frames)])
    volume = Volume((noisy,), Axes.parse("TYX"), "repeats")
    model = train(
        volume, steps=200, settings={**TEACHES, "context": "T1", "start": "cold"}
    )
    found = estimate_quality(model, volume, data_range=PEAK)
    assert found.source == "repeats"
    clean = np.broadcast_to(cells.clean, noisy.shape)
    true = true_psnr(model, volume, clean)
    assert found.low <= true <= found.high
    assert found.psnr == pytest.approx(true, abs=1.2)
    # It takes what is there in one frame alone for noise, and that is told.
    trusted = trust(model, volume).channels[0]
    verdicts = {f.test: f.verdict for f in trusted.findings}
    assert verdicts["single frames"] == "warn"
    assert trusted.injection.alone.slope < trusted.injection.difference.slope


def test_trust_is_earned_as_by_others(made, model):
    found = trust(model, made.volume())
    verdicts = {f.test: f.verdict for f in found.channels[0].findings}
    assert not found.stopped
    assert "fail" not in verdicts.values()
    assert found.channels[0].blank is not None
    assert found.channels[0].injection is not None
    assert "single frames" not in verdicts


def test_deviations_are_calibrated(made, model):
    found = calibrated(model.with_uncertainty(None), [made.volume()])
    assert found.uncertainty is not None
    deviation = denoise_region(found.deviation(), made.volume(), whole(made.volume()))
    error = np.abs(
        denoise_region(found, made.volume(), whole(made.volume())) - made.clean
    )
    assert 0.55 < (error < deviation).mean() < 0.8


def test_advice_says_what_training_will_do(made):
    volume = made.volume()
    told = advice(volume, glances(volume))
    [text] = [text for text in told if "along Z" in text]
    assert text.startswith("Each plane is seen with 1 neighboring plane along Z on")
    assert text.endswith("the setting context overrides it.")


def test_the_report_says_what_the_model_sees(made, model, tmp_path):
    tested = trust(model, made.volume())
    page = report(tested, model, made.volume(), tmp_path / "page.html")
    told = "seeing 1 neighboring plane along Z on each side"
    assert told in page.read_text(encoding="utf-8")
