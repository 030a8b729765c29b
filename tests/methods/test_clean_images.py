from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from napari_blindsound.errors import DataError, ImageNotFoundError
from napari_blindsound.methods.clean_images import CleanImages


def plane(height: int, width: int, bits: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    wave = 0.5 + 0.5 * np.sin(y / 5) * np.cos(x / 6)
    return np.rint((2**bits - 1) * wave).astype(np.uint8 if bits == 8 else np.uint16)


@pytest.fixture
def folder(tmp_path):
    Image.fromarray(plane(40, 60, 8)).save(tmp_path / "a.png")
    (tmp_path / "deeper").mkdir()
    tifffile.imwrite(tmp_path / "deeper" / "b.tif", plane(70, 33, 16))
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def drawn(images: CleanImages, count: int = 40, side: int = 32) -> torch.Tensor:
    return images.draw(count, side, torch.Generator().manual_seed(0))


def test_images_of_any_size_and_depth_come_to_the_same_range(folder):
    crops = drawn(CleanImages.read(str(folder), 1, 32))
    assert crops.shape == (40, 1, 32, 32)
    assert crops.dtype == torch.float32
    tops = crops.amax((1, 2, 3))
    assert ((tops > 0.9) & (tops < 1.2)).all()
    assert torch.equal(crops, drawn(CleanImages.read(str(folder), 1, 32)))


def test_a_single_file_will_do(folder):
    assert (
        drawn(CleanImages.read(str(folder / "a.png"), 1, 16), side=16).isfinite().all()
    )


def test_channels_are_kept_together_or_taken_apart(tmp_path):
    path = tmp_path / "two.tif"
    both = np.stack([plane(40, 40, 16), plane(40, 40, 16)[::-1]])
    tifffile.imwrite(path, both, metadata={"axes": "CYX"}, ome=True)
    assert drawn(CleanImages.read(str(path), 2, 32)).shape == (40, 2, 32, 32)
    assert drawn(CleanImages.read(str(path), 1, 32)).shape == (40, 1, 32, 32)
    with pytest.raises(DataError, match=r"2 channel.s., but 3 are denoised"):
        CleanImages.read(str(path), 3, 32)


def test_small_images_are_left_out_and_nothing_but_small_ones_is_refused(folder):
    crops = drawn(CleanImages.read(str(folder), 1, 40), side=40)
    assert crops.shape[-1] == 40  # of a.png, since b.tif is 33 wide
    with pytest.raises(DataError, match="crops of 64 x 64"):
        CleanImages.read(str(folder), 1, 64)


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(ImageNotFoundError, match=r"no clean image.*\.png"):
        CleanImages.read(str(tmp_path), 1, 32)
    with pytest.raises(ImageNotFoundError, match=r"missing\.tif"):
        CleanImages.read(str(tmp_path / "missing.tif"), 1, 32)


def test_a_constant_image_is_refused(tmp_path):
    Image.fromarray(np.full((40, 40), 7, np.uint8)).save(tmp_path / "flat.png")
    with pytest.raises(DataError, match="constant"):
        CleanImages.read(str(tmp_path), 1, 32)


def test_copies_of_a_method_share_them(folder):
    images = CleanImages.read(str(folder), 1, 32)
    assert deepcopy(images) is images
