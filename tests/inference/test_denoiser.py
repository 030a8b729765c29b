from __future__ import annotations

import json
import pickle
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_blindsound.errors import ModelError, ModelMismatchError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.inference.tiling import Tiler, denoise_region
from napari_blindsound.methods.blind2unblind import Blind2Unblind, Blind2UnblindConfig
from napari_blindsound.training.checkpoint import load_tensors, save_tensors
from napari_blindsound.training.preprocessing import Preprocessing

RNG = np.random.default_rng(0)


def make_volume(array: np.ndarray, axes: str) -> Volume:
    return Volume((array,), Axes.parse(axes), "test")


def make_denoiser(channels: int = 1, *, joint: bool = False, **changes) -> Denoiser:
    torch.manual_seed(0)
    config = Blind2UnblindConfig(width=4, depth=2, **changes)
    counts = RNG.poisson(300, (channels, 64, 64)).astype(np.uint16)
    preprocessing = Preprocessing.fit([make_volume(counts, "CYX")])
    networks = (
        [Blind2Unblind(config, channels)]
        if joint
        else [Blind2Unblind(config) for _ in range(channels)]
    )
    return Denoiser(networks, preprocessing, device="cpu", provenance={"seed": 0})


def whole_plane(denoiser: Denoiser, plane: np.ndarray) -> np.ndarray:
    """(C, H, W) counts: the network on the image with its reflection all around."""
    height, width = plane.shape[-2:]
    halo, stride = denoiser.halo, denoiser.stride
    more = [(-height) % stride, (-width) % stride]
    pads = ((0, 0), *((halo, halo + extra) for extra in more))
    padded = np.pad(plane, pads, mode="reflect")
    return denoiser.core(padded[None], halo)[0, :, :height, :width]


@given(
    axes=st.sampled_from(["YX", "TYX", "ZYX", "YXZ", "TZYX", "TZCYX", "CYX", "TYXZ"]),
    height=st.integers(1, 70),
    width=st.integers(2, 70),
    pixels=st.integers(48**2, 90**2),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_tiled_equals_whole(axes, height, width, pixels, seed):
    denoiser = make_denoiser()
    sizes = {"Y": height, "X": width, "T": 2, "Z": 3, "C": 1}
    counts = np.random.default_rng(seed).poisson(300, [sizes[name] for name in axes])
    volume = make_volume(counts.astype(np.uint16), axes)
    tiler = Tiler(denoiser)
    tiler.pixels = pixels
    everything = tuple(slice(0, size) for size in volume.shape)
    tiled = denoise_region(denoiser, volume, everything, tiler=tiler)
    planes = volume.axes.as_planes(volume.levels[0])
    expected = np.stack([whole_plane(denoiser, plane) for plane in planes])
    scale = denoiser.preprocessing.intensity.scale[0]
    difference = volume.axes.as_planes(tiled) - expected
    assert np.abs(difference).max() <= 1e-5 * scale


def assert_seam_free(denoiser: Denoiser) -> None:
    counts = RNG.poisson(300, (75, 130)).astype(np.uint16)
    tiler = Tiler(denoiser)
    tiler.pixels = 60**2
    region = (slice(0, 75), slice(0, 130))
    tiled = denoise_region(denoiser, make_volume(counts, "YX"), region, tiler=tiler)
    expected = whole_plane(denoiser, counts[None])[0]
    assert np.abs(tiled - expected).max() <= 1e-5 * np.ptp(counts)


@pytest.mark.parametrize("output", ["visible", "blind", "blended"])
def test_every_output_is_seam_free(output):
    assert_seam_free(make_denoiser().with_output(output))


def test_mean_of_eight_orientations_is_seam_free_and_has_none():
    denoiser = make_denoiser().with_output(turns=True)
    assert_seam_free(denoiser)
    counts = RNG.poisson(300, (75, 130)).astype(np.uint16)
    square = counts[:64, :64]
    for other in (square.T, square[::-1], square[:, ::-1]):
        np.testing.assert_allclose(
            denoiser(other).mean(), denoiser(square).mean(), rtol=1e-6
        )
    np.testing.assert_allclose(denoiser(square.T), denoiser(square).T, rtol=1e-5)
    plain = denoiser.with_output(turns=False)
    assert not np.allclose(plain(square.T), plain(square).T, rtol=1e-5)
    assert plain.revision != denoiser.revision


def test_arrays_in_arrays_of_the_same_shape_out():
    denoiser, one = make_denoiser(), RNG.poisson(300, (3, 20, 31)).astype(np.uint16)
    result = denoiser(one)
    assert result.shape == one.shape
    assert result.dtype == np.float32
    np.testing.assert_allclose(denoiser(one[1]), result[1], rtol=1e-5)


@pytest.mark.parametrize("joint", [True, False])
def test_several_channels(joint):
    denoiser = make_denoiser(3, joint=joint)
    counts = RNG.poisson(300, (2, 3, 24, 24)).astype(np.uint16)
    result = denoiser(counts)
    assert result.shape == counts.shape
    changed = counts.copy()
    changed[:, 1, 10:14, 10:14] += 200
    difference = np.abs(denoiser(changed) - result).max((0, 2, 3))
    assert difference[1] > 0
    assert (difference[[0, 2]] > 0).all() == joint
    with pytest.raises(ModelMismatchError, match=r"\(\.\.\., C, Y, X\)"):
        denoiser(counts[:, :2])
    with pytest.raises(ModelMismatchError):
        denoiser(counts[0, 0, 0])


def test_constant_in_constant_out():
    result = make_denoiser()(np.full((50, 61), 321, np.uint16))
    assert np.ptp(result) <= 1e-4


def test_counts_come_back_on_the_data_s_own_scale():
    counts = RNG.poisson(300, (64, 64)).astype(np.uint16)
    results = []
    for gain, offset in [(1, 0), (4, 512)]:
        torch.manual_seed(0)
        data = (gain * counts + offset).astype(np.uint16)
        preprocessing = Preprocessing.fit([make_volume(data, "YX")])
        network = Blind2Unblind(Blind2UnblindConfig(width=4, depth=2))
        denoiser = Denoiser([network], preprocessing, device="cpu")
        results.append((denoiser(data) - offset) / gain)
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4)


def test_hot_pixel_changes_nothing_around_it():
    denoiser = make_denoiser()
    counts = RNG.poisson(300, (64, 64)).astype(np.uint16)
    hot = counts.copy()
    hot[30, 30] = 65535
    clean, spoilt = denoiser(counts), denoiser(hot)
    assert np.abs(spoilt / clean - 1).max() < 0.02


def test_file_holds_all_there_is(tmp_path):
    denoiser = make_denoiser(2).with_output("blended")
    path = denoiser.save(tmp_path / "model.blindsound")
    again = Denoiser.load(path, device="cpu")
    counts = RNG.poisson(300, (2, 40, 40)).astype(np.uint16)
    np.testing.assert_array_equal(again(counts), denoiser(counts))
    assert again.output == "blended"
    assert again.provenance == {"seed": 0}
    assert again.revision == denoiser.revision
    json.dumps(load_tensors(path)[1])


def test_lambda_travels_with_the_model(tmp_path):
    denoiser = make_denoiser().with_output("blended")
    denoiser.methods[0].lam.fill_(13.5)
    again = Denoiser.load(denoiser.save(tmp_path / "model"), device="cpu")
    assert float(again.methods[0].lam) == 13.5


def test_revision_follows_what_results_depend_on():
    first = make_denoiser()
    other = make_denoiser()
    with torch.no_grad():
        next(iter(other.methods[0].parameters())).add_(1e-3)
    assert first.revision != other.revision
    assert first.revision != first.with_output("blind").revision


def test_pickles_to_the_same_results():
    denoiser = make_denoiser()
    again = pickle.loads(pickle.dumps(denoiser))
    counts = RNG.poisson(300, (40, 40)).astype(np.uint16)
    np.testing.assert_array_equal(again(counts), denoiser(counts))


def test_serves_several_threads_at_once():
    denoiser = make_denoiser()
    images = RNG.poisson(300, (6, 40, 40)).astype(np.uint16)
    results = [None] * len(images)

    def work(index: int) -> None:
        results[index] = denoiser(images[index])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose(np.stack(results), denoiser(images), rtol=1e-5)


def test_newer_and_broken_models_are_refused(tmp_path):
    path = make_denoiser().save(tmp_path / "model")
    tensors, header = load_tensors(path)
    save_tensors(path, tensors, {**header, "format": 99})
    with pytest.raises(ModelError, match="format is 99"):
        Denoiser.load(path)
    save_tensors(path, tensors, {**header, "method": "magic"})
    with pytest.raises(ModelError, match="with the method magic, which is not here"):
        Denoiser.load(path)
    tensors.popitem()
    save_tensors(path, tensors, header)
    with pytest.raises(ModelError, match="cannot be used"):
        Denoiser.load(path)


def test_unknown_output_is_refused():
    with pytest.raises(ModelError, match="visible, blind, blended"):
        make_denoiser().with_output("sharp")


def test_a_blend_lies_between_the_ends():
    denoiser = make_denoiser(2)
    counts = RNG.poisson(300, (2, 40, 40)).astype(np.uint16)
    ends = [denoiser.with_output(name)(counts) for name in denoiser.method.ends]
    assert denoiser.method.ends == ("blind", "visible")
    for blend in (0, 0.25, 1):
        expected = (1 - blend) * ends[0] + blend * ends[1]
        mixed = denoiser.with_output(blend=blend)
        np.testing.assert_allclose(mixed(counts), expected, rtol=1e-6)
        assert mixed.blend == blend


def test_the_blend_of_the_training_is_the_blended_output():
    denoiser = make_denoiser()
    denoiser.methods[0].lam.fill_(7.25)
    assert denoiser.trained_blend == pytest.approx(7.25 / 8.25, rel=1e-6)
    counts = RNG.poisson(300, (40, 40)).astype(np.uint16)
    expected = denoiser.with_output("blended")(counts)
    mixed = denoiser.with_output(blend=denoiser.trained_blend)
    np.testing.assert_allclose(mixed(counts), expected, rtol=1e-6)


def test_only_what_a_blend_needs_is_computed(monkeypatch):
    denoiser, asked = make_denoiser(), []
    original = Blind2Unblind.denoise

    def noted(self, noisy, *, halo=0, output=None):
        asked.append(output)
        return original(self, noisy, halo=halo, output=output)

    monkeypatch.setattr(Blind2Unblind, "denoise", noted)
    counts = RNG.poisson(300, (40, 40)).astype(np.uint16)
    for blend, needed in (
        (0, ["blind"]),
        (1, ["visible"]),
        (0.5, ["blind", "visible"]),
    ):
        asked.clear()
        denoiser.with_output(blend=blend)(counts)
        assert asked == needed


def test_a_blended_result_is_seam_free():
    assert_seam_free(make_denoiser().with_output(blend=0.4))


def test_a_blend_stays_until_an_output_is_asked_for():
    mixed = make_denoiser().with_output(blend=0.5)
    assert mixed.with_output(turns=True).blend == 0.5
    assert mixed.with_output("visible").blend is None
    revisions = {
        one.revision
        for one in (mixed, mixed.with_output(blend=0.6), mixed.with_output("visible"))
    }
    assert len(revisions) == 3


def test_a_blend_travels_with_the_model(tmp_path):
    denoiser = make_denoiser().with_output(blend=0.5)
    path = denoiser.save(tmp_path / "model")
    again = Denoiser.load(path, device="cpu")
    assert again.blend == 0.5
    assert again.revision == denoiser.revision
    assert pickle.loads(pickle.dumps(denoiser)).blend == 0.5
    tensors, header = load_tensors(path)
    del header["blend"]
    save_tensors(path, tensors, header)
    assert Denoiser.load(path, device="cpu").blend is None


def test_another_output_shares_the_weights():
    denoiser = make_denoiser()
    weights = [p.data_ptr() for p in denoiser.methods[0].parameters()]
    other = denoiser.with_output("blind").with_output(blend=0.5)
    assert [p.data_ptr() for p in other.methods[0].parameters()] == weights


@pytest.mark.parametrize("blend", [-0.1, 1.1, float("nan")])
def test_a_blend_beyond_the_ends_is_refused(blend):
    with pytest.raises(ModelError, match=r"0 \(blind\) and 1 \(visible\)"):
        make_denoiser().with_output(blend=blend)


def test_an_output_and_a_blend_exclude_each_other():
    with pytest.raises(ModelError, match="give one"):
        make_denoiser().with_output("blind", blend=0.5)


def test_a_method_without_ends_has_nothing_to_blend(monkeypatch):
    denoiser = make_denoiser()
    monkeypatch.setattr(Blind2Unblind, "ends", None)
    with pytest.raises(ModelError, match="nothing to blend"):
        denoiser.with_output(blend=0.5)
