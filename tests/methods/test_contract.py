"""What every method must keep, whichever it is."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from napari_blindsound import methods
from napari_blindsound.methods.base import DEVIATION

if TYPE_CHECKING:
    from napari_blindsound.methods.base import Method

REGISTERED = list(methods.available().values())


WHITE, SHARED = (0, 0), (2, 2)
"""Rows and columns on each side of a pixel that share its noise."""


def build(
    kind: type[Method], channels: int = 1, shared: tuple[int, int] = WHITE
) -> Method:
    torch.manual_seed(0)
    config = kind.Config.preset(next(iter(kind.Config.presets)))
    return kind(config.suited(shared), channels)


@pytest.fixture(params=REGISTERED, ids=lambda kind: kind.name)
def kind(request) -> type[Method]:
    return request.param


def test_imports_no_other_method(kind):
    own = kind.__module__
    others = {other.__module__ for other in REGISTERED} - {own}
    tree = ast.parse(Path(sys.modules[own].__file__).read_text())
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", ""), *(alias.name for alias in node.names)]
    }
    assert not imported & others


def test_the_default_is_the_first():
    assert next(iter(methods.available())) == methods.DEFAULT


def test_unknown_method_lists_the_known():
    with pytest.raises(ValueError, match=methods.DEFAULT):
        methods.find("magic")


def test_says_what_it_is(kind):
    assert kind.title
    assert kind.reference
    assert kind.__doc__
    assert kind.outputs
    assert all(field.description for field in kind.Config.model_fields.values())


def test_blends_between_two_of_its_outputs_or_not_at_all(kind):
    blend = build(kind).trained_blend
    if kind.ends is None:
        assert blend is None
    else:
        assert set(kind.ends) <= set(kind.outputs)
        assert 0 <= blend <= 1


def test_presets_are_valid_and_survive_json(kind):
    for name in kind.Config.presets:
        config = kind.Config.preset(name)
        text = json.dumps(config.model_dump(mode="json"))
        assert kind.Config.model_validate(json.loads(text)) == config
    with pytest.raises(ValueError, match="no preset"):
        kind.Config.preset("magic")


def test_settings_for_shared_noise_are_valid_and_survive_json(kind):
    for name in kind.Config.presets:
        for shared in (WHITE, SHARED, (0, 1), (3, 0)):
            config = kind.Config.preset(name).suited(shared)
            text = json.dumps(config.model_dump(mode="json"))
            assert kind.Config.model_validate(json.loads(text)) == config
            assert config.suited(shared) == config


@pytest.mark.parametrize(
    ("channels", "shared"), [(1, WHITE), (3, WHITE), (1, SHARED), (3, SHARED)]
)
def test_loss_is_finite_and_teaches_every_weight(kind, channels, shared):
    method = build(kind, channels, shared)
    size = 4 * method.stride
    noisy = torch.rand(2, channels, size, size)
    parts = list(method.losses(noisy, 0.5))
    for part in parts:
        sum(part.values()).backward()
    assert all(torch.isfinite(t) for part in parts for t in part.values())
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    for name, term in method.loss(noisy, 0.5, torch.ones_like(noisy)).items():
        assert term.ndim == 0, name


@pytest.mark.parametrize("shared", [WHITE, SHARED])
def test_same_random_state_gives_the_same_loss(kind, shared):
    method = build(kind, shared=shared)
    noisy = torch.rand(2, 1, 4 * method.stride, 4 * method.stride)
    method.random.manual_seed(3)
    first = method.loss(noisy, 0.2)
    method.random.manual_seed(3)
    assert method.loss(noisy, 0.2) == first


@pytest.mark.parametrize("shared", [WHITE, SHARED])
def test_tile_equals_whole_for_every_output(kind, shared):
    method = build(kind, shared=shared)
    stride = method.stride
    halo = -(-method.halo // stride) * stride
    whole = torch.rand(1, 1, 2 * halo + 4 * stride, 2 * halo + 6 * stride)
    for output in method.outputs:
        with torch.inference_mode():
            expected = method.denoise(whole, output=output)
            core = method.denoise(whole, halo=halo, output=output)
        torch.testing.assert_close(
            core, expected[..., halo:-halo, halo:-halo], atol=1e-5, rtol=0
        )


def test_a_deviation_is_positive_and_no_estimate(kind):
    assert kind.outputs[0] != DEVIATION
    assert DEVIATION not in (kind.ends or ())
    if DEVIATION not in kind.outputs:
        return
    method = build(kind, 2)
    noisy = torch.rand(1, 2, 4 * method.stride, 4 * method.stride)
    with torch.inference_mode():
        found = method.denoise(noisy, output=DEVIATION)
    assert found.shape == noisy.shape
    assert (found > 0).all()
