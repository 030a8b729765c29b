"""Good models pass, bad ones are told from them; all are real networks."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
import torch

from napari_blindsound.api import train
from napari_blindsound.errors import DataError, ModelMismatchError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.phantom import phantom
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.methods.blind2unblind import Blind2Unblind, Blind2UnblindConfig
from napari_blindsound.noise.calibration import NoiseModel
from napari_blindsound.quality import findings
from napari_blindsound.quality.grid import grid_peaks
from napari_blindsound.quality.regions import regions
from napari_blindsound.quality.residual import residual_of
from napari_blindsound.quality.trial import PIXELS
from napari_blindsound.quality.trust import trust
from napari_blindsound.training.preprocessing import Preprocessing

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"width": 4, "depth": 2}
# Settings under which a network learns a handful of pixels by heart.
BY_HEART = {
    "width": 16,
    "learning_rate": 2e-2,
    "patch": 32,
    "batch": 1,
    "cell": 2,
    "lam_end": 200,
    "eta": 0.0,
    "augment": False,
}


@pytest.fixture(scope="module")
def cells():
    return phantom("2d", size=256, seed=21).volume()


@pytest.fixture(scope="module")
def good(cells):
    return trust(train(cells, steps=500), cells)


@pytest.fixture
def verdicts():
    def of(found, channel=0):
        return {f.test: f.verdict for f in found.channels[channel].findings}

    return of


def passing(volume, gain=1.0, bias=0.0, kernel=None):
    """A denoiser whose network returns gain * (kernel on the image) + bias.

    A pair of channels carries x and -x, so that the difference of the two is x times
    1.1 behind each leaky ReLU.
    """
    delta = torch.zeros(3, 3)
    delta[1, 1] = 1
    method = Blind2Unblind(Blind2UnblindConfig(**SMALL), 1)
    up, last = method.network.up_path[-1], method.network.last
    with torch.no_grad():
        for weights in method.parameters():
            weights.zero_()
        for conv, core, sources in (
            (up.conv_1, delta if kernel is None else kernel, {up.inputs: 1}),
            (up.conv_2, delta if kernel is None else kernel, {0: 1, 1: -1}),
            (last[0], torch.ones(1, 1), {0: 1, 1: -1}),
            (last[1], torch.ones(1, 1), {0: 1, 1: -1}),
        ):
            for source, sign in sources.items():
                conv.weight[0, source], conv.weight[1, source] = (
                    sign * core,
                    -sign * core,
                )
        last[2].weight[0, 0], last[2].weight[0, 1] = gain / 1.1**4, -gain / 1.1**4
        last[2].bias.fill_(bias)
    return Denoiser([method], Preprocessing.fit([volume]))


def test_a_good_model_passes(good, verdicts):
    assert set(verdicts(good).values()) == {"pass"}
    assert good.verdict == "pass"
    [channel] = good.channels
    assert 0 < channel.blank.left.max() < 0.4
    assert channel.injection.denoised.slope > 0.6
    assert channel.injection.noisy.slope == pytest.approx(1, abs=0.1)
    assert channel.injection.noisy.limit == pytest.approx(3, rel=0.35)
    assert channel.injection.denoised.limit < 0.6 * channel.injection.noisy.limit
    assert channel.rings[1].resolution() < channel.rings[0].resolution()


def test_what_people_and_programs_get(good):
    [channel] = good.channels
    rows = channel.as_rows()
    assert rows["blank test"].startswith("PASS")
    assert "repeats" in rows
    assert all(finding.found.endswith(".") for finding in channel.findings)
    data = json.loads(json.dumps(good.as_data(), allow_nan=False))
    assert data["verdict"] == "pass"
    assert data["channels"][0]["injection"]["denoised"]["slope"] > 0.6
    assert len(data["channels"][0]["residual"]["correlation"]) == 4


def test_a_model_that_copies_its_input_is_told(cells, verdicts):
    model = passing(cells)
    plane = cells.levels[0]
    np.testing.assert_allclose(model(plane), plane, rtol=1e-4)
    found = trust(model, cells)
    told = verdicts(found)
    failed = ("blank test", "injection test", "amount removed", "copying")
    assert {told[test] for test in failed} == {"fail"}
    [channel] = found.channels
    np.testing.assert_allclose(channel.blank.left, 1, atol=1e-3)
    assert channel.injection.difference.slope == pytest.approx(1, abs=1e-3)
    assert "copies" in channel.as_rows()["blank test"]


def test_a_model_that_returns_a_constant_is_told(cells, verdicts):
    found = trust(passing(cells, gain=0.0, bias=0.2), cells)
    told = verdicts(found)
    failed = ("blank test", "injection test", "intensities", "amount removed")
    assert {told[test] for test in failed} == {"fail"}
    assert (
        "not told from the background" in found.channels[0].as_rows()["injection test"]
    )
    json.dumps(found.as_data(), allow_nan=False)


def test_an_honest_smoother_invents_nothing(cells, verdicts):
    found = trust(passing(cells, kernel=torch.ones(3, 3) / 9), cells)
    assert verdicts(found)["blank test"] == "pass"
    [channel] = found.channels
    assert max(power.max() for power in channel.blank.gain.values()) < 1
    np.testing.assert_allclose(channel.blank.bias, 0, atol=0.02)
    # Its kernel, a tent over 5 x 5 pixels, leaves this part of the noise.
    tent = np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1]) / 81
    np.testing.assert_allclose(channel.blank.left, (tent**2).sum() ** 0.5, rtol=0.03)
    assert channel.injection.denoised.slope < 0.8


def test_a_model_that_amplifies_is_told(cells, verdicts):
    told = verdicts(trust(passing(cells, gain=2.0, bias=-0.1), cells))
    assert told["blank test"] == told["injection test"] == "fail"


def test_an_unfinished_model_that_blurs_is_told(cells, verdicts):
    unfinished = train(cells, steps=40, settings={"start": "cold"})
    found = trust(unfinished, cells)
    assert verdicts(found)["injection test"] == "fail"
    assert found.channels[0].injection.denoised.slope < 0.4
    assert "Train longer" in found.channels[0].as_rows()["injection test"]


def test_an_overtrained_model_is_told(cells, verdicts):
    tiny = phantom("2d", size=32, seed=3).volume()
    model = train(tiny, steps=300, settings=BY_HEART)
    told = verdicts(trust(model, cells))
    assert told["blank test"] == told["injection test"] == "fail"
    # Also where the image it was trained on is all there is.
    own = verdicts(trust(model, tiny))
    assert own["blank test"] == "fail"
    assert own["injection test"] == "unknown"


@pytest.mark.parametrize(
    ("height", "verdict"), [(0.0, "pass"), (0.08, "warn"), (0.3, "fail")]
)
def test_a_grid_in_the_result_is_told(cells, height, verdict):
    noise = NoiseModel(0.0, 0.0, 25.0)
    clean = np.full((256, 256), 100.0)
    noisy = clean + np.random.default_rng(0).normal(0, 5, clean.shape)
    checkers = (-1.0) ** np.indices(clean.shape).sum(0)
    result = (0.9 * clean + 0.1 * noisy + 5 * height * checkers)[None]
    residual = residual_of(
        [noisy], list(result), noise, grid=grid_peaks(result, (2, 4, 8))
    )
    found = findings.of_grid(None, residual, 5.0)
    assert found.verdict == verdict
    assert ("A grid of 2 pixels" in found.found) == (verdict != "pass")


def test_results_that_are_no_numbers_are_told(cells, verdicts):
    model = passing(cells, gain=float("nan"))
    found = trust(model, cells)
    assert found.verdict == "fail"
    assert verdicts(found) == {"result": "fail"}
    json.dumps(found.as_data(), allow_nan=False)


def test_each_channel_has_its_findings_in_any_order_of_axes():
    made = phantom("timelapse", size=96, frames=3, channels=2, seed=4)
    turned = Volume(
        (np.ascontiguousarray(made.noisy.transpose(3, 1, 0, 2)),),
        Axes.parse("XCTY"),
        "turned",
        made.channel_names,
    )
    for channels in ("each", "joint"):
        model = train(made.volume(), steps=20, settings=SMALL, channels=channels)
        first, second = trust(model, turned).channels
        assert [first.title, second.title] == [" of nuclei", " of cytoskeleton"]
        assert first.pixels == second.pixels == 3 * 96 * 96
        assert first.blank.levels[-1] != second.blank.levels[-1]


def test_the_same_seed_gives_the_same_numbers(cells):
    model = train(cells, steps=10, settings=SMALL)
    first, second, other = (trust(model, cells, seed=s).as_data() for s in (1, 1, 2))
    assert first == second
    assert first["channels"] != other["channels"]


def test_without_noise_the_tests_that_need_it_are_unknown(cells, verdicts):
    model = passing(cells)
    none = (NoiseModel(0.0, 0.0, 0.0),)
    fitted = model.preprocessing
    still = Preprocessing(fitted.intensity, none, fitted.hot_pixels)
    told = verdicts(trust(Denoiser(model.methods, still), cells))
    assert told["blank test"] == told["injection test"] == "unknown"


def test_stopped_tests_are_unknown(cells, verdicts):
    stop = threading.Event()
    stop.set()
    found = trust(passing(cells), cells, stop=stop)
    assert found.stopped
    assert verdicts(found)["blank test"] == "unknown"
    assert "stopped" in found.channels[0].as_rows()["blank test"]
    assert found.as_data()["ended"] == "stopped"


def test_small_images_give_what_they_can(verdicts):
    small = phantom("2d", size=64, seed=2).volume().select(Y=slice(0, 20))
    told = verdicts(trust(passing(small), small))
    assert told["blank test"] == "fail"
    assert told["injection test"] == told["dark regions"] == "unknown"
    tiny = small.select(Y=slice(0, 12))
    with pytest.raises(DataError, match="12 x 64"):
        trust(passing(small), tiny)


def test_floating_point_and_eight_bit_images(cells):
    plane = cells.levels[0]
    for dtype, scale in ((np.float32, 1e-3), (np.uint8, 1.0)):
        image = np.clip(plane * scale, 0, 250).astype(dtype)
        volume = Volume((image,), cells.axes, "other")
        found = trust(train(volume, steps=5, settings=SMALL), volume)
        assert np.isfinite(found.channels[0].blank.left).all()


def test_another_number_of_channels_is_refused(cells):
    two = phantom("2d", size=64, channels=2).volume()
    with pytest.raises(ModelMismatchError):
        trust(passing(cells), two)


def test_windows_are_few_spread_out_and_inside():
    class Endless:
        shape, dtype = (10_000, 3, 40_000, 30_000), np.dtype(np.uint16)

        def __getitem__(self, key):
            raise AssertionError(key)

    volume = Volume((Endless(),), Axes.parse("TCYX"), "endless")
    found = regions(volume, pixels=PIXELS, seed=0)
    assert len(found) == 4
    assert [part[0].start // 2_500 for part in found] == [0, 1, 2, 3]
    sizes = [[p.stop - p.start for p in part] for part in found]
    assert sum(np.prod(size) for size in sizes) <= PIXELS
    ends = [[p.stop for p in part] for part in found]
    assert (np.array(ends) <= volume.shape).all()
    small = Volume((np.zeros((50, 60), np.uint8),), Axes.parse("YX"), "small")
    assert regions(small, pixels=PIXELS, seed=0) == [(slice(0, 50), slice(0, 60))]
