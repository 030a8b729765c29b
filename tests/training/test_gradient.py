from __future__ import annotations

import logging
import threading

import pytest
import torch

from napari_blindsound.methods.blind2unblind import Blind2Unblind, Blind2UnblindConfig
from napari_blindsound.training.gradient import Gradient

CPU = torch.device("cpu")


def make_method() -> Blind2Unblind:
    torch.manual_seed(0)
    config = Blind2UnblindConfig.preset("fast", {"width": 2, "depth": 1})
    method = Blind2Unblind(config)
    method.random.manual_seed(0)
    return method


def gradients(method: Blind2Unblind, **options: object) -> torch.Tensor:
    finder = Gradient(method, CPU, **options)
    noisy = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    assert finder.find(noisy, None, 0.5, threading.Event())
    return torch.cat([p.grad.ravel() for p in method.parameters()])


@pytest.fixture(autouse=True)
def _forget_what_was_compiled():
    yield
    torch._dynamo.reset()


def test_a_compiled_network_has_the_same_gradients():
    method = make_method()
    # Traced, derived and run as by a compiler, without the minute one takes.
    compiled = gradients(method, compiled=True, backend="aot_eager")
    assert "trunk" in vars(method.network)
    torch.testing.assert_close(compiled, gradients(make_method()))


# What torch says of itself when its compiler is imported.
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_training_goes_on_without_a_compiler(caplog, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("/nonexistent/g++",))
    method, expected = make_method(), gradients(make_method())
    with caplog.at_level(logging.WARNING, "napari_blindsound"):
        found = gradients(method, compiled=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert "trunk" not in vars(method.network)
    (record,) = (r for r in caplog.records if r.name.startswith("napari_blindsound"))
    assert record.message.startswith("the network could not be compiled (")
    assert "\n" not in record.message


def test_a_failure_of_its_own_is_not_taken_for_the_compilers(caplog):
    finder = Gradient(make_method(), CPU)
    with pytest.raises(RuntimeError):
        finder.find(torch.rand(2, 3, 16, 16), None, 0.5, threading.Event())
    assert not caplog.records


def test_stopped_it_gives_nothing_and_draws_the_same_again():
    method, stop = make_method(), threading.Event()
    before = method.random.get_state()
    stop.set()
    assert Gradient(method, CPU).find(torch.rand(1, 1, 16, 16), None, 0.5, stop) == {}
    assert torch.equal(method.random.get_state(), before)
