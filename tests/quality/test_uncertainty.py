from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from napari_blindsound.api import train
from napari_blindsound.errors import ModelMismatchError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.intensity import Intensity
from napari_blindsound.images.phantom import phantom
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.methods.base import DEVIATION, Method, MethodConfig
from napari_blindsound.methods.blind2unblind import Blind2Unblind, Blind2UnblindConfig
from napari_blindsound.noise.calibration import NoiseModel
from napari_blindsound.noise.hot_pixels import HotPixels
from napari_blindsound.quality.uncertainty import calibrated
from napari_blindsound.training.preprocessing import Preprocessing

READ = 20.0
FLAT = NoiseModel(gain=0.0, offset=0.0, read_variance=READ**2)
SIDE = 5


class Smooth(Method):
    """Means over cells of 5 x 5 pixels: of a flat image's noise, a fifth is left."""

    name = "smooth"
    title = "Smooth"
    outputs = ("mean", DEVIATION)
    Config = MethodConfig
    halo = 0
    stride = SIDE
    bytes_per_pixel = 64
    says = 3.0 * READ / SIDE / 100  # three times too much, normalized

    def losses(self, noisy, progress, weight=None):
        raise NotImplementedError

    def denoise(self, noisy, *, halo=0, output=None):
        if output == DEVIATION:
            mean = torch.full_like(noisy, self.says)
        else:
            mean = torch.nn.functional.avg_pool2d(noisy, SIDE)
            mean = mean.repeat_interleave(SIDE, -1).repeat_interleave(SIDE, -2)
        return mean[..., halo : mean.shape[-2] - halo, halo : mean.shape[-1] - halo]


class Doubtful(Smooth):
    """Says that it is less certain where the image is bright."""

    def denoise(self, noisy, *, halo=0, output=None):
        found = super().denoise(noisy, halo=halo)
        return 0.3 * found.clamp(min=0.01) if output == DEVIATION else found


def smooth(noise=FLAT, kind=Smooth, channels=1):
    hot = HotPixels.fit([np.random.default_rng(9).normal(500, 20, (32, 32))], FLAT)
    found = Preprocessing(
        Intensity((0.0,) * channels, (100.0,) * channels),
        (noise,) * channels,
        (hot,) * channels,
    )
    networks = [kind(MethodConfig()) for _ in range(channels)]
    return Denoiser(networks, found, device="cpu")


def image(clean, seed=1, sigma=READ):
    """Noisy volume of a clean (..., h, w)."""
    noise = np.random.default_rng(seed).normal(0, sigma, clean.shape)
    axes = {2: "YX", 3: "TYX"}[clean.ndim]
    return Volume((np.float32(clean + noise),), Axes.parse(axes), "image")


def covered(model, noisy, clean):
    """Shares of the pixels within one deviation of the estimate, and within k95."""
    error, deviation = abs(model(noisy) - clean), model.deviation()(noisy)
    [times] = model.uncertainty.k95
    return (error <= deviation).mean(), (error <= times * deviation).mean()


def test_a_known_error_is_found():
    clean = np.full((200, 200), 500.0)
    model = calibrated(smooth(), [image(clean)])
    deviation = model.deviation()(image(clean, 2).levels[0])
    # 68 % of a normal distribution lie within 0.994 of its deviation. A little of what
    # the network says, three times too much, is believed.
    assert deviation.mean() == pytest.approx(READ / SIDE, rel=0.12)
    assert deviation.std() < 1e-3
    assert model.uncertainty.k95[0] == pytest.approx(1.96 / 0.994, rel=0.04)
    assert covered(model, image(clean, 3).levels[0], clean) == pytest.approx(
        (0.68, 0.95), abs=0.07
    )


def spots(shape=(200, 200)):
    rng = np.random.default_rng(5)
    points = np.where(rng.random(shape) < 0.05, 150.0, 0.0)
    return 500 + gaussian_filter(points, 1.0)


def simulated_alone(model, clean):
    """Size of the error if nothing was lost: of 25 pixels' noise."""
    return model.deviation()(image(clean, 4).levels[0]).mean() / (READ / SIDE)


def test_lost_detail_is_seen_in_what_was_taken_away():
    clean = spots()
    model = calibrated(smooth(), [image(clean)])
    error = np.sqrt(((model(image(clean, 3).levels[0]) - clean) ** 2).mean())
    assert error > 1.8 * READ / SIDE
    assert model.uncertainty.observed == "residual"
    assert simulated_alone(model, clean) == pytest.approx(
        error / (READ / SIDE), rel=0.2
    )
    assert "most of the detail was lost" not in model.uncertainty.words
    blurred = calibrated(smooth(), [image(500 + 10 * (clean - 500))])
    assert "most of the detail was lost" in blurred.uncertainty.words


def test_frames_of_the_same_scene_tell_the_error():
    clean = np.stack([spots((130, 130))] * 4)
    # The noise is told wrong by a factor of two: repeats do not need to know it.
    wrong = NoiseModel(0.0, 0.0, READ**2 / 2)
    model = calibrated(smooth(wrong), [image(clean)])
    assert model.uncertainty.observed == "repeats"
    fresh = image(clean[:1], 3).levels[0]
    deviation = model.deviation()(fresh)
    error = np.sqrt(((model(fresh) - clean[:1]) ** 2).mean())
    assert deviation.mean() == pytest.approx(error, rel=0.15)


def test_deviations_never_fall_where_the_network_says_more():
    clean = 300 + np.linspace(0, 400, 200)[None] * np.ones((200, 1))
    noise = NoiseModel(4.0, 280.0, 100.0)
    light = np.random.default_rng(1).poisson((clean - 280) / 4) * 4.0 + 280
    noisy = np.float32(light + np.random.default_rng(2).normal(0, 10, clean.shape))
    volume = Volume((noisy,), Axes.parse("YX"), "ramp")
    model = calibrated(smooth(noise, Doubtful), [volume])
    [band] = model.uncertainty.bands
    assert len(band.actual) > 4
    assert (np.diff(band.actual) >= 0).all()
    left, right = (model.deviation()(noisy)[:, part].mean() for part in (20, 170))
    ratio = np.sqrt(noise.variance(clean[0, 170]) / noise.variance(clean[0, 20]))
    assert right / left == pytest.approx(ratio, rel=0.15)


def test_an_over_estimated_noise_is_said():
    clean = np.full((200, 200), 500.0)
    loud = NoiseModel(0.0, 0.0, (2 * READ) ** 2)
    words = calibrated(smooth(loud), [image(clean)]).uncertainty.words
    assert "over-estimated" in words
    fitting = calibrated(smooth(), [image(clean)]).uncertainty.words
    assert "over-estimated" not in fitting
    assert "68 % of the clean pixels" in fitting


def test_an_image_too_small_to_tell_says_so():
    clean = np.full((25, 25), 500.0)
    found = calibrated(smooth(), [image(clean)]).uncertainty
    assert found.observed == "nothing"
    assert "too small or too noisy" in found.words
    assert found.error >= 0.15
    assert calibrated(smooth(), [image(np.full((10, 10), 500.0))]).uncertainty.pixels


def test_saturated_windows_do_no_harm():
    clean = np.full((100, 600), 500.0)
    clean[:, 200:] = 70_000.0
    noisy = np.clip(image(clean).levels[0], 0, 65_535).astype(np.uint16)
    model = calibrated(smooth(), [Volume((noisy,), Axes.parse("YX"), "saturated")])
    assert (model.deviation()(noisy) > 0).all()


def test_channels_are_told_apart():
    noisy = [image(np.full((100, 100), 500.0), seed).levels[0] for seed in (1, 2)]
    noisy[1] = 500 + 2 * (noisy[1] - 500)
    volume = Volume((np.stack(noisy),), Axes.parse("CYX"), "two")
    loud = NoiseModel(0.0, 0.0, (2 * READ) ** 2)
    model = smooth(channels=2)
    object.__setattr__(model.preprocessing, "noise", (FLAT, loud))
    model = calibrated(model, [volume])
    first, second = model.deviation()(np.stack(noisy)).mean((1, 2))
    assert second / first == pytest.approx(2, rel=0.15)
    assert len(model.uncertainty.k95) == 2


def test_the_same_seed_gives_the_same_calibration():
    volume = image(spots((100, 100)))
    first = calibrated(smooth(), [volume], seed=3)
    assert calibrated(first, [volume], seed=3).uncertainty == first.uncertainty
    assert calibrated(smooth(), [volume], seed=4).uncertainty != first.uncertainty


def test_models_that_cannot_be_calibrated_stay_as_they_are():
    volume = image(np.full((64, 64), 500.0))
    other = Denoiser(
        [Blind2Unblind(Blind2UnblindConfig(width=4, depth=1))],
        smooth().preprocessing,
        device="cpu",
    )
    assert calibrated(other, [volume]) is other
    silent = smooth(NoiseModel(0.0, 0.0, 0.0))
    assert calibrated(silent, [volume]).uncertainty is None
    stop = threading.Event()
    stop.set()
    assert calibrated(smooth(), [volume], stop=stop).uncertainty is None
    with pytest.raises(ModelMismatchError):
        calibrated(smooth(channels=2), [volume])


def test_bands_of_a_trained_network_mean_what_they_say():
    cells = phantom("2d", size=160, photons=30, seed=21)
    settings = {"width": 8, "depth": 2, "patch": 32}
    model = train(
        cells.volume(), method="blind2sound", steps=600, settings=settings, device="cpu"
    )
    model = calibrated(model, [cells.volume()])
    one, two = covered(model, cells.noisy, cells.clean)
    assert one == pytest.approx(0.68, abs=0.07)
    assert two == pytest.approx(0.95, abs=0.04)
    assert model.uncertainty.coverage == pytest.approx((0.68, 0.95), abs=1e-3)
