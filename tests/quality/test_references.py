from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_blindsound.errors import DataError, MissingExtraError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.phantom import phantom
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.tiling import denoise_region
from napari_blindsound.noise.calibration import NoiseModel
from napari_blindsound.quality import references as module
from napari_blindsound.quality.references import Reference, find, references
from napari_blindsound.quality.unseen import estimate_quality
from napari_blindsound.training.preprocessing import Preprocessing

INSTALLED = [kind for kind in references().values() if kind.is_installed]
BETTER = [kind.name for kind in INSTALLED if kind.name != "noisy"]


@pytest.fixture(scope="module")
def cells():
    return phantom("2d", size=192, seed=11)


@pytest.fixture(scope="module")
def known(cells):
    return Preprocessing.fit([cells.volume()])


def whole(volume):
    return tuple(slice(0, size) for size in volume.shape)


def error(image, clean):
    return float(np.mean((image.astype(float) - clean) ** 2))


def test_the_noisy_image_stays_what_it_is(cells, known):
    volume = cells.volume()
    made = denoise_region(Reference(find("noisy"), known), volume, whole(volume))
    np.testing.assert_array_equal(made, cells.noisy.astype(np.float32))


@pytest.mark.parametrize("name", BETTER)
def test_gains_are_estimated_as_they_are(cells, known, name):
    """Stein's formula holds for what learned nothing, within its own bounds."""
    volume, operator = cells.volume(), Reference(find(name), known)
    made = denoise_region(operator, volume, whole(volume))
    noise = error(cells.noisy, cells.clean)
    true = 10 * np.log10(noise / error(made, cells.clean))
    assert true > 4
    found = estimate_quality(operator, volume, alike=True)
    assert found.source == "stein"
    assert abs(found.gain - true) < 0.7
    # The mean stays, which the algebraic inverse of the transform would not leave.
    assert abs(made.mean() - cells.clean.mean()) < 0.3


def test_what_is_blind_is_judged_like_the_rest(cells, known):
    operator = Reference(find("median"), known)
    operator.output = "blind"
    volume = cells.volume()
    assert estimate_quality(operator, volume).source == "blind error"
    assert estimate_quality(operator, volume, alike=True).source == "stein"


def test_fewer_pixels_are_denoised_where_less_is_asked_for(cells, known):
    noisy = np.tile(cells.noisy, (3, 3))
    volume = Volume((noisy,), Axes.parse("YX"), "tiles")
    seen = []

    class Counting(Reference):
        def core(self, padded, halo):
            made = super().core(padded, halo)
            seen.append(made.size)
            return made

    operator = Counting(find("median"), known)
    estimate_quality(operator, volume, alike=True, pixels=2**16)
    assert sum(seen) == 2 * 2**16


@pytest.mark.parametrize("name", [n for n in BETTER if n != "bm3d"])
def test_tiles_leave_no_seams(cells, known, name):
    volume, operator = cells.volume(), Reference(find(name), known)
    at_once = denoise_region(operator, volume, whole(volume))
    pieces = np.empty_like(at_once)
    for top in range(0, 192, 64):
        for left in range(0, 192, 64):
            part = slice(top, top + 64), slice(left, left + 64)
            pieces[part] = denoise_region(operator, volume, part)
    np.testing.assert_allclose(pieces, at_once, atol=1e-2 * at_once.std())


def test_channels_and_hot_pixels(cells):
    noisy = np.stack([cells.noisy, 2 * cells.noisy])
    noisy[:, 50, 60] = 4000
    volume = Volume((noisy,), Axes.parse("CYX"), "two")
    known = Preprocessing.fit([volume])
    made = denoise_region(Reference(find("nlm"), known), volume, whole(volume))
    clean = np.stack([cells.clean, 2 * cells.clean])
    assert error(made[0], clean[0]) < error(cells.noisy, cells.clean) / 4
    assert (made[:, 50, 60] < 600).all()


def test_what_is_not_installed_is_said(known, monkeypatch):
    kind = replace(find("bm3d"), module="no_such_module")
    monkeypatch.setattr(module, "_KINDS", (kind,))
    assert not kind.is_installed
    with pytest.raises(MissingExtraError, match="pip install bm3d"):
        Reference(find("bm3d"), known)
    with pytest.raises(ValueError, match="no reference 'wiener'; there are bm3d"):
        find("wiener")


def test_noise_that_no_transform_knows_is_refused(cells, known):
    silent = replace(known, noise=(NoiseModel(0.0, 100.0, 0.0),))
    volume = cells.volume()
    with pytest.raises(DataError, match="not both zero"):
        denoise_region(Reference(find("nlm"), silent), volume, whole(volume))
