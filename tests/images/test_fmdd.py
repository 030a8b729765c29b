from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from napari_blindsound.errors import ImageFormatError, ImageNotFoundError
from napari_blindsound.images.fmdd import find_fmdd
from napari_blindsound.images.open import open_volume


@pytest.fixture
def root(tmp_path):
    """Two types; view 2 of the first has no ground truth. A pixel says where it is."""
    for kind, fovs in (("Confocal_FISH", (2, 19)), ("TwoPhoton_MICE", (19,))):
        for fov in fovs:
            raw = tmp_path / kind / "raw" / str(fov)
            raw.mkdir(parents=True)
            for i in (1, 2, 10):
                Image.new("L", (9, 8), fov * 10 + i).save(raw / f"capture{i}.png")
            if fov == 19:
                truth = tmp_path / kind / "gt" / str(fov)
                truth.mkdir(parents=True)
                Image.new("L", (9, 8), 77).save(truth / "avg50.png")
    return tmp_path


def levels(volume):
    return volume.levels[0][:, 0, 0].tolist()


def test_views_are_found_from_every_folder(root):
    kind = root / "Confocal_FISH"
    assert [(v.type, v.fov) for v in find_fmdd(root)] == [
        ("Confocal_FISH", "2"),
        ("Confocal_FISH", "19"),
        ("TwoPhoton_MICE", "19"),
    ]
    assert [v.fov for v in find_fmdd(kind)] == ["2", "19"]
    assert [v.fov for v in find_fmdd(kind / "raw")] == ["2", "19"]
    (view,) = find_fmdd(kind / "raw" / "19")
    assert [p.name for p in view.captures] == [
        "capture1.png",
        "capture2.png",
        "capture10.png",
    ]
    assert find_fmdd(kind / "gt") == []


def test_captures_and_truth(root):
    without, view, _ = find_fmdd(root)
    noisy = view.noisy()
    assert noisy.axes.names == "TYX"
    assert noisy.name == "Confocal_FISH 19"
    assert levels(noisy) == [191, 192, 200]
    truth = view.ground_truth()
    assert truth.shape == (8, 9)
    assert truth.dtype == np.uint8
    assert (truth == 77).all()
    with pytest.raises(ImageNotFoundError, match=r"view 2 of Confocal_FISH has no"):
        without.ground_truth()


def test_a_type_is_one_stack(root):
    for folder in (root / "Confocal_FISH", root / "Confocal_FISH" / "raw"):
        volume = open_volume(folder)
        assert levels(volume) == [21, 22, 30, 191, 192, 200]
        assert volume.name == "Confocal_FISH"
    assert levels(open_volume(root / "Confocal_FISH" / "raw" / "2")) == [21, 22, 30]


def test_types_are_not_mixed(root):
    with pytest.raises(ImageFormatError, match=r"2 types .*Confocal_FISH.*TwoPhoton"):
        open_volume(root)


def test_real_views(real_data):
    views = find_fmdd(real_data / "fmdd")
    assert {v.type for v in views} >= {"Confocal_FISH", "Confocal_MICE"}
    (view,) = (v for v in views if (v.type, v.fov) == ("Confocal_FISH", "19"))
    noisy = view.noisy()
    assert noisy.shape == (4, 512, 512)
    capture = noisy.levels[0][0].astype(float)
    error = np.mean((capture - view.ground_truth()) ** 2)
    assert 10 * np.log10(255**2 / error) == pytest.approx(22.86, abs=0.5)
