from __future__ import annotations

import json
import pickle
import threading
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
import zarr

from napari_blindsound.errors import ModelError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.intensity import Intensity
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.inference.destination import deviation_place
from napari_blindsound.inference.deviation import (
    Band,
    Uncertainty,
    check_deviation,
)
from napari_blindsound.inference.lazy import lazy
from napari_blindsound.inference.progressive import Progressive
from napari_blindsound.inference.resume import awaits_deviation
from napari_blindsound.inference.store import WriteConfig, write
from napari_blindsound.inference.tiling import Tiler, denoise_region
from napari_blindsound.methods.blind2sound import Blind2Sound, Blind2SoundConfig
from napari_blindsound.methods.blind2unblind import Blind2Unblind, Blind2UnblindConfig
from napari_blindsound.networks.symmetry import ALL_TURNS, turned, turned_back
from napari_blindsound.noise.calibration import NoiseModel
from napari_blindsound.noise.hot_pixels import HotPixels
from napari_blindsound.training.checkpoint import load_tensors, save_tensors
from napari_blindsound.training.preprocessing import Preprocessing

SCALE, OFFSET = 200.0, 5000.0
NOISE = NoiseModel(gain=3.0, offset=4900.0, read_variance=400.0)
RNG = np.random.default_rng(0)
CELLS = RNG.poisson(100, (3, 90, 75)).astype(np.uint16) + 5000
MICROMETERS = Axes.parse(
    "TYX",
    scale={"T": 2.0, "Y": 0.2, "X": 0.1},
    unit={"T": "second", "Y": "micrometer", "X": "micrometer"},
)


def preprocessing(channels=1):
    planes = [np.full((32, 32), 5000.0) + RNG.normal(0, 20, (32, 32))]
    return Preprocessing(
        Intensity((OFFSET,) * channels, (SCALE,) * channels),
        (NOISE,) * channels,
        (HotPixels.fit(planes, NOISE),) * channels,
    )


def network(*, silent=False):
    """A small one; a silent one says zero of everything: known numbers."""
    torch.manual_seed(0)
    method = Blind2Sound(Blind2SoundConfig(width=4, depth=2))
    fitted = preprocessing()
    method.calibrate(fitted.normalized_noise(), fitted.intensity)
    if silent:
        with torch.no_grad():
            for parameter in method.network.last.parameters():
                parameter.zero_()
    return method


def make_denoiser(*, silent=False, channels=1, **settings):
    networks = [network(silent=silent) for _ in range(channels)]
    return Denoiser(networks, preprocessing(channels), device="cpu", **settings)


def uncertainty(*bands, output="visible"):
    bands = bands or (Band((0.01, 0.1), (0.02, 0.3), 2.0),)
    return Uncertainty(bands, output, "residual", (0.68, 0.95), 0.04, 1000, "as told")


def volume(array=CELLS, axes=MICROMETERS):
    return Volume((array,), axes, "cells")


def whole(of):
    return tuple(slice(0, size) for size in of.shape)


# Said: softplus of the shift is 0.3, times the noise at a mean of zero, normalized.
KNOWN = 0.3 * np.sqrt((3.0 * 100 + 400) / SCALE**2 + 1e-5)


def test_counts_are_those_of_the_source_without_its_offset():
    found = make_denoiser(silent=True).deviation()(CELLS)
    assert found.dtype == np.float32
    assert found.shape == CELLS.shape
    np.testing.assert_allclose(found, KNOWN * SCALE, rtol=1e-4)


def test_the_calibration_is_applied_in_the_network_s_range():
    band = Band((KNOWN / 2, 2 * KNOWN), (0.01, 0.04), 2.0)
    found = make_denoiser(silent=True, uncertainty=uncertainty(band)).deviation()
    np.testing.assert_allclose(found(CELLS), 0.02 * SCALE, rtol=1e-4)


def test_a_band_is_a_line_of_logarithms():
    band = Band((0.1, 0.4, 1.0), (0.2, 0.2, 1.0), 2.0)
    given = np.array([[0.05, 0.1, 0.2], [0.4, 1.0, 3.0]], np.float32)
    expected = [[0.1, 0.2, 0.2], [0.2, 1.0, 3.0]]
    np.testing.assert_allclose(band.of(given), expected, rtol=1e-5)
    many = band.of(np.linspace(0, 2, 500, dtype=np.float32))
    assert (np.diff(many) >= -1e-7).all()
    assert band.of(np.zeros((1, 1), np.float32))[0, 0] > 0
    assert Band((0.5,), (1.0,), 2.0).of(np.float32([0.1]))[0] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("predicted", "actual", "k95"),
    [
        ((), (), 2.0),
        ((0.1, 0.1), (0.1, 0.2), 2.0),
        ((0.1, 0.2), (0.2, 0.1), 2.0),
        ((0.1,), (0.0,), 2.0),
        ((0.1,), (float("nan"),), 2.0),
        ((0.1, 0.2), (0.1,), 2.0),
        ((0.1,), (0.1,), 0.0),
    ],
)
def test_damaged_bands_are_refused(predicted, actual, k95):
    with pytest.raises(ValueError, match="damaged"):
        Band(predicted, actual, k95)


def test_the_mean_over_orientations():
    plain = make_denoiser(uncertainty=uncertainty())
    mean = plain.with_output(turns=True).deviation()
    square = CELLS[0, :64, :64]
    np.testing.assert_allclose(mean(square.T), mean(square).T, rtol=1e-4)
    halo, padded = plain.halo, np.pad(square, plain.halo, mode="reflect")[None, None]
    views = [turned_copy(padded, turn) for turn in ALL_TURNS]
    said = [plain.predicted_deviation(view, halo) for view in views]
    back = [turned_back(torch.from_numpy(one), turn) for turn, one in enumerate(said)]
    eight = plain.with_output(turns=True).predicted_deviation(padded, halo)
    np.testing.assert_allclose(eight, torch.stack(back).mean(0), rtol=1e-4)


def turned_copy(padded, turn):
    return turned(torch.from_numpy(padded.astype(np.float32)), turn).numpy().copy()


def test_tiles_leave_no_seams():
    deviation = make_denoiser(uncertainty=uncertainty()).deviation()
    tiler = Tiler(deviation)
    tiler.pixels = 60**2
    image = volume()
    tiled = denoise_region(deviation, image, whole(image), tiler=tiler)
    np.testing.assert_allclose(tiled, deviation(CELLS), rtol=1e-4)
    assert tiled.std() > 0


@pytest.mark.parametrize("name", ["cells.ome.zarr", "cells.ome.tif"])
def test_written_and_lazy_are_the_same_and_lie_where_the_image_does(tmp_path, name):
    deviation = make_denoiser(uncertainty=uncertainty()).deviation()
    image, place = volume(), deviation_place(tmp_path / name)
    assert place.name == name.replace("cells", "cells_deviation")
    *_, last = write(deviation, image, place, WriteConfig(dtype="source"))
    assert last.path == place
    found = open_volume(place)
    assert found.dtype == np.float32
    assert found.axes.names == "TYX"
    for axis, source in zip(found.axes, image.axes, strict=True):
        assert axis.scale == pytest.approx(source.scale)
        assert axis.unit == source.unit
    pixels = found.read(whole(found))
    np.testing.assert_allclose(pixels, deviation(CELLS), rtol=1e-5)
    [level] = lazy(deviation, image, block=64)
    np.testing.assert_allclose(pixels, level.compute(), rtol=1e-4)
    told = provenance(place)
    assert told["revision"] == deviation.revision
    assert told["model"]["deviation"]["words"] == "as told"
    assert told["model"]["deviation"]["bands"][0]["k95"] == 2.0


def provenance(place):
    if place.is_dir():
        return zarr.open_group(place, mode="r").attrs["blindsound"]
    with tifffile.TiffFile(place) as file:
        annotation = file.ome_metadata.split('K="blindsound">')[1].split("</M>")[0]
    return json.loads(annotation.replace("&quot;", '"'))


class StopsLater:
    """Asked after every tile, it says stop when most are done."""

    asked = 0

    def is_set(self):
        self.asked += 1
        return self.asked > 20


def test_a_stopped_one_goes_on_where_it_was(tmp_path):
    deviation, image = make_denoiser(uncertainty=uncertainty()).deviation(), volume()
    result = tmp_path / "cells.ome.zarr"
    place, config = deviation_place(result), WriteConfig(chunk=32, shard=32)
    *_, event = write(deviation, image, place, config, stop=StopsLater())
    assert event.stopped
    assert 0 < event.done < event.total
    assert not awaits_deviation(result)
    result.mkdir()
    assert awaits_deviation(result)
    again = config.model_copy(update={"resume": True})
    *_, last = write(deviation, image, place, again)
    assert last.path == place
    found = open_volume(place)
    np.testing.assert_allclose(found.read(whole(found)), deviation(CELLS), rtol=1e-4)


def test_a_calibration_travels_with_the_model(tmp_path):
    plain = make_denoiser()
    model = plain.with_uncertainty(uncertainty())
    path = model.save(tmp_path / "model.blindsound")
    again = Denoiser.load(path, device="cpu")
    assert again.uncertainty == model.uncertainty
    assert again.deviation().revision == model.deviation().revision
    np.testing.assert_array_equal(again.deviation()(CELLS), model.deviation()(CELLS))
    assert pickle.loads(pickle.dumps(model)).uncertainty == model.uncertainty
    assert pickle.loads(pickle.dumps(model.deviation())).revision
    # Results are those of the model without, and named so.
    assert again.revision == plain.revision
    assert plain.deviation().revision != model.deviation().revision
    assert model.revision != model.deviation().revision


def test_models_without_a_calibration_load_as_before(tmp_path):
    path = make_denoiser().save(tmp_path / "model.blindsound")
    tensors, header = load_tensors(path)
    assert "uncertainty" not in header
    assert Denoiser.load(path, device="cpu").uncertainty is None
    assert "not calibrated" in str(make_denoiser().deviation().provenance)
    broken = uncertainty().to_json()
    broken["bands"][0]["actual"] = [-1.0, 2.0]
    save_tensors(path, tensors, {**header, "uncertainty": broken})
    with pytest.raises(ModelError, match="damaged"):
        Denoiser.load(path, device="cpu")


def test_each_channel_has_its_own():
    bands = Band((0.01,), (0.01,), 2.0), Band((0.01,), (0.03,), 2.5)
    model = make_denoiser(channels=2, silent=True, uncertainty=uncertainty(*bands))
    pair = np.stack([CELLS[0], CELLS[0]])
    first, second = model.deviation()(pair)
    np.testing.assert_allclose(second, 3 * first, rtol=1e-5)
    alone = model.of_channel(1)
    assert alone.uncertainty.k95 == (2.5,)
    np.testing.assert_allclose(alone.deviation()(CELLS[0]), second, rtol=1e-5)


def test_what_is_not_known_is_not_given():
    model = make_denoiser(uncertainty=uncertainty())
    assert model.with_output(turns=True).deviation() is not None
    assert model.with_output(blend=1.0).deviation() is not None
    assert model.with_output("blind").deviation() is None
    assert model.with_output(blend=0.5).deviation() is None
    assert make_denoiser().with_output("blind").deviation() is None
    of_blind = model.with_output("blind").with_uncertainty(uncertainty(output="blind"))
    assert of_blind.deviation() is not None
    with pytest.raises(ModelError, match="known of the estimate visible, not of blind"):
        check_deviation(Blind2Sound, "blind")
    with pytest.raises(ModelError, match="train with method blind2sound"):
        check_deviation(Blind2Unblind, "visible")
    other = Blind2Unblind(Blind2UnblindConfig(width=4, depth=2))
    assert Denoiser([other], preprocessing(), device="cpu").deviation() is None
    with pytest.raises(ModelError, match="no estimate of the image"):
        model.with_output("deviation")
    with pytest.raises(ModelError, match=r"one of visible, blind, blended$"):
        model.with_output("sharp")


def test_a_viewer_is_not_shown_noise_for_deviations():
    pyramid = replace(volume(), levels=(CELLS, CELLS[:, ::2, ::2]))
    deviation = make_denoiser(uncertainty=uncertainty()).deviation()
    fine, coarse = lazy(deviation, pyramid)
    assert np.isfinite(fine[0, :8, :8].compute()).all()
    assert np.isnan(coarse.compute()).all()
    ready = threading.Event()
    shown = Progressive(deviation, pyramid, on_ready=ready.set)
    try:
        assert np.isnan(shown.levels[0][0, :8, :8]).all()
        shown.want((0,), (slice(0, 90), slice(0, 75)))
        assert ready.wait(30)
        np.testing.assert_allclose(shown.levels[0][0], deviation(CELLS)[0], rtol=1e-4)
        assert np.isfinite(shown.levels[1][0]).all()
    finally:
        shown.close()
        shown.join(10)
