from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from napari_blindsound.networks.device import devices
from napari_blindsound.networks.transfer import download, upload


@pytest.mark.parametrize("name", devices())
def test_there_and_back(name):
    """On the devices that there are: CUDA's part runs only where there is one."""
    device = torch.device(name)
    tensors = [torch.full((2, 300, 200 + i), float(i)) for i in range(8)]

    def doubled(tensor):
        there = upload(tensor, device)
        assert there.device.type == device.type
        back = download(2 * there)
        assert back.device.type == "cpu"
        return back

    with ThreadPoolExecutor(4) as pool:
        for before, after in zip(tensors, pool.map(doubled, tensors), strict=True):
            assert torch.equal(after, 2 * before)
