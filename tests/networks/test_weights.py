from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from napari_blindsound.networks.weights import seeded


def drawn(seed):
    with seeded(seed):
        return nn.Sequential(*(nn.Conv2d(32, 32, 3) for _ in range(20)))


def test_threads_do_not_draw_from_each_others_numbers():
    expected = torch.cat([w.flatten() for w in drawn(3).parameters()])
    with ThreadPoolExecutor(4) as pool:
        for network in pool.map(drawn, [3] * 16):
            assert torch.equal(
                torch.cat([w.flatten() for w in network.parameters()]), expected
            )


def test_the_generator_of_others_is_left_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    drawn(1)
    assert torch.equal(torch.rand(3), expected)
