"""What every method must keep, whichever it is."""

from __future__ import annotations

import ast
import json
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_blindsound import methods
from napari_blindsound.images.phantom import phantom
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.methods.base import DEVIATION
from napari_blindsound.recipe import Recipe, Training
from napari_blindsound.training.events import Progress
from napari_blindsound.training.trainer import TrainConfig

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


SMALL = {"width": 4, "depth": 2, "patch": 32, "batch": 2, "context": "none"}
"""Settings that make a method fast, of those that it has."""


def start(kind: type[Method], *, steps: int, channels: int = 1, **train) -> Training:
    """A small training of one network on all channels."""
    image = phantom("2d", size=48, channels=channels).volume()
    recipe = Recipe(
        method=kind.name,
        preset=next(iter(kind.Config.presets)),
        settings={n: v for n, v in SMALL.items() if n in kind.Config.model_fields},
        channels="joint",
        train=TrainConfig(steps=steps, threads=1, device="cpu", **train),
    )
    return Training([image], recipe)


def trained(kind: type[Method], *, steps: int = 3, **how) -> Denoiser:
    training = start(kind, steps=steps, **how)
    for _ in training.run():
        pass
    training.close()
    return training.denoiser()


@pytest.fixture(params=REGISTERED, ids=lambda kind: kind.name, scope="module")
def kind(request) -> type[Method]:
    return request.param


@pytest.fixture(scope="module")
def model(kind) -> Denoiser:
    """A model of two channels, trained for three steps."""
    return trained(kind, channels=2)


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
    for text in (kind.assumes, kind.cost, kind.limits):
        assert text
        assert not text.endswith(".")
    assert set(kind.Config.adjustable) <= set(kind.Config.model_fields)
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
    begins = [0.0, *(stage.end for stage in method.stages)]
    middles = [(begin + end) / 2 for begin, end in pairwise(begins)]
    parts = [part for at in middles for part in method.losses(noisy, at)]
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


def test_stages_follow_one_another_to_the_end(kind):
    ends = [stage.end for stage in build(kind).stages]
    assert ends == sorted(set(ends))
    assert ends[0] > 0
    assert ends[-1] == 1


@pytest.mark.parametrize("shared", [WHITE, (0, 1)])
def test_a_blind_output_does_not_change_with_its_own_pixel(kind, shared):
    if "blind" not in kind.outputs:
        pytest.skip("has no blind output")
    method = build(kind, 2, shared)
    size = max(32, 2 * method.stride)
    noisy = torch.rand(1, 2, size, size)
    with torch.inference_mode():
        before = method.denoise(noisy, output="blind")
        for row, column in [(0, 0), (0, 7), (size - 1, size - 1), (9, 6)]:
            poked = noisy.clone()
            poked[..., row, column] += 10
            after = method.denoise(poked, output="blind")
            assert torch.equal(after[..., row, column], before[..., row, column])
            assert (after != before).any()


def test_saved_and_loaded_gives_the_same_pixels(model, tmp_path):
    noisy = phantom("2d", size=48, channels=2, seed=1).noisy
    again = Denoiser.load(model.save(tmp_path / "a.blindsound"), "cpu")
    np.testing.assert_array_equal(again(noisy), model(noisy))
    assert again.revision == model.revision


def test_the_same_seed_gives_the_same_weights(kind, model):
    assert trained(kind, channels=2).revision == model.revision
    assert trained(kind, channels=2, seed=1).revision != model.revision


def test_stops_within_a_second_with_a_good_model(kind):
    training, stop = start(kind, steps=1_000_000), threading.Event()
    events = training.run(stop)
    # Working time: others may keep the processors busy.
    for event in events:
        if isinstance(event, Progress) and event.step:
            break
    asked = time.process_time()
    stop.set()
    *_, last = events
    assert time.process_time() - asked < 1
    training.close()
    assert last.reason == "stopped"
    assert last.step > 0
    noisy = phantom("2d", size=48).noisy
    assert np.isfinite(training.denoiser()(noisy)).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 37), (61, 3), (37, 61)])
def test_an_image_may_have_any_size(model, shape):
    noisy = np.random.default_rng(0).poisson(200, (2, *shape)).astype(np.uint16)
    denoised = model(noisy)
    assert denoised.shape == noisy.shape
    assert denoised.dtype == np.float32
    assert np.isfinite(denoised).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_are_denoised_jointly(kind, channels):
    made = trained(kind, steps=2, channels=channels)
    assert len(made.methods) == 1
    noisy = phantom("2d", size=32, channels=channels, seed=1).noisy
    denoised = made(noisy)
    assert denoised.shape == noisy.shape
    assert np.isfinite(denoised).all()


def test_what_was_found_are_numbers_by_name(kind, model):
    for method in model.methods:
        for name, number in method.found().items():
            assert name
            assert np.isfinite(number)
    json.dumps(model.provenance)
