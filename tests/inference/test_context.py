"""A model that sees neighboring planes gives the same wherever it is applied."""

from __future__ import annotations

import pickle
import time

import numpy as np
import pytest
import torch

from napari_blindsound.errors import ModelMismatchError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.context import read_around
from napari_blindsound.images.open import open_volume
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.inference.lazy import lazy
from napari_blindsound.inference.progressive import Progressive
from napari_blindsound.inference.store import WriteConfig, write
from napari_blindsound.inference.tiling import Tiler, denoise_region
from napari_blindsound.inference.windows import denoise_windows, denoised_around
from napari_blindsound.methods.blind2sound import Blind2Sound, Blind2SoundConfig
from napari_blindsound.methods.blind2unblind import Blind2Unblind, Blind2UnblindConfig
from napari_blindsound.training.preprocessing import Preprocessing

RNG = np.random.default_rng(0)
CLOSE = 2e-4  # counts, of some 260 in float32
CONVOLUTIONS = pytest.mark.parametrize("convolutions", ["2d", "3d"])


def make_volume(shape: tuple[int, ...], axes: str) -> Volume:
    counts = RNG.poisson(200, shape) + 20 * RNG.integers(0, 9, shape)
    return Volume((counts.astype(np.uint16),), Axes.parse(axes), "test")


def make_denoiser(
    context: str = "Z1",
    channels: int = 1,
    *,
    joint: bool = True,
    sound: bool = False,
    convolutions: str = "2d",
) -> Denoiser:
    torch.manual_seed(0)
    settings = {"width": 4, "depth": 2, "context": context}
    settings["convolutions"] = convolutions
    counts = RNG.poisson(300, (channels, 64, 64)).astype(np.uint16)
    volume = Volume((counts,), Axes.parse("CYX"), "fit")
    count, each = (1, channels) if joint else (channels, 1)
    networks = [
        Blind2Sound(Blind2SoundConfig(**settings), each)
        if sound
        else Blind2Unblind(Blind2UnblindConfig(**settings), each)
        for _ in range(count)
    ]
    return Denoiser(networks, Preprocessing.fit([volume]), device="cpu")


def by_hand(denoiser: Denoiser, volume: Volume) -> np.ndarray:
    """Every plane and its neighbors in one piece, (N, C, h, w)."""
    halo, stride = denoiser.halo, denoiser.stride
    out = []
    for region in volume.planes():
        planes = read_around(volume, region, denoiser.context)
        height, width = planes.shape[-2:]
        pads = (halo, halo + -height % stride), (halo, halo + -width % stride)
        padded = np.pad(planes, ((0, 0), (0, 0), *pads), mode="reflect")
        padded = padded.reshape(1, -1, *padded.shape[-2:])
        out.append(denoiser.core(padded, halo)[0, :, :height, :width])
    return np.stack(out)


def whole(volume: Volume) -> tuple[slice, ...]:
    return tuple(slice(0, size) for size in volume.shape)


@pytest.mark.parametrize(
    ("axes", "shape", "context", "channels", "joint"),
    [
        ("ZYX", (5, 50, 41), "Z1", 1, True),
        ("ZYX", (5, 50, 41), "Z2", 1, True),
        ("TZCYX", (2, 4, 2, 40, 44), "Z1", 2, True),
        ("TZCYX", (4, 2, 2, 40, 44), "T1", 2, False),
        ("YXZ", (40, 44, 4), "Z1", 1, True),
    ],
)
@CONVOLUTIONS
def test_tiled_equals_whole(axes, shape, context, channels, joint, convolutions):
    volume = make_volume(shape, axes)
    denoiser = make_denoiser(context, channels, joint=joint, convolutions=convolutions)
    expected = by_hand(denoiser, volume)
    tiler = Tiler(denoiser)
    tiler.pixels = 2 * (16 + 2 * denoiser.halo) ** 2
    found = denoise_region(denoiser, volume, whole(volume), tiler=tiler)
    assert found.shape == shape
    assert np.abs(volume.axes.as_planes(found) - expected).max() < CLOSE


def test_a_part_is_that_of_the_whole():
    volume, denoiser = make_volume((6, 60, 52), "ZYX"), make_denoiser("Z2")
    expected = denoise_region(denoiser, volume, whole(volume))
    for region in (np.s_[0:1, 3:20, 7:50], np.s_[1:5, 30:60, 0:9]):
        found = denoise_region(denoiser, volume, region)
        assert np.abs(found - expected[region]).max() < CLOSE


def test_shared_planes_are_worked_on_once():
    volume, denoiser = make_volume((6, 40, 40), "ZYX"), make_denoiser()
    seen = []
    normalize = Preprocessing.normalize

    class Counting(Preprocessing):
        def normalize(self, counts):
            seen.append(counts.shape)
            return normalize(self, counts)

    fit = denoiser.preprocessing
    denoiser.preprocessing = Counting(fit.intensity, fit.noise, fit.hot_pixels)
    denoise_region(denoiser, volume, whole(volume))
    assert sum(shape[0] for shape in seen) == 8


def test_arrays_need_the_axis_of_the_neighbors():
    denoiser = make_denoiser("T1")
    movie = make_volume((2, 4, 40, 40), "ZTYX")
    found = denoiser(movie.levels[0])
    expected = denoise_region(denoiser, movie, whole(movie))
    assert np.abs(found - expected).max() < CLOSE
    with pytest.raises(ModelMismatchError, match=r"give \(\.\.\., T, Y, X\)"):
        denoiser(movie.levels[0][0, 0])
    with pytest.raises(ModelMismatchError, match="at least 2 planes along T"):
        denoiser(movie.levels[0][:, :1])
    plane = movie.select(T=1)
    with pytest.raises(ModelMismatchError, match="1 neighboring plane along T"):
        denoise_region(denoiser, plane, whole(plane))


def test_windows_bring_their_own_neighbors():
    volume, denoiser = make_volume((5, 40, 40), "ZYX"), make_denoiser()
    expected = by_hand(denoiser, volume)
    windows = np.stack(
        [read_around(volume, region, denoiser.context) for region in volume.planes()]
    )
    found = denoise_windows(denoiser, windows)
    assert np.abs(found - expected).max() < CLOSE
    with pytest.raises(ModelMismatchError, match="windows of 1 planes"):
        denoise_windows(denoiser, windows[:, :1])
    around = denoised_around(denoiser, volume, volume.plane(0))
    assert np.abs(around - expected[[1, 0, 1]]).max() < CLOSE


@CONVOLUTIONS
def test_lazy_written_and_scrolled_are_the_same(tmp_path, convolutions):
    volume = make_volume((2, 5, 50, 60), "TZYX")
    denoiser = make_denoiser(convolutions=convolutions)
    expected = denoise_region(denoiser, volume, whole(volume))
    [array] = lazy(denoiser, volume, block=24)
    assert np.abs(array[1, 3].compute() - expected[1, 3]).max() < CLOSE
    assert np.abs(array.compute() - expected).max() < CLOSE
    path = tmp_path / "out.ome.zarr"
    list(write(denoiser, volume, path, WriteConfig(dtype="float32")))
    written = open_volume(path)
    assert np.abs(written.read(whole(written)) - expected).max() < CLOSE
    scrolled = Progressive(denoiser, volume)
    try:
        scrolled.want((1, 0), (slice(0, 50), slice(0, 60)))
        end = time.monotonic() + 20
        while scrolled.pending and time.monotonic() < end:
            time.sleep(0.01)
        shown = scrolled.levels[0][1, 0]
        assert np.abs(shown - expected[1, 0]).max() < CLOSE
    finally:
        scrolled.close()


def test_the_deviation_sees_them_too():
    volume, denoiser = make_volume((4, 40, 40), "ZYX"), make_denoiser(sound=True)
    deviation = denoiser.deviation()
    found = denoise_region(deviation, volume, whole(volume))
    assert deviation.context == denoiser.context
    assert (found > 0).all()


@CONVOLUTIONS
def test_saved_loaded_and_sent(tmp_path, convolutions):
    volume = make_volume((4, 40, 40), "ZYX")
    denoiser = make_denoiser("Z2", convolutions=convolutions)
    expected = denoise_region(denoiser, volume, whole(volume))
    path = denoiser.save(tmp_path / "model.blindsound")
    for other in (Denoiser.load(path), pickle.loads(pickle.dumps(denoiser))):
        assert other.revision == denoiser.revision
        assert other.context == denoiser.context
        found = denoise_region(other, volume, whole(volume))
        assert np.array_equal(found, expected)
    turned = denoiser.with_output(turns=True)
    assert denoise_region(turned, volume, whole(volume)).shape == expected.shape


def test_plane_by_plane_the_file_is_that_of_before():
    plain = make_denoiser("none")
    assert "context" not in plain._header()["config"]
    torch.manual_seed(0)
    auto = Blind2Unblind(Blind2UnblindConfig(width=4, depth=2))
    assert Denoiser([auto], plain.preprocessing).revision == plain.revision
    beside = make_denoiser("Z1")._header()["config"]
    assert beside["context"] == "Z1"
    assert "convolutions" not in beside
    deep = make_denoiser("Z1", convolutions="3d")
    assert deep._header()["config"]["convolutions"] == "3d"
    assert deep.revision != make_denoiser("Z1").revision
