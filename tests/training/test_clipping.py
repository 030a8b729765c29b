from __future__ import annotations

import pytest
import torch

from napari_blindsound.methods.blind2unblind import Blind2UnblindConfig
from napari_blindsound.training.clipping import Clip


def network(size):
    """A weight whose gradient has this norm."""
    weight = torch.nn.Linear(1, 1, bias=False)
    weight.weight.grad = torch.full_like(weight.weight, size)
    return weight


def norm_after(clip, weight, size):
    weight.weight.grad.fill_(size)
    clip.apply()
    return float(weight.weight.grad)


def test_a_long_gradient_is_cut_and_a_short_one_left():
    weight = network(1.0)
    clip = Clip(weight, Blind2UnblindConfig(clip=2.0))
    assert norm_after(clip, weight, 5.0) == pytest.approx(2.0, rel=1e-4)
    assert norm_after(clip, weight, 1.0) == 1.0


def test_zero_leaves_all_gradients_alone():
    weight = network(1.0)
    assert norm_after(Clip(weight, Blind2UnblindConfig(clip=0)), weight, 1e6) == 1e6


def test_the_bound_falls_to_the_mean_norm_and_never_rises():
    weight = network(1.0)
    clip = Clip(weight, Blind2UnblindConfig(clip=10.0, tighten=2))
    for size in (4.0, 2.0):
        norm_after(clip, weight, size)
    assert norm_after(clip, weight, 100.0) == pytest.approx(3.0, rel=1e-4)
    norm_after(clip, weight, 100.0)  # a mean of 100 does not loosen it
    assert norm_after(clip, weight, 100.0) == pytest.approx(3.0, rel=1e-4)


def test_what_is_not_finite_is_not_remembered():
    weight = network(1.0)
    clip = Clip(weight, Blind2UnblindConfig(clip=10.0, tighten=1))
    norm_after(clip, weight, float("nan"))
    assert norm_after(clip, weight, 9.0) == pytest.approx(9.0)


def test_goes_on_from_its_state():
    weight = network(1.0)
    config = Blind2UnblindConfig(clip=10.0, tighten=2)
    first, second = Clip(weight, config), Clip(weight, config)
    norm_after(first, weight, 4.0)
    second.restore(first.state())
    norm_after(second, weight, 2.0)
    assert norm_after(second, weight, 100.0) == pytest.approx(3.0, rel=1e-4)
