"""Neighboring planes as inputs: seen, never masked, never learned to be predicted."""

from __future__ import annotations

import json

import pytest
import torch

from napari_blindsound import methods
from napari_blindsound.images.context import NO_CONTEXT, Context
from napari_blindsound.networks.unet3d import UNet3d

SEES = [
    kind
    for kind in methods.available().values()
    if "context" in kind.Config.model_fields
]


@pytest.fixture(params=SEES, ids=lambda kind: kind.name)
def kind(request):
    return request.param


@pytest.fixture(params=["2d", "3d"])
def convolutions(request):
    return request.param


def build(kind, channels=1, **changes):
    torch.manual_seed(0)
    settings = {"context": "Z1", "width": 4, "depth": 2, **changes}
    return kind(kind.Config.model_validate(settings), channels)


def test_both_methods_see_neighbors():
    assert {kind.name for kind in SEES} >= {"blind2unblind", "blind2sound"}


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("region", ["1x1", "1x3"])
def test_a_blind_pixel_is_hidden_and_its_neighbors_are_seen(
    kind, channels, region, convolutions
):
    method = build(kind, channels, region=region, convolutions=convolutions)
    side = 4 * method.stride
    noisy = torch.rand(1, method.inputs, side, side)
    row, column = side // 2 + 1, side // 2 + 2
    at = (..., row, column)
    with torch.inference_mode():
        before = method.denoise(noisy, output="blind")[at]
        for plane in range(channels):
            changed = noisy.clone()
            changed[:, plane, row, column] += 5
            after = method.denoise(changed, output="blind")[at]
            assert torch.equal(after, before)
        for plane in range(channels, method.inputs):
            changed = noisy.clone()
            changed[:, plane, row, column] += 5
            assert not torch.equal(method.denoise(changed, output="blind")[at], before)


@pytest.mark.parametrize("context", ["Z1", "T2"])
def test_loss_is_finite_and_of_the_plane_alone(kind, context, convolutions):
    method = build(kind, 2, context=context, phases=16, convolutions=convolutions)
    noisy = torch.rand(2, method.inputs, 32, 32, requires_grad=True)
    weight = torch.zeros(2, 2, 32, 32)
    weight[..., 8:24, 8:24] = 1
    terms = method.loss(noisy, 0.5, weight)
    sum(terms.values()).backward()
    assert all(torch.isfinite(term) for term in terms.values())
    # Every plane of the window reaches the network, and every weight learns.
    assert (noisy.grad.abs().amax((0, 2, 3)) > 0).all()
    assert all((p.grad.abs() > 0).any() for p in method.network.parameters())
    with torch.inference_mode():
        assert method.denoise(noisy).shape == (2, 2, 32, 32)


def test_tile_equals_whole_for_every_output(kind, convolutions):
    method = build(kind, 1, convolutions=convolutions)
    stride = method.stride
    halo = -(-method.halo // stride) * stride
    whole = torch.rand(1, 3, 2 * halo + 4 * stride, 2 * halo + 4 * stride)
    for output in method.outputs:
        with torch.inference_mode():
            expected = method.denoise(whole, output=output)
            core = method.denoise(whole, halo=halo, output=output)
        inside = expected[..., halo:-halo, halo:-halo]
        torch.testing.assert_close(core, inside, atol=1e-5, rtol=0)


def test_the_setting_is_settled_once(kind):
    auto = kind.Config()
    assert auto.context == "auto"
    assert auto.neighbors == NO_CONTEXT
    chosen = auto.beside(Context("T", 2))
    assert chosen.neighbors == Context("T", 2)
    assert chosen.beside(Context("Z", 1)) is chosen
    assert auto.beside(NO_CONTEXT).context == "none"
    assert kind.Config.preset("paper").context == "none"


def test_plane_by_plane_a_model_is_what_it_was(kind):
    old = kind.Config().model_dump(mode="json")
    old.pop("context")
    old.pop("convolutions")
    old.pop("start")
    for config in (kind.Config(), kind.Config(context="none")):
        assert config.facts() == old
    assert kind.Config.model_validate(old).neighbors == NO_CONTEXT
    for more in ({}, {"convolutions": "3d"}):
        chosen = kind.Config(context="Z2", **more)
        facts = json.loads(json.dumps(chosen.facts()))
        assert ("convolutions" in facts) == bool(more)
        assert kind.Config.model_validate(facts) == chosen


def test_3d_needs_planes(kind):
    auto = kind.Config(convolutions="3d")
    assert not auto.is_deep
    assert auto.beside(Context("T", 2)).is_deep
    assert auto.beside(NO_CONTEXT) == kind.Config(context="none")
    assert not isinstance(kind(auto).network, UNet3d)
    assert isinstance(build(kind, convolutions="3d").network, UNet3d)
    with pytest.raises(ValueError, match="context is none: choose neighboring planes"):
        kind.Config(convolutions="3d", context="none")
    with pytest.raises(ValueError, match="context is none"):
        kind.Config.preset("paper", {"convolutions": "3d"})
