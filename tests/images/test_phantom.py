from __future__ import annotations

import hashlib
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy.ndimage import gaussian_laplace

from napari_blindsound.errors import DataError
from napari_blindsound.images.phantom import Camera, phantom


def noisy_psnr(made):
    span = np.percentile(made.clean, 99.9) - made.clean.min()
    error = np.mean((made.noisy.astype(np.float64) - made.clean) ** 2)
    return 10 * np.log10(span**2 / error)


@pytest.mark.parametrize(
    ("kind", "channels", "names", "shape"),
    [
        ("2d", 1, "YX", (40, 40)),
        ("2d", 2, "CYX", (2, 40, 40)),
        ("2d", 3, "CYX", (3, 40, 40)),
        ("zstack", 1, "ZYX", (3, 40, 40)),
        ("zstack", 2, "ZCYX", (3, 2, 40, 40)),
        ("timelapse", 1, "TYX", (4, 40, 40)),
        ("timelapse", 2, "TCYX", (4, 2, 40, 40)),
    ],
)
def test_kinds_have_their_axes(kind, channels, names, shape):
    made = phantom(kind, size=40, planes=3, frames=4, channels=channels)
    assert made.axes.names == names
    assert made.noisy.shape == made.clean.shape == shape
    assert made.noisy.dtype == np.uint16
    assert made.clean.dtype == np.float32
    assert len(made.channel_names) == (channels if channels > 1 else 0)
    units = {axis.name: axis.unit for axis in made.axes if axis.name != "C"}
    assert units == {
        axis: "second" if axis == "T" else "micrometer" for axis in names if axis != "C"
    }


def test_stacks_of_one_plane_or_frame_keep_their_axis():
    assert phantom("zstack", size=32, planes=1).noisy.shape == (1, 32, 32)
    assert phantom("timelapse", size=32, frames=1).noisy.shape == (1, 32, 32)


def test_volume_is_the_noisy_recording():
    made = phantom("zstack", size=48, planes=4, channels=2, seed=3)
    volume = made.volume()
    assert volume.axes == made.axes
    assert volume.name == "phantom-zstack-3"
    assert volume.channel_names == ("nuclei", "cytoskeleton")
    everything = tuple(slice(0, size) for size in volume.shape)
    assert np.array_equal(volume.read(everything), made.noisy)


def test_a_seed_gives_the_same_pixels():
    first, again = (phantom("timelapse", size=64, frames=3, seed=5) for _ in range(2))
    other = phantom("timelapse", size=64, frames=3, seed=6)
    assert np.array_equal(first.noisy, again.noisy)
    assert np.array_equal(first.clean, again.clean)
    assert not np.array_equal(first.clean, other.clean)


def test_another_process_gives_the_same_pixels():
    code = (
        "from napari_blindsound.images.phantom import phantom;"
        "print(int(phantom(size=64, seed=1).noisy.sum()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) == int(phantom(size=64, seed=1).noisy.sum())


def test_pixels_have_not_changed_since_they_were_released():
    made = phantom(size=64, seed=0)
    digest = hashlib.sha256(made.noisy.astype("<u2").tobytes()).hexdigest()
    assert digest[:16] == "81bd1a4ccfa59e9a"


def test_frames_share_no_noise():
    made = phantom("timelapse", size=128, frames=2)
    first, second = made.noisy.astype(np.float64) - made.clean
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.03


def test_noise_is_the_cameras():
    camera = Camera(gain=3.0, offset=200.0, read_noise=5.0, bit_depth=16)
    made = phantom(size=512, photons=300, camera=camera)
    residual = made.noisy - made.clean.astype(np.float64)
    assert abs(residual.mean()) < 0.1
    order = np.argsort(made.clean, axis=None)
    for group in np.array_split(order, 8):
        mean = made.clean.ravel()[group].mean(dtype=np.float64)
        expected = 3.0 * (mean - 200.0) + 25.0 + 1 / 12
        assert residual.ravel()[group].var() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("bit_depth", [8, 12, 16])
def test_the_camera_saturates(bit_depth):
    camera = Camera(gain=100.0, bit_depth=bit_depth)
    made = phantom(size=64, photons=2000, camera=camera)
    assert made.noisy.max() == camera.saturation == 2**bit_depth - 1
    assert made.clean.max() > camera.saturation


def test_without_read_noise_counts_are_whole_photons():
    camera = Camera(gain=4.0, offset=10.0, read_noise=0.0)
    made = phantom(size=64, camera=camera)
    assert not ((made.noisy - 10) % 4).any()
    assert made.noisy.min() >= 10


@pytest.mark.parametrize("kind", ["2d", "zstack", "timelapse"])
def test_default_noise_is_moderately_hard(kind):
    assert 19.0 < noisy_psnr(phantom(kind, size=256, planes=8, frames=3)) < 24.0


def test_fewer_photons_are_noisier():
    levels = [noisy_psnr(phantom(size=128, photons=n)) for n in (5, 30, 300)]
    assert levels == sorted(levels)
    assert levels[2] - levels[0] > 10


def test_there_is_structure_at_every_scale():
    clean = phantom(size=256).clean.astype(np.float64)
    span = np.percentile(clean, 99.9) - clean.min()
    for sigma in (1.0, 3.0, 8.0, 20.0):
        response = sigma**2 * gaussian_laplace(clean, sigma)
        assert response.std() > 0.02 * span
    assert clean.min() > 100.0
    assert np.median(clean) < clean.min() + 0.35 * span


def test_focus_changes_through_a_stack():
    clean = phantom("zstack", size=192, planes=16).clean.astype(np.float64)
    sharpness = [np.abs(gaussian_laplace(plane, 1.5)).mean() for plane in clean]
    best = int(np.argmax(sharpness))
    assert 4 <= best <= 11
    assert sharpness[best] > 2.5 * max(sharpness[0], sharpness[-1])


def test_many_planes_stay_inside_the_specimen():
    fine = phantom("zstack", size=64, planes=33)
    assert fine.axes[0].scale == pytest.approx(0.2)
    coarse = phantom("zstack", size=64, planes=17)
    assert np.allclose(fine.clean[::2], coarse.clean, rtol=0.02)


def test_cells_move_and_bleach():
    clean = phantom("timelapse", size=160, frames=10).clean.astype(np.float64) - 100
    change = [np.abs(frame - clean[0]).mean() for frame in clean]
    assert change[1] > 0.01 * clean[0].mean()
    assert change[9] > 2 * change[1]
    assert clean[9].mean() < 0.95 * clean[0].mean()


def test_channels_show_different_structures():
    clean = phantom(size=192, channels=2).clean
    nuclei, cytoskeleton = (channel.astype(np.float64) for channel in clean)
    assert abs(np.corrcoef(nuclei.ravel(), cytoskeleton.ravel())[0, 1]) < 0.5


@pytest.mark.parametrize("size", [16, 33, 70])
def test_any_size_is_made(size):
    made = phantom(size=size, seed=2)
    assert made.clean.shape == (size, size)
    assert np.isfinite(made.clean).all()
    assert np.ptp(made.clean) > 5


def test_small_fields_have_larger_pixels():
    assert phantom(size=64).axes[0].scale > phantom(size=512).axes[0].scale


def test_a_picture_takes_about_a_second():
    start = time.process_time()
    phantom(size=512)
    # 0.6 s on one core of the machine it was written on.
    assert time.process_time() - start < 5


def test_bad_arguments_are_refused():
    with pytest.raises(DataError, match="unknown"):
        phantom("3d")
    with pytest.raises(DataError, match="16 pixels"):
        phantom(size=8)
    with pytest.raises(DataError, match="photons"):
        phantom(photons=0)
    with pytest.raises(DataError, match="seed -1"):
        phantom(seed=-1)
    with pytest.raises(DataError, match="channels"):
        phantom(channels=4)
    with pytest.raises(DataError, match="bit depth"):
        Camera(bit_depth=20)
    with pytest.raises(DataError, match="gain"):
        Camera(gain=0)
